"""The table in a terminal: what is shown at which width."""

import pytest
from rich.console import Console

from results_analysis.runs.run import load
from results_analysis.tables.results_table import results_table
from results_analysis.tables.terminal_table import Column, _duration, _short, render, short_names
from results_analysis.tables.trial_notes import one_line
from tests.results_analysis.runs.test_run import write_run
from trainables.core.vocabulary import Flag, Metric

EIGHT = {
    "train.stages[0].head_lr": 0.0021234,
    "train.stages[1].head_lr": 0.000182,
    "train.stages[1].backbone_lr_ratio": 0.213,
    "train.stages[2].plateau.patience": 6,
    "train.loss.kind": "balanced_softmax",
    "train.loss.max_margin": 0.339,
    "train.drw.start_fraction": 0.451,
    "train.ema.decay": 0.99471234,
}


def shown(tmp_path, trials, *, width=100, color=False, metric=Metric.KAPPA, **choice):
    run = load(write_run(tmp_path / "r", trials, metric=metric))
    console = Console(width=width, force_terminal=color, color_system="standard" if color else None, no_color=not color)
    with console.capture() as capture:
        console.print(render(results_table(run, **choice), run.metric, width=width))
    return capture.get()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["train.loss.max_margin"], ["loss.max_margin"]),
        (["train.batch_size"], ["batch_size"]),
        (["train.stages[1].head_lr"], ["stages[1].head_lr"]),
        (["train.stages[0].head_lr", "train.stages[1].head_lr"], ["stages[0].head_lr", "stages[1].head_lr"]),
        (
            ["train.stages[2].plateau.patience", "train.early_stop.patience"],
            ["stages[2].plateau.patience", "early_stop.patience"],
        ),
        (["data.seed", "train.seed"], ["data.seed", "train.seed"]),
        (["data.seed", "train.seed", "train.lr"], ["data.seed", "train.seed", "lr"]),
        (["seed", "train.seed"], ["seed", "train.seed"]),
        (["a.b.c", "d.b.c", "d.e.c"], ["a.b.c", "d.b.c", "e.c"]),
        (["train.stages[*].head_lr"], ["head_lr"]),
        (["train.stages[*].unfreeze_from", "train.stages[*].head_lr"], ["unfreeze_from", "head_lr"]),
        (["train.stages[*].head_lr", "train.stages[0].head_lr"], ["stages[*].head_lr", "stages[0].head_lr"]),
        (["train.stages[*].plateau.patience"], ["plateau.patience"]),
        (["train.stages[*].dropout", "train.stages[head].dropout"], ["stages[*].dropout", "stages[head].dropout"]),
        (["train.betas[*]"], ["betas[*]"]),
        ([], []),
    ],
)
def test_paths_are_shortened_to_what_tells_them_apart(paths, names):
    assert short_names(paths) == dict(zip(paths, names, strict=True))


def test_no_searched_value_has_the_name_of_another_column():
    assert short_names(["train.stages[*].epochs"], taken=["epochs"]) == {"train.stages[*].epochs": "stages[*].epochs"}
    assert short_names(["train.score"], taken=["score"]) == {"train.score": "train.score"}


def test_who_goes_on_from_whom_is_shown_where_anybody_does(tmp_path):
    trials = [{"scores": [0.1, 0.2, 0.3]}, {"scores": [0.1, 0.2, 0.4], "parent": {"trial": 0, "epoch": 2, "stage": 0}}]
    (tmp_path / "without").mkdir()
    assert "from/" not in shown(tmp_path / "without", trials[:1])
    text = shown(tmp_path, trials, sort="trial")
    assert "from/" in text
    assert ["0/2" in line for line in text.splitlines() if " finished" in line] == [False, True]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0021234, "0.00212"),
        (0.000182, "1.82e-4"),
        (1e-12, "1.00e-12"),
        (0.5, "0.5"),
        (0.0, "0"),
        (12.345, "12.3"),
        (5.0, "5"),
        (2048.0, "2048"),
        (0.9999, "0.9999"),
        (0.99951, "0.99951"),
        (-0.25, "-0.25"),
        (128, "128"),
        (True, "true"),
        ("ldam", "ldam"),
        ("balanced_softmax", "balanced_…"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_short_and_still_differ(value, text):
    assert _short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.4, "42s"), (59.6, "1m00s"), (200, "3m20s"), (3599.9, "1h00m"), (7530, "2h05m")],
)
def test_durations_have_their_units(seconds, text):
    assert _duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("out of memory", "out of memory"),
        ("Traceback:\n  File x\nValueError: bad\n\n", "ValueError: bad"),
        ("\x1b[31mred\x07", "·[31mred·"),
        ("", ""),
    ],
)
def test_a_reason_isone_line_that_cannot_control_the_terminal(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("heading", "lines"),
    [
        ("stages[1].head_lr", ["stages[1].", "head_lr"]),
        ("unfreeze_from", ["unfreeze_from"]),
        ("backbone_lr_ratio", ["backbone_lr_ratio"]),
        ("best/epochs", ["best/", "epochs"]),
        ("decay", ["decay"]),
        ("a__b", ["a__b"]),
    ],
)
def test_headings_wrap_between_words_without_losing_a_character(heading, lines):
    assert Column(heading, []).lines == lines
    assert "".join(lines) == heading


VALUES = {"head_lr": 0.0021234, "kind": "balanced_softmax", "patience": 6, "unfreeze_from": "features.10"}
STAGES = ("head", "all", "a_stage_with_a_long_name")
NAMES = {
    "one each": [f"train.stages[*].{key}" for key in VALUES],
    "two stages": [f"train.stages[{i}].{key}" for i in (0, 1) for key in VALUES],
    "named stages": [f"train.stages[{stage}].{key}" for stage in STAGES for key in VALUES],
    "one leaf in many places": [
        "data.seed",
        "train.seed",
        "train.stages[*].seed",
        "train.loss.seed",
        "model.head.seed",
    ],
    "short": ["train.a", "train.bb", "train.loss.c", "model.d"],
    "long": [f"train.{'a_long_section.' * n}a_rather_long_name_{n}" for n in range(6)],
    "names of other columns": ["train.stages[*].epochs", "train.stages[*].stage", "train.score", "data.time"],
    "eight": list(EIGHT),
}


@pytest.mark.parametrize("flags", [(), (Flag.SPIKE, Flag.GAP)], ids=["unflagged", "flagged"])
@pytest.mark.parametrize("names", NAMES.values(), ids=list(NAMES))
@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_searched_value_is_shown_or_named_in_full_at_every_width(tmp_path, width, names, flags):
    params = {path: VALUES.get(path.rpartition(".")[2], 0.5) for path in names}
    trials = [{"scores": [0.5] * 20, "params": params, "epoch": {"flags": flags}}, {"scores": [0.4], "params": params}]
    run = load(write_run(tmp_path / "r", trials))
    console = Console(width=width)
    with console.capture() as capture:
        console.print(drawn := render(results_table(run), run.metric, width=width))
    lines = capture.get().splitlines()
    headings = [column.header.plain for column in drawn.columns]
    assert max(map(len, lines)) <= width
    # Every line of a heading is on the screen as a whole, and ends where a word ends.
    printed = {
        word for line in lines[1 : next(i for i, line in enumerate(lines) if "─" in line)] for word in line.split()
    }
    assert {line for heading in headings for line in heading.split("\n")} == printed
    assert all(line[-1] in "./" for heading in headings for line in heading.split("\n")[:-1])
    shown = {heading.replace("\n", "") for heading in headings}
    assert len(shown) == len(headings)
    _, _, note = str(drawn.caption).partition("no room for ")
    named = note.partition(": choose")[0].replace(" and ", ", ").split(", ")
    columns = run.trials().columns
    taken = [*(name for name in columns if name not in names), "time"]
    for short in short_names(names, taken=taken).values():
        assert (short in shown) != (short in named), short
    assert {"trial", "score", "status", "best/epochs"} <= shown


def test_eight_searched_values_fit_into_140_columns(tmp_path):
    rows = [{"scores": [0.5] * 20, "params": EIGHT}, {"scores": [0.4] * 9, "params": EIGHT}]
    text = shown(tmp_path, rows, width=140)
    assert max(map(len, text.splitlines())) <= 140
    assert not any(path.rpartition(".")[2] in text.partition("no room")[2] for path in EIGHT)
    for value in ("0.00212", "1.82e-4", "0.213", "balanced_…", "0.339", "0.451", "0.99471", "1/20"):
        assert value in text


def test_searched_values_without_room_are_named(tmp_path):
    text = shown(tmp_path, [{"scores": [0.5], "params": EIGHT}], width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "no room for" in text
    assert " ".join(text.split()).endswith("choose with --columns, or widen the terminal")
    named = text.partition("no room for")[2]
    assert "drw.start_fraction" in named
    assert "time" in named


@pytest.mark.parametrize(
    ("width", "others"), [(40, {"stage"}), (60, {"stage", "time"}), (100, {"stage", "time", "val_"})]
)
def test_other_columns_are_shown_as_far_as_there_is_room(tmp_path, width, others):
    text = shown(tmp_path, [{"scores": [0.5], "params": {"train.loss.gamma": 2.0}}], width=width)
    drawn, _, left_out = text.partition("no room for")
    assert {name for name in ("stage", "time", "val_") if name in drawn} == others
    assert ("time" in left_out) == ("time" not in others)
    assert "gamma" in drawn


def test_metrics_that_no_trial_has_and_the_score_itself_take_no_room(tmp_path):
    headings = shown(tmp_path, [{"scores": [0.5]}], width=200).splitlines()[2].split()
    assert headings == ["trial", "status", "score", "epochs", "stage", "time", "accuracy", "val_loss"]


@pytest.mark.parametrize(("metric", "direction"), [(Metric.KAPPA, "higher"), (Metric.VAL_LOSS, "lower")])
def test_the_title_says_what_score_is(tmp_path, metric, direction):
    title = shown(tmp_path, [{"scores": [0.5]}], metric=metric).splitlines()[0]
    assert title.startswith(f"score: {metric.value}, {direction} is better")


def test_the_best_trial_is_marked_and_bold(tmp_path):
    text = shown(tmp_path, [{"scores": [0.5]}, {"scores": [0.7], "status": "pruned"}, {"scores": [0.6]}], color=True)
    marked = [line for line in text.splitlines() if "★" in line]
    assert len(marked) == 1
    assert "★ 2" in marked[0]
    assert marked[0].startswith("\x1b[1;32m")


@pytest.mark.parametrize(("status", "color"), [("finished", 32), ("running", 36), ("pruned", 33), ("failed", 31)])
def test_statuses_have_their_colors(tmp_path, status, color):
    trials = [{"scores": [0.9]}, {"scores": [0.5], "status": status}]
    assert f"\x1b[{color}m{status}" in shown(tmp_path, trials, color=True)


def test_failures_are_told_below_the_table_once_for_each_reason(tmp_path):
    failed = {"status": "failed", "reason": "Traceback\nValueError: [/bad] [red]"}
    pruned = {"status": "pruned", "reason": "rung"}
    text = shown(tmp_path, [failed, {"scores": [0.5]}, failed, {"status": "failed"}, pruned], sort="trial")
    backwards = shown(tmp_path / "again", [failed, failed], sort="-trial")
    assert "trials 0, 1 failed" in backwards
    assert text.splitlines()[-2].rstrip() == "trials 0, 2 failed: ValueError: [/bad] [red]"
    assert text.splitlines()[-1].rstrip() == "trial 3 failed: no reason recorded"


def test_collapsed_trials_are_told_below_the_table(tmp_path):
    text = shown(tmp_path, [{"scores": [0.5]}, {"scores": [0.1], "epoch": {"flags": (Flag.COLLAPSE,)}}])
    assert "trial 1 collapsed, even in the best epoch" in text


def test_flags_have_a_column_where_there_are_any(tmp_path):
    flagged = {"scores": [0.1], "epoch": {"flags": (Flag.SPIKE, Flag.GAP)}}
    lines = shown(tmp_path / "some", [{"scores": [0.5]}, flagged, {"status": "running"}], sort="trial").splitlines()
    column = next(line for line in lines if "flags" in line).index("flags")
    assert [line[column:].split("  ")[0].strip() for line in lines[-3:]] == ["–", "spike, gap", "–"]
    assert "flags" not in shown(tmp_path / "none", [{"scores": [0.5]}])


def test_trials_that_ended_for_a_flag_are_told_below_the_table(tmp_path):
    ends = [Flag.NAN, None, Flag.COLLAPSE, Flag.NAN]
    trials = [{"scores": [0.5], "status": "pruned", "epoch": {"stopped_for": end}} for end in ends]
    lines = [line.rstrip() for line in shown(tmp_path, trials).splitlines()]
    assert lines[-2:] == ["trial 2 stopped for collapse", "trials 0, 3 stopped for nan"]


def test_texts_stand_left_and_numbers_right(tmp_path):
    trials = [{"scores": [0.5], "params": {"train.k": k, "train.n": n}} for k, n in (("ldam", 1), ("focal", 100))]
    rows = [line for line in shown(tmp_path, trials).splitlines() if "finished" in line]
    assert rows[0].endswith("ldam     1")
    assert rows[1].endswith("focal  100")


def test_what_is_missing_is_a_dash(tmp_path):
    rows = [{"scores": [0.5], "params": {"train.loss.gamma": 2.5}}, {"status": "running"}]
    (line,) = [line for line in shown(tmp_path, rows, width=44).splitlines() if "running" in line]
    assert line.split() == ["1", "running", "–", "–/0", "–", "–"]


@pytest.mark.parametrize("choice", [{}, {"where": "score > 1"}])
def test_a_table_without_rows_says_so(tmp_path, choice):
    trials = [{"scores": [0.5], "params": EIGHT}] if choice else []
    assert "no trials" in shown(tmp_path, trials, **choice)
