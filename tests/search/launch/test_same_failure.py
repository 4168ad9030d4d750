"""A search is stopped early only if all its trials fail, for one reason."""

from types import SimpleNamespace

import pytest

from search.launch.failed_trials import SameFailure
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.protocol import StepResult, TrialAssignment


@pytest.fixture
def watched(tmp_path):
    """`SameFailure`, and functions that tell it of an epoch and of a failure of a trial."""
    failure, layout = SameFailure(), RunLayout(tmp_path)

    def trial(number):
        assignment = TrialAssignment(run=str(layout.root), number=number, attempt=1, recipe="{}", trials=9)
        return SimpleNamespace(trial_id=str(number), config=assignment.to_config())

    def epoch(number):
        result = StepResult(epoch=1, best_score=0.5, finished=False, objectives=[0.5], reports=[{}]).to_result()
        failure.on_trial_result(trial=trial(number), result=result)

    def fails(number, reason="out of memory: 7 GiB"):
        folder = layout.trial(number)
        folder.root.mkdir(parents=True)
        folder.error.write_text(f"Traceback (most recent call last):\nRuntimeError: {reason}\n")
        failure.on_trial_error(trial=trial(number))

    return failure, epoch, fails


def test_three_trials_that_fail_alike_stop_a_search_in_which_nothing_has_trained(watched):
    failure, _, fails = watched
    for number in range(3):
        assert failure.found is None
        fails(number, f"out of memory: {number} GiB")
    assert failure.found.startswith(
        "all 3 trials failed in the same way, so the search was stopped: RuntimeError: out of memory: 2 GiB"
    )


def test_a_trial_that_trains_or_fails_otherwise_keeps_it_going(watched):
    failure, epoch, fails = watched
    epoch(9)
    for number in range(4):
        fails(number)
    assert failure.found is None, "trial 9 trains"
    fails(9)
    assert failure.found is not None, "it has failed in the same way"
    fails(10, "no such file")
    assert failure.found is None
