"""`thaw clusters`: writes files that start a cluster, or a search on one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import say
from search.commands.options import Force

_FILES = {
    "aws": ("aws.yaml", "a cluster on AWS that grows with the search: ray up aws.yaml"),
    "kubernetes": ("kubernetes.yaml", "a RayJob of KubeRay: kubectl apply -f kubernetes.yaml"),
    "slurm": ("slurm.sh", "a search on Slurm nodes: sbatch slurm.sh search.yaml"),
    "job": ("job.sh", "a search on a running Ray cluster: ./job.sh search.yaml"),
}
"""Kind -> its template file, and a description with the command that uses it."""


def clusters(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help=f"{', '.join(_FILES)}. Default: list them.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="File to write.")] = None,
    force: Force = False,
) -> None:
    """Write a cluster file for AWS, Kubernetes, Slurm or Ray.

    Its comments say what to change before you use it.

    Example: thaw clusters slurm
    """
    from search.config.yaml_source import InputError
    from trainables.core.config_errors import nearest

    if kind is None:
        say("\n".join(f"{name:<12}{what}" for name, (_, what) in _FILES.items()))
        return
    if kind not in _FILES:
        raise InputError(f"{kind!r} is not a kind of cluster; {nearest(kind, list(_FILES))}")
    output = output or Path(_FILES[kind][0])
    if output.exists() and not force:
        raise InputError(f"{output} exists: overwrite it with --force, or name another file with -o")
    _write(kind, output)
    say(f"Wrote {output}, {_FILES[kind][1]}. Its comments say what to change.")


def _write(kind: str, output: Path) -> None:
    from importlib.metadata import version
    from importlib.resources import files

    from trainables.core.atomic_write import replacing

    name = _FILES[kind][0]
    text = files("search.cluster").joinpath("templates", name).read_text(encoding="utf-8")
    with replacing(output) as file:
        file.write(text.replace("RAY_VERSION", version("ray")))  # nodes need the driver's
    if output.suffix == ".sh":
        output.chmod(0o755)
