"""The disk cache in real processes: never stale, never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import fastlinear

resource = pytest.importorskip("resource", reason="limits the size of files")

# Two small kernels. The sum of 600 squares starts with 2^24, in whose block float32 loses the ones
# that follow: what remains is 600 less the terms of one block. And w - 0.5 g = 2 - 4.
SCRIPT = """
import numpy as np
from fastlinear.kernels import reductions, updates
x = np.ones(600, np.float32)
x[0] = 4096
w, g = np.full(3, 2, np.float32), np.full(3, 8, np.float32)
updates.sgd(w, g, 0.5, 0.0)
print(reductions.squared_error(x, np.zeros_like(x)) - 2**24, w[0])
"""
RIGHT = "88.0 -2.0"


class Result(NamedTuple):
    printed: str
    compiled: bool
    warnings: int


class Installation:
    """A copy of the package, with a home folder of its own, to run scripts with."""

    def __init__(self, folder: Path, package: Path, *left_out: str) -> None:
        self.folder, self.home = folder, folder / "home"
        self.package = folder / "fastlinear"
        self.home.mkdir()
        shutil.copytree(package, self.package, ignore=shutil.ignore_patterns(*left_out))

    def start(self, prologue: str = "", **options) -> subprocess.Popen:
        """Start the script in a new process."""
        dropped = ("NUMBA", "XDG", "FASTLINEAR", "PYTHON")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        environment |= {"HOME": str(self.home), "PYTHONPATH": str(self.folder)}
        environment |= options.pop("environment", {})
        return subprocess.Popen(
            [sys.executable, "-c", prologue + SCRIPT],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment,
            **options,
        )

    def run(self, prologue: str = "", **options) -> Result:
        """Run the script; tell what it printed and whether it compiled."""
        return finish(self.start(prologue, **options))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text in a source file."""
        path = self.package / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")

    def files(self) -> list[Path]:
        """Return what is in the cache folder beside the sources, but for Python's own files."""
        folder = self.package / "kernels" / "__pycache__"
        return sorted(p for p in folder.iterdir() if p.suffix != ".pyc")

    def close_folder(self) -> None:
        """Make the folder beside the sources unusable, for root as well."""
        folder = self.package / "kernels" / "__pycache__"
        shutil.rmtree(folder, ignore_errors=True)
        folder.write_text("", encoding="utf-8")


def finish(process: subprocess.Popen) -> Result:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return Result(out.strip(), "compiling" in err, err.count("Warning"))


COLD, WARM = Result(RIGHT, True, 0), Result(RIGHT, False, 0)
UNCACHED = Result(RIGHT, True, 1)


def fresh(folder: Path) -> Installation:
    """Return an installation that has compiled nothing."""
    return Installation(folder, Path(fastlinear.__file__).parent, "*.kernel")


@pytest.fixture
def installation(tmp_path):
    return fresh(tmp_path)


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """An installation that has run the script."""
    installation = fresh(tmp_path_factory.mktemp("used"))
    assert installation.run() == COLD
    assert installation.run() == WARM
    return installation


@pytest.fixture
def warm(tmp_path, used):
    """A copy of it, whose cache holds what the script needs."""
    return Installation(tmp_path, used.package)


# --- never stale ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param(
            "kernels/fma.py",
            "builder.fma(*args)",
            "builder.fma(args[0], args[1], builder.fneg(args[2]))",
            " 2.0",
            id="callee",
        ),
        pytest.param("kernels/sizes.py", "BLOCK = 512", "BLOCK = 256", "344.0 -2.0", id="size"),
        pytest.param("kernels/jit.py", '"nogil": True', '"nogil": False', RIGHT, id="flag"),
    ],
)
def test_an_edit_anywhere_compiles_anew(warm, file, old, new, expected):
    warm.edit(file, old, new)
    result = warm.run()
    assert result.compiled
    assert result.printed.endswith(expected)
    warm.edit(file, new, old)
    assert warm.run() == WARM, "what was compiled before is still there"


def test_an_edit_under_a_running_process_does_not_name_what_it_compiles(installation):
    """As by an upgrade: the process goes on with the sources that it has imported."""
    old, new = "builder.fma(*args)", "builder.fma(args[0], args[1], builder.fneg(args[2]))"
    prologue = f"""
import pathlib, fastlinear
path = pathlib.Path(fastlinear.__file__).parent / "kernels" / "fma.py"
path.write_text(path.read_text().replace({old!r}, {new!r}))
"""
    assert installation.run(prologue) == COLD
    result = installation.run()
    assert result.compiled
    assert result.printed.endswith(" 2.0")


@pytest.mark.parametrize(
    "prologue",
    [
        "import numba; numba.__version__ += '.1'\n",
        "import numba, llvmlite; llvmlite.__version__ += '.1'\n",
        "import numba, numpy; numpy.__version__ += '.1'\n",
    ],
    ids=["numba", "llvmlite", "numpy"],
)
def test_another_version_of_a_library_compiles_anew(warm, prologue):
    assert warm.run(prologue) == COLD
    assert warm.run() == WARM


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("NUMBA_CPU_NAME", "generic", COLD),
        ("NUMBA_OPT", "1", COLD),
        ("NUMBA_NUM_THREADS", "1", WARM),
    ],
)
def test_settings_compile_anew_only_where_they_must(warm, setting, value, expected):
    assert warm.run(environment={setting: value}) == expected
    assert warm.run() == WARM


EVERYTHING = """
import sys, numba.core.event as event, numpy as np, fastlinear as fl
X, labels = np.ones((4, 3), np.float32), np.array([0, 1, 0, 1])
with event.install_recorder("numba:compile") as recorder:
    for name in ("tanh", "gelu"):  # differentiated from its output, and from its input
        net = fl.MLP([3, 4, 2], name, rng=0)
        loss, optimizer = fl.CrossEntropyLoss(), fl.Adam(net)
        loss.forward(net.forward(X), labels)
        net.backward(loss.backward(), accumulate=True)
        optimizer.step()
        fn, params = net.as_jit()
        fn(params, X)
        forward, backward, params, grads = net.jit_backward()
        y, kept = forward(params, X)
        backward(params, kept, y, grads)
print([str(e.data["dispatcher"]) for _, e in recorder.buffer if e.is_start])
print("numba.np.linalg" in sys.modules)
"""


def test_a_second_process_compiles_nothing():
    """Neither what is called from Python, nor what was first compiled as part of something else.

    Nor does it import what Numba compiles NumPy's functions from.
    """
    command = [sys.executable, "-c", EVERYTHING]
    for _ in range(2):
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert printed.stdout.split() == ["[]", "False"]


TAKES_A_FUNCTION = """
import numba, numpy as np, fastlinear as fl
from fastlinear.kernels import loops
h, X = fl.ReLU().pair.h, np.array([[-1, 2]], np.float32)
@numba.njit
def apply(X, Y):
    loops.activation_forward(h, X, np.float32(0), np.float32(0), Y)
apply(X, X)
print(*X[0])
"""


def test_a_kernel_that_takes_a_function_is_found_again(tmp_path):
    """The function that comes out of the file is a copy of the one that is passed."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "FASTLINEAR_QUIET": "1"}
    command = [sys.executable, "-c", TAKES_A_FUNCTION]
    for _ in range(2):
        printed = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        assert printed.stdout.strip() == "0.0 2.0"


CACHED_BY_THE_USER = """
import numba, numpy as np
from fastlinear.kernels import tiled
@numba.njit(cache=True)
def product(X, W, b, Y):
    tiled.linear_forward(X, W, b, Y)
Y = np.empty((3, 2), np.float32)
product(np.ones((3, 4), np.float32), np.ones((2, 4), np.float32), np.ones(2, np.float32), Y)
print(*Y[0], sum(product.stats.cache_hits.values()))
"""


def test_a_function_in_the_users_own_cache_starts_the_threads(tmp_path):
    """It is all that a later process runs: no kernel is loaded that would start them."""
    script = tmp_path / "script.py"
    script.write_text(CACHED_BY_THE_USER, encoding="utf-8")
    environment = {**os.environ, "FASTLINEAR_QUIET": "1"}
    environment |= {"PYTHONPATH": str(Path(fastlinear.__file__).parents[1])}
    environment.pop("NUMBA_CACHE_DIR", None)  # the script's own cache lies beside it
    for hits in (0, 0, 1):  # with cold kernels, with warm ones, with nothing left to compile
        if hits == 0:
            shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        printed = subprocess.run(
            [sys.executable, script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert printed.stdout.split() == ["5.0", "5.0", str(hits)]


# --- never in the way -----------------------------------------------------------------------------


def test_read_only_installation(installation):
    installation.close_folder()
    assert installation.run() == COLD
    assert installation.run() == WARM
    assert any(installation.home.rglob("*.kernel"))


def test_kernels_in_a_folder_that_takes_no_more(warm):
    """As in an image that was warmed up, and runs read-only."""
    prologue = (
        "import tempfile\n"
        "def read_only(*args, **options): raise OSError('Read-only file system')\n"
        "tempfile.TemporaryFile = read_only\n"
    )
    environment = {"HOME": os.devnull}
    assert warm.run(prologue, environment=environment) == WARM
    for path in warm.files():
        path.unlink()
    assert warm.run(prologue, environment=environment) == Result(RIGHT, False, warnings=1)


def test_a_folder_of_ones_own(warm):
    environment = {"NUMBA_CACHE_DIR": str(warm.folder / "elsewhere")}
    assert warm.run(environment=environment) == COLD
    assert warm.run(environment=environment) == WARM


@pytest.mark.parametrize("home", ["unusable", "unknown"])
def test_no_folder_at_all(installation, home):
    installation.close_folder()
    prologue = ""
    if home == "unknown":  # as for a user without an entry in the password file
        prologue = (
            "import pathlib\n"
            "def home(): raise RuntimeError('Could not determine home directory.')\n"
            "pathlib.Path.home = home\n"
        )
    result = installation.run(prologue, environment={"HOME": os.devnull})
    assert result == Result(RIGHT, compiled=False, warnings=1)  # it warns instead of announcing


def test_full_disk(installation):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    before = installation.run(preexec_fn=limit, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    assert before == UNCACHED
    assert installation.files() == []
    assert installation.run() == COLD


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
        lambda data: os.urandom(len(data)),
    ],
    ids=["empty", "short", "truncated", "one bit", "noise"],
)
def test_damaged_files(warm, damage):
    for path in warm.files():
        path.write_bytes(damage(path.read_bytes()))
    assert warm.run() == COLD
    assert warm.run() == WARM


def test_a_file_that_cannot_be_read(warm):
    for path in warm.files():
        path.unlink()
        path.mkdir()
    assert warm.run() == UNCACHED


def test_eight_processes_at_once(installation):
    processes = [installation.start() for _ in range(8)]
    assert {finish(p).printed for p in processes} == {RIGHT}
    files = installation.files()
    assert len(files) == len({p.stem.partition("-")[0] for p in files})
    assert all(p.suffix == ".kernel" for p in files)
    assert installation.run() == WARM
