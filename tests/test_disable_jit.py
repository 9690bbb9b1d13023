"""NUMBA_DISABLE_JIT=1: nothing compiles, and every bit is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bits import same
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import DTYPES, uniform

import fastlinear as fl
from fastlinear.kernels import loops, tiled
from fastlinear.kernels.fma import exact_fma, fma
from fastlinear.kernels.jit import compiled

ACTIVATIONS = ("relu", "elu", "gelu", "mish", "tanh", "log_sigmoid", "softplus")
# Whose multiple of 1/ln 2 lies halfway between two integers once it is rounded, but not before.
TIES = {fl.Tanh: 18.541687079978537, fl.GELU: -4.162773055788489, fl.Sigmoid: -120.26103582715051}


def results() -> dict[str, np.ndarray]:
    """Run a little of everything: layers, formulations, losses, optimisers, compiled networks."""
    found = {}
    for dtype in DTYPES:
        rng = np.random.default_rng(0)
        X, labels = 8 * uniform(rng, 4, 3, dtype=dtype), np.array([0, 1, 2, 0])
        for formulation in ("tiled", "loops", "blas"):
            for name in ACTIVATIONS:
                net = fl.MLP([3, 5, 3], name, dtype=dtype, rng=0, formulation=formulation)
                loss, optimizer = fl.CrossEntropyLoss(), fl.AdamW(net, lr=0.1)
                value = loss.forward(net.forward(X), labels)
                dX = net.backward(loss.backward())
                optimizer.step()
                kept = {"loss": np.array(value), "dX": dX, **net.grads, **net.params}
                case = f"{formulation} {name} {np.dtype(dtype)}"
                found |= {f"{case} {key}": array for key, array in kept.items()}
        net = fl.Sequential(
            fl.Linear(3, 5, activation="gelu", dtype=dtype, rng=0),
            fl.Tanh(),
            fl.Linear(5, 4, bias=False, dtype=dtype, rng=1),
            fl.Softmax(),
        )
        fn, params = net.as_jit()
        forward, backward, params, grads = net.jit_backward()
        y, kept = forward(params, X)
        dx = np.empty_like(X)
        backward(params, kept, y - 1, grads, dx)
        arrays = (fn(params, X), fn(params, X[0], np.empty(4, dtype)), y, dx, *grads)
        found |= {f"as_jit {np.dtype(dtype)} {i}": array for i, array in enumerate(arrays)}
        for kernels in (tiled, loops):
            arrays = products(kernels, X, dtype)
            found |= {f"{kernels.__name__} {array.shape} {dtype}": array for array in arrays}
    for activation, tie in TIES.items():
        layer = activation()
        found[f"{layer} {tie}"] = layer.forward(np.array([[tie]]))
        found[f"{layer}' {tie}"] = layer.backward(np.ones((1, 1)))
    return found


def products(kernels, X, dtype) -> tuple[np.ndarray, ...]:
    """Call the four sums of a module."""
    W, b = uniform(np.random.default_rng(1), 5, 3, dtype=dtype), np.ones(5, dtype)
    Y, dW, db, dX = (np.empty(shape, dtype) for shape in ((4, 5), (5, 3), 5, (4, 3)))
    kernels.linear_forward(X, W, b, Y)
    kernels.linear_backward_weight(Y, X, dW)
    kernels.linear_backward_bias(Y, db)
    kernels.linear_backward_input(Y, W, dX)
    return Y, dW, db, dX


def interpret(*arguments: str) -> None:
    """Run Python where nothing compiles."""
    subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        timeout=300,
    )


def test_same_bits(tmp_path):
    path = tmp_path / "interpreted.npz"
    script = (
        f"import numpy as np, test_disable_jit as t; np.savez({str(path)!r}, **t.results())\n"
        "assert type(t.fma) is type(t.exact_fma), 'it compiled'"
    )
    interpret("-c", script)
    with np.load(path) as interpreted:
        for name, expected in results().items():
            assert same(interpreted[name], expected), name


def test_other_tests_interpreted():
    """What does not fit is told just as well, and the examples of docstrings run."""
    files = ["test_jit_backward.py", "test_nopython_kernels.py"]
    chosen = ["-k", "not test_same_bits and not test_kernels", "-p", "no:cacheprovider", "-q"]
    interpret("-m", "pytest", *files, *chosen)


@compiled
def compiled_fma(a, b, c):
    return fma(a, b, c)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_fma(dtype):
    """Ties, subnormal results, overflow, cancellation, zeros of both signs, what is not finite."""
    info = np.finfo(dtype)
    one, tiny, huge, eps = dtype(1), info.smallest_subnormal, info.max, info.eps
    values = [0, -0.0, one, -one, 1 + eps, 1 - eps / 2, tiny, -tiny, info.tiny, huge, -huge]
    values += [eps / 2, 3 * tiny, np.inf, np.nan, dtype(0.1), 2 ** dtype(info.maxexp // 2)]
    with np.errstate(all="ignore"):
        for a in map(dtype, values):
            for b in map(dtype, values):
                for c in map(dtype, values):
                    assert_same(exact_fma(a, b, c), compiled_fma(a, b, c), (a, b, c))


@pytest.mark.parametrize(("dtype", "width"), [(np.float32, 32), (np.float64, 64)])
def test_exact_fma_of_any_floats(dtype, width):
    numbers = st.floats(width=width).map(dtype)

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(numbers, numbers, numbers)
    def check(a, b, c):
        with np.errstate(all="ignore"):
            assert_same(exact_fma(a, b, c), compiled_fma(a, b, c), (a, b, c))

    check()


def assert_same(got, expected, case):
    assert got.dtype == case[0].dtype
    assert same(np.asarray(got), np.asarray(expected, got.dtype)), case
