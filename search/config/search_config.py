"""Config of a search: `data`, `model` and `train` define one training run, `space` what varies, `search` how it is
searched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from search.config.address import Address
from search.config.goals import Bound, Goal, Objectives
from search.config.on_finish_command import Command
from search.config.resources import Resources
from search.config.sampler import Sampler, Tpe
from search.config.scheduler import Asha, Scheduler
from search.config.stop import Stop
from search.config.storage import Storage
from spaces.space import FunctionSpace, Space, SpaceError, SpaceProblem, random_study
from trainables.core.config_errors import Config
from trainables.core.plain_yaml import dump_yaml
from trainables.core.vocabulary import mode_of_objective
from trainables.recipe.recipe import Recipe, recipe_with
from trainables.storage.destination import Destination

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


def checked_name(name: str) -> str:
    """Validates the name of a run folder."""
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"{name!r} cannot be the name of a run folder: use letters, digits, '.', '_' and '-', and start with a letter "
            "or digit"
        )
    return name


_PROJECT = r"^([^\s/\\#?%:]+/)?[^\s/\\#?%:]{1,128}$"


def checked_project(project: str) -> str:
    """Validates the name of a W&B project."""
    if not re.fullmatch(_PROJECT, project):
        raise ValueError(f"{project!r} cannot be a W&B project: write PROJECT or ENTITY/PROJECT")
    return project


class SearchSettings(Config):
    """Settings of a search: how its space is searched, where and for how long."""

    address: Address = "local"
    """Place where Ray runs. `local` starts it on this machine; `auto` joins the cluster this machine belongs to, or
    RAY_ADDRESS; host:port is the address of a cluster's head node. Within `ray job submit`, local means auto."""
    name: Annotated[str, AfterValidator(checked_name), WithJsonSchema({"type": "string", "pattern": _NAME})] | None = (
        None
    )
    """Name of the run folder; by default that of the file."""
    trials: int = Field(32, ge=1, le=1_000_000)
    """Number of trials."""
    seed: int = Field(0, ge=0)
    """Seed of the proposals."""
    sampler: Sampler = Tpe()
    """Method that proposes values."""
    objectives: Objectives = ("score",)
    """Objectives to optimize: `score`, then any of `macs`, `parameters`, `train_s`, or a metric by name."""
    constraints: dict[Goal, Bound] = Field(default_factory=dict)
    """Bounds on the results of a trial, by the names of objectives; a trial that violates one is never chosen as best."""
    enqueue: tuple[dict[str, Any] | str, ...] = ()
    """Trials to begin with. Each is a mapping from paths of the space to values; or `defaults`, for the recipe's own
    values; or the file of an exported config. Values that are not given are proposed."""
    warm_start: tuple[str, ...] = ()
    """Earlier runs, by name or folder, from whose ended trials the sampler learns. They do not count as trials of this
    search."""
    storage: Storage = "journal"
    """Storage of the study: `journal` or `sqlite` for a file in the run folder; or the URL of a database, with its
    password as `${VARIABLE}`."""
    mirror: Destination | None = None
    """Absolute path or URL (s3://bucket/runs) below which a copy of the run, under the run's name, is kept up to date;
    `thaw resume URL/NAME` resumes from it on another machine."""
    wandb: (
        Annotated[str, AfterValidator(checked_project), WithJsonSchema({"type": "string", "pattern": _PROJECT})] | None
    ) = None
    """W&B project, `PROJECT` or `ENTITY/PROJECT`, to which the curves of each trial are logged while it runs, in the group of the
    search's name. Needs the extra `wandb`; WANDB_MODE, WANDB_API_KEY and the like work as always."""
    scheduler: Scheduler = Asha()
    """Rule that decides which trials stop early."""
    resources: Resources = Resources()
    """Resources of each trial."""
    max_concurrent: int | None = Field(None, ge=1)
    """Most trials at once; null: as many as the resources allow."""
    max_retries: int = Field(2, ge=0)
    """Number of times that a failed trial is resumed from its last epoch."""
    stop: Stop = Stop()
    """Budgets that end the search early."""
    on_finish: Command | None = None
    """Command to run when the search is complete, stopped or failed, with THAW_RUN, THAW_STATUS, THAW_BEST_SCORE and
    THAW_BEST_TRIAL in its environment. A text is split into words, or give a list of words; no shell is started."""

    @property
    def most_at_once(self) -> int | None:
        """Most trials at once; None: as many as the resources allow."""
        limits = (self.max_concurrent, self.scheduler.most_at_once)
        return min((limit for limit in limits if limit is not None), default=None)

    @model_validator(mode="after")
    def _the_study_is_copied_too(self) -> Self:
        if self.mirror is not None and self.storage != "journal":
            raise ValueError(f"mirror copies a run with its study; it needs storage: journal, not {self.storage}")
        return self


@dataclass(frozen=True)
class SearchConfig:
    """A validated search."""

    name: str
    recipe: Recipe
    """Recipe that all trials share; each replaces the values that its point in the space names."""
    space: Space
    settings: SearchSettings

    @property
    def reads_test(self) -> bool:
        """True if trials end with an evaluation on the test split; never where something is chosen by their scores."""
        return False

    def recipe_of(self, values: Mapping[str, Any]) -> Recipe:
        """Recipe of one trial.

        Args:
            values: the trial's point in the space.
        """
        return recipe_with(self.recipe.model_dump(mode="json"), self.space.recipe_values(values))

    @property
    def mirror(self) -> str | None:
        """URL of the run's copy; None if there is none."""
        place = self.settings.mirror
        return place and f"{'file://' if '://' not in place else ''}{place.rstrip('/')}/{self.name}"

    @property
    def goals(self) -> list[str]:
        """Names of all values that a trial must report: the objectives, then further constrained values."""
        return list(dict.fromkeys((*self.settings.objectives, *self.settings.constraints)))

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Direction of each objective."""
        metric = self.recipe.train.metric
        modes = [mode_of_objective(name, metric) for name in self.settings.objectives]
        return ["minimize" if mode == "min" else "maximize" for mode in modes]

    def values_of(self, trial: BaseTrial) -> dict[str, Any]:
        """Draws a trial's point in the space.

        Raises:
            SpaceError: if the space is a function, and it fails.
        """
        try:
            return self.space.suggest(trial)
        except SpaceError:
            raise
        except (Exception, SystemExit) as error:  # the user's function may raise anything
            if not isinstance(self.space, FunctionSpace):
                raise
            message = f"{self.space.python} raised {type(error).__name__}: {error}"
            raise SpaceError([SpaceProblem(("python",), message)]) from error

    def corner_points(self) -> list[dict[str, Any]]:
        """Points that together cover what trials can draw: the corners of the space, or random draws if it is a
        function."""
        return list(self.space.corner_points()) or list(self.draws())

    def draws(self, count: int = 20) -> Iterator[dict[str, Any]]:
        """Random points of the space, the same ones each time."""
        study = random_study()
        for _ in range(count):
            yield self.values_of(study.ask())

    def corner_recipes(self) -> list[Recipe]:
        """Recipes at the corner points."""
        return [self.recipe_of(values) for values in self.corner_points()]

    def renamed(self, name: str) -> Self:
        """Copy with another name."""
        return replace(self, name=name)

    def with_settings(self, **changes: Any) -> Self:
        """Copy with some settings changed."""
        return replace(self, settings=self.settings.model_copy(update=changes))

    def to_yaml(self) -> str:
        """Resolved search as YAML, runnable again."""
        settings = self.settings.model_copy(update={"name": self.name})
        parts = {
            **self.recipe.model_dump(mode="json"),
            "space": self.space.to_data(),
            "search": settings.model_dump(mode="json"),
        }
        return dump_yaml(parts)


def longest_run(config: SearchConfig) -> int:
    """Epochs of the longest trial, as far as the corners of the space show."""
    return max(recipe.train.max_epochs for recipe in config.corner_recipes())


def json_schema() -> dict[str, Any]:
    """JSON schema of a search file, for editors."""
    from search.config.ablation import Ablation

    class SearchFile(Recipe):
        space: dict[str, Any] | list[str] | str
        ablate: Ablation | None = None
        search: SearchSettings = SearchSettings()

    return SearchFile.model_json_schema()
