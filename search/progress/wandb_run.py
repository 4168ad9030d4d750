"""Weights & Biases: a run's curves, logged while it trains. Its errors are warnings, because training goes on without it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.config.yaml_source import InputError
from search.progress.curve_points import points_of
from search.progress.terminal import Console

if TYPE_CHECKING:
    import wandb

_LOCAL = ("offline", "dryrun", "disabled")
"""Values of WANDB_MODE that need no account."""


def check_wandb(setting: str) -> None:
    """Checks that runs can be logged to W&B.

    Args:
        setting: the setting or option that asks for it.
    Raises:
        InputError: if it is not installed, or online without a valid API key.
    """
    try:
        import wandb
    except ImportError:
        raise InputError(f"{setting}: W&B is not installed: pip install 'thaw-search[wandb]'") from None
    settings = wandb.setup().settings
    if settings.mode in _LOCAL:
        return
    advice = "run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline and `wandb sync` the runs later"
    try:
        known = wandb.login(prompt=False)
    except wandb.errors.Error as error:
        raise InputError(f"{setting}: W&B: {str(error).splitlines()[0]}; {advice}") from None
    if not known:
        raise InputError(f"{setting}: there is no API key for {settings.base_url}: {advice}")


def run_id(*parts: object) -> str:
    """Identifier of a W&B run, the same whenever the run is resumed."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


class WandbRun:
    """One run at W&B.

    After a first error it logs nothing more and says so once.
    """

    def __init__(
        self,
        project: str,
        folder: Path,
        *,
        identifier: str,
        name: str,
        group: str | None,
        config: Mapping[str, Any],
        earlier: Sequence[Mapping[str, Any]] = (),
    ):
        """Starts or resumes the run.

        Args:
            project: `PROJECT` or `ENTITY/PROJECT`.
            folder: folder in which W&B makes its folder `wandb`.
            identifier: see `run_id`.
            name: name of the run.
            group: group of the run; None: none.
            config: values of the recipe.
            earlier: reports of epochs that were trained before. W&B cannot continue an offline run: a new one replaces it, and
                needs them all.
        """
        entity, _, project = project.rpartition("/")
        self._run: wandb.Run | None = None
        self.failed = False

        def start() -> None:
            import wandb

            self._run = wandb.init(
                project=project,
                entity=entity or None,
                id=identifier,
                resume="allow",
                name=name,
                group=group,
                job_type="trial" if group else "train",
                config=dict(config),
                dir=str(folder),
                settings=wandb.Settings(
                    # Several at a time in one process.
                    reinit="create_new",
                    silent=True,
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    x_disable_stats=True,  # those of the driver, not of the workers
                    init_timeout=30,
                    finish_timeout=60,
                ),
            )

        self._safely(start)
        for report in earlier:
            self.epoch(report)

    def epoch(self, report: Mapping[str, Any]) -> None:
        """Adds a point to each curve. Epochs that W&B has already are left out."""

        def log() -> None:
            assert self._run
            if report["epoch"] >= self._run.step:
                self._run.log(points_of(report), step=report["epoch"])
            best = {"score": report["best_score"], "best_epoch": report["best_epoch"]}
            self._run.summary.update({name: value for name, value in best.items() if value is not None})

        if self._run:
            self._safely(log)

    def finish(self, *, well: bool) -> None:
        """Ends the run.

        Args:
            well: False if it failed or was stopped, and may be resumed.
        """
        if (run := self._run) is not None:
            self._safely(lambda: run.finish(exit_code=0 if well else 1))
            self._run = None

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # of any kind: W&B is another's code, and a network
            self._run, self.failed = None, True
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            Console(stderr=True).out(f"warning: W&B: {reason}; training continues without it", highlight=False)
