"""`search.sampler`: where proposals come from. Plain data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainables.core.config_errors import Config


class Tpe(Config):
    """Tree-structured Parzen estimators (Bergstra et al. 2011), for any space, one or several objectives."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = Field(10, ge=1)
    """Random proposals before it has seen enough to guess."""


class GaussianProcess(Config):
    """Bayesian optimisation on a Gaussian process: for up to a few hundred trials of a space without conditions."""

    kind: Literal["gp"]
    startup_trials: int = Field(10, ge=1)
    """Random proposals before it has seen enough to guess."""


class CmaEs(Config):
    """Covariance matrix adaptation (Hansen): for numbers, without conditions; choices beside them are drawn at random."""

    kind: Literal["cma_es"]
    population: int | None = Field(None, ge=2)
    """Trials of a generation; null: 4 + 3 ln(number of parameters)."""


class QuasiRandom(Config):
    """Points that lie evenly in the space, for any space. Proposals do not learn."""

    kind: Literal["qmc"]
    sequence: Literal["sobol", "halton"] = "sobol"


class Random(Config):
    """Points at random, for any space. Proposals do not learn."""

    kind: Literal["random"]


class Grid(Config):
    """Every point of a space that has finitely many, once, in random order."""

    kind: Literal["grid"]


class Nsga2(Config):
    """Genetic search for several objectives (Deb et al. 2002); what only some trials have is drawn at random."""

    kind: Literal["nsga2"]
    population: int = Field(20, ge=2)
    """Trials of a generation; those of the first are random."""


Sampler = Annotated[
    Tpe | GaussianProcess | CmaEs | QuasiRandom | Random | Grid | Nsga2,
    Field(discriminator="kind"),
]
