"""Addresses of clusters, what travels to their nodes, and what a node is asked; without a cluster. See test_ray_nodes.py."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.cluster import check_reachable as reaching
from search.cluster.check_reachable import check_reachable
from search.cluster.node_check import Needs, files_of, message_of, problems_here, versions
from search.cluster.ray_connection import place_of
from search.cluster.runtime_env import JOB, PACKAGES, own_modules, runtime_env
from search.config.address import checked_address
from search.config.yaml_source import InputError
from tests.support.project import PROJECT
from tests.support.recipes import TINY_NETWORK
from tests.support.searches import PATIENCE_S

# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.5:6379", "head-1.cluster.example:6379", "[::1]:6379"])
def test_addresses(address):
    assert checked_address(address) == address


@pytest.mark.parametrize(
    "address", ["10.0.0.5", "head:0", "head:65536", "head:http", "", 6379, None, "a b:1", "-c:x:1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="input should be local, auto, or the head node's host:port"):
        checked_address(address)


@pytest.mark.parametrize("address", ["ray://10.0.0.5:10001", "http://127.0.0.1:8265"])
def test_a_client_is_sent_to_ray_job_submit(address):
    with pytest.raises(ValueError, match="ray job submit --address http://HOST:8265 -- thaw search"):
        checked_address(address)


def test_what_ray_job_submit_runs_stays_on_its_cluster(monkeypatch):
    assert place_of("local") == "local"
    monkeypatch.setenv(JOB, "{}")
    assert [place_of(address) for address in ("local", "auto", "head:1")] == ["auto", "auto", "head:1"]


# --- a Ray of our own -----------------------------------------------------------------------------------------------


def test_a_ray_that_cannot_start_is_one_message(tmp_path):
    starts = "from search.cluster.ray_connection import LocalRay\nwith LocalRay(1) as ray: ray.wait()"
    run = subprocess.run(
        [sys.executable, "-c", starts],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "RAY_TMPDIR": str(tmp_path / "gone" / ("x" * 300))},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "InputError: Ray cannot start on this machine: " in run.stderr.splitlines()[-1]


RAYS = """
import os, sys
sys.path.insert(0, {project!r})
from tests.support.ray_nodes import descendants
from search.cluster.ray_connection import LocalRay
import ray

def running(*names):
    lines = [open(f"/proc/{{pid}}/cmdline").read() for pid in descendants(os.getpid())]
    return [name for name in names if any(f"/{{name}}" in line for line in lines)]

def companions():
    return running("dashboard.py", "monitor.py", "log_monitor.py")

with LocalRay(1):
    pass
with LocalRay(1) as here:
    here.start()
print(ray.is_initialized(), running("gcs_server", "raylet/raylet"))
with LocalRay(1) as here:
    here.wait()
    print(companions(), running("raylet/raylet"), ray.get(ray.remote(lambda: 7).remote()))
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print(companions())
"""


@pytest.mark.slow
def test_ray_of_ours_starts_without_what_a_search_has_no_use_for_and_ends_with_its_context():
    code = RAYS.format(project=str(PROJECT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    left, with_us, without = done.stdout.splitlines()
    assert left == "False []", "Ray that was left while it started"
    assert with_us == "[] ['raylet/raylet'] 7", done.stderr
    assert without == "['dashboard.py', 'monitor.py', 'log_monitor.py']"


# --- is it there? ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_address_that_nobody_answers_at_is_said_in_time():
    with pytest.raises(
        InputError, match=r"^search.address: the Ray cluster 127.0.0.1:9 cannot be reached; is its head"
    ):
        check_reachable("127.0.0.1:9")


def test_an_address_in_the_environment_is_checked_too(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS: 'ray://head:10001'.*ray job submit"):
        check_reachable("auto")


MISMATCH = """RuntimeError: Version mismatch: The cluster was started with:
    Ray: 2.55.0
    Python: 3.12.1
This process on node 10.0.0.2 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            f"raise SystemExit({MISMATCH!r})",
            "runs Ray 2.55.0 on Python 3.12.1, and this machine Ray 2.60.0 on Python 3.11.7",
        ),
        ("import time; time.sleep(60)", "does not answer within 1 s"),
        ("raise OSError('no such thing')", "cannot be joined: OSError: no such thing"),
        (
            "import sys, time; print('RPC error: InvalidAuthToken', file=sys.stderr, flush=True); time.sleep(60)",
            "rejects",
        ),
        ("raise SystemExit(3)", "cannot be joined: Ray gives no reason"),
    ],
)
def test_what_ray_says_is_put_in_a_sentence(monkeypatch, script, message):
    monkeypatch.setattr(reaching, "_TRY", script)
    monkeypatch.setattr(reaching, "PATIENCE_S", 1.0 if "within" in message else 30.0)
    with pytest.raises(InputError, match=rf"^search.address: the Ray cluster head:1 {message}"):
        check_reachable("head:1")


# --- what travels ---------------------------------------------------------------------------------------------------


def test_our_code_and_the_environment_travel(monkeypatch):
    monkeypatch.setenv("THAW_CACHE", "/scratch")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    env = runtime_env([])
    assert [Path(place).name for place in env["py_modules"]] == list(PACKAGES)
    assert all(list(Path(place).glob("*.py")) for place in env["py_modules"])
    assert env["env_vars"]["THAW_CACHE"] == "/scratch"
    assert env["env_vars"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "secret" not in str(env)


def test_modules_beside_the_users_network_travel(own_module, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    beside, unused = own_module("WIDTH = 8"), own_module("")
    network = own_module(f"import {beside}\n{TINY_NETWORK}")
    assert own_modules([f"{network}:tiny"]) == []  # not imported yet
    __import__(network)
    try:
        assert own_modules([f"{network}:tiny"]) == sorted([tmp_path / f"{beside}.py", tmp_path / f"{network}.py"])
        assert str(tmp_path / f"{unused}.py") not in str(runtime_env([f"{network}:tiny"]))
    finally:
        for name in (beside, network):
            del sys.modules[name]


def test_what_is_installed_stays():
    assert own_modules(["pytest:main"]) == []


def test_what_ray_job_submit_sent_is_not_sent_again(monkeypatch):
    given = {"working_dir": "gcs://x.zip", "env_vars": {"THAW_CACHE": "/there"}}
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": given}))
    monkeypatch.setenv("THAW_CACHE", "/here")
    assert runtime_env([]) == {"env_vars": {"OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"]}}


# --- what a node is asked -------------------------------------------------------------------------------------------


@pytest.fixture
def needs(tmp_path, monkeypatch):
    """What this machine has, as a node with a token; the node's own name is `here`."""
    monkeypatch.setattr("search.cluster.node_check._own_name", lambda: "here")
    monkeypatch.setattr("search.cluster.node_check._SHARED_AFTER_S", 0)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    shared_folder, data = tmp_path / "run" / ".nodes", tmp_path / "photos"
    shared_folder.mkdir(parents=True)
    data.mkdir()
    (shared_folder / "driver").write_text("word")
    return Needs(
        versions=versions(), files=(("data.path", str(data)),), shared_folder=shared_folder, nonce="word", token=True
    )


def test_a_node_that_has_all_leaves_its_word(needs):
    assert problems_here(needs) == []
    assert (needs.shared_folder / "here").read_text() == "word"


def test_a_node_says_all_that_it_lacks(needs, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (needs.shared_folder / "driver").write_text("another run's")
    files = (("data.path", "/nowhere"), ("model.weights", "nosuch://bucket/x.pt"))
    lacking = replace(needs, versions=versions() | {"torch": "1.0"}, files=files)
    torch, token, data, weights, folder = problems_here(lacking)
    assert torch.startswith("has torch 2.")
    assert torch.endswith("and this search runs 1.0: install the same on all machines")
    assert token.startswith("runs without token authentication")
    assert data.startswith("data.path: /nowhere does not exist there; put it where all nodes see it")
    assert weights.startswith("model.weights: nosuch://bucket/x.pt cannot be read there: ")
    assert folder.startswith(
        f"does not see the run's folder {tmp_path}/run: it must be on storage that all nodes share"
    )


def test_a_waived_token_is_not_asked_for(needs, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert problems_here(replace(needs, token=False)) == []


def test_a_url_that_can_be_read_is_there(needs):
    import fsspec

    fsspec.filesystem("memory").pipe("/photos/a.png", b"x")
    there, gone = ("data.path", "memory://photos"), ("data.images", "memory://pictures")
    assert [p.partition(":")[0] for p in problems_here(replace(needs, files=(there, gone)))] == ["data.images"]


def test_nodes_with_the_same_problem_share_a_line():
    answers = {"a": ["no data"], "b": [], "c": ["no data", "old Ray"]}
    assert message_of(answers) == "nodes a, c: no data\nnode c: old Ray"
    assert message_of({"a": []}) == ""


def test_all_files_that_trials_may_read_are_asked_for(make_recipe, tmp_path):
    from search.config.search_config import SearchConfig, SearchSettings
    from spaces import parse_space

    recipe = make_recipe(model={"weights": str(tmp_path / "w.pt")})
    others = [str(tmp_path / name) for name in ("a.pt", "b.pt")]
    space = parse_space({"model.weights": {"choice": others}})
    files = files_of(SearchConfig("small", recipe, space, SearchSettings()))
    assert set(files) == {("model.weights", path) for path in [str(tmp_path / "w.pt"), *others]}
