"""The `thaw` command."""

from __future__ import annotations

import trainables.core.gc_tuning  # noqa: F401  # isort: skip

import sys

import typer

from search.commands.check import check
from search.commands.checkpoints import checkpoints
from search.commands.clusters import clusters
from search.commands.compare import compare
from search.commands.comparisons import ablate, confirm
from search.commands.data import data
from search.commands.embed import embed
from search.commands.export import export
from search.commands.extend import extend
from search.commands.init import init
from search.commands.mlflow import mlflow
from search.commands.predict import predict
from search.commands.report import report
from search.commands.results import results
from search.commands.schema import schema
from search.commands.search import resume, search
from search.commands.spaces import spaces
from search.commands.train import train
from search.commands.watch import stop, watch

app = typer.Typer(
    help="Searches the hyperparameters of staged-unfreezing fine-tuning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    init,
    check,
    search,
    resume,
    extend,
    stop,
    watch,
    results,
    report,
    export,
    train,
    confirm,
    ablate,
    predict,
    embed,
    compare,
    checkpoints,
    mlflow,
    spaces,
    clusters,
    data,
    schema,
):
    app.command()(command)


def main() -> None:
    """Entry point: what the user got wrong is one message and exit status 2."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_the_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _is_the_users(error: Exception) -> bool:
    from results_analysis import RunError
    from search.config.yaml_source import InputError
    from trainables.core.config_errors import ConfigError
    from trainables.model_package.manifest import PackageError
    from trainables.run_folder.layout import RunFileError

    # OSError: a full disk, a folder that cannot be written. It names the file.
    return isinstance(error, InputError | ConfigError | RunError | RunFileError | PackageError | OSError)
