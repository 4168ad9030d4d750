"""Renders a check for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from search.preflight.check import Check
from trainables.checkpoints.disk_budget import DiskBudget
from trainables.core.config_errors import counted
from trainables.core.printable import printable
from trainables.data.overview import Overview, VoxelSpacing
from trainables.recipe.data_settings.image_settings import Spacing
from trainables.trial.dry_run import StageCost

_MOST_CLASSES = 30
"""Most rows in the table of classes; of more classes, the largest and the smallest are shown."""


def render(found: Check) -> Group:
    """Report of a check."""
    parts: list[RenderableType] = [_heading("Data"), *_indented(_classes(found.data), *_about_data(found))]
    parts += [_heading("Stages, tried on a few batches"), *_indented(*_stages(found.tried.stages, found.own_stages))]
    parts += [_heading("Memory and disk"), *_indented(*_memory(found))]
    parts += [_heading("Search"), *_indented(*_search(found))]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in found.warnings()]
    return Group(*parts)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _indented(*parts: RenderableType) -> Iterator[RenderableType]:
    return (Padding(part, (0, 0, 0, 2)) for part in parts)


def _table(*columns: tuple[str, bool]) -> Table:
    """Table with these columns: a heading, and True to align right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, right in columns:
        table.add_column(heading, justify="right" if right else "left", vertical="bottom")
    return table


# --- data -------------------------------------------------------------------------------------------------------------


def _classes(data: Overview) -> Table:
    table = _table(
        ("target" if data.of_numbers else "class", False), ("training", True), ("share", True), ("validation", True)
    )
    order, total = shown_rows(data), sum(data.train)
    for j in order:
        if j is None:
            table.add_row(Text(f"… {len(data.classes) - len(order) + 1} more", style="dim"))
        else:
            name = Text(printable(data.classes[j]), overflow="ellipsis", no_wrap=True)
            table.add_row(name, f"{data.train[j]:,}", f"{data.train[j] / total:.1%}", f"{data.validation[j]:,}")
    table.add_section()
    table.add_row("total", f"{total:,}", "", f"{sum(data.validation):,}", style="bold")
    return table


def shown_rows(data: Overview) -> list[int | None]:
    """Positions of the classes in the table: all in their order, or the largest and the smallest with None between
    them."""
    count = len(data.classes)
    if count <= _MOST_CLASSES:
        return list(range(count))
    by_size = sorted(range(count), key=lambda j: (-data.train[j], j))
    half = _MOST_CLASSES // 2
    return [*by_size[:half], None, *by_size[-half:]]


def _about_data(found: Check) -> Iterator[RenderableType]:
    *slices, height, width, channels = found.image_shape
    colour = "grey" if channels == 1 else "colour"
    extent = f"{slices[0]} × {height} × {width} voxels" if slices else f"{width} × {height} px"
    yield Text(f"{extent}, {colour}{_balance(found.data)}")
    if found.data.spacing is not None:
        yield from _about_spacing(found.data.spacing, found.spacing, (*slices, height, width))
    if found.data.groups is None:
        yield Text("no groups: each image is independent")
    else:
        sides = found.data.groups
        yield Text(
            f"groups: {sides.train:,} for training, {sides.validation:,} for validation, {sides.shared:,} in both",
            style="red" if sides.shared else "",
        )
    if found.data.copies or found.data.near_copies:
        yield Text(
            f"repeated pictures: {counted(found.data.copies, 'exact copy', 'exact copies')}, "
            f"{counted(found.data.near_copies, 'near copy', 'near copies')} of another image"
        )
    if found.streamed:
        yield Text(
            f"{found.streamed}; decoding takes {duration(found.decoding_s)} of an epoch, while the network trains"
        )
    for what, size in found.cache_bytes.items():
        yield Text(f"{what}: {size_of(size)} on disk, shared by all trials")


def _about_spacing(own: VoxelSpacing, wanted: Spacing | None, shape: Sequence[int]) -> Iterator[Text]:
    """Spacing of the volumes' files, and of the voxels that the network sees."""
    ends = [
        f"{low:.3g}" if low == high else f"{low:.3g} … {high:.3g}"
        for low, high in zip(own.smallest, own.largest, strict=True)
    ]
    is_same = own.smallest == own.largest
    yield Text(f"voxel spacing: {' × '.join(ends)} mm" + ("" if is_same else f" (median {_millimetres(own.median)})"))
    if wanted is not None:
        seen = _millimetres([side * step for side, step in zip(shape, wanted, strict=True)])
        yield Text(f"resampled to {_millimetres(wanted)}: the network sees {seen} of up to {_millimetres(own.extent)}")
    elif not is_same:
        median = ", ".join(f"{side:.3g}" for side in own.median)
        yield Text(
            f"not used: each volume is resampled as a whole; data.spacing_mm: [{median}] gives them a common spacing"
        )


def _millimetres(sides: Sequence[float]) -> str:
    return f"{' × '.join(f'{side:.3g}' for side in sides)} mm"


# --- stages -----------------------------------------------------------------------------------------------------------


def _stages(costs: Sequence[StageCost], own: int) -> Iterator[RenderableType]:
    table = _table(
        ("stage", False), ("opens", False), ("trained\nparameters", True), ("first\nloss", True), ("epochs", True),
        ("epoch:\ntraining", True), ("valida-\ntion", True),
    )  # fmt: skip
    names = [cost.stage if i < own else f"{cost.stage} (searched)" for i, cost in enumerate(costs)]
    for name, cost in zip(names, costs, strict=True):
        loss = Text(f"{cost.train_loss:.3f}", style="" if cost.finite else "red")
        times = (duration(cost.train_s), duration(cost.val_s))
        table.add_row(name, cost.unfreeze_from, f"{cost.trained_parameters:,}", loss, f"≤ {cost.epochs}", *times)
    yield table
    yield Text("shapes of a batch, of the input of the open blocks, and of the output:")
    for name, cost in zip(names, costs, strict=True):
        flow = " → ".join("×".join(map(str, shape)) for shape in (cost.batch, cost.features, cost.logits))
        yield Text(f"  {name:<{max(map(len, names))}}  {flow}", style="dim")


# --- memory and length ------------------------------------------------------------------------------------------------


def _memory(found: Check) -> Iterator[Text]:
    memory, machine = found.memory, found.machine
    yield Text(
        f"a trial: {size_of(memory.trial_ram_bytes)} of RAM, including its process; "
        f"{size_of(machine.ram_bytes)} are free: room for {memory.fit_in_ram}"
    )
    if memory.trial_gpu_bytes is not None and machine.gpu_bytes is not None:
        yield Text(
            f"on a GPU: {size_of(memory.trial_gpu_bytes)} including CUDA's own, of {size_of(machine.gpu_bytes)}: "
            f"room for {memory.fit_on_a_gpu} on each of {machine.gpus}"
        )
    yield _checkpoints(found.checkpoints)


def _checkpoints(budget: DiskBudget) -> Text:
    last, best, every = budget.policy.keep_last, budget.policy.keep_best, budget.policy.keep_every_epochs
    kept = [f"the {last} newest" if last != 1 else "the newest", "the best" if best == 1 else f"the {best} best"]
    kept += [f"every {every} epochs"] if every else []
    kept += [f"milestones {', '.join(map(str, milestones))}"] if (milestones := budget.policy.milestones) else []
    return Text(
        f"checkpoints of a trial: at most {size_of(budget.run_bytes)} ({'; '.join(kept)}), for {budget.runs} trials "
        f"{size_of(budget.total_bytes)}, less if trials are pruned; {size_of(budget.free_bytes)} of disk are free"
    )


def _search(found: Check) -> Iterator[Text]:
    f, machine = found.forecast, found.machine
    cores = f"{machine.cpus} cores" + (f", {machine.gpus} GPUs" if machine.gpus else "")
    yield Text(f"{f.trials} trials, {f.at_once} at once on {cores}")
    yield Text(f"a trial: {f.mean_epochs:.3g} epochs and {duration(f.mean_trial_s)} on average without pruning")
    yield Text.assemble(
        ("about ", ""),
        (duration(f.expected_s), "bold"),
        f" if pruning leaves {f.share:.0%} of the work; {duration(f.most_s)} if every trial is as long as the longest "
        "and none is pruned",
    )
    yield Text(
        "Estimated from the times above, measured with a single trial: trials that run at once slow each other down, and "
        "stages that end on a plateau make trials shorter. The effect of pruning is simulated, with trials whose ranking "
        "is the same at all rungs. Starting Ray takes about ten seconds more.",
        style="dim",
    )
    if found.varied:
        yield Text(
            f"The space varies {', '.join(found.varied)}: times and memory were measured with the file's own values.",
            style="yellow",
        )


def size_of(size: int) -> str:
    """Size as text: `512 B`, `23 kB`, `1.4 GB`."""
    unit, value = "B", float(size)
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        unit, value = larger, value / 1000
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def _balance(data: Overview) -> str:
    if data.of_numbers:
        return ""
    if data.imbalance == 1:
        return "; all classes have the same number of images"
    return f"; the largest class has {data.imbalance:.3g} times as many images as the smallest"


def duration(seconds: float) -> str:
    """Duration as text: `0.34 s`, `4.2 s`, `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
