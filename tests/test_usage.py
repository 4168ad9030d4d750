"""What a driver is told of the machine that its search runs on."""

import pytest

from search import usage


def test_what_trials_have_is_told_beside_what_there_is(monkeypatch):
    monkeypatch.setattr(usage.ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0, "memory": 1e9})
    monkeypatch.setattr(usage.ray, "available_resources", lambda: {"CPU": 6.5})
    assert usage.usage().startswith("CPU 1.5/8 · GPU 2/2")


def test_a_search_under_which_ray_has_died_is_told_so_and_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(usage.ray, "cluster_resources", dict)
    monkeypatch.setattr(usage.ray, "available_resources", dict)
    with pytest.raises(OSError, match="Ray has died under the search"):
        usage.usage()


def test_room_follows_nodes_that_come_and_go(monkeypatch):
    nodes, now = [{"Alive": True, "Resources": {"CPU": 2.0}}], 0.0
    monkeypatch.setattr(usage.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(usage.time, "monotonic", lambda: now)
    room = usage.Room({"CPU": 1.0}, waiting=1)
    assert room() == 2 + 1
    nodes += [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 8.0}}]
    now = 60.0
    assert room() == 2 + 4 + 1
