"""The FMA peak of this machine: the roof over every product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import address_of
from fastlinear.kernels.rank_update import load_operand, rank_update
from fastlinear.kernels.shape import row_shape, with_rows
from fastlinear.kernels.sizes import VECTOR_BYTES
from fastlinear.kernels.tile import load, store
from fastlinear.profile.timing import fastest

CHAINS = 12
"""Independent sums: a core with two FMA units of latency 4 or 5 needs 10, and with the two factors
they fit 16 registers."""

STEPS = 2**15

SAME = (0,) * CHAINS
"""Offsets: every chain multiplies by the same number."""


@compiled(internal=True)
def chains(numbers, steps):  # type: ignore[no-untyped-def]
    """Add ``steps`` products to each element of CHAINS vectors that stay in registers.

    Factors and first sums are read from memory, so that the compiler knows none of them and can
    fold nothing; the sums differ, so that it can merge none.
    """
    row = row_shape(numbers[0], 1, VECTOR_BYTES, False)
    start = address_of(numbers)
    sums = load(with_rows(row, CHAINS), start, VECTOR_BYTES, 0)
    factor = load_operand(row, start, SAME, 0, 0)
    for _ in range(steps):
        sums = rank_update(sums, factor, start, SAME, 0)
    store(sums, start, VECTOR_BYTES, 0)


@compiled(parallel=True)
def on_threads(numbers, steps):  # type: ignore[no-untyped-def]
    """Run `chains` on each row of ``numbers`` at the same time."""
    for t in prange(numbers.shape[0]):
        chains(numbers[t], steps)


def fma_run(dtype: Any, threads: int) -> tuple[Callable[[], None], int]:
    """Return a call in which ``threads`` threads do nothing but fma, and its operations.

    It takes some tenths of a millisecond.
    """
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    numbers: NDArray[Any] = np.linspace(1, 2, threads * CHAINS * lanes, dtype=dtype)
    numbers = numbers.reshape(threads, -1)
    on_threads(numbers, 1)
    return partial(on_threads, numbers, STEPS), 2 * numbers.size * STEPS


def fma_peak(dtype: Any, threads: int, tries: int = 20) -> float:
    """Return the floating-point operations per second of such a call: the best of several tries."""
    run, operations = fma_run(dtype, threads)
    return operations / fastest(run, tries)
