"""What all tests share: a cache of decoded images of their own, one thread, and small recipes on real digits."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: test workers share the cores

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `thaw` does: threads that wait must not spin

os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `thaw` does: Ray reads it once, when it is first imported

import copy
import importlib
import itertools
import sys

import pytest
from hypothesis import HealthCheck, settings

from tests.support.recipes import FEW, RECIPE, TINY_NETWORK
from trainables.recipe.recipe import parse_recipe

# The same examples in every run, on a machine however busy: a change is judged by what it changes.
settings.register_profile("thaw", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("thaw")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Decoded images of one test session; the user's are left alone."""
    before = os.environ.get("THAW_CACHE")
    os.environ["THAW_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["THAW_CACHE"]
    else:
        os.environ["THAW_CACHE"] = before


@pytest.fixture(scope="session")
def thaw_here(_own_cache):
    """`thaw_here(*words, folder=…)`: the command in this process, on a Ray that stays for the session's other commands.

    For those that are neither killed nor stopped; `searches.thaw` is a process of its own.
    """
    from tests.support.kept_ray import KeptRay  # which imports Ray and all commands

    with KeptRay() as kept:
        yield kept.thaw


@pytest.fixture
def make_recipe():
    """`make_recipe(**train, data={}, model={})`: the small recipe with other values, validated on few images."""

    def make(*, data=None, model=None, **train):
        made = copy.deepcopy(RECIPE)
        made["data"] |= FEW | (data or {})
        made["model"] |= model or {}
        made["train"] |= train
        return parse_recipe(made)

    return make


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """`own_module(code)` puts a module into the working directory and gives its name, a new one each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code=TINY_NETWORK):
        name = f"own_networks_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()
        return name

    return write


_NUMBERS = itertools.count()
