"""`search.on_finish`: the command gets what it needs, through no shell, and cannot harm the search."""

import subprocess
import sys

import pytest
import yaml

from search.config.search_config import SearchSettings
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.launch.on_finish import environment_of, run_on_finish
from search.run_folder.status_file import RunStatus
from tests.search.progress.test_search_state import FINISHED, PRUNED, add, record, report
from tests.support.recipes import RECIPE
from trainables.run_folder.layout import RunLayout

NOTHING = {"THAW_RUN": "", "THAW_STATUS": "failed", "THAW_BEST_SCORE": "", "THAW_BEST_TRIAL": ""}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("notify-send 'a search' ended", ("notify-send", "a search", "ended")),
        ("echo $HOME; rm -rf *", ("echo", "$HOME;", "rm", "-rf", "*")),
        (["sh", "-c", "echo $THAW_STATUS"], ("sh", "-c", "echo $THAW_STATUS")),
        (None, None),
    ],
)
def test_a_command_is_parted_into_words_and_lists_are_taken_as_they_are(given, words):
    assert SearchSettings(on_finish=given).on_finish == words


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("echo 'open", "search.on_finish: .*cannot be split into words: no closing quotation"),
        ("", "search.on_finish: .*at least 1 item"),
        ([], "search.on_finish: .*at least 1 item"),
        (["echo", ""], r"search.on_finish\[1\]: .*at least 1 character"),
        (7, "search.on_finish: "),
    ],
)
def test_what_is_no_command_is_a_mistake_of_the_file(tmp_path, given, message):
    file = tmp_path / "search.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "space": "ema", "search": {"on_finish": given}}))
    with pytest.raises(InputError, match=message):
        load_search(read_source(file))


def test_the_resolved_search_has_the_same_command(tmp_path):
    file = tmp_path / "search.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "space": "ema", "search": {"on_finish": "echo 'a b' $x"}}))
    config = load_search(read_source(file))
    file.write_text(config.to_yaml())
    assert load_search(read_source(file)).settings.on_finish == config.settings.on_finish == ("echo", "a b", "$x")


def test_it_finds_the_run_and_its_best_trial_in_its_environment(tmp_path):
    layout = RunLayout(tmp_path)
    assert environment_of(layout) == {**NOTHING, "THAW_RUN": str(tmp_path)}
    layout.config.write_text(yaml.safe_dump({**RECIPE, "search": {"trials": 2}}))
    RunStatus(attempt=1, trials=2, state="stopped").write(layout)
    assert environment_of(layout) == {**NOTHING, "THAW_RUN": str(tmp_path), "THAW_STATUS": "stopped"}
    for number, (status, best) in enumerate([(PRUNED, 0.75), (FINISHED, 0.1 + 0.2), (FINISHED, 0.25)]):
        record(layout, number, status, ended="2026-01-01T00:00:07+00:00")
        add(layout, number, report(1, best=best))
    known = environment_of(layout)
    assert (known["THAW_BEST_TRIAL"], known["THAW_BEST_SCORE"]) == ("1", "0.30000000000000004")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ([sys.executable, "-c", "pass"], None),
        ([sys.executable, "-c", "import sys; sys.exit(3)"], "exited with status 3"),
        (["no-such-program", "a b"], "search.on_finish: no-such-program 'a b': No such file or directory"),
    ],
)
def test_its_failure_is_one_line(command, problem):
    said = run_on_finish(command, NOTHING)
    assert said == problem or (said.endswith(problem) and "\n" not in said)


def test_its_output_is_seen_and_no_shell_reads_it():
    code = "from search.launch.on_finish import run_on_finish; run_on_finish(['echo', '$HOME', '*', '; ls'], {})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "$HOME * ; ls\n"
