"""``fastlinear profile`` and ``fastlinear explain``, run in this process."""

import csv
import json
import signal

import pytest
from typer.testing import CliRunner

import fastlinear as fl
from fastlinear.cli import app, explain, profile
from fastlinear.kernels import sizes
from fastlinear.profile import assembly, contestants, measure
from fastlinear.profile.assembly import Loop
from fastlinear.profile.bandwidth import Level
from fastlinear.profile.cases import Case
from fastlinear.profile.compiletime import CompileTimes
from fastlinear.profile.interrupt import postponed
from fastlinear.profile.plans import choices
from fastlinear.profile.timing import interleaved


def run(*args, status=0, columns=140):
    """Run a command; return what it printed to stdout and to stderr."""
    env = {"COLUMNS": str(columns)}
    result = CliRunner().invoke(app.app, [str(a) for a in args], env=env, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _known_machine(monkeypatch):
    """Measure quickly, on a machine whose roofs are known."""
    monkeypatch.setenv("FASTLINEAR_QUIET", "1")
    known = [Level("L1", 2**15, 2e11), Level("memory", float("inf"), 2e10)]
    monkeypatch.setattr(measure, "levels", lambda threads: known)
    monkeypatch.setattr(measure, "fma_peak", lambda dtype, threads: 1e11)
    usual = measure.interleaved
    monkeypatch.setattr(
        measure, "interleaved", lambda calls, repeat, *_: usual(calls, repeat, 1e-5)
    )
    threads = fl.get_num_threads()
    yield
    fl.set_num_threads(threads)


# ---- profile -------------------------------------------------------------------------------------


def test_a_table_for_each_quantity(tmp_path):
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "png")}
    out, _ = run(
        *("profile", "--shape", "3,5,7", "--shape", "1,4,2", "--repeat", 3, "--threads", 1),
        *("--json", files["json"], "--csv", files["csv"], "--roofline", files["png"]),
    )
    for title in ("Y, float32, 1 thread", "dW,", "db,", "dX,", "activation relu,", "step relu,"):
        assert title in out
    assert "FMA peak         float32 100.0 GFLOP/s" in out
    assert "bandwidth        L1 200 GB/s, memory 20 GB/s" in out
    report = json.loads(files["json"].read_text())
    assert report["machine"]["threads"].startswith("1 of ")
    rows = report["results"]
    assert {(r["quantity"], r["S"], r["contestant"]) for r in rows} == {
        (quantity, S, name)
        for quantity in ("Y", "dW", "db", "dX", "activation", "step")
        for S in (3, 1)
        for name in ("tiled", "loops", "blas")
    }
    assert all(r["error_in_bounds"] <= 1 for r in rows if r["error_in_bounds"] is not None)
    assert sum(r["error_in_bounds"] is not None for r in rows) == 6 * 2 * 3
    with files["csv"].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(r["seconds"]) for r in table] == [r["seconds"] for r in rows]
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_layers_and_models_give_the_same_shapes(tmp_path):
    fl.MLP([5, 4, 3], activation="relu", rng=0).save(tmp_path / "net.safetensors")
    shapes = profile.chosen_shapes(None, str(tmp_path / "net.safetensors"), None, 8)
    assert shapes == profile.chosen_shapes(None, None, "5,4,3", 8) == [(8, 5, 4), (8, 4, 3)]


def test_a_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "SWEEP", (4, 16))
    monkeypatch.setattr(contestants, "LOOPS_WORK", 1000)
    path, numbers = tmp_path / "sweep.svg", tmp_path / "sweep.json"
    out, _ = run("profile", "--sweep", path, "--json", numbers, "--repeat", 3, "--threads", 1)
    assert f"wrote {path}" in out
    assert "error" not in out  # no table
    shapes = {(r["S"], r["M"], r["contestant"]) for r in json.loads(numbers.read_text())["results"]}
    assert shapes >= {(4, 4, "loops"), (8, 16, "tiled"), (16, 16, "tiled")}
    assert (16, 16, "loops") not in shapes


def test_ctrl_c_prints_what_is_there(monkeypatch, tmp_path):
    calls = []

    def interrupted(cases, *args, **more):
        calls.append(cases)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(cases, *args, **more)

    original = measure.measure
    monkeypatch.setattr(measure, "measure", interrupted)
    path = tmp_path / "out.json"
    out, error = run("profile", "--shape", "2,3,4", "--json", path, "--threads", 1, status=130)
    assert "Y, float32" in out
    assert "dW, float32" in out
    assert "db, float32" not in out
    assert {r["quantity"] for r in json.loads(path.read_text())["results"]} == {"Y", "dW"}
    assert error == "fastlinear profile: interrupted: measured until then\n"


def test_ctrl_c_at_once_writes_nothing(monkeypatch, tmp_path):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure", interrupted)
    path = tmp_path / "roof.png"
    out, error = run("profile", "--roofline", path, "--threads", 1, status=130)
    assert (out, list(tmp_path.iterdir())) == ("", [])
    assert error == "fastlinear profile: interrupted before anything was measured\n"


def test_a_peer_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("fastlinear.profile.peers.peer", lambda name, threads: None)
    arguments = ("--shape", "2,3,4", "--repeat", 3, "--threads", 1)
    out, error = run("profile", "--peers", "jax, torch", *arguments)
    assert error == "--peers: not installed: jax, torch\n"
    assert "dX, float32" in out


@pytest.fixture
def _interruptible():
    """Ctrl-C as in a terminal: whoever runs the tests in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_waits_for_the_end_of_a_turn():
    before, rounds = signal.getsignal(signal.SIGINT), []

    def turn():
        rounds.append(1)
        if len(rounds) == 20:
            signal.raise_signal(signal.SIGINT)
            rounds.append(1)

    with postponed() as check, pytest.raises(KeyboardInterrupt):
        interleaved({"all": turn}, 10**6, 1e-5, between=check)
    assert len(rounds) >= 21
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("_interruptible")
def test_the_second_ctrl_c_waits_for_nothing():
    with postponed() as check:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()


@pytest.mark.usefixtures("_interruptible")
def test_an_ignored_ctrl_c_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with postponed() as check:
        signal.raise_signal(signal.SIGINT)
        check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_peer_takes_part_and_states_its_version(monkeypatch):
    guest = contestants.Kernels("blas")
    guest.name = "torch"
    peers = {"torch": (("numpy",), lambda threads: guest)}
    monkeypatch.setattr("fastlinear.profile.peers.PEERS", peers)
    out, _ = run("profile", "--shape", "2,3,4", "--peers", "torch", "--repeat", 3, "--threads", 1)
    assert out.count("\n  torch ") == 6
    assert "\ntorch            " in out


def test_plain_loops_that_take_too_long_are_left_out_and_it_is_said(monkeypatch):
    monkeypatch.setattr(contestants, "LOOPS_WORK", 24)
    out, _ = run("profile", "--shape", "2,3,4", "--repeat", 3, "--threads", 1)
    assert out.count("\n  loops ") == 5  # all but the step
    assert "loops are left out above 24 multiply-adds" in out


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_a_table_fits_80_columns(activation, monkeypatch):
    monkeypatch.setattr("fastlinear.profile.timing.Timing.median", 999.9e-6)
    monkeypatch.setattr("fastlinear.profile.timing.Timing.spread", 1.0)
    monkeypatch.setattr(contestants, "LOOPS_WORK", 10**6)  # a table of the same width, sooner
    shapes = ("--shape", "1,4096,4096", "--shape", "1000,1,1000")
    options = ("--repeat", 3, "--threads", 1)
    out, _ = run("profile", *shapes, "--activation", activation, *options, columns=80)
    tables = out.partition("\nY, float32")[2]
    assert "1,4096,4096" in tables
    assert "…" not in tables
    assert max(map(len, tables.splitlines())) <= 80


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "--shape 1,2",
            "--shape: expected S,M,N, positive whole numbers such as 64,784,128, got '1,2'",
        ),
        ("--shape 1,0,2", "--shape: expected S,M,N, positive whole numbers"),
        ("--shape 1,2,3 --layers 4,5", "expected one of --shape, --model and --layers"),
        ("--layers 4", "--layers: expected at least two sizes, got '4'"),
        ("--model nowhere.safetensors", "--model: "),
        ("--dtype float16", "--dtype: expected one of float32, float64, got 'float16'"),
        ("--peers numpy", "--peers: expected one of torch, jax, got 'numpy'"),
        ("--activation step", "--activation: expected one of "),
        ("--roofline roof.pdf", "--roofline: expected a name ending in .png or .svg"),
        ("--sweep no/where.png", "--sweep: cannot write no/where.png: no folder no"),
        ("--sweep s.png --layers 4,5", "--sweep has shapes of its own: expected no --shape"),
        ("--json out.csv", "--json: expected a name ending in .json"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_measured(args, message, monkeypatch):
    monkeypatch.setattr(profile, "run", None)
    out, error = run("profile", *args.split(), status=2)
    assert error.startswith(f"fastlinear profile: {message}")
    assert out == ""


# ---- explain -------------------------------------------------------------------------------------

LOOP = Loop("row", ("vmovups (%rsi), %zmm1", "vfmadd231ps %zmm1, %zmm2, %zmm0"), ("%rsp",))


@pytest.fixture
def _quick_code(monkeypatch):
    monkeypatch.setattr(assembly, "READABLE", True)
    monkeypatch.setattr(assembly, "product_code", lambda kernel, dtype: [LOOP])


@pytest.mark.usefixtures("_quick_code")
@pytest.mark.parametrize("kernel", ["Y", "dW", "db", "dX"])
def test_explain(kernel, monkeypatch):
    times = CompileTimes(12.0, 0.25, 1e-6)
    monkeypatch.setattr("fastlinear.profile.compiletime.compile_times", lambda case: times)
    out, _ = run("explain", kernel, "--shape", "2,3,5", "--asm")
    terms, shape = {
        "Y": (3, "2 x 5"), "dW": (2, "5 x 3"), "db": (2, "1 x 5"), "dX": (5, "2 x 3")
    }[kernel]  # fmt: skip
    assert f"{shape} sums of {terms} terms" in out
    assert f"def {explain.FUNCTIONS[kernel]}(" in out
    assert f"BLOCK = {sizes.BLOCK}\n" in out
    for line in ("nothing compiled yet  12 s", "from the disk cache   250 ms", LOOP.lines[1]):
        assert line in out
    assert "│    64 │    1 │     1 │   1 │     1 │      0 │     0 │      0 │      2 │" in out


BLOCKS = f"{sizes.ABREAST} of the sum's blocks {'in turns' if sizes.BLOCKS_IN_TURNS else 'abreast'}"
CROWDED = "one tile after another" if sizes.CROWDED_BLOCKS == 1 else BLOCKS
FEW = "Tiles of 4 x" if sizes.DISTANT_ROWS >= 4 else "B is transposed to scratch"
TILES = "two tiles in turns" if sizes.REGISTERS == 32 else "transposed in registers on its way."
# NumPy's dY begins 16 bytes into a cache line.
STRADDLING = "B is copied" if sizes.STRADDLED_ROWS <= 300 else "B is read where it stands: it fits"
LED = "The first 12 columns go first" if sizes.LED_ROWS > 8 else "8 x 1024 sums"
MORE_ROWS = max(sizes.PAIRED_ROWS, sizes.DISTANT_ROWS + 1)
EARLY = "asked for early" if sizes.FETCHED else "B is"


@pytest.mark.parametrize(
    ("quantity", "shape", "said"),
    [
        ("Y", (64, 300, 128), "C = A B: 64 x 128 sums of 300 terms|B is read where it stands: it"),
        ("Y", (512, 1024, 2048), "B is copied to scratch"),
        ("Y", (2, 2048, 2048), "partial sums rest in scratch"),
        ("dX", (64, 300, 128), "B is transposed to scratch"),
        ("dX", (1, 20, 12), "B is transposed in registers on its way."),
        ("dX", (1, 1024, 2048), CROWDED),
        ("dX", (4, 300, 128), FEW),
        ("dX", (1, 1030, 1030), TILES),
        ("dW", (4096, 8, 4), "Tiles of 4 x|2 of the sum's blocks abreast"),
        ("dW", (64, 300, 300), "C^T = B^T A^T|A is brought to scratch"),
        ("dW", (64, 300, 304), STRADDLING),
        ("dW", (64, 8, 1024), LED),
        ("dW", (2000, 300, 3), "Turned round, 300 rows at a time"),
        ("dX", (1, 2048, 2048), f"{CROWDED}|{EARLY}"),
        ("Y", (1, 2048, 2048), f"{sizes.STREAM_STEPS} terms of|{EARLY}"),
        ("Y", (2, 2048, 2048), f"{sizes.STREAM_STEPS} terms of"),
        ("dX", (MORE_ROWS, sizes.VECTOR_BYTES // 4, 8), "Two tiles go together"),
        ("Y", (sizes.ROWS[1] + 1, 8, sizes.VECTOR_BYTES // 4), "Two tiles go together"),
    ],
)
def test_choices(quantity, shape, said):
    text = "\n".join(choices(Case(quantity, *shape)))
    assert all(part in text for part in said.split("|")), text


def test_every_size_is_explained():
    shown = {name: value for name, value, _ in explain.sizes_and_reasons()}
    expected = {name: value for name, value in vars(sizes).items() if name.isupper()}
    assert shown == expected


def test_explain_where_the_code_cannot_be_read(monkeypatch):
    monkeypatch.setattr(assembly, "READABLE", False)
    out, _ = run("explain", "Y", "--no-times")
    assert "can be read for x86-64 only" in out
    assert "Compile time" not in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("Z", "KERNEL: expected one of Y, dW, db, dX, got 'Z'"),
        ("Y --shape 1,2", "--shape: expected S,M,N"),
        ("Y --dtype half", "--dtype: expected one of float32, float64"),
    ],
)
def test_explain_wrong_usage(args, message):
    _, error = run("explain", *args.split(), status=2)
    assert error.startswith(f"fastlinear explain: {message}")
