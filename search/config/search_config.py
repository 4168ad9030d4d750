"""The YAML file of a search: `data`, `model` and `train` say how one run is trained, `space` what varies, `search` how."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from search.config.address import Address
from search.config.goals import Bound, Goal, Objectives
from search.config.on_finish_command import Command
from search.config.resources import Resources
from search.config.sampler import Sampler, Tpe
from search.config.scheduler import Asha, Pbt, Scheduler
from search.config.stop import Stop
from search.config.storage import Storage
from spaces.space import FunctionSpace, Space, SpaceError, random_study
from spaces.space import Problem as SpaceProblem
from trainables.core.config_errors import Config
from trainables.core.dotted_paths import with_values
from trainables.core.vocabulary import mode_of_objective
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.storage.destination import Destination

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


def checked_name(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"{name!r} cannot name a run's folder: take letters, digits, '.', '_' and '-', a letter or digit first"
        )
    return name


class SearchSettings(Config):
    """How the space is searched."""

    address: Address = "local"
    """Where Ray runs: `local` starts it on this machine; `auto`: the cluster this machine belongs to, or RAY_ADDRESS; or the head
    node's host:port. In what `ray job submit` runs, local means auto."""
    name: Annotated[str, AfterValidator(checked_name), WithJsonSchema({"type": "string", "pattern": _NAME})] | None = (
        None
    )
    """Of the run's folder; by default the file's."""
    trials: int = Field(32, ge=1)
    seed: int = Field(0, ge=0)
    """Seed of the proposals."""
    sampler: Sampler = Tpe()
    objectives: Objectives = ("score",)
    """What is sought: `score`, then what else: `macs`, `parameters`, `train_s`, or a metric by name."""
    constraints: dict[Goal, Bound] = Field(default_factory=dict)
    """What a trial may come to, by the names of objectives: one that breaks them is never chosen best."""
    enqueue: tuple[dict[str, Any] | str, ...] = ()
    """Trials to begin with, each as paths of the space and their values; as `defaults`, the recipe's own values; or as an exported
    config's file. What is not given is proposed."""
    warm_start: tuple[str, ...] = ()
    """Earlier runs, by name or folder, whose ended trials the sampler learns from. They do not count as trials."""
    storage: Storage = "journal"
    """Where the study is: `journal` or `sqlite`, a file in the run; or a database by URL, its password as `${VARIABLE}`."""
    mirror: Destination | None = None
    """An absolute path or a URL (s3://bucket/runs) below which a copy of the run is kept while it runs, under the run's name:
    `thaw resume URL/NAME` goes on from it on another machine."""
    scheduler: Scheduler = Asha()
    resources: Resources = Resources()
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at once; null: as many as the resources allow."""
    max_retries: int = Field(2, ge=0)
    """Times a trial that failed is taken up again from its last epoch."""
    stop: Stop = Stop()
    on_finish: Command | None = None
    """A command that is run when the search is complete, stopped or failed; it finds THAW_RUN, THAW_STATUS, THAW_BEST_SCORE and
    THAW_BEST_TRIAL in its environment. Text is parted into words, or give a list of them; no shell is started."""

    @property
    def most_at_once(self) -> int | None:
        """Trials at once; None: as many as the resources allow."""
        population = self.scheduler.population if isinstance(self.scheduler, Pbt) else None
        return min((limit for limit in (self.max_concurrent, population) if limit is not None), default=None)

    @model_validator(mode="after")
    def _the_study_is_copied_too(self) -> Self:
        if self.mirror is not None and self.storage != "journal":
            raise ValueError(f"mirror copies a run with its study; it needs storage: journal, not {self.storage}")
        return self


@dataclass(frozen=True)
class SearchConfig:
    """A search without mistakes."""

    name: str
    recipe: Recipe
    """What all trials share; each replaces the values that its point in the space names."""
    space: Space
    settings: SearchSettings

    @property
    def reads_test(self) -> bool:
        """Whether trials end with a look at the test split: never where something is chosen by their scores."""
        return False

    def recipe_of(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe of one trial."""
        return parse_recipe(with_values(self.recipe.model_dump(mode="json"), values))

    @property
    def mirror(self) -> str | None:
        """The URL of the run's copy."""
        place = self.settings.mirror
        return place and f"{'file://' if '://' not in place else ''}{place.rstrip('/')}/{self.name}"

    @property
    def goals(self) -> list[str]:
        """Names of all that a trial is asked for: objectives, then what else is constrained."""
        return list(dict.fromkeys((*self.settings.objectives, *self.settings.constraints)))

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Of the objectives."""
        metric = self.recipe.train.metric
        modes = [mode_of_objective(name, metric) for name in self.settings.objectives]
        return ["minimize" if mode == "min" else "maximize" for mode in modes]

    def values_of(self, trial: BaseTrial) -> dict[str, Any]:
        """A trial's point in the space.

        Raises:
            SpaceError: if the space is a function, and it fails.
        """
        try:
            return self.space.suggest(trial)
        except SpaceError:
            raise
        except Exception as error:  # of the user's function: it may raise anything
            if not isinstance(self.space, FunctionSpace):
                raise
            message = f"{self.space.python} raised {type(error).__name__}: {error}"
            raise SpaceError([SpaceProblem(("python",), message)]) from error

    def corner_points(self) -> list[dict[str, Any]]:
        """Points that together show what trials can ask for: corners of the space, draws where it is a function."""
        return list(self.space.corner_points()) or list(self.draws())

    def draws(self, count: int = 20) -> Iterator[dict[str, Any]]:
        """Points of the space at random, the same each time."""
        study = random_study()
        for _ in range(count):
            yield self.values_of(study.ask())

    def corner_recipes(self) -> list[Recipe]:
        """Recipes that together show what trials can ask for."""
        return [self.recipe_of(values) for values in self.corner_points()]

    def renamed(self, name: str) -> Self:
        return replace(self, name=name)

    def with_settings(self, **changes: Any) -> Self:
        return replace(self, settings=self.settings.model_copy(update=changes))

    def to_yaml(self) -> str:
        """The resolved search, runnable again."""
        settings = self.settings.model_copy(update={"name": self.name})
        parts = {
            **self.recipe.model_dump(mode="json"),
            "space": self.space.to_data(),
            "search": settings.model_dump(mode="json"),
        }
        return yaml.safe_dump(parts, sort_keys=False, allow_unicode=True)


def longest_run(config: SearchConfig) -> int:
    """Epochs of the longest run that the space allows, as far as its corners tell."""
    return max(recipe.train.max_epochs for recipe in config.corner_recipes())


def json_schema() -> dict[str, Any]:
    """Of a search file, as editors read it."""
    from search.config.ablation import Ablation

    class SearchFile(Recipe):
        space: dict[str, Any] | list[str] | str
        ablate: Ablation | None = None
        search: SearchSettings = SearchSettings()

    return SearchFile.model_json_schema()
