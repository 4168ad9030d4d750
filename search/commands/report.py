"""`thaw report`: writes an HTML page about a search or a training run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.names import cli_name, local, say, short
from search.commands.options import Name, Runs

if TYPE_CHECKING:
    from results_analysis import Run, Trained


def report(
    name: Name,
    runs: Runs = Path("runs"),
    trial: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Report this trial of a search as a training run.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="File to write. Default: report.html in the run's folder."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on this machine and update it while the run continues.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 picks a free one.")] = 8000,
) -> None:
    """Write an HTML report of a search, or of a run of thaw train.

    Example: thaw report photos --serve
    """
    from results_analysis import Run, find_search_or_training, trial_of
    from search.config.yaml_source import InputError
    from trainables.core.atomic_write import is_stream

    found: Run | Trained = find_search_or_training(local(name, runs), runs)
    if trial is not None:
        if not isinstance(found, Run):
            raise InputError(
                f"--trial {trial}: {found.name} is a single training run; --trial chooses a trial of a search"
            )
        found = trial_of(found, trial)
    write = _writer(found, output, trial)
    file = write()
    say(short(file), error=is_stream(file))  # the page itself may be the output
    if serve:
        _serve(found, file, write, port)


def _writer(found: Run | Trained, output: Path | None, trial: int | None) -> Callable[[], Path]:
    """Function that writes the report of a run's current state, and returns the file."""
    from results_analysis import Run, write_report, write_training_report

    if isinstance(found, Run):
        called = cli_name(found.layout.root.absolute())
        return lambda: write_report(found, output, said=called)

    from search.artifacts.thumbnails import thumbnails

    folder, data = found.folder, found.recipe.get("data")
    root = folder.root.absolute()
    words = [cli_name(root)] if trial is None else [cli_name(root.parents[1]), "--trial", str(trial)]
    return lambda: write_training_report(
        found.read_again(), output, said=words, thumbnails=lambda images: thumbnails(data, images)
    )


def _serve(found: Run | Trained, file: Path, write: Callable[[], object], port: int) -> None:
    import threading

    from results_analysis.report.serve import keep_writing, report_server

    ended = threading.Event()
    with report_server(file, port) as server:
        say(f"http://127.0.0.1:{server.server_port}/  (Ctrl+C to stop)")
        writer = threading.Thread(target=keep_writing, args=(found, write, ended), daemon=True)
        writer.start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
        finally:
            ended.set()
