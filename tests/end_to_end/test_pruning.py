"""Pruning as a user runs it: a real Ray asks the schedulers.

That a killed search prunes as one that was left alone: test_exact_resume.py, and tests/faults/.
"""

import pytest

from tests.support.searches import assert_whole, search_file
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "scheduler",
    [
        {"kind": "hyperband", "grace_epochs": 1, "reduction": 2, "before_drw": "score"},
        {"kind": "median", "grace_epochs": 2, "before_drw": "score"},
    ],
    ids=lambda scheduler: scheduler["kind"],
)
def test_other_kinds_prune_too(tmp_path, scheduler, thaw_here):
    search_file(tmp_path, trials=10, max_concurrent=1, scheduler=scheduler)
    assert thaw_here("search", "small.yaml", folder=tmp_path).returncode == 0
    layout = RunLayout(tmp_path / "runs" / "small")
    assert_whole(layout, trials=10)
    statuses = [read_record(folder).status for folder in layout.all_trials()]
    assert set(statuses) == {"pruned", "finished"}
