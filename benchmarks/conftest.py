"""The benchmark suite: every case of ``cases.py`` for every contestant that is installed.

::

    pytest benchmarks --benchmark-only --benchmark-group-by=group --benchmark-json=results.json
    pytest benchmarks --benchmark-only -k "Y and 512x512x512" --threads 2

``extra_info`` holds the rate, its share of the FMA peak measured in the same run, and the threads.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `cases`, whatever the import mode

LOOPS_WORK = 2**27  # multiply-adds above which the plain loops take too long to be timed


def pytest_addoption(parser):
    group = parser.getgroup("fastlinear")
    group.addoption("--threads", type=int, default=1, help="threads of every library")


def pytest_configure(config):
    """Set the number of threads of whatever is imported from now on."""
    from fastlinear.profile.environment import environment

    variables = environment(config.getoption("--threads"))
    del variables["NUMBA_NUM_THREADS"]  # set by function below
    os.environ.update(variables)


def pytest_benchmark_update_machine_info(config, machine_info):
    from fastlinear.cli.info import facts

    machine_info["fastlinear"] = list(facts())


@pytest.fixture(scope="session")
def threads(request):
    """The number of threads, set in every pool that is loaded."""
    from threadpoolctl import threadpool_limits

    import fastlinear as fl

    count = request.config.getoption("--threads")
    fl.set_num_threads(count)
    with threadpool_limits(count):
        yield count


@pytest.fixture(scope="session")
def peak(threads):
    """The FMA peak for a dtype, measured when first asked for."""
    from fastlinear.profile.peak import fma_peak

    return cache(lambda dtype: fma_peak(dtype, threads))


@pytest.fixture(scope="session")
def contestants(threads):
    """A contestant for a name, None where its library is not installed."""
    from fastlinear.profile.contestants import Kernels
    from fastlinear.profile.peers import peer

    ours = {"tiled": "F", "loops": "F", "blas": "C"}  # the order of a layer's weights, NumPy's own
    return cache(lambda name: Kernels(name, ours[name]) if name in ours else peer(name, threads))


@pytest.fixture
def run(benchmark, threads, peak, contestants):
    """Benchmark a contestant on a case."""

    def measure(case, name):
        contestant = contestants(name)
        if contestant is None:
            pytest.skip(f"{name} is not installed")
        if name == "loops" and case.flops > 2 * LOOPS_WORK:
            pytest.skip("the plain loops take too long here")
        call = rotating(contestant, case, threads)
        if call is None:
            pytest.skip(f"{name} takes no part")
        benchmark.group = f"{case.quantity} {case.label} {case.dtype}"
        benchmark.extra_info.update(case._asdict(), contestant=name, threads=threads)
        call()  # whatever compiles, compiles here
        benchmark(call)
        if benchmark.stats is not None:  # it is with --benchmark-disable
            seconds = benchmark.stats.stats.median
            benchmark.extra_info.update(
                gbytes_per_second=case.bytes / seconds / 1e9,
                gflops=case.flops / seconds / 1e9,
                peak_gflops=peak(case.dtype) / 1e9,
                share_of_peak=case.flops / seconds / peak(case.dtype),
            )

    return measure


def rotating(contestant, case, threads):
    """Return what to call, or None.

    Element-wise cases that do not fit the L2 caches get new inputs each time, as they do in a
    network, so many of them that none comes from a cache. The weights of a layer stay the same
    from call to call, so the other cases repeat.
    """
    from fastlinear.profile.bandwidth import cache_sizes
    from fastlinear.profile.cases import Data

    *_, (_, private, _), (_, last, _) = cache_sizes()
    large = case.elementwise and case.bytes > private * threads
    copies = -(-2 * last // case.bytes) if large else 1
    runs = [contestant.prepare(case, Data(case, seed)) for seed in range(copies)]
    if runs[0] is None:
        return None
    if copies == 1:
        return runs[0].call
    calls = cycle([run.call for run in runs])
    return lambda: next(calls)()
