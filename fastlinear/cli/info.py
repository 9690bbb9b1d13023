"""``fastlinear info``: what runs here."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import typer

PACKAGES = ("numpy", "numba", "llvmlite", "tbb", "safetensors")
FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bw", "neon", "sve")
"""Instruction sets that decide vector width and fused multiply-add, as LLVM names them."""


def info() -> None:
    """Print versions, CPU, threads and cache folder."""
    for name, value in facts():
        typer.echo(f"{name:<17}{value}")


def facts() -> Iterator[tuple[str, str]]:
    """Yield name and value of each line."""
    from llvmlite import binding
    from numba.np.ufunc import parallel
    from threadpoolctl import threadpool_info

    import fastlinear as fl
    from fastlinear.kernels.cache import cache_folder
    from fastlinear.kernels.sizes import CORE_NAME

    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "fastlinear", fl.__version__
    for package in PACKAGES:
        yield package, version(package)
    name = binding.get_host_cpu_name()
    taken = "" if name == CORE_NAME else f", taken for {CORE_NAME}"
    yield "CPU", f"{cpu_model()} (LLVM: {name}{taken})"
    present = binding.get_host_cpu_features()
    yield "CPU features", " ".join(name for name in FEATURES if present.get(name)) or "none known"
    yield "threads", f"{fl.get_num_threads()} of {os.cpu_count()} logical cores"
    layer = parallel.threading_layer()
    yield "threading layer", layer  # known since get_num_threads started the threads
    yield "cache folder", str(cache_folder() or "none: compiled code is kept in memory only")
    for pool in sorted(threadpool_info(), key=lambda pool: str(pool["filepath"])):
        if pool["user_api"] == "blas":
            threads = pool["num_threads"]
            yield (
                "BLAS",
                f"{pool['internal_api']} {pool['version']} for {pool.get('architecture', '?')} "
                f"({Path(pool['filepath']).parent.name}), {threads} thread{'s'[: threads > 1]}",
            )


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
