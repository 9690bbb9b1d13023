"""Threads and forks, in real processes: nothing aborts, and every result is the same."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap

import pytest

PROLOGUE = """
import os, threading
import numpy as np
import fastlinear as fl
rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (300, 200)).astype(np.float32)
net = fl.MLP([200, 300, 50], activation="gelu", rng=0)
def step(net):
    Y = net.forward(X)
    return Y.copy(), net.backward(np.ones_like(Y)), net.layers[0].grads["weight"].copy()
expected = step(net)
def same(result):
    return all(a.tobytes() == b.tobytes() for a, b in zip(result, expected))
"""


def run(script: str, **environment: str) -> str:
    """Run a script in a new process; return what it printed, or fail with what it said."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_python_threads_at_once():
    output = run("""
        import copy
        good = []
        def work():
            own = copy.deepcopy(net)
            good.extend(same(step(own)) for _ in range(30))
        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(good), all(good))
    """)
    assert output == "180 True"


def test_one_network_predicts_for_many_threads():
    output = run("""
        good = []
        def work():
            good.extend(net.predict(X).tobytes() == expected[0].tobytes() for _ in range(30))
        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(good), all(good))
    """)
    assert output == "180 True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children():
    output = run("""
        children = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if all(same(step(net)) for _ in range(5)) else 1)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        print(codes, same(step(net)))
    """)
    assert output == "[0, 0, 0] True"


@pytest.mark.skipif(
    not (sys.platform in ("linux", "win32") and platform.machine() in ("x86_64", "AMD64")),
    reason="tbb has no wheel for this system",
)
def test_tbb_is_found():
    """Without the user doing anything, and without help from the environment."""
    output = run("import numba; print(numba.threading_layer())", LD_LIBRARY_PATH="")
    assert output == "tbb"


def test_number_of_threads():
    output = run("""
        results = []
        for k in (1, 2):
            fl.set_num_threads(k)
            results.append((fl.get_num_threads(), same(step(net))))
        print(results)
    """, NUMBA_NUM_THREADS="2")  # fmt: skip
    assert output == "[(1, True), (2, True)]"


def test_instruction_sets_agree():
    """The widest vectors and AVX2 give the same bits."""
    script = """
        import hashlib
        from fastlinear.kernels import sizes
        digest = hashlib.sha256()
        for dtype in (np.float32, np.float64):
            for S, M, N in [(1, 70, 50), (9, 600, 33), (40, 35, 130), (1, 1100, 700), (300, 70, 5)]:
                draw = lambda *s: rng.uniform(-1, 1, s).astype(dtype)
                for act in ("relu", "gelu", "tanh"):
                    layer = fl.Linear(M, N, activation=act, dtype=dtype, rng=1)
                    x = draw(S, M)
                    layer.forward(x)
                    dX = layer.backward(draw(S, N))
                    for a in (layer.predict(x), dX, *layer.grads.values()):
                        digest.update(np.ascontiguousarray(a).tobytes())
        print(sizes.VECTOR_BYTES, digest.hexdigest())
    """
    width, digest = run(script).split()
    features = "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+f16c"
    if int(width) < 64:
        pytest.skip(f"this CPU's vectors have {width} bytes: nothing wider than AVX2 to compare")
    other, same = run(script, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=features).split()
    assert (int(other), same) == (32, digest)
