"""`Population`: who stops in population-based training, and from whom others go on instead. Pure: it is told what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from search.config.scheduler import Pbt
from trainables.core.seeding import random_state
from trainables.core.vocabulary import Metric
from trainables.run_folder.trial_record import Parent


class _Arrival(NamedTuple):
    where: Parent
    """What a trial that goes on from there has as its parent."""
    value: float
    finished: bool


class Population:
    """The trials that came to each interval, and the places that are free."""

    def __init__(self, settings: Pbt, *, metric: Metric, seed: int):
        """
        Args:
            metric: what trials are scored by.
            seed: of the choice among the best.
        """
        self.settings, self._metric, self._seed = settings, metric, seed
        self._came: dict[int, list[_Arrival]] = {}
        self._free: list[int] = []
        """Epochs after which trials stopped whose places nobody has taken, in the order in which they did."""

    def come(self, where: Parent, value: float, *, finished: bool) -> bool:
        """A trial has done the epochs of an interval.

        Returns:
            Whether it stops: it is among the worst there, none of the best is its equal, and it has not come to its own end.
        """
        self._came.setdefault(where.epoch, []).append(_Arrival(where, value, finished))
        ranked, count = self._ranked(where.epoch)
        best, worst = ranked[:count], ranked[len(ranked) - count :]
        among_worst = where in [arrival.where for arrival in worst]
        stops = not finished and among_worst and self._metric.better(best[-1].value, than=value)
        if stops:
            self._free.append(where.epoch)
        return stops

    def take(self, epochs: Iterable[int]) -> None:
        """Places of trials that stopped after these epochs are no longer free."""
        for epoch in epochs:
            if epoch in self._free:
                self._free.remove(epoch)

    def parent_of(self, number: int, *, fits: Callable[[Parent], bool]) -> Parent | None:
        """From whom a new trial goes on, which takes the place that has been free for longest; one from which nobody can go on
        stays free.

        Args:
            fits: whether a trial that goes on from there could do anything otherwise.
        Returns:
            None: there is no such place, and it begins anew.
        """
        for epoch in self._free:
            ranked, count = self._ranked(epoch)
            best = [arrival.where for arrival in ranked[:count] if not arrival.finished and fits(arrival.where)]
            if best:
                self.take([epoch])
                return best[random_state(self._seed, "parent", number).randint(len(best))]
        return None

    def _ranked(self, epoch: int) -> tuple[list[_Arrival], int]:
        """The last of the population that came there, the best first, and how many of them make the upper or lower quantile."""
        there = self._came[epoch][-self.settings.population :]
        ranked = sorted(there, key=lambda arrival: arrival.value, reverse=self._metric.mode == "max")
        return ranked, self.settings.stopping(len(there))
