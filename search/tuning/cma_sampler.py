"""CMA-ES sampler whose state is rebuilt from the study.

Optuna's own sampler stores pickled optimizers in the study, to be unpickled later. Here each trial only stores its
generation, and the optimizer is given the generations again, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cmaes
import numpy as np
from optuna import Study
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.config.sampler import CmaEs
from search.config.search_config import SearchConfig
from search.tuning.samplers import SamplerOfTrial

GENERATION = "cma_es:generation"


class CmaSampler(BaseSampler):
    """Proposes numbers by CMA-ES, and choices at random."""

    def __init__(self, distributions: dict[str, BaseDistribution], *, population: int | None):
        """
        Args:
            distributions: name of a parameter of the study -> its distribution.
            population: trials per generation; None: cmaes' own rule.
        """
        self._numeric: dict[str, BaseDistribution] = {
            name: distribution
            for name, distribution in sorted(distributions.items())
            if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single()
        }
        self._to_unit = _SearchSpaceTransform(self._numeric, transform_0_1=True)
        count = len(self._numeric)
        self._optimizer = cmaes.CMA(
            mean=np.full(count, 0.5),
            sigma=1 / 6,
            bounds=np.tile([0.0, 1.0], (count, 1)),
            n_max_resampling=10 * count,
            population_size=population,
        )
        self.seeded(0)

    def seeded(self, seed: int) -> CmaSampler:
        """Sets the seed of the next draws, and returns itself."""
        self._seed, self._random = seed, RandomSampler(seed=seed)
        return self

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return dict(self._numeric)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._catch_up(study)
        # A trial with fixed values does not come from the optimizer's distribution; a resumed one has its generation
        # already.
        if len(search_space) == len(self._numeric) and GENERATION not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, GENERATION, self._optimizer.generation)
        self._optimizer.reseed_rng(self._seed)
        drawn = self._to_unit.untransform(self._optimizer.ask())
        return {name: value for name, value in drawn.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _catch_up(self, study: Study) -> None:
        """Gives the optimizer each generation that is complete by now: the trials of it that ended first."""
        optimizer = self._optimizer
        ended = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED), use_cache=True)
        waiting = [t for t in ended if t.user_attrs.get(GENERATION, -1) >= optimizer.generation]
        waiting.sort(key=lambda t: (t.datetime_complete, t.number))
        while (
            len(batch := _in_generation(optimizer.generation, waiting)[: optimizer.population_size])
            == optimizer.population_size
        ):
            ranked = sorted(batch, key=lambda trial: _badness(trial, study.direction))
            # CMA-ES uses only the ranks of values.
            optimizer.tell([(self._to_unit.transform(self._numbers(t)), float(rank)) for rank, t in enumerate(ranked)])

    def _numbers(self, trial: FrozenTrial) -> dict[str, Any]:
        return {name: trial.params[name] for name in self._numeric}


def build_cma_es(settings: CmaEs, config: SearchConfig) -> SamplerOfTrial:
    # Shared by all trials: it holds the generations seen so far.
    sampler = CmaSampler(config.space.distributions(), population=settings.population)
    return lambda _number, seed: sampler.seeded(seed)


def _in_generation(generation: int, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.user_attrs[GENERATION] == generation]


def _badness(trial: FrozenTrial, direction: StudyDirection) -> tuple[float, ...]:
    """Sort key, smaller is better: trials that satisfy their constraints first, then those that were not pruned or were
    pruned late, then by score."""
    broken = sum(max(0.0, excess) for excess in trial.constraints.values())
    pruned_at = trial.last_step if trial.state is TrialState.PRUNED else None
    value = trial.value if trial.value is not None else float("inf")
    sign = 1 if direction is StudyDirection.MINIMIZE else -1
    return (broken, pruned_at is not None, -(pruned_at or 0), sign * value if trial.value is not None else value)
