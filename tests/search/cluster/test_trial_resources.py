"""What a trial takes of a node, and what is said where no node has it."""

import pytest
from pydantic import ValidationError

from search.cluster.trial_resources import alive, bundle_of, fits, how_many
from search.config.resources import Resources
from search.config.yaml_source import InputError

GIB = 2**30
LAPTOP = {"CPU": 8.0, "memory": 16.0 * GIB}
T4 = {"CPU": 16.0, "GPU": 1.0, "memory": 64.0 * GIB, "accelerator_type:T4": 1.0}
A100 = {"CPU": 8.0, "GPU": 4.0, "memory": 32.0 * GIB, "accelerator_type:A100": 1.0, "ssd": 2.0}


@pytest.mark.parametrize(
    ("wanted", "gpus", "nodes", "bundle"),
    [
        pytest.param({}, None, [LAPTOP], {"CPU": 1}, id="no GPU there"),
        pytest.param({}, None, [LAPTOP, A100], {"CPU": 1, "GPU": 1}, id="a GPU somewhere"),
        pytest.param({"cpus": 0.5}, 0.25, [T4], {"CPU": 0.5, "GPU": 0.25}, id="fractions"),
        pytest.param({"memory_gib": 10}, 0, [LAPTOP], {"CPU": 1, "memory": 10 * GIB}, id="memory"),
        pytest.param(
            {"accelerator_type": "T4", "cpus": 16},
            1,
            [A100, T4],
            {"CPU": 16, "GPU": 1, "accelerator_type:T4": 0.001},
            id="accelerator",
        ),
        pytest.param({"custom": {"ssd": 0.5}}, 0, [LAPTOP, A100], {"CPU": 1, "ssd": 0.5}, id="custom"),
    ],
)
def test_a_trial_takes_what_it_asks_for(wanted, gpus, nodes, bundle):
    assert bundle_of(Resources(**wanted), nodes, gpus=gpus) == bundle


@pytest.mark.parametrize(
    ("wanted", "gpus", "nodes", "message"),
    [
        pytest.param(
            {"cpus": 9}, 0, [LAPTOP], r"^search.resources.cpus: 9 for a trial, but there are 8$", id="one node"
        ),
        pytest.param({}, 1, [LAPTOP], r"^search.resources.gpus: 1 for a trial, but there are 0$", id="no GPU"),
        # 12 CPUs in all, but no node has them.
        pytest.param(
            {"cpus": 12},
            0,
            [LAPTOP, LAPTOP],
            r"^search.resources.cpus: 12 for a trial, but no node has more than 8; .*min_workers: 1",
            id="more than any node",
        ),
        pytest.param(
            {"memory_gib": 100},
            0,
            [LAPTOP, T4],
            r"memory_gib: 100 for a trial, but no node has more than 64",
            id="memory",
        ),
        pytest.param(
            {"accelerator_type": "H100"}, 1, [T4, A100], r"no node has 'H100'; there are: A100, T4$", id="accelerator"
        ),
        pytest.param({"accelerator_type": "H100"}, 0, [LAPTOP], r"there are: none$", id="no accelerator"),
        pytest.param({"custom": {"nvme": 1}}, 0, [A100], r"custom.nvme: 1 for a trial, but there are 0", id="custom"),
        pytest.param(
            {"cpus": 16, "accelerator_type": "A100"},
            1,
            [T4, A100],
            r"no single node has everything that a trial takes \(cpus, gpus, accelerator_type\)",
            id="each on another node",
        ),
    ],
)
def test_what_no_node_has_is_refused(wanted, gpus, nodes, message):
    with pytest.raises(InputError, match=message):
        bundle_of(Resources(**wanted), nodes, gpus=gpus)


def test_the_processes_of_a_trial_may_be_on_several_nodes_but_need_room_together():
    nodes = [{"CPU": 3.0}, {"CPU": 2.0}]
    assert bundle_of(Resources(cpus=1), nodes, gpus=0, processes=5) == {"CPU": 1.0}
    with pytest.raises(InputError, match=r"^train.workers: 3 processes for a trial, but there is room for 2 with"):
        bundle_of(Resources(cpus=2), nodes, gpus=0, processes=3)


def test_all_that_is_too_much_is_said_at_once():
    with pytest.raises(InputError, match=r"(?s)cpus: 99.*\n.*memory_gib: 1000"):
        bundle_of(Resources(cpus=99, memory_gib=1000), [LAPTOP], gpus=0)


@pytest.mark.parametrize("wanted", [{"memory_gib": 0}, {"custom": {"ssd": 0}}, {"accelerator_type": ""}])
def test_nothing_is_no_amount(wanted):
    with pytest.raises(ValidationError, match=next(iter(wanted))):
        Resources(**wanted)


def test_nodes_that_are_gone_or_too_small_are_left_out():
    assert alive([{"Alive": True, "n": 1}, {"Alive": False, "n": 2}]) == [{"Alive": True, "n": 1}]
    assert [fits({"CPU": 9.0, "GPU": 1.0}, node) for node in (LAPTOP, T4, A100)] == [False, True, False]


@pytest.mark.parametrize(
    ("bundle", "count"),
    [({"CPU": 1.0}, 8), ({"CPU": 3.0}, 2), ({"CPU": 0.1}, 80), ({"CPU": 1.0, "GPU": 0.5}, 2), ({"ssd": 1.0}, 0)],
)
def test_what_is_least_decides_how_many_trials_have_room(bundle, count):
    assert how_many(bundle, {"CPU": 8.0, "GPU": 1.0}) == count
