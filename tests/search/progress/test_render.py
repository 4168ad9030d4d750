"""How a search is drawn."""

import io
import re

import pytest
from rich.console import Console

from search.progress.render import Picture, draw, duration, headline
from tests.search.progress.test_search_state import FAILED, FINISHED, PRUNED, STARTED, report, state_of
from trainables.core.vocabulary import Metric


def picture_of(search_state, **changes):
    return Picture("digits", search_state, now=STARTED + 80, **changes)


def lines(picture, width=100, height=None):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(draw(picture, height=height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5340, "89 min"),
        (5400, "1 h 30 min"),
        (12000, "3 h 20 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_are_as_exact_as_people_need(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("search_state", "text"),
    [
        (state_of(), "digits  0/16 trials"),
        (state_of(running=[(0, None)]), "digits  0/16 trials · 1 running"),
        (state_of(running=[(3, 0.93124)]), "digits  0/16 trials · 1 running · best 0.9312 (trial 3)"),
        (
            state_of(ended=[FAILED, PRUNED, FINISHED, PRUNED], running=[(7, 0.5)], earlier=[FINISHED] * 2),
            "digits  6/16 trials · 3 finished · 2 pruned · 1 failed · 1 running · best 0.5000 (trial 7) · about 3 min left",
        ),
        (state_of(1, ended=[FINISHED]), "digits  1/1 trials · 1 finished"),
    ],
)
def test_the_headline_says_how_far_the_search_is(search_state, text):
    assert headline(picture_of(search_state)) == text


def test_a_picture_has_counts_usage_rungs_running_trials_the_best_and_what_happened_last():
    search_state = state_of(rungs=(2, 4))
    search_state.reported(0, report(4, best=0.5), at=STARTED)
    search_state.reported(1, report(2, best=0.75, flags=["spike", "gap"]), at=STARTED)
    search_state.begin(2)
    search_state.set_activity(2, "computing features 1200/3000", at=STARTED)
    search_state.end(0, PRUNED, "not among the best", at=STARTED + 2)
    shown = lines(picture_of(search_state, usage="CPU 2/2"))
    assert [line[10:] if line[2:3] == ":" else line for line in shown] == [
        "digits  1/16 trials · best 0.7500 (trial 1) · about 9 min left",
        "1 pruned · 2 running · CPU 2/2",
        "continued after epoch 2: 1 of 2 · 4: 0 of 1",
        "running  stage                         epoch    loss   kappa    best  flags",
        "      1  top                               2  1.2500  0.7500  0.7500  spike, gap",
        "      2  computing features 1200/3000      –       –       –       –",
        "best  status   stage  epoch    loss   kappa    best  flags",
        "   1  running  top        2  1.2500  0.7500  0.7500  spike, gap",
        "   0  pruned   top        4  1.2500  0.5000  0.5000",
        "last",
        "trial 2: computing features",
        "trial 0: pruned in stage top after 4 epochs (not among the best)",
    ]


def test_before_the_first_trial_there_is_no_table():
    assert lines(picture_of(state_of())) == ["digits  0/16 trials", ""]


def test_of_a_search_without_a_driver_nothing_runs():
    search_state = state_of(ended=[FINISHED], running=[(1, 0.5)])
    shown = lines(picture_of(search_state, state="its driver was killed"))
    assert shown[:3] == [
        "digits  1/16 trials · best 0.5000 (trial 1)",
        "1 finished · 1 cut off",
        "its driver was killed",
    ]
    assert shown[3].split()[:2] == ["cut", "off"]


@pytest.fixture(scope="module")
def large():
    """A thousand trials under way, with long names and numbers."""
    search_state = state_of(1000, Metric.ADJUSTED_BALANCED_ACCURACY, rungs=(4, 12, 36))
    for number in range(940):
        stage = "a_stage_with_a_rather_long_name_" + "x" * 8
        search_state.reported(number, report(number % 40, best=number / 1000, stage=stage), at=STARTED)
        if number < 900:
            search_state.end(
                number, (FINISHED, PRUNED, PRUNED, FAILED)[number % 4], "a reason " * 20, at=STARTED + number
            )
    return search_state


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("height", [16, 24, 30, 60, None])
def test_a_thousand_trials_fit_the_terminal(large, width, height):
    shown = lines(picture_of(large, usage="CPU 40/40 · GPU 8/8"), width, height)
    assert max(map(len, shown)) <= width
    assert height is None or height < 24 or len(shown) < height
    assert "900/1000 trials" in shown[0]
    assert "450 pruned" in shown[1]
    assert any(line.startswith("continued after epoch 4: ") for line in shown)
    rows = [line.split() for line in shown if re.match(r" +\d+  ", line)]
    assert len(rows) == {16: 6, None: 20}.get(height, len(rows)) >= 6
    assert all(re.fullmatch(r"[01]\.\d{4}", number) for row in rows for number in row[-3:])
    assert next(row for row in rows if row[1] in {"running", "finished", "pruned", "failed"})[:2] == ["939", "running"]
    assert any(line.startswith("and ") and line.endswith(" more") for line in shown)


def test_the_metric_has_its_name_and_its_digits_in_a_narrow_terminal(large):
    heading = next(line for line in lines(picture_of(large), 80) if line.lstrip().startswith("running"))
    assert heading.split() == ["running", "stage", "epoch", "loss", "adjusted_balanced_accuracy", "best"]


def test_what_has_no_value_is_a_dash():
    search_state = state_of()
    search_state.reported(0, report(best=None, val_loss=None), at=STARTED)
    assert lines(picture_of(search_state))[-1].split() == ["0", "top", "3", "–", "–", "–"]
