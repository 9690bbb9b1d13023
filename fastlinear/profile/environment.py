"""The number of threads of every library, fixed before any of them is imported."""

from __future__ import annotations


def environment(threads: int) -> dict[str, str]:
    """Return the variables that limit every library's threads; they are read at its import."""
    count = str(threads)
    return {
        "OPENBLAS_NUM_THREADS": count,
        # Idle OpenBLAS threads spin for 2^n ticks before they sleep: by default long enough to take
        # a core from whoever comes next; 2^20 is half a millisecond.
        "OPENBLAS_THREAD_TIMEOUT": "20",
        "MKL_NUM_THREADS": count,
        "OMP_NUM_THREADS": count,
        "VECLIB_MAXIMUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "NPROC": count,  # the size of XLA's thread pool
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}",
        "JAX_PLATFORMS": "cpu",
    }
