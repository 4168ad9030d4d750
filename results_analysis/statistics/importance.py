"""Importance of searched values: Optuna's evaluators on a study rebuilt in memory, with spread and the level of chance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results_analysis.tables.run_snapshot import Snapshot
from results_analysis.tables.search_ranges import Searched

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.importance import BaseImportanceEvaluator
    from optuna.trial import FrozenTrial

FEWEST = 8
"""Smallest number of trials for which importances are computed, and that must have a value for it to be among them."""
RESAMPLES = {"ped_anova": 30, "fanova": 8}
"""Number of bootstraps, and of shuffles; few for fANOVA, which grows a forest for each."""
LARGEST = {"ped_anova": 400, "fanova": 120}
"""Largest number of trials in a resample: more only take longer."""
TITLES = {
    "ped_anova": "What sets the best trials apart (PED-ANOVA)",
    "fanova": "What changes a trial's rank (fANOVA)",
}
COLUMNS = ("path", "name", "evaluator", "importance", "low", "high", "chance", "trials")


def importances(snapshot: Snapshot) -> pd.DataFrame:
    """Table of the share of each searched value in making trials better or worse, the most important first.

    Columns: `path`, `name`, `evaluator`, `importance` (median over bootstraps of the trials), `low` and `high` (10 % and 90 %
    quantiles), `chance` (95 % quantile when the places are shuffled among the trials), `trials` (in a bootstrap). Empty where
    there is nothing to share: below two values that `comparable` returns.

    PED-ANOVA (Watanabe et al. 2023) comes before fANOVA (Hutter et al. 2014), which only covers values that all trials have. The
    shares of an evaluator add up to 1 in each bootstrap. Both see the places of the trials instead of their scores, so that a
    trial pruned early counts as worse than one that ran long, and outliers have no extra weight.
    """
    import pandas as pd

    placed, varied = comparable(snapshot)
    everywhere = [value for value in varied if placed[value.path].notna().all()]
    of_evaluators = {"ped_anova": varied, "fanova": everywhere}
    frames = [_spread(placed, values, name) for name, values in of_evaluators.items() if len(values) > 1]
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)] if frames else pd.DataFrame(columns=list(COLUMNS))


def comparable(snapshot: Snapshot) -> tuple[pd.DataFrame, list[Searched]]:
    """Trials whose places can be compared, and the values whose importance they can show: those that at least `FEWEST` of the
    trials have, and in which they differ."""
    placed = snapshot.on_the_same_data
    known = [value for value in snapshot.searched if placed[value.path].notna().sum() >= FEWEST]
    return placed, [value for value in known if len(set(value.positions(placed[value.path].dropna()))) > 1]


def _spread(placed: pd.DataFrame, values: Sequence[Searched], evaluator: str) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    rng, size = np.random.default_rng(0), min(len(placed), LARGEST[evaluator])
    places = placed["place"].astype("float64").rank().to_numpy()  # without gaps where trials are not comparable
    points = _points(placed, values)

    def evaluated(picked: np.ndarray, shuffled: bool) -> np.ndarray:
        picked_places = places[picked]
        return _evaluate(
            [points[i] for i in picked],
            rng.permutation(picked_places) if shuffled else picked_places,
            values,
            evaluator,
        )

    draws = [rng.integers(0, len(placed), size) for _ in range(RESAMPLES[evaluator])]
    drawn = np.array([evaluated(draw, False) for draw in draws])
    by_chance = np.array([evaluated(rng.permutation(len(placed))[:size], True) for _ in draws])
    low, middle, high = np.quantile(drawn, [0.1, 0.5, 0.9], axis=0)
    frame = pd.DataFrame(
        {
            "path": [value.path for value in values],
            "name": [value.name for value in values],
            "evaluator": evaluator,
            "importance": middle,
            "low": low,
            "high": high,
            "chance": _by_chance(by_chance, values),
            "trials": size,
        }
    )
    return frame.sort_values("importance", ascending=False, kind="stable")


def _by_chance(shares: np.ndarray, values: Sequence[Searched]) -> np.ndarray:
    """95 % quantile of the shuffled shares, over all ranges and over all choices: evaluators treat these alike."""
    import numpy as np

    is_choice = np.array([value.scale == "choice" for value in values])
    limits = np.zeros(len(values))
    for kind in set(is_choice):
        limits[is_choice == kind] = np.quantile(shares[:, is_choice == kind], 0.95)
    return limits


def _evaluate(
    points: Sequence[dict[str, Any]], places: np.ndarray, values: Sequence[Searched], evaluator: str
) -> np.ndarray:
    """Shares of the values, in their order; all 0 where the trials do not differ."""
    import numpy as np
    import optuna

    distributions = {value.path: _distribution(value) for value in values}
    study = _rebuilt(points, places, distributions)
    drawn = {path for point in points for path in point}  # a resample may lack a value that only some trials have
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that evaluators are experimental, or all trials alike: the shares are 0 then
        try:
            found = _evaluator(optuna, evaluator, len(points)).evaluate(study, params=sorted(drawn))
        except RuntimeError:  # fANOVA, where each of its trees predicts one place for all trials: no value changes it
            found = {}
    shares = np.array([max(found.get(path, 0.0), 0.0) for path in distributions])
    total = shares.sum()
    return shares / total if np.isfinite(total) and total > 0 else np.zeros(len(shares))


def _evaluator(optuna: Any, name: str, trials: int) -> BaseImportanceEvaluator:
    if name == "fanova":
        return optuna.importance.FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=0)  # type: ignore[no-any-return]
    # At least five trials: a tenth of 20 would be two, too few to show a pattern.
    return optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, min(0.5, 5 / trials)))  # type: ignore[no-any-return]


def _rebuilt(points: Sequence[dict[str, Any]], places: np.ndarray, distributions: dict[str, BaseDistribution]) -> Study:
    """Read-only study of these trials: adding them to a real study would copy each one deeply."""
    import optuna
    from optuna.trial import TrialState

    def frozen(number: int, point: dict[str, Any], place: float) -> FrozenTrial:
        return optuna.trial.FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.COMPLETE,
            value=float(place),
            params=point,
            distributions={path: distributions[path] for path in point},
            datetime_start=None,
            datetime_complete=None,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )

    class Rebuilt(optuna.Study):
        def get_trials(self, deepcopy: bool = True, states: object = None) -> list[FrozenTrial]:  # noqa: ARG002
            return trials  # all are complete

    trials = [frozen(i, point, place) for i, (point, place) in enumerate(zip(points, places, strict=True))]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    empty = optuna.create_study(direction="minimize")
    optuna.logging.set_verbosity(verbosity)
    return Rebuilt(empty.study_name, empty._storage)


def _points(placed: pd.DataFrame, values: Sequence[Searched]) -> list[dict[str, Any]]:
    """Position of each trial in the searched ranges, from 0 to 1, because fANOVA computes in single precision; the index for a
    choice. Values that a trial lacks are left out."""
    whole = {value.path for value in values if value.scale == "choice"}
    positions = {
        value.path: (value.positions if value.path in whole else value.shares)(placed[value.path]) for value in values
    }
    return [
        {path: int(at[i]) if path in whole else float(at[i]) for path, at in positions.items() if at[i] == at[i]}
        for i in range(len(placed))
    ]


def _distribution(value: Searched) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if value.scale == "choice":
        return CategoricalDistribution(range(len(value.choices)))
    return FloatDistribution(-1e-9, 1 + 1e-9)
