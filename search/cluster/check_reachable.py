"""Checks that a Ray cluster is reachable and accepts us, in a process of its own: Ray itself tries for 20 s to 2
minutes, prints the reason only on standard error, and ends the process that connects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from threading import Timer

from search.config.address import AUTO, checked_address
from search.config.yaml_source import InputError

PATIENCE_S = 30.0
"""Seconds to wait for an answer; a healthy cluster answers within a second or two."""
_TRY = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"
_GET_TOKEN = (
    "copy it from the head node (`ray get-auth-token` prints it there) into ~/.ray/auth_token or RAY_AUTH_TOKEN"  # noqa: S105
)
_SIGNS = {
    "InvalidAuthToken": f"rejects the token of this machine; {_GET_TOKEN}",
    "AuthenticationError": f"requires a token, and this machine has none; {_GET_TOKEN}",
    "Failed to connect to GCS": "cannot be reached; is its head node up, and the port open from here? "
    "(`ray status` on the head node shows the address)",
    "Could not find any running Ray": "was not found: no Ray runs on this machine, and RAY_ADDRESS is not set; "
    "start one (ray start --head), or give the head node's host:port",
}
"""Text that Ray prints -> problem of the cluster."""


def check_reachable(place: str) -> None:
    """Connects once and disconnects.

    Args:
        place: `auto` or `host:port`.
    Raises:
        InputError: with the problem, if this fails.
    """
    name = _named(place)
    command = [sys.executable, "-c", _TRY, place]
    with subprocess.Popen(  # noqa: S603  a fixed command; the place is validated
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as trying:
        impatience = Timer(PATIENCE_S, trying.kill)
        impatience.start()
        try:
            assert trying.stderr is not None
            output = list(_until_a_sign(trying.stderr))
        finally:
            impatience.cancel()
            if output and _sign(output[-1]):
                trying.kill()
    if trying.returncode:
        raise InputError(f"search.address: the Ray cluster {name} {_problem(''.join(output), trying.returncode)}")


def _named(place: str) -> str:
    """Name of the cluster in messages: `auto (RAY_ADDRESS=10.0.0.5:6379)`."""
    if place != AUTO or not (address := os.environ.get("RAY_ADDRESS")):
        return place
    try:
        checked_address(address)
    except ValueError as error:
        raise InputError(f"RAY_ADDRESS: {error}") from None
    return f"auto (RAY_ADDRESS={address})"


def _until_a_sign(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if _sign(line):
            return


def _sign(line: str) -> str | None:
    return next((meaning for sign, meaning in _SIGNS.items() if sign in line), None)


def _problem(output: str, returncode: int) -> str:
    if meaning := _sign(output):
        return meaning
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", output)
    if "Version mismatch" in output and len(versions) == 2:
        (theirs, their_python), (ours, our_python) = versions
        return (
            f"runs Ray {theirs} on Python {their_python}, and this machine Ray {ours} on Python {our_python}: install the same "
            "here or there"
        )
    if returncode < 0:
        return f"does not answer within {PATIENCE_S:.0f} s"
    return f"cannot be joined: {output.strip().splitlines()[-1] if output.strip() else 'Ray gives no reason'}"
