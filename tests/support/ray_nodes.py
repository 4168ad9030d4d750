"""A real Ray cluster of several raylets on this machine, with a token of its own, as `ray start` makes it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from tests.support.searches import PATIENCE_S

RAY = str(Path(sys.executable).with_name("ray"))
HEALTH = {"health_check_period_ms": 3000, "health_check_timeout_ms": 3000, "health_check_failure_threshold": 3}
"""As in search/clusters."""

LOOK = """
import json, sys
import ray
ray.init(sys.argv[1], log_to_driver=False)
for _ in sys.stdin:
    print("alive", json.dumps([node["NodeName"] for node in ray.nodes() if node["Alive"]]), flush=True)
"""
"""A client of a cluster that answers each line with the names of its nodes; Ray says more between."""


class Nodes:
    """The head, and nodes that come and go."""

    def __init__(self, folder):
        self.folder, self.token = folder, uuid.uuid4().hex
        self.started = {}
        self._client = None
        self.address = f"127.0.0.1:{free_port()}"

    @property
    def env(self):
        others = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        return {**others, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0"}

    def head(self, *options, cpus=0, **env):
        port = self.address.partition(":")[2]
        options = ("--system-config", json.dumps(HEALTH), "--include-dashboard=false", *options)
        self._start((), "head", ["--head", f"--port={port}", f"--temp-dir={self.folder}", *options], cpus, env)

    def node(self, name, *options, cpus=1, inside=(), **env):
        """
        Args:
            inside: command that runs the node, such as `unshare …`.
        """
        self._start(inside, name, [f"--address={self.address}", *options], cpus, env)

    def _start(self, inside, name, options, cpus, env):
        command = [*inside, RAY, "start", "--block", f"--num-cpus={cpus}", f"--node-name={name}", *options]
        command += ["--object-store-memory=80000000", "--disable-usage-stats"]
        log = (self.folder / f"{name}.log").open("w")
        env = self.env | {"NODE": name} | env
        self.started[name] = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        said = Path(log.name).read_text
        wait_for(lambda: "Ray runtime started." in said(), lambda: f"{name}: {said()}")
        wait_for(lambda: name in self.alive(), lambda: f"{name}: {said()}")

    def alive(self):
        """Names of the nodes that the head knows."""
        if self._client is None or self._client.poll() is not None:
            self._client = subprocess.Popen(
                [sys.executable, "-c", LOOK, self.address],
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        try:
            print(file=self._client.stdin, flush=True)
            answers = (line for line in self._client.stdout if "alive [" in line)
            return json.loads(next(answers, "alive []").partition("alive ")[2])
        except BrokenPipeError:  # it could not connect
            return []

    def kill(self, name):
        """All processes of a node at once, as when it loses its power."""
        process = self.started.pop(name)
        for pid in [process.pid, *descendants(process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()

    def close(self):
        if self._client is not None:
            self._client.kill()
            self._client.communicate()
        for name in reversed(list(self.started)):
            self.kill(name)


@contextmanager
def ray_nodes():
    # Not below pytest's folder: the paths of Ray's sockets must stay short.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        nodes = Nodes(Path(folder))
        try:
            yield nodes
        finally:
            nodes.close()


def descendants(pid):
    """Processes below a process."""
    below = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid:
            below.append(int(stat.parent.name))
    return below + [further for child in below for further in descendants(child)]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what() if callable(what) else what}"
        time.sleep(0.2)
