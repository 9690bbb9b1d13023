"""Timing contestants against each other: in turns, so that all meet the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median, quantiles
from timeit import Timer
from typing import Any, NamedTuple

Calls = dict[str, Callable[[], Any]]

WARM_UP = {1: 0.1, 2: 8.0}
"""How long a contestant runs before it is timed, in turns, with one thread and with more: idle
threads of whoever came before may keep spinning for a while, and where a machine packs threads that
were asleep onto few cores, they are spread again within some 15 ms."""

SETTLING = 4
"""Calls, if they take no longer than as many turns, after which caches hold what they are going to.
An L3 cache may keep only what was read more than once: on Granite Rapids, reading 64 MiB took 4.4
ms twice, and 2.5 from the fourth time on, where an operand of one contestant alone was always the
first."""


def warm_up(threads: int) -> float:
    """Return how long a contestant with so many threads runs before it is timed, in turns."""
    return WARM_UP[min(threads, 2)]


class Timing(NamedTuple):
    """Seconds for each call, one number for each round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def speedup(self, other: Timing) -> float:
        """Median over the rounds of how many times faster this one is than ``other``."""
        return median(b / a for a, b in zip(self.samples, other.samples, strict=True))


def fastest(call: Callable[[], Any], tries: int) -> float:
    """Return the seconds of the fastest of several calls: the one that nothing disturbed."""
    return min(Timer(call).repeat(tries, 1))


def nothing() -> None:
    """Do nothing."""


def rounds(
    calls: Calls,
    seconds: float,
    warm: float = WARM_UP[1],
    between: Callable[[], None] = nothing,
) -> Iterator[dict[str, float]]:
    """Yield, round after round without end, the seconds of one call of each contestant.

    Each is called often enough to fill ``seconds``, after ``warm`` times as many calls, or
    SETTLING, that are not counted; whoever goes first in one round goes last in the next.
    ``between`` is called before each turn.
    """
    timers = {name: Timer(call) for name, call in calls.items()}
    fitting = {name: seconds / _time(timer, seconds / 4) for name, timer in timers.items()}
    counts = {name: max(1, round(fit)) for name, fit in fitting.items()}
    before = {
        name: max(1, round(fit * warm), min(SETTLING, round(SETTLING * fit)))
        for name, fit in fitting.items()
    }
    names = list(timers)
    while True:
        taken = {}
        for name in names:
            between()
            timers[name].timeit(before[name])
            taken[name] = timers[name].timeit(counts[name]) / counts[name]
        yield taken
        names = names[1:] + names[:1]


def interleaved(
    calls: Calls,
    repeat: int,
    seconds: float = 0.005,
    warm: float = WARM_UP[1],
    between: Callable[[], None] = nothing,
) -> dict[str, Timing]:
    """Time contestants in ``repeat`` rounds; see `rounds`."""
    endless = rounds(calls, seconds, warm, between)
    taken = [t for _, t in zip(range(repeat), endless, strict=False)]
    return {name: Timing(tuple(t[name] for t in taken)) for name in calls}


def _time(timer: Timer, least: float) -> float:
    """Return the seconds of a call, from ``least`` in all; the first, which may compile, aside."""
    timer.timeit(1)
    number = 1
    while True:
        taken = timer.timeit(number)
        if taken >= least:
            return taken / number
        number *= 4
