"""Checks that trials can run on the nodes of a cluster, by a task on each node before the first trial starts."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.cluster.runtime_env import PACKAGES
from search.config.search_config import SearchConfig
from search.config.yaml_source import InputError
from trainables.run_folder.layout import RunLayout
from trainables.storage.urls import exists, is_url

_PATIENCE_S = 120
"""Seconds that a node has to fetch our code and answer."""
_SHARED_AFTER_S = 5
"""Seconds after which a network share must show a new file to other machines."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Requirements on a node."""

    versions: Mapping[str, str]
    """Versions that must match; see `versions`."""
    files: tuple[tuple[str, str], ...]
    """Keys of the search file and the paths or URLs they name."""
    shared_folder: Path
    """Folder in the run folder where the driver and the nodes leave files for each other."""
    nonce: str
    """Text that they write, a new one for each check."""
    token: bool
    """True if the node must require a token."""


def check_nodes(config: SearchConfig, layout: RunLayout, nodes: Sequence[Mapping[str, Any]], *, token: bool) -> None:
    """Checks nodes.

    Args:
        config: the search.
        layout: its run folder.
        nodes: entries of `ray.nodes()`.
        token: True if nodes must require a token.
    Raises:
        InputError: with the problems, and the nodes that have them.
    """
    nonce = secrets.token_hex(8)
    shared_folder = layout.root / f".nodes-{nonce}"
    shared_folder.mkdir()
    try:
        (shared_folder / "driver").write_text(nonce, encoding="utf-8")
        needs = Needs(
            versions=versions(),
            files=files_of(config),
            shared_folder=shared_folder,
            nonce=nonce,
            token=token,
        )
        answers = {_name(node): answer for node, answer in zip(nodes, _asked(needs, nodes), strict=True)}
    finally:
        shutil.rmtree(shared_folder)
    if message := message_of(answers):
        raise InputError(message)


def message_of(answers: Mapping[str, Sequence[str]]) -> str:
    """Message with a line for each problem, and the nodes that have it; empty if there is none.

    Args:
        answers: name of a node -> its problems.
    """
    where: dict[str, list[str]] = {}
    for name, problems in answers.items():
        for problem in problems:
            where.setdefault(problem, []).append(name)
    return "\n".join(
        f"node{'s' if len(names) > 1 else ''} {', '.join(names)}: {problem}" for problem, names in where.items()
    )


def files_of(config: SearchConfig) -> tuple[tuple[str, str], ...]:
    """Keys and paths of all files that trials may read."""
    found: dict[tuple[str, str], None] = {}
    for recipe in [config.recipe, *config.corner_recipes()]:
        named = {"data.path": recipe.data.path, "data.images": recipe.data.images}
        if recipe.model.names_a_file:
            named["model.weights"] = recipe.model.weights
        found |= {(key, path): None for key, path in named.items() if path is not None}
    return tuple(found)


def versions() -> dict[str, str]:
    """Versions that a trial's results and its communication with the driver depend on; for our own code, a part of its
    hash."""
    return {
        "Python": platform.python_version(),
        "Ray": version("ray"),
        "torch": version("torch").partition("+")[0],  # without the build, which differs on nodes with a GPU
        "Thaw": _hash_of_code(),
    }


def problems_here(needs: Needs) -> list[str]:
    """Problems of the node that this runs on."""
    return [*_other_versions(needs.versions), *_open_to_all(needs), *_missing(needs.files), *_not_shared(needs)]


def _other_versions(wanted: Mapping[str, str]) -> Iterator[str]:
    for name, there in versions().items():
        if there != wanted[name]:
            yield f"has {name} {there}, and this search runs {wanted[name]}: install the same on all machines"


def _open_to_all(needs: Needs) -> Iterator[str]:
    if needs.token and os.environ.get("RAY_AUTH_MODE") != "token":
        yield (
            "runs without token authentication: anyone who reaches it can run code there. Start Ray with RAY_AUTH_MODE=token "
            "(or search with RAY_AUTH_MODE=disabled where the network is closed)"
        )


def _missing(files: Sequence[tuple[str, str]]) -> Iterator[str]:
    for key, place in files:
        try:
            there = exists(place)
        except OSError as error:
            yield f"{key}: {place} cannot be read there: {error}"
            continue
        if not there:
            yield f"{key}: {place} does not exist there; put it where all nodes see it under this path, or behind a URL"
        elif not is_url(place) and not os.access(place, os.R_OK | (os.X_OK if Path(place).is_dir() else 0)):
            yield f"{key}: {place} cannot be read there by {_user()}"


def _not_shared(needs: Needs) -> Iterator[str]:
    run = needs.shared_folder.parent
    if _word_in(needs.shared_folder / "driver") != needs.nonce:
        yield (
            f"does not see the run's folder {run}: it must be on storage that all nodes share (--runs DIR), under one path"
        )
        return
    try:
        (needs.shared_folder / _own_name()).write_text(needs.nonce, encoding="utf-8")
    except OSError as error:
        yield f"cannot write to the run's folder {run} as {_user()}: {error.strerror}"


def _word_in(file: Path) -> str | None:
    deadline = time.monotonic() + _SHARED_AFTER_S
    while True:
        try:
            return file.read_text(encoding="utf-8")
        except OSError:
            if time.monotonic() > deadline:
                return None
        time.sleep(0.2)


def _asked(needs: Needs, nodes: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=1)(problems_here)
    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    answers = [task.options(scheduling_strategy=node).remote(needs) for node in there]
    ray.wait(answers, num_returns=len(answers), timeout=_PATIENCE_S)
    for node, answer in zip(nodes, answers, strict=True):
        try:
            problems = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            yield [f"does not answer within {_PATIENCE_S} s"]
        except ray.exceptions.RayError as error:
            yield [f"cannot run the search's code: {str(error).strip().splitlines()[-1]}"]
        else:
            unseen = not problems and _word_in(needs.shared_folder / node["NodeID"]) != needs.nonce
            yield [f"writes to another folder than the driver's {needs.shared_folder.parent}"] if unseen else problems


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeName']} ({node['NodeManagerHostname']}, {node['NodeID'][:6]})"


def _own_name() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _user() -> str:
    import getpass

    return f"user {getpass.getuser()}"


def _hash_of_code() -> str:
    digest = hashlib.sha256()
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent  # on nodes each package may be in a different folder
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{name}/{file.relative_to(folder)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
