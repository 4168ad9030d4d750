"""Whether a Ray cluster is there and lets us in, found in a process of its own: Ray itself tries for 20 s to 2 minutes, says why on
its standard error only, and ends the process that asks."""

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
"""A cluster that is well answers within a second or two."""
_TRY = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"
_GET_TOKEN = (
    "copy it from the head node (`ray get-auth-token` prints it there) into ~/.ray/auth_token or RAY_AUTH_TOKEN"  # noqa: S105
)
_SIGNS = {
    "InvalidAuthToken": f"refuses the token of this machine; {_GET_TOKEN}",
    "AuthenticationError": f"asks for a token, and this machine has none; {_GET_TOKEN}",
    "Failed to connect to GCS": "cannot be reached; is its head node up, and the port open from here? "
    "(`ray status` on the head node shows the address)",
    "Could not find any running Ray": "is not there: no Ray runs on this machine, and RAY_ADDRESS names none; "
    "start one (ray start --head), or write the head node's host:port",
}
"""What Ray prints -> what is wrong with the cluster."""


def check_reachable(place: str) -> None:
    """Connects once, and leaves.

    Args:
        place: `auto` or `host:port`.
    Raises:
        InputError: with what is wrong.
    """
    name = _named(place)
    command = [sys.executable, "-c", _TRY, place]
    with subprocess.Popen(  # noqa: S603  our own words; the place is checked
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as trying:
        impatience = Timer(PATIENCE_S, trying.kill)
        impatience.start()
        try:
            assert trying.stderr is not None
            said = list(_until_a_sign(trying.stderr))
        finally:
            impatience.cancel()
            if said and _sign(said[-1]):
                trying.kill()
    if trying.returncode:
        raise InputError(f"search.address: the Ray cluster {name} {_wrong(''.join(said), trying.returncode)}")


def _named(place: str) -> str:
    """`auto (RAY_ADDRESS=10.0.0.5:6379)`"""
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


def _wrong(said: str, returncode: int) -> str:
    if meaning := _sign(said):
        return meaning
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", said)
    if "Version mismatch" in said and len(versions) == 2:
        (theirs, their_python), (ours, our_python) = versions
        return (
            f"runs Ray {theirs} on Python {their_python}, and this machine Ray {ours} on Python {our_python}: install the same "
            "here or there"
        )
    if returncode < 0:
        return f"does not answer within {PATIENCE_S:.0f} s"
    return f"cannot be joined: {said.strip().splitlines()[-1] if said.strip() else 'Ray does not say why'}"
