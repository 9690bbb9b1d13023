"""The benchmark suite: every case of ``cases.py`` for every contestant that is installed.

::

    pytest benchmarks --benchmark-only --benchmark-group-by=group --benchmark-json=results.json
    pytest benchmarks --benchmark-only -k "dW-512x512x512" --threads 2
    pytest benchmarks --benchmark-disable -m quick  # a small case of each kind: whether all works

``extra_info`` holds the rate, its share of the FMA peak measured in the same run, the threads, and
how many sets of arrays took turns: see `rotation`.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `cases`, whatever the import mode


def pytest_addoption(parser):
    group = parser.getgroup("fastlinear")
    group.addoption("--threads", type=int, default=1, help="threads of every library")


def pytest_configure(config):
    """Set the number of threads of whatever is imported from now on; register the marker."""
    config.addinivalue_line("markers", "quick: one of the few cases that show that all works")
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
    from fastlinear.profile.contestants import ORDERS, Kernels
    from fastlinear.profile.peers import peer

    return cache(
        lambda name: Kernels(name, ORDERS[name]) if name in ORDERS else peer(name, threads)
    )


@pytest.fixture
def run(benchmark, threads, peak, contestants):
    """Benchmark a contestant on a case."""
    from fastlinear.profile.contestants import takes_too_long

    def measure(case, name):
        contestant = contestants(name)
        if contestant is None:
            pytest.skip(f"{name} is not installed")
        if takes_too_long(name, case):
            pytest.skip("the plain loops take too long here")
        calls = rotation(contestant, case, threads)
        if not calls:
            pytest.skip(f"{name} takes no part")
        benchmark.group = f"{case.quantity} {case.label} {case.dtype}"
        benchmark.extra_info.update(
            case._asdict(), contestant=name, threads=threads, rotation=len(calls)
        )
        for call in calls:
            call()  # whatever compiles, compiles here
        following = cycle(calls)
        benchmark(calls[0] if len(calls) == 1 else lambda: next(following)())
        if benchmark.stats is not None:  # it is with --benchmark-disable
            seconds = benchmark.stats.stats.median
            benchmark.extra_info.update(
                gbytes_per_second=case.bytes / seconds / 1e9,
                gflops=case.flops / seconds / 1e9,
                peak_gflops=peak(case.dtype) / 1e9,
                share_of_peak=case.flops / seconds / peak(case.dtype),
            )

    return measure


def rotation(contestant, case, threads):
    """Return what to call in turn, each call with arrays of its own; nothing for an absentee.

    A network meets new activations and gradients in every step. Those that fit the cores' own
    caches are still there when the next layer reads them, as in a repeated run. Larger ones are
    not, but a repeated run would find them in the last-level cache. That decides the time of db and
    of the activations; so these get new inputs in every call, of which the caches hold none any
    more. Outputs are the same arrays again, as PyTorch's and JAX's are, whose allocators hand out
    the memory that was freed last. The products repeat: where reading bounds them, with few
    samples, it is the reading of the weights, which are the same from call to call.
    """
    from fastlinear.profile.bandwidth import cache_sizes
    from fastlinear.profile.cases import STREAMS, Data

    *_, (_, private, _), (_, last, _) = cache_sizes()
    rotate = case.quantity in STREAMS and case.bytes > private * threads
    copies = -(-2 * last // case.bytes) if rotate else 1
    outputs: dict[str, Any] = {}
    runs = [contestant.prepare(case, Data(case, seed, outputs)) for seed in range(copies)]
    return [run.call for run in runs if run is not None]
