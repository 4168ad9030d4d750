"""Processes that start in a moment: forked by a server that has imported torch and the trainer once."""

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainables.data.dataset", "trainables.training.trainer"])


class OwnProcess(ForkServerProcess):
    """A process that shares nothing with the test's own but its environment; the server's is as old as the server."""

    def __init__(self, target, *args):
        super().__init__(target=target, args=args, daemon=True)  # none outlives the tests
        self._environment = dict(os.environ)

    def run(self):
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()
