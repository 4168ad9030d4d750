"""Builds Optuna samplers from a config; `SAMPLERS` in `search/config/sampler.py` declares them.

A proposal depends only on the seed, its number and the trials that have ended. A resumed search therefore makes the same
proposals as an uninterrupted one, without storing the state of a generator.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import numpy as np
import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler

from search.config.sampler import GaussianProcess, Grid, Nsga2, QuasiRandom, Random, Tpe, sampler_spec
from search.config.search_config import SearchConfig
from spaces.grid import grid_points
from trainables.core.seeding import derived_seed, random_state

Params = dict[str, Any]
"""Values by name."""

SamplerOfTrial = Callable[[int, int], BaseSampler]
"""Returns the sampler of a trial, from the trial's number and a seed."""


class Samplers:
    """Samplers of a search's trials."""

    def __init__(self, config: SearchConfig):
        settings = config.settings
        self._seed = settings.seed
        self._enqueued = [config.space.parameters_of(point) for point in _enqueued(config)]
        build = resolve_name(sampler_spec(settings.sampler).build)
        self._sampler_of: SamplerOfTrial = build(settings.sampler, config)

    def of(self, number: int) -> BaseSampler:
        """Sampler for the trial with this number."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._sampler_of(number, derived_seed(self._seed, "proposal", number) % 2**32)
            if number < len(self._enqueued):
                return PartialFixedSampler(self._enqueued[number], sampler)
            return sampler


def build_tpe(settings: Tpe, _config: SearchConfig) -> SamplerOfTrial:
    return lambda _number, seed: TPESampler(
        seed=seed,
        n_startup_trials=settings.startup_trials,
        multivariate=True,
        group=True,  # parameters that only some trials have are modelled together, too
        constant_liar=True,  # trials still running count as bad: neighbours do not try the same point
    )


def build_gaussian_process(settings: GaussianProcess, _config: SearchConfig) -> SamplerOfTrial:
    startup = settings.startup_trials
    return lambda _number, seed: GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)


def build_nsga2(settings: Nsga2, _config: SearchConfig) -> SamplerOfTrial:
    return lambda _number, seed: NSGAIISampler(seed=seed, population_size=settings.population)


def build_random(_settings: Random, _config: SearchConfig) -> SamplerOfTrial:
    return lambda _number, seed: RandomSampler(seed=seed)


# --- points that do not depend on results ---------------------------------------------------------------------------


def build_quasi_random(settings: QuasiRandom, config: SearchConfig) -> SamplerOfTrial:
    distributions = config.space.distributions()

    def sampler_of(number: int, seed: int) -> BaseSampler:
        point = qmc_point(distributions, number, sequence=settings.sequence, seed=config.settings.seed)
        return PartialFixedSampler(point, RandomSampler(seed=seed))

    return sampler_of


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


def build_grid(_settings: Grid, config: SearchConfig) -> SamplerOfTrial:
    order, enqueued = grid_order(config), len(_enqueued(config))

    def sampler_of(number: int, seed: int) -> BaseSampler:
        point = order[max(0, number - enqueued) % len(order)] if order else {}  # empty if all points are enqueued
        return PartialFixedSampler(point, RandomSampler(seed=seed))

    return sampler_of


def grid_order(config: SearchConfig) -> list[Params]:
    """Points of the grid in the order in which they are tried, without enqueued ones."""
    enqueued = _enqueued(config)
    points = [point for point in grid_points(config.space) if point not in enqueued]
    order = random_state(config.settings.seed, "grid").permutation(len(points))
    return [config.space.parameters_of(points[i]) for i in order]


def _enqueued(config: SearchConfig) -> list[Params]:
    return [point for point in config.settings.enqueue if isinstance(point, dict)]
