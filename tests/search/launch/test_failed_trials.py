"""A search whose trials fail says so by its exit status, and does not go on where all fail for one reason."""

import copy

import pytest
import yaml

from tests.support.recipes import RECIPE, TINY_NETWORK
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

BREAKS = f"""{TINY_NETWORK}

class Breaks(nn.Module):
    def forward(self, x):
        if self.training:
            raise RuntimeError("it broke")
        return x

def breaking():
    made = tiny()
    return Backbone(blocks={{**made.blocks, "four": Breaks()}}, features=12, mean=made.mean, std=made.std)
"""


@pytest.mark.parametrize(
    ("trials", "code", "begun", "message"),
    [
        (
            6,
            2,
            3,
            "error: all 3 trials failed in the same way, so the search was stopped: RuntimeError: it broke",
        ),
        (2, 1, 2, "No trial finished:\n  2 trials failed: RuntimeError: it broke"),
    ],
)
def test_a_search_in_which_all_trials_fail(thaw_here, tmp_path, trials, code, begun, message):
    (tmp_path / "breaking_network.py").write_text(BREAKS)
    config = copy.deepcopy(RECIPE)
    config["model"] = {"backbone": "breaking_network:breaking"}
    config["train"]["stages"] = [{"name": "open", "unfreeze_from": "all", "epochs": 1}]
    config["space"] = {"train.seed": {"int": [0, 99]}}
    config["search"] = {"trials": trials, "max_concurrent": 1, "max_retries": 0, "sampler": {"kind": "random"}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = thaw_here("search", "small.yaml", folder=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stdout + done.stderr
    records = [read_record(folder) for folder in RunLayout(tmp_path / "runs" / "small").all_trials()]
    assert [record.status for record in records if record.status is TrialStatus.FAILED] == [TrialStatus.FAILED] * begun
