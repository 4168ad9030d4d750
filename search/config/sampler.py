"""`search.sampler`: method that proposes values. Plain data."""

from __future__ import annotations

from typing import Annotated, Literal

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
