"""Builds Optuna samplers from a config. A proposal depends only on the seed, its number and the trials that have ended.

A resumed search therefore makes the same proposals as an uninterrupted one, without storing the state of a generator.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler

from search.config.sampler import CmaEs, GaussianProcess, Grid, Nsga2, QuasiRandom, Tpe
from search.config.search_config import SearchConfig
from spaces.grid import grid_points
from trainables.core.seeding import derived_seed, random_state

Params = dict[str, Any]
"""Values by the names of the study's parameters."""


class Samplers:
    """Samplers of a search's trials."""

    def __init__(self, config: SearchConfig):
        settings, space = config.settings, config.space
        self._config, self._seed, self._kind = settings.sampler, settings.seed, settings.sampler.kind
        self._first = [space.parameters_of(point) for point in settings.enqueue if isinstance(point, dict)]
        self._distributions = space.distributions() if self._kind in {"qmc", "cma_es"} else {}
        self._grid = grid_order(config) if isinstance(self._config, Grid) else []
        if isinstance(self._config, CmaEs):
            from search.tuning.cma_sampler import CmaSampler  # slow to import

            # shared by all trials: it holds the generations seen so far
            self._cma = CmaSampler(self._distributions, population=self._config.population)

    def of(self, number: int) -> BaseSampler:
        """Sampler for the trial with this number."""
        seed = derived_seed(self._seed, "proposal", number) % 2**32
        fixed: Params = {}
        if isinstance(self._config, QuasiRandom):
            fixed = qmc_point(self._distributions, number, sequence=self._config.sequence, seed=self._seed)
        elif isinstance(self._config, Grid) and self._grid:
            fixed = self._grid[max(0, number - len(self._first)) % len(self._grid)]
        if number < len(self._first):
            fixed = {**fixed, **self._first[number]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._learning(seed)
            return PartialFixedSampler(fixed, sampler) if fixed else sampler

    def _learning(self, seed: int) -> BaseSampler:
        """Sampler for values that are not fixed."""
        match self._config:
            case Tpe(startup_trials=startup):
                return TPESampler(
                    seed=seed,
                    n_startup_trials=startup,
                    multivariate=True,
                    group=True,  # parameters that only some trials have are modelled together, too
                    constant_liar=True,  # trials still running count as bad: neighbours do not try the same point
                )
            case GaussianProcess(startup_trials=startup):
                return GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
            case Nsga2(population=population):
                return NSGAIISampler(seed=seed, population_size=population)
            case CmaEs():
                return self._cma.seeded(seed)
        return RandomSampler(seed=seed)


def qmc_point(distributions: dict[str, BaseDistribution], number: int, *, sequence: str, seed: int) -> Params:
    """Point with this number in a scrambled sequence: a value for each parameter, whether the trial draws it or not.

    Args:
        distributions: name of a parameter -> its distribution.
        number: number of the trial.
        sequence: `sobol` or `halton`.
        seed: seed of the scrambling.
    """
    from scipy.stats import qmc  # slow to import

    # A choice is a coordinate like any other, cut into as many parts as there are choices.
    parts = {n: len(d.choices) for n, d in distributions.items() if isinstance(d, CategoricalDistribution)}
    numeric = {n: FloatDistribution(0, parts[n]) if n in parts else d for n, d in sorted(distributions.items())}
    kind = qmc.Sobol if sequence == "sobol" else qmc.Halton
    engine = kind(len(numeric), scramble=True, seed=np.random.default_rng(derived_seed(seed, "qmc")))
    if number:
        engine.fast_forward(number)
    values = _SearchSpaceTransform(numeric, transform_0_1=True).untransform(engine.random(1)[0])
    for name, count in parts.items():
        choices = distributions[name]
        assert isinstance(choices, CategoricalDistribution)
        values[name] = choices.choices[min(int(values[name]), count - 1)]
    return values


def grid_order(config: SearchConfig) -> list[Params]:
    """Points of the grid in the order in which they are tried, without enqueued ones."""
    enqueued = [point for point in config.settings.enqueue if isinstance(point, dict)]
    points = [point for point in grid_points(config.space) if point not in enqueued]
    order = random_state(config.settings.seed, "grid").permutation(len(points))
    return [config.space.parameters_of(points[i]) for i in order]
