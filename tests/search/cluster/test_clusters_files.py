"""The files of `thaw clusters`: each is checked by what will read it, as far as that is here."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from search.cli import app
from search.config.yaml_source import InputError
from tests.support.ray_nodes import descendants, free_port
from tests.support.recipes import RECIPE
from tests.support.searches import PATIENCE_S
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

KINDS = {"aws": "aws.yaml", "kubernetes": "kubernetes.yaml", "slurm": "slurm.sh", "job": "job.sh"}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """`written(kind)`: the file that the command writes, and its text."""
    monkeypatch.chdir(tmp_path)

    def write(kind, *options):
        done = CliRunner().invoke(app, ["clusters", kind, *options], catch_exceptions=False)
        assert done.exit_code == 0
        return tmp_path / KINDS[kind]

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_asks_for_a_token_and_this_version_of_ray(written, kind):
    text = written(kind).read_text()
    assert "RAY_VERSION" not in text
    assert (version("ray") in text) == (kind in {"aws", "kubernetes"})
    assert "RAY_AUTH_MODE=token" in text or "mode: token" in text


def test_kinds_are_listed():
    said = CliRunner().invoke(app, ["clusters"]).stdout
    assert [line.split()[0] for line in said.splitlines()] == list(KINDS)


def test_no_file_is_written_over(written, tmp_path):
    file = written("job")
    assert file.stat().st_mode & stat.S_IXUSR
    file.write_text("mine")
    with pytest.raises(InputError, match=r"job.sh exists: overwrite it with --force"):
        written("job")
    assert file.read_text() == "mine"
    assert written("job", "--force").read_text() != "mine"


def test_an_unknown_kind_is_refused(written):
    with pytest.raises(InputError, match=r"'slrum' is not a kind of cluster; did you mean 'slurm'\?"):
        written("slrum")


# --- AWS ------------------------------------------------------------------------------------------------------------


def test_the_aws_file_is_what_ray_up_takes(written):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(written("aws").read_text())
    validate_config(prepare_config(config))
    nodes = config["available_node_types"]
    assert config["head_node_type"] in nodes
    assert sum(node.get("min_workers", 0) for node in nodes.values()) == 1
    assert "~/.ray/auth_token" in config["file_mounts"]
    starts = [line for key in ("head", "worker") for line in config[f"{key}_start_ray_commands"] if "ray start" in line]
    assert all(line.startswith("RAY_AUTH_MODE=token ") for line in starts)
    assert all("health_check" in line for line in starts if "--head" in line)


def test_a_mistake_in_the_aws_file_would_be_found(written):
    from ray.autoscaler._private.util import validate_config

    config = yaml.safe_load(written("aws").read_text())
    config["available_node_types"]["gpu"]["min_workers"] = "one"
    with pytest.raises(Exception, match="'one' is not of type 'integer'"):
        validate_config(config)


# --- Kubernetes -----------------------------------------------------------------------------------------------------


def test_the_rayjob_has_what_kuberay_needs(written):
    job = yaml.safe_load(written("kubernetes").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["entrypoint"].startswith("thaw search ")
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == version("ray")
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert len({group["groupName"] for group in workers}) == len(workers)
    for group in workers:
        assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (head, *workers):
        # Ray's parameters are strings: KubeRay puts them on a command line.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["image"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert "/shared" in {mount["mountPath"] for mount in container["volumeMounts"]}
            assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
    health = head["rayStartParams"]["system-config"]
    assert json.loads(health.strip("'"))["health_check_failure_threshold"] == 3


# --- shell ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["slurm", "job"])
def test_scripts_are_bash(written, kind):
    assert subprocess.run(["bash", "-n", written(kind)], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["slurm", "job"])
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_scripts_have_nothing_that_shellcheck_minds(written, kind):
    done = subprocess.run(["shellcheck", written(kind)], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_the_job_script_hands_the_search_over(written, tmp_path):
    ray = tmp_path / "bin" / "ray"
    ray.parent.mkdir()
    ray.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE" "$@"\n')
    ray.chmod(0o755)
    env = os.environ | {"PATH": f"{ray.parent}:{os.environ['PATH']}", "THAW_RUNS": "/net/runs"}
    words = [written("job"), "my search.yaml", "search.trials=3"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "token job submit --address http://127.0.0.1:8265 --working-dir . -- thaw search my search.yaml --resume "
        "--runs /net/runs search.address=auto search.trials=3"
    )
    assert subprocess.run([words[0]], env=env, capture_output=True, check=False).returncode == 1


SRUN = """#!/bin/sh
for word; do case $word in --*) shift;; *) break;; esac; done
exec "$@"
"""


@pytest.mark.slow
def test_the_slurm_script_starts_a_cluster_searches_and_leaves_nothing(written, tmp_path):
    """With a real Ray on this machine in place of Slurm's nodes."""
    commands = {"srun": SRUN, "scontrol": "#!/bin/sh\nprintf '127.0.0.1\\nlocalhost\\n'\n"}
    for name, text in commands.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    search = {**RECIPE, "space": {"train.ema.decay": {"float": [0.5, 0.9]}}, "search": {"trials": 2}}
    search["train"] = {**RECIPE["train"], "ema": {"decay": 0.9}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(search))
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),  # of the token
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "two",
        "SLURM_CPUS_PER_TASK": "1",
        "THAW_RAY_PORT": str(port),
    }
    script = subprocess.Popen(
        [written("slurm"), "small.yaml"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = script.communicate(timeout=PATIENCE_S)
        assert script.returncode == 0, said
        trials = RunLayout(tmp_path / "runs" / "small").all_trials()
        assert [read_record(trial).ended is not None for trial in trials] == [True, True]
        assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
        with socket.socket() as asking:
            assert asking.connect_ex(("127.0.0.1", port)) != 0
    finally:
        for pid in [*descendants(script.pid), *([] if script.poll() is not None else [script.pid])]:
            os.kill(pid, signal.SIGKILL)
