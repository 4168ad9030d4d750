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
