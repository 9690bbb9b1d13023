"""Measuring cases: every contestant's time, held against the machine's two roofs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastlinear.profile.accuracy import error
from fastlinear.profile.bandwidth import Level, levels
from fastlinear.profile.cases import Case, Data
from fastlinear.profile.contestants import Contestant
from fastlinear.profile.peak import fma_peak
from fastlinear.profile.timing import Timing, interleaved, nothing, warm_up


class Machine(NamedTuple):
    """What this machine can do at most with a number of threads, as measured."""

    threads: int
    peaks: dict[str, float]
    """Floating-point operations per second for each dtype."""
    levels: list[Level]
    """Caches, smallest first, and the memory."""

    @classmethod
    def measured(cls, dtypes: Iterable[str], threads: int) -> Machine:
        """Measure this machine."""
        return cls(threads, {d: fma_peak(d, threads) for d in dtypes}, levels(threads))

    def home(self, case: Case) -> Level:
        """Return the smallest level that holds all arrays of a case."""
        return next(level for level in self.levels if case.bytes <= level.size)

    def bound(self, case: Case) -> str:
        """Return what bounds a case: "FMA", or the name of the level its arrays come from."""
        home = self.home(case)
        by_fma = case.flops / self.peaks[case.dtype]
        return "FMA" if by_fma >= case.bytes / home.bytes_per_second else home.name


class Measurement(NamedTuple):
    """One contestant's time for a case."""

    case: Case
    contestant: str
    timing: Timing
    error: float | None
    """In units of the proven bound."""
    reference: Timing | None
    """The time of the contestant that the others are compared with."""

    @property
    def seconds(self) -> float:
        """Median time of one call."""
        return self.timing.median

    @property
    def flops(self) -> float:
        """Floating-point operations per second."""
        return self.case.flops / self.seconds

    @property
    def bandwidth(self) -> float:
        """Bytes of the least traffic per second."""
        return self.case.bytes / self.seconds

    @property
    def ratio(self) -> float | None:
        """How many times faster than the reference."""
        return None if self.reference is None else self.timing.speedup(self.reference)

    def row(self, machine: Machine) -> dict[str, Any]:
        """Return all there is to know, as a flat dictionary."""
        home = machine.home(self.case)
        return {
            **self.case._asdict(),
            "contestant": self.contestant,
            "threads": machine.threads,
            "seconds": self.seconds,
            "spread": self.timing.spread,
            "gflops": self.flops / 1e9,
            "gbytes_per_second": self.bandwidth / 1e9,
            "share_of_fma_peak": self.flops / machine.peaks[self.case.dtype],
            "share_of_bandwidth": self.bandwidth / home.bytes_per_second,
            "level": home.name,
            "intensity": self.case.intensity,
            "bound_by": machine.bound(self.case),
            "speedup": self.ratio,
            "error_in_bounds": self.error,
        }


def measure(
    cases: Iterable[Case],
    contestants: Iterable[Contestant],
    *,
    threads: int,
    repeat: int = 7,
    seconds: float = 0.005,
    reference: str = "blas",
    between: Callable[[], None] = nothing,
) -> Iterator[list[Measurement]]:
    """Yield the measurements of one case after another, contestants taking turns in each.

    ``between`` is called before each turn, and may raise.
    """
    for case in cases:
        data = Data(case)
        runs = {c.name: run for c in contestants if (run := c.prepare(case, data)) is not None}
        errors = {}
        for name, run in runs.items():
            between()
            value = run.results(run.call()).get(case.result)
            errors[name] = None if value is None else error(data, np.asarray(value))
        calls = {name: run.call for name, run in runs.items()}
        timings = interleaved(calls, repeat, seconds, warm_up(threads), between)
        yield [
            Measurement(case, name, timing, errors[name], timings.get(reference))
            for name, timing in timings.items()
        ]
