"""Optuna samplers from a config."""

from __future__ import annotations

import warnings

import optuna

from search.sampler_config import Sampler


def build_sampler(config: Sampler, *, seed: int) -> optuna.samplers.BaseSampler:
    """A fresh sampler.

    One is built for each proposal, seeded by the search's seed and the trial's number: a resumed search then proposes what
    the uninterrupted one would have, without having kept a generator's state.
    """
    if config.kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=config.startup_trials,
            multivariate=True,
            group=True,  # parameters that only some trials have are modelled together, too
            constant_liar=True,  # trials still running count as bad, so that neighbours do not try the same point
        )
