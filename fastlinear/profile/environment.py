"""The number of threads of every library, fixed before any of them is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SPIN = {"OPENBLAS_THREAD_TIMEOUT": "24"}
"""Idle OpenBLAS threads spin for 2^n ticks before they sleep, by default long enough to take a core
from whoever comes next: with two threads, products of 512^3 then took 2.0 ms for 1.2. 2^24 is some
6 ms: they stay awake through their own turn, and sleep before the next contestant is timed."""


def environment(threads: int) -> dict[str, str]:
    """Return the variables that limit every library's threads; they are read at its import."""
    count = str(threads)
    return {
        **SPIN,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_NUM_THREADS": count,
        "VECLIB_MAXIMUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "NPROC": count,  # the size of XLA's thread pool
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}",
        "JAX_PLATFORMS": "cpu",
    }


def start_anew(variables: Mapping[str, str]) -> None:
    """Run this command again from its beginning, with these variables set."""
    argv = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, argv, {**os.environ, **variables})
