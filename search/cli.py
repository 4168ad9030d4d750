"""The `thaw` command."""

from __future__ import annotations

import trainables.core.gc_tuning  # noqa: F401  # isort: skip

import codecs
import io
import sys
from collections.abc import Callable
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperGroup

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
from trainables.core.own_code import only_trusted_code

GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Prepare a search": (init, check, spaces, clusters, schema),
    "Run it": (search, watch, stop, resume, extend, train),
    "Understand the results": (report, results, compare, confirm, ablate, mlflow),
    "Use the model": (export, predict, embed),
    "Manage files": (checkpoints, data),
}
"""Heading in `thaw --help` -> its commands. The README has the same groups."""


class _GroupedCommands(TyperGroup):
    """Plain-text command list with a heading for each `rich_help_panel`, which typer itself shows only in boxes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = max(map(len, commands))
        with formatter.section("Commands"):
            for heading, group in groupby(commands.items(), key=lambda item: getattr(item[1], "rich_help_panel", "")):
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(width), _summary(command)) for name, command in group])


def _summary(command: Any) -> str:
    return str(command.help).partition("\n")[0]


app = typer.Typer(
    cls=_GroupedCommands,
    help="Search the hyperparameters of fine-tuning: when to unfreeze which blocks, learning rates, losses and more.",
    epilog="Options and an example of each command: thaw COMMAND --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for heading, commands in GROUPS.items():
    for command in commands:
        app.command(rich_help_panel=heading)(command)


def main() -> None:
    """Entry point. A mistake of the user becomes one message and exit status 2."""
    _print_in_any_encoding()
    try:
        with only_trusted_code():
            app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_a_user_error(error):
            raise
        from trainables.core.printable import shown

        print(f"error: {shown(str(error))}", file=sys.stderr)
        sys.exit(2)


_PLAIN = {"★": "*", "…": "...", "–": "-", "−": "-", "·": "-", "×": "x", "±": "+-", "²": "2", "“": '"', "”": '"'}
"""Signs of our own texts -> what stands for them where the terminal's encoding lacks them."""


def _print_in_any_encoding() -> None:
    """Lets standard output and error replace what their encoding lacks, instead of raising an error."""

    def replaced(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        lacking = error.object[error.start : error.end]
        return "".join(_PLAIN.get(sign, ascii(sign)[1:-1]) for sign in lacking), error.end

    codecs.register_error("thaw", replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="thaw")


def _is_a_user_error(error: Exception) -> bool:
    from results_analysis import RunError
    from search.config.yaml_source import InputError
    from trainables.core.config_errors import ConfigError
    from trainables.model_package.manifest import PackageError
    from trainables.run_folder.layout import RunFileError
    from trainables.training.memory_advice import TrainingMemoryError

    # OSError: such as a full disk or a read-only folder. Its message names the file.
    mistakes = InputError | ConfigError | RunError | RunFileError | PackageError | TrainingMemoryError
    return isinstance(error, mistakes | OSError)
