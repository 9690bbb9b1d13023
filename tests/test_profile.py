"""The profiler's parts: work, timing, contestants, error units, roofs, pictures, report."""

import importlib.util
import json
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fastlinear.profile import accuracy, bandwidth, compiletime, numpy_peer, plots, timing
from fastlinear.profile.bandwidth import Level
from fastlinear.profile.cases import PRODUCTS, QUANTITIES, Case, Data
from fastlinear.profile.contestants import Kernels, LayerOrder
from fastlinear.profile.environment import environment
from fastlinear.profile.measure import Machine, Measurement, measure
from fastlinear.profile.peak import fma_peak
from fastlinear.profile.peers import PEERS, peer
from fastlinear.profile.timing import Timing, interleaved

DTYPES = ("float32", "float64")


# ---- work ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "flops", "elements"),
    [
        ("Y", 2 * 2 * 3 * 5, 6 + 15 + 10),
        ("dW", 2 * 2 * 3 * 5, 10 + 6 + 15),
        ("dX", 2 * 2 * 3 * 5, 10 + 15 + 6),
        ("db", 2 * 5, 10 + 5),
        ("predict", 2 * 2 * 3 * 5, 6 + 15 + 5 + 10),
        ("step", 6 * 2 * 3 * 5, 2 * (6 + 15 + 5 + 10)),
        ("activation", 0, 20),
        ("activation step", 0, 50),
    ],
)
def test_work(quantity, flops, elements):
    case = Case(quantity, 2, 3, 5, "float64")
    assert (case.flops, case.bytes) == (flops, 8 * elements)
    assert case._replace(dtype="float32").bytes == 4 * elements


def test_every_quantity_has_its_work():
    assert all(Case(q, 1, 1, 1).bytes > 0 for q in QUANTITIES)


# ---- timing --------------------------------------------------------------------------------------


def test_median_spread_and_paired_speedup():
    slow, fast = Timing((2.0, 8.0, 6.0)), Timing((1.0, 2.0, 6.0))
    assert (slow.median, fast.median) == (6.0, 2.0)
    assert fast.speedup(slow) == 2.0  # ratios 2, 4, 1: not 6 / 2
    assert Timing((1.0, 2.0, 3.0)).spread == 0.25
    assert Timing((5.0,)).spread == 0.0


class Clock:
    """Time that passes only where a call says so."""

    now = 0.0

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "Timer", partial(timing.Timer, timer=lambda: clock.now))
    return clock


def test_the_fastest_call_counts(clock):
    durations = iter((2.0, 0.5, 2.0))
    assert timing.fastest(lambda: clock.passes(next(durations)), 3) == 0.5


def test_contestants_take_turns_and_swap_places():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = interleaved(calls, 2, seconds=0.0)
    assert [len(t.samples) for t in timings.values()] == [2, 2]
    # After the calibration of each: a warm-up call and a timed one, b first in the second round.
    assert "".join(order[-8:]) == "aabbbbaa"


def test_a_turn_lasts_as_long_as_asked(clock):
    took = 2.0**-10
    (timed,) = interleaved({"a": lambda: clock.passes(took)}, 3, seconds=10 * took).values()
    assert timed.samples == (took,) * 3
    # One that may compile, 1 + 4 to find out how many fill a turn; then some unseen, and 10.
    assert clock.now == (1 + 5 + 3 * (timing.SETTLING + 10)) * took


# ---- contestants ---------------------------------------------------------------------------------

OURS = [
    Kernels("tiled"),
    Kernels("tiled", "F"),
    LayerOrder("tiled"),
    Kernels("loops"),
    Kernels("blas"),
]


def reference(case):
    """Return the results in float64 (long double for float64), with h = tanh."""
    data = Data(case)
    wide = np.float64 if case.dtype == "float32" else np.longdouble
    X, W, b, dY, Z = (a.astype(wide) for a in (data.X, data.W, data.b, data.dY, data.Z))
    if case.elementwise:
        Y = np.tanh(Z)
        return {"Y": Y, "dX": dY * (1 - Y * Y)}
    if case.activation is None:
        return {"Y": X @ W.T, "dW": dY.T @ X, "db": dY.sum(0), "dX": dY @ W}
    A = np.tanh(X @ W.T + b)
    dZ = dY * (1 - A * A)
    return {"Y": A, "dW": dZ.T @ X, "db": dZ.sum(0), "dX": dZ @ W}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", [*(f"ours {i}" for i in range(len(OURS))), *PEERS])
def test_contestants_compute_what_they_are_timed_for(name, quantity, dtype):
    contestant = OURS[int(name[-1])] if name.startswith("ours") else peer(name, 1)
    if contestant is None:
        pytest.skip(f"{name} is not installed")
    case = Case(quantity, 5, 9, 7, dtype, None if quantity in (*PRODUCTS, "db") else "tanh")
    run = contestant.prepare(case, Data(case))
    if run is None:
        pytest.skip("takes no part")
    expected = reference(case)
    # All values are below 4 and each is made of at most 9 terms and a tanh, of 4 units each.
    tolerance = 4 * (9 + 4) * 4 * np.finfo(dtype).eps
    for key, value in run.results(run.call()).items():
        computed = np.asarray(value)
        assert (computed.shape, computed.dtype) == (expected[key].shape, dtype)
        assert np.max(np.abs(computed - expected[key])) <= tolerance, key


@pytest.mark.parametrize("name", [name for name in numpy_peer.PAIRS if name is not None])
def test_numpy_has_the_same_activations(name):
    case = Case("activation step", 20, 1, 30, "float64", name)
    data = Data(case)
    runs = [contestant.prepare(case, data) for contestant in (peer("numpy", 1), OURS[0])]
    numpy, ours = (run.results(run.call()) for run in runs)
    for key, value in ours.items():
        # Values and derivatives are below 5, of a few operations with condition below 4 each.
        assert np.max(np.abs(numpy[key] - value)) <= 5 * 16 * 4 * np.finfo(np.float64).eps, key


def test_layer_order_takes_part_in_products_only():
    part = {q for q in QUANTITIES if OURS[2].prepare(case := Case(q, 2, 3, 4), Data(case))}
    assert part == set(PRODUCTS)
    assert OURS[2].name == "tiled F"


def test_the_environment_limits_every_pool():
    libraries = ("OPENBLAS", "MKL", "OMP", "NUMBA")
    names = [f"{library}_NUM_THREADS" for library in libraries]
    for name in (*names, "VECLIB_MAXIMUM_THREADS", "NPROC"):
        assert environment(3)[name] == "3"
    assert environment(1)["XLA_FLAGS"].endswith("=false")


# ---- error in units of the bound -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quantity", ["Y", "dW", "dX", "db"])
def test_error_is_measured_in_units_of_the_bound(quantity, dtype):
    case = Case(quantity, 60, 9, 50, dtype)
    data = Data(case)
    A, B, _ = accuracy._operands(data)
    terms = A.shape[1]
    exact = (A.astype(np.longdouble) @ B.astype(np.longdouble)).astype(dtype)
    unit = accuracy.gamma(terms, np.dtype(dtype)) * (np.abs(A) @ np.abs(B))
    shape = (-1,) if quantity == "db" else exact.shape
    # Rounding the exact result costs at most one of the roundings that gamma counts.
    assert accuracy.error(data, exact.reshape(shape)) <= 1 / terms
    assert 2 < accuracy.error(data, (exact + 3 * unit).astype(dtype).reshape(shape)) < 4


def test_gamma_counts_the_roundings_of_blocks():
    u = 2.0**-24
    for terms, k in ((1, 3), (512, 514), (513, 515), (2048, 517)):
        assert accuracy.gamma(terms, np.dtype("float32")) == k * u / (1 - k * u)


@pytest.mark.parametrize(
    ("quantity", "activation"),
    [*product(("step", "predict", "activation"), ("relu", "gelu", "tanh", "silu")), ("step", None)],
)
def test_error_of_a_layer_and_of_an_activation(quantity, activation):
    case = Case(quantity, 60, 9, 50, activation=activation)
    data = Data(case)
    ours = OURS[0].prepare(case, data)
    A = np.array(ours.results(ours.call())[case.result])
    assert 0 <= accuracy.error(data, A) <= 1
    A[np.abs(A) > 0.1] *= 1 + 1e-4
    assert accuracy.error(data, A) > 1


def test_no_error_where_there_is_nothing_wider():
    case = Case("step", 2, 3, 4, "float64", "relu")
    assert accuracy.error(Data(case), np.zeros((2, 4))) is None


# ---- roofs ---------------------------------------------------------------------------------------

MACHINE = Machine(
    1,
    {"float32": 100e9, "float64": 50e9},
    [Level("L1", 2**15, 200e9), Level("L2", 2**20, 100e9), Level("memory", float("inf"), 20e9)],
)


@pytest.mark.parametrize(
    ("case", "home", "bound"),
    [
        (Case("Y", 16, 16, 16), "L1", "FMA"),  # 2.7 FLOP/byte; the ridge of L1 is at 0.5
        (Case("Y", 1, 64, 64), "L1", "L1"),  # 0.48
        (Case("Y", 4, 256, 256), "L2", "FMA"),  # 1.94 beyond the ridge at 1
        (Case("Y", 1, 256, 256), "L2", "L2"),
        (Case("db", 4096, 1, 4096), "memory", "memory"),
        (Case("activation", 16, 1, 16, activation="relu"), "L1", "L1"),
    ],
)
def test_a_case_is_bound_by_the_lower_roof(case, home, bound):
    assert (MACHINE.home(case).name, MACHINE.bound(case)) == (home, bound)


def test_the_machine_is_measured():
    sizes = [size for _, size, _ in bandwidth.cache_sizes()]
    assert sizes == sorted(sizes)
    levels = bandwidth.levels(1)
    assert [level.name for level in levels][-1] == "memory"
    assert levels[-1].size == float("inf")
    assert all(level.bytes_per_second > 1e8 for level in levels)
    assert fma_peak("float32", 1, tries=2) > 1e8


def test_reading_reads_everything():
    """A read that skipped a part would report a bandwidth no machine has."""
    numbers = np.ones((1, bandwidth.ROWS * 16 * 64), np.float32)
    bandwidth.read_on_threads(numbers, 3)
    width = bandwidth.VECTOR_BYTES // 4
    steps = numbers.size // (bandwidth.ROWS * width)
    assert np.all(numbers[0, : bandwidth.ROWS * width] == 3 * steps)


def test_measurements():
    case = Case("Y", 3, 5, 7)
    (found,) = measure([case], OURS[:1] + OURS[4:], threads=1, repeat=3, seconds=1e-4)
    ours, blas = found
    assert (ours.contestant, blas.contestant) == ("tiled", "blas")
    assert blas.ratio == 1.0
    assert 0 <= ours.error <= 1
    row = ours.row(MACHINE)
    assert row["gflops"] == pytest.approx(case.flops / row["seconds"] / 1e9, rel=1e-12)
    assert row["share_of_fma_peak"] == pytest.approx(row["gflops"] / 100, rel=1e-12)
    assert row["share_of_bandwidth"] == pytest.approx(row["gbytes_per_second"] / 200, rel=1e-12)
    assert json.loads(json.dumps(row)) == row


def test_the_first_call_is_timed_in_a_process_of_its_own(tmp_path):
    first, later = compiletime.first_and_later(Case("Y", 2, 3, 4), "blas", str(tmp_path))
    assert first > 0
    assert later > 0
    assert not list(tmp_path.iterdir())  # NumPy's products compile nothing


# ---- pictures and report -------------------------------------------------------------------------


def measurements(cases):
    timings = {"tiled": Timing((1e-6,)), "loops": Timing((1e-4,)), "blas": Timing((2e-6,))}
    return [Measurement(c, n, t, None, timings["blas"]) for c in cases for n, t in timings.items()]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    cases = [Case(q, 8, 64, 64) for q in (*PRODUCTS, "db", "step", "activation")]
    plots.roofline(path, measurements(cases), MACHINE, "a machine")
    first = path.read_bytes()
    squares = [Case("Y", s, n, n) for n in (16, 32) for s in (8, n)]
    plots.sweep(path, measurements(squares), MACHINE, "a machine")
    assert first.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert path.read_bytes() != first


@pytest.fixture(scope="module")
def report():
    path = Path(__file__).parents[1] / "benchmarks" / "report.py"
    spec = importlib.util.spec_from_file_location("report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(quantity="Y"):
    """Return what compare.py writes for cases of two operations and three bytes."""
    cases = [("1x2x3", {"tiled": 2.0, "tiled F": 1.0}, 4.0), ("4x5x6", {"tiled": 1.0}, 0.25)]
    rows = [
        {
            "quantity": quantity,
            "label": label,
            "dtype": "float32",
            "threads": 2,
            "flops": 2,
            "bytes": 3,
            "seconds": {**ours, "numpy": numpy},
            "ratio": {name: {"numpy": numpy / seconds} for name, seconds in ours.items()},
            "peak": 8e9,
            "share_of_peak": {name: 0.25 / seconds for name, seconds in ours.items()},
        }
        for label, ours, numpy in cases
    ]
    facts = [["CPU", "a CPU"], ["BLAS", "openblas 1, 8 threads"]]
    return {"facts": facts, "command": "python compare.py --json FILE", "rows": rows}


def test_the_table_shows_wins_and_losses(report):
    measured = results()
    lines = list(report.table(measured, report.rows(measured)))
    assert lines[0] == "Measured on: a CPU; openblas 1; 2 threads."
    assert "To reproduce: `python compare.py --json FILE`, then" in lines
    assert "| shape | time | GFLOP/s | of peak | numpy | numpy, C |" in lines
    assert "| 1x2x3 | 1e+03 ms | 2e-09 | 25% | 4.00 | 2.00 |" in lines
    assert "| 4x5x6 | 1e+03 ms | 2e-09 | 25% | **0.25** |  |" in lines
    assert lines[-1] == "| mean |  |  |  | 1.00 | 2.00 |"


def test_what_only_reads_is_rated_in_bytes(report):
    measured = results("db")
    lines = list(report.table(measured, report.rows(measured)))
    assert "| shape | time | GB/s | numpy | numpy, C |" in lines
    assert "| 4x5x6 | 1e+03 ms | 3e-09 | **0.25** |  |" in lines


def test_the_table_goes_between_the_markers_and_nowhere_else(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.put(readme, ["new"])
        assert readme.read_text() == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    readme.write_text("no markers")
    with pytest.raises(SystemExit, match="expected the markers"):
        report.put(readme, ["new"])
    assert readme.read_text() == "no markers"


def test_the_report_draws(report, tmp_path):
    measured = results()
    report.plot(measured, report.rows(measured), tmp_path / "new" / "plot.png", "float32")
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="no products of float64"):
        report.plot(measured, report.rows(measured), tmp_path / "plot.png", "float64")
    with pytest.raises(SystemExit, match="no activations of float32"):
        report.plot_activations(measured, report.rows(measured), tmp_path / "a.png", "float32")
    measured = results("activation")
    report.plot_activations(measured, report.rows(measured), tmp_path / "a.png", "float32")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
