"""Files of a check: an HTML page of the report, its pictures, its numbers and the resolved search."""

from __future__ import annotations

import base64
import html
import io

from results_analysis.plots.png import write_png
from search.config.search_config import SearchConfig
from search.preflight.check import Check, CheckLayout
from search.preflight.check_report import render
from search.preflight.target_picture import distributions, draw_targets
from search.progress.terminal import Console
from trainables.core.atomic_write import replacing
from trainables.data.contact_sheet import draw_contact_sheet, draw_pairs
from trainables.data.dataset import Dataset
from trainables.data.overview import tenths_as_classes
from trainables.data.pixel_doubts import image_name, twins


def write_check(found: Check, dataset: Dataset, config: SearchConfig, layout: CheckLayout) -> None:
    """Writes the picture, the numbers, the resolved search and the page.

    Args:
        found: findings of the check.
        dataset: the data that it opened.
        config: the search.
        layout: paths of the files.
    """
    train, data = config.recipe.train, config.recipe.data
    what = "with numbers, in tenths" if found.data.of_numbers else f"of {len(dataset.classes)} classes"
    title = f"{found.name}: {len(dataset.train):,} training images {what}, {dataset.size}"
    sheet = draw_contact_sheet(tenths_as_classes(dataset), train.augment, seed=train.seed, title=title)
    with replacing(layout.picture, "wb") as file:
        sheet.save(file, "PNG", optimize=True)
    layout.targets.unlink(missing_ok=True)
    if found.data.of_numbers:
        write_png(draw_targets(distributions(dataset, data)), layout.targets)
    layout.duplicates.unlink(missing_ok=True)
    if pairs := twins(dataset):
        with replacing(layout.duplicates, "wb") as file:
            draw_pairs(dataset, pairs, lambda i: image_name(dataset, data, i)).save(file, "PNG", optimize=True)
    with replacing(layout.config) as file:
        file.write(config.to_yaml())
    with replacing(layout.numbers) as file:
        file.write(found.to_json())
    with replacing(layout.page) as file:
        targets, duplicates = (
            each.read_bytes() if each.exists() else None for each in (layout.targets, layout.duplicates)
        )
        picture = layout.picture.read_bytes()
        file.write(page(found, picture, config.to_yaml(), targets=targets, duplicates=duplicates))


def page(
    found: Check, picture: bytes, recipe: str, *, targets: bytes | None = None, duplicates: bytes | None = None
) -> str:
    """Self-contained HTML page with the report, the picture and the resolved search.

    Args:
        found: findings of the check.
        picture: the picture of the classes, as PNG.
        recipe: the resolved search, as YAML.
        targets: the picture of a regression's targets, as PNG.
        duplicates: the picture of duplicates, as PNG.
    """
    console = Console(record=True, file=io.StringIO(), width=118)
    console.print(render(found))
    text = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    numbers = "" if targets is None else f"<h2>Targets</h2>{_image(targets, 'Distribution of the targets')}"
    pairs = "" if duplicates is None else f"<h2>Repeated pictures</h2>{_image(duplicates, 'Pairs of the same picture')}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(found.name)}: check</title>"
        "<style>body{margin:2rem;font:14px sans-serif} img{max-width:100%}"
        "pre{font:13px/1.35 ui-monospace,Menlo,Consolas,monospace;overflow-x:auto}"
        "@media(max-width:600px){body{margin:1rem}}</style>"
        f"<h1>{html.escape(found.name)}</h1>{text}{numbers}<h2>Classes</h2>"
        f"{_image(picture, 'Counts and samples of each class')}{pairs}"
        f"<h2>Resolved search</h2><pre>{html.escape(recipe)}</pre></html>\n"
    )


def _image(picture: bytes, alt: str) -> str:
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
