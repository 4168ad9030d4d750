"""A real S3 server on this machine, which can be taken down and comes back with what it had."""

import contextlib
import logging

import fsspec
from moto.server import ThreadedMotoServer

BUCKET = "s3://bucket/runs"


class ObjectStore:
    """moto's server with one bucket; processes find it by the environment."""

    def __init__(self, monkeypatch):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "hush-hush",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        self.system.mkdir("bucket")

    @property
    def system(self):
        return fsspec.filesystem("s3", use_listings_cache=False)

    @contextlib.contextmanager
    def down(self):
        self._server.stop()
        yield
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def names(self, run):
        """Names of the files of a run."""
        root = f"bucket/runs/{run}/"
        return [path.removeprefix(root) for path in self.system.find(root)]

    def files(self, run, names=None):
        """What is there of a run, by name.

        Args:
            names: None: of all files.
        """
        found = {}
        for name in self.names(run) if names is None else names:
            with contextlib.suppress(FileNotFoundError):  # a driver has removed it meanwhile
                found[name] = self.system.cat_file(f"bucket/runs/{run}/{name}")
        return found

    def close(self):
        with contextlib.suppress(Exception):
            self.system.rm("bucket", recursive=True)  # moto's state is the process's
        self._server.stop()
