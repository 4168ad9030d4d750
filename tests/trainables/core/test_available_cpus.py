"""Cores that the process may use: the smallest of its affinity and of all quotas above it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.core import available_cpus as module
from trainables.core.available_cpus import available_cpus

V2, V1 = "0::/a/b\n", "9:name=systemd:/\n4:cpu,cpuacct:/a\n3:cpuset:/x\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("", {}, 8),
        (V2, {}, 8),
        (V2, {"a/b/cpu.max": "max 100000"}, 8),
        (V2, {"a/b/cpu.max": "300000 100000"}, 3),
        (V2, {"a/b/cpu.max": "300000 100000", "a/cpu.max": "200000 100000"}, 2),
        (V2, {"a/b/cpu.max": "50000 100000"}, 1),
        (V2, {"a/b/cpu.max": "350000 100000"}, 3),
        (V2, {"cpu.max": "400000 100000"}, 4),
        (V2, {"cpu.max": "9900000 100000"}, 8),
        (V2, {"other/cpu.max": "100000 100000"}, 8),
        ("0::/../x\n", {"cpu.max": "400000 100000"}, 4),
        (V1, {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 8),
        (V1, {"cpu,cpuacct/a/cpu.cfs_quota_us": "150000", "cpu,cpuacct/a/cpu.cfs_period_us": "50000"}, 3),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "500000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 5),
    ],
)
def test_quotas_limit_the_affinity(tmp_path, monkeypatch, groups, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == cores


def test_a_process_held_to_one_core_has_one():
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{core}])\n"
        "from search.preflight.local_machine import this_machine\n"
        "print(this_machine().cpus)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(("share", "own"), [(math.inf, 8), (3.0, 3), (0.5, 1), (20, 8)])
def test_a_trial_decodes_on_its_own_cores(monkeypatch, share, own):
    monkeypatch.setattr(module, "available_cpus", lambda: 8)
    monkeypatch.setattr(module, "_share", math.inf)
    module.set_own_cpus(share)
    assert module.own_cpus() == own


def test_nothing_else_counts_cores():
    root = Path(__file__).parents[3]
    counting = [
        str(file.relative_to(root))
        for folder in ("search", "spaces", "trainables", "results_analysis")
        for file in (root / folder).rglob("*.py")
        if "cpu_count" in file.read_text()
    ]
    assert counting == ["trainables/core/available_cpus.py"]
