"""`thaw data`: shows, verifies and clears the cache of decoded images."""

from __future__ import annotations

from typing import Annotated

import typer


def data(
    verify: Annotated[bool, typer.Option("--verify", help="Read all files; exit status 1 if one is damaged.")] = False,
    clear: Annotated[
        str | None,
        typer.Option("--clear", metavar="WHICH", help="Remove: all, damaged, or unused for a time such as 30d."),
    ] = None,
) -> None:
    """Show, verify or clear the cache of decoded images.

    Example: thaw data --clear 30d
    """
    from search.artifacts import image_cache
    from search.progress.terminal import Console
    from trainables.storage.cache_folder import entries

    console = Console()
    if clear is not None:
        for entry, went in image_cache.clear(clear):
            console.out(
                "removed" if went else "in use or owned by another user:", image_cache.named(entry), highlight=False
            )
    held = entries()
    if held:
        console.print(image_cache.listing(held))
    console.out(image_cache.held_line(held), highlight=False)
    if verify:
        for entry in image_cache.outdated(held):
            named = image_cache.named(entry)
            console.out("not used any more, because its files have changed or are gone:", named, highlight=False)
        bad = image_cache.damaged(held)
        for entry in bad:
            console.out("damaged:", image_cache.named(entry), highlight=False)
        console.out("Remove it with: thaw data --clear damaged" if bad else "all files are intact", highlight=False)
        raise typer.Exit(1 if bad else 0)
