"""What a driver is told of the machine that its search runs on."""

import pytest

from search.cluster import capacity


def test_what_trials_have_is_told_beside_what_there_is(monkeypatch):
    monkeypatch.setattr(capacity.ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0, "memory": 1e9})
    monkeypatch.setattr(capacity.ray, "available_resources", lambda: {"CPU": 6.5})
    assert capacity.usage().startswith("CPU 1.5/8 · GPU 2/2")


def test_a_search_under_which_ray_has_died_is_told_so_and_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(capacity.ray, "cluster_resources", dict)
    monkeypatch.setattr(capacity.ray, "available_resources", dict)
    with pytest.raises(OSError, match="Ray died during the search"):
        capacity.usage()


def test_room_is_what_others_leave_and_grows_with_the_cluster(monkeypatch):
    free, running, now = {"CPU": 2.0}, 0, 0.0
    monkeypatch.setattr(capacity.ray, "available_resources", lambda: free)
    monkeypatch.setattr(capacity.time, "monotonic", lambda: now)
    slots = capacity.TrialSlots({"CPU": 1.0}, processes=1, running=lambda: running, waiting=1)
    assert slots() == 2 + 1
    now, free = 10.0, {}  # both are given workers; one of them has started
    running = 1
    assert slots() == 2 + 1
    now, free = 20.0, {"CPU": 3.0}  # another search has ended, or a node has joined
    running = 2
    assert slots() == 5 + 1
