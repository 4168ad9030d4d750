"""`search.sampler`: method that proposes values, and the declaration of each sampler. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from trainables.core.config_errors import Config


class Tpe(Config):
    """Tree-structured Parzen estimators (Bergstra et al. 2011), for any space, one or several objectives."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = Field(10, ge=1)
    """Random proposals before the estimators are used."""


class GaussianProcess(Config):
    """Bayesian optimisation on a Gaussian process: for up to a few hundred trials of a space without conditions."""

    kind: Literal["gp"]
    startup_trials: int = Field(10, ge=1)
    """Random proposals before the Gaussian process is used."""


class CmaEs(Config):
    """Covariance matrix adaptation (Hansen), for numeric parameters without conditions; choices are drawn at random."""

    kind: Literal["cma_es"]
    population: int | None = Field(None, ge=2)
    """Trials per generation; null: 4 + 3 ln(number of parameters)."""


class QuasiRandom(Config):
    """Quasi-random points, spread evenly over any space. Does not learn from results."""

    kind: Literal["qmc"]
    sequence: Literal["sobol", "halton"] = "sobol"
    """Kind of the sequence."""


class Random(Config):
    """Random points of any space. Does not learn from results."""

    kind: Literal["random"]


class Grid(Config):
    """Grid of all points of a finite space, in random order."""

    kind: Literal["grid"]


class Nsga2(Config):
    """Genetic search for several objectives (Deb et al. 2002); parameters that only some trials have are drawn at
    random."""

    kind: Literal["nsga2"]
    population: int = Field(20, ge=2)
    """Trials per generation; those of the first are random."""


Sampler = Annotated[
    Tpe | GaussianProcess | CmaEs | QuasiRandom | Random | Grid | Nsga2,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """Declaration of a sampler: what the rest of the project must know of it."""

    config: type[Config]
    """Its settings, a member of `Sampler`."""
    build: str
    """`module:function` that builds it: (settings, SearchConfig) -> `SamplerOfTrial` of `search/tuning/samplers.py`."""
    learns: bool = False
    """True if it learns from the trials of earlier runs (`search.warm_start`)."""
    conditional: bool = True
    """True if it proposes values that only some trials draw."""
    multi_objective: bool = True
    """True if it takes several objectives."""
    every_trial: bool = False
    """True if it must propose every trial, so that none can start from another."""
    numbers: bool = False
    """True if it needs at least one number among the searched values."""
    finite: bool = False
    """True if it needs a space of finitely many points, each of which it proposes once."""

    @property
    def kind(self) -> str:
        """`search.sampler.kind`."""
        kind: str = get_args(self.config.model_fields["kind"].annotation)[0]
        return kind


SAMPLERS = (
    SamplerSpec(config=Tpe, build="search.tuning.samplers:build_tpe", learns=True),
    SamplerSpec(
        config=GaussianProcess, build="search.tuning.samplers:build_gaussian_process", learns=True, conditional=False
    ),
    SamplerSpec(
        config=CmaEs,
        build="search.tuning.cma_sampler:build_cma_es",
        conditional=False,
        multi_objective=False,
        every_trial=True,
        numbers=True,
    ),
    SamplerSpec(config=QuasiRandom, build="search.tuning.samplers:build_quasi_random"),
    SamplerSpec(config=Random, build="search.tuning.samplers:build_random"),
    SamplerSpec(config=Grid, build="search.tuning.samplers:build_grid", every_trial=True, finite=True),
    SamplerSpec(config=Nsga2, build="search.tuning.samplers:build_nsga2", learns=True),
)
"""Every sampler. A new one is a config class, its name in `Sampler`, a line here, and a function that builds it."""

_BY_CONFIG = {spec.config: spec for spec in SAMPLERS}


def sampler_spec(sampler: Sampler) -> SamplerSpec:
    """Declaration of the sampler that a search names."""
    return _BY_CONFIG[type(sampler)]


def sampler_kinds(chosen: Callable[[SamplerSpec], bool]) -> list[str]:
    """Kinds of some samplers."""
    return [spec.kind for spec in SAMPLERS if chosen(spec)]
