"""`thaw clusters`: ready files that start a cluster, or a search on one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FILES = {
    "aws": ("aws.yaml", "a cluster on AWS that grows with the search: ray up aws.yaml"),
    "kubernetes": ("kubernetes.yaml", "a RayJob of KubeRay: kubectl apply -f kubernetes.yaml"),
    "slurm": ("slurm.sh", "a search on nodes of Slurm: sbatch slurm.sh search.yaml"),
    "job": ("job.sh", "a search on a Ray cluster that runs: ./job.sh search.yaml"),
}
"""Kind -> its file in search/cluster/templates, and what that is."""


def clusters(
    kind: Annotated[str | None, typer.Argument(help=", ".join(_FILES))] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a ready file for a cluster: AWS, Kubernetes, Slurm, ray job submit. Without a kind: list them."""
    from search.config.yaml_source import InputError
    from trainables.core.config_errors import nearest

    if kind is None:
        typer.echo("\n".join(f"{name:<12}{what}" for name, (_, what) in _FILES.items()))
        return
    if kind not in _FILES:
        raise InputError(f"{kind!r} is no kind of cluster; {nearest(kind, list(_FILES))}")
    output = output or Path(_FILES[kind][0])
    if output.exists() and not force:
        raise InputError(f"{output} exists: --force writes over it, -o FILE writes another")
    _write(kind, output)
    typer.echo(f"{output} is written: {_FILES[kind][1]}. Its comments say what to change.")


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
