"""`thaw report`: writes an HTML page about a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.names import cli_name, local, say, short
from search.commands.options import Name, Runs

if TYPE_CHECKING:
    from results_analysis import Run


def report(
    name: Name,
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="File to write. Default: report.html in the run's folder."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on this machine and update it while the search runs.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 picks a free one.")] = 8000,
) -> None:
    """Write an HTML report of a search.

    Example: thaw report photos --serve
    """
    from results_analysis import find_run, load, write_report
    from trainables.core.atomic_write import is_stream

    run = load(find_run(local(name, runs), runs))
    called = cli_name(run.layout.root.absolute())
    file = write_report(run, output, said=called)
    say(short(file), error=is_stream(file))  # the page itself may be the output
    if serve:
        _serve(run, file, called, port)


def _serve(run: Run, file: Path, called: str, port: int) -> None:
    import threading

    from results_analysis import write_report
    from results_analysis.report.serve import keep_writing, report_server

    ended = threading.Event()
    with report_server(file, port) as server:
        say(f"http://127.0.0.1:{server.server_port}/  (Ctrl+C to stop)")
        writer = threading.Thread(
            target=keep_writing, args=(run, lambda: write_report(run, file, said=called), ended), daemon=True
        )
        writer.start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
        finally:
            ended.set()
