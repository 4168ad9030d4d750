"""A small file system of its own, which tests fill."""

import subprocess
from contextlib import contextmanager, suppress

import pytest


@contextmanager
def small_disk(folder, megabytes):
    """Mounts a file system at a new folder; the test is skipped without the right to."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file):
    """Fills the file system with a file."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(2**12)):
            pass
