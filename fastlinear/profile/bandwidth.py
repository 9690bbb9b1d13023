"""The bandwidth of this machine's caches and memory: the slanted roofs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import prange

from fastlinear.kernels.alignment import aligned_zeros
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import address_of
from fastlinear.kernels.shape import row_shape, with_rows
from fastlinear.kernels.sizes import VECTOR_BYTES
from fastlinear.kernels.tile import add, load, store, zeros
from fastlinear.profile.timing import fastest

ROWS = 8
"""Vectors read at once, each added to a sum of its own: enough to hide the latency of the adds."""

TRAFFIC = 2**26
"""Bytes that each thread reads in one try."""

MEMORY = 2**28
"""Bytes read to measure the memory itself, at least: no cache of a usual machine holds them."""


class Level(NamedTuple):
    """A cache, or the memory: how much it holds, for all threads together, and how fast it is."""

    name: str
    size: float
    bytes_per_second: float


@compiled(internal=True)
def read(numbers, repeats):  # type: ignore[no-untyped-def]
    """Read all of ``numbers``, ``repeats`` times."""
    shape = with_rows(row_shape(numbers[0], 1, VECTOR_BYTES, False), ROWS)
    step = ROWS * VECTOR_BYTES
    sums = zeros(shape)
    for _ in range(repeats):
        address = address_of(numbers)
        for _ in range(numbers.nbytes // step):
            sums = add(sums, load(shape, address, VECTOR_BYTES, 0))
            address += step
    store(sums, address_of(numbers), VECTOR_BYTES, 0)


@compiled(parallel=True)
def read_on_threads(numbers, repeats):  # type: ignore[no-untyped-def]
    """Run `read` on each row of ``numbers`` at the same time."""
    for t in prange(numbers.shape[0]):
        read(numbers[t], repeats)


def levels(threads: int) -> list[Level]:
    """Measure every level with ``threads`` threads reading, each from memory of its own."""
    found = []
    caches = cache_sizes()
    for name, size, shared in caches:
        each = size // threads if shared else size
        found.append(Level(name, each * threads, bandwidth(each // 2, threads)))
    largest = max((size for _, size, _ in caches), default=0)
    memory = max(MEMORY, 4 * largest) // threads
    return [*found, Level("memory", float("inf"), bandwidth(memory, threads, tries=3))]


def bandwidth(nbytes: int, threads: int, tries: int = 8) -> float:
    """Return the bytes per second that ``threads`` threads read from ``nbytes`` each; best of all.

    All of it lies in whatever holds it after the first round.
    """
    step = ROWS * VECTOR_BYTES
    numbers = aligned_zeros((threads, max(1, nbytes // step) * step // 4), np.float32)
    numbers += 1  # zeros that are not touched would all be one page of memory
    repeats = max(1, TRAFFIC * threads // numbers.nbytes)
    read_on_threads(numbers, 1)
    return numbers.nbytes * repeats / fastest(partial(read_on_threads, numbers, repeats), tries)


def cache_sizes() -> list[tuple[str, int, bool]]:
    """Return name, bytes and whether cores share it, of each data cache, smallest first.

    As Linux describes the first core; usual sizes where there is no such description.
    """
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size, cores = (
                (folder / name).read_text().strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            )
        except OSError:
            continue
        if kind != "Instruction":
            units = {"K": 2**10, "M": 2**20}
            bytes_ = int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size)
            found.append((f"L{level}", bytes_, "," in cores or "-" in cores))
    return sorted(found, key=lambda cache: cache[1]) or [
        ("L1", 2**15, False),
        ("L2", 2**19, False),
    ]
