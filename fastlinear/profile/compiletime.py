"""How long a kernel takes to be there: compiled anew, and loaded from the disk cache.

Each is measured in a process of its own, since what is compiled stays for the life of a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from fastlinear import set_num_threads
from fastlinear.profile.cases import Case, Data
from fastlinear.profile.contestants import ORDERS, Kernels
from fastlinear.profile.timing import interleaved


class CompileTimes(NamedTuple):
    """Seconds of a first call with an empty cache, of one with a full cache, of a later call.

    On one thread, the weights in a layer's memory order; of later calls the median.
    """

    cold: float
    load: float
    warm: float


def compile_times(case: Case, formulation: str = "tiled") -> CompileTimes:
    """Measure a case in two new processes that share an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        cold, _ = first_and_later(case, formulation, cache)
        load, warm = first_and_later(case, formulation, cache)
    return CompileTimes(cold, load, warm)


def first_and_later(case: Case, formulation: str, cache: str) -> tuple[float, float]:
    """Return the seconds of a first and of a later call in a new process with this cache folder."""
    variables = {**os.environ, "NUMBA_CACHE_DIR": cache, "FASTLINEAR_QUIET": "1"}
    command = [sys.executable, "-m", __name__, formulation, json.dumps(case)]
    printed = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
    first, later = json.loads(printed.stdout)
    return first, later


def main() -> None:
    """Print the seconds of the first call and of a later one: what the child process does."""
    formulation, case = sys.argv[1], Case(*json.loads(sys.argv[2]))
    set_num_threads(1)
    run = Kernels(formulation, ORDERS[formulation]).prepare(case, Data(case))
    assert run is not None
    start = time.perf_counter()
    run.call()
    first = time.perf_counter() - start
    print(json.dumps([first, interleaved({formulation: run.call}, 15)[formulation].median]))


if __name__ == "__main__":
    main()
