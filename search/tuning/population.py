"""`Population`: decides which trials of population-based training stop, and which trials new ones start from. It only
sees the events it is given: no Ray, no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from search.config.scheduler import Pbt
from trainables.core.seeding import random_state
from trainables.core.vocabulary import Metric
from trainables.run_folder.trial_record import Parent


class _Arrival(NamedTuple):
    """Score of a trial at the end of an interval."""

    where: Parent
    """Parent of a trial that starts from here."""
    value: float
    finished: bool


class Population:
    """Trials that reached each interval, and the places that stopped trials left free."""

    def __init__(self, settings: Pbt, *, metric: Metric, seed: int):
        """
        Args:
            settings: settings of population-based training.
            metric: metric that trials are compared by.
            seed: seed of the choice among the best trials.
        """
        self.settings, self._metric, self._seed = settings, metric, seed
        self._arrivals: dict[int, list[_Arrival]] = {}
        self._free: list[int] = []
        """Epochs at which trials stopped whose places are still free, in the order in which they stopped."""

    def arrive(self, where: Parent, value: float, *, finished: bool) -> bool:
        """Records that a trial has reached the end of an interval.

        Args:
            where: trial, epoch and stage.
            value: score to compare.
            finished: True if the trial has trained all its epochs.
        Returns:
            True if the trial is to stop: it is among the worst at this epoch, worse than each of the best, and not
            finished.
        """
        self._arrivals.setdefault(where.epoch, []).append(_Arrival(where, value, finished))
        ranked, count = self._ranked(where.epoch)
        best, worst = ranked[:count], ranked[len(ranked) - count :]
        among_worst = where in [arrival.where for arrival in worst]
        stops = not finished and among_worst and self._metric.better(best[-1].value, than=value)
        if stops:
            self._free.append(where.epoch)
        return stops

    def mark_taken(self, epochs: Iterable[int]) -> None:
        """Marks places of trials that stopped at these epochs as taken."""
        for epoch in epochs:
            if epoch in self._free:
                self._free.remove(epoch)

    def parent_of(self, number: int, *, fits: Callable[[Parent], bool]) -> Parent | None:
        """Chooses the parent of a new trial, which takes the place that has been free longest. A place without a
        suitable parent stays free.

        Args:
            number: number of the new trial.
            fits: returns True for a parent whose child could change at least one value.
        Returns:
            The parent; None if there is no such place, so that the trial starts from scratch.
        """
        for epoch in self._free:
            ranked, count = self._ranked(epoch)
            best = [arrival.where for arrival in ranked[:count] if not arrival.finished and fits(arrival.where)]
            if best:
                self.mark_taken([epoch])
                return best[random_state(self._seed, "parent", number).randint(len(best))]
        return None

    def _ranked(self, epoch: int) -> tuple[list[_Arrival], int]:
        """Latest trials that reached an epoch, as many as the population has, best first; and the number of them in the
        upper or lower quantile."""
        latest = self._arrivals[epoch][-self.settings.population :]
        ranked = sorted(latest, key=lambda arrival: arrival.value, reverse=self._metric.mode == "max")
        return ranked, self.settings.stopping(len(latest))
