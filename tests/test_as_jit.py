"""Networks inside the user's own compiled code: the bits of `predict`, any caller.

Each sequence of layers costs a compilation, and so does each kind of argument: the networks here
share theirs where they can.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from bits import same
from networks import sample, users_activation
from numba import carray, cfunc, njit, prange, types
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys
from shapes import DTYPES, around, blank, layouts, tile_width

import fastlinear as fl
from fastlinear.kernels import sizes
from fastlinear.layers.activation import NAMES

ACTIVATIONS = {
    **NAMES,
    "threshold": lambda: fl.Threshold(0.1, -0.2),
    "user's": users_activation,
}
PAIRS = list(zip(list(ACTIVATIONS)[::2], list(ACTIVATIONS)[1::2], strict=True))

F4 = np.float32


def mlp(*widths, dtype=F4, rng=0, **options):
    """A network of two layers: all of them share one function."""
    assert len(widths) == 3
    return fl.MLP(list(widths), dtype=dtype, rng=rng, **options)


# --- the same bits as predict ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_every_activation(names, dtype):
    first, second = (ACTIVATIONS[name]() for name in names)
    net = fl.Sequential(
        fl.Linear(5, 9, activation=first, dtype=dtype, rng=0),
        fl.Linear(9, 7, activation=second, dtype=dtype, rng=1),
    )
    fn, params = net.as_jit()
    X = 4 * sample(4, 5, dtype=dtype)
    assert same(fn(params, X), net.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_shape(dtype):
    wide = around(tile_width(dtype)) + around(tile_width(dtype) // 4) + (70,)
    long = (*around(sizes.BLOCK), 2 * sizes.BLOCK + 6)
    rows = (0, 1, 2, 3, *around(sizes.ROWS[0]), 61)
    cases = [(3, 19, n) for n in wide] + [(2, m, 21) for m in long] + [(s, 19, 70) for s in rows]
    for S, M, N in cases:
        if M == 0 or N == 0:
            continue
        net = mlp(M, N, 2, dtype=dtype)
        fn, params = net.as_jit()
        X = sample(S, M, dtype=dtype)
        expected = net.predict(X)
        assert same(fn(params, X), expected), (S, M, N)
        for s in range(min(S, 3)):
            assert same(fn(params, X[s]), expected[s]), (S, M, N)


@pytest.mark.parametrize("width", [3000, 40_000])
def test_scratch_on_the_stack_and_on_the_heap(width):
    assert (3 * 4 * width > sizes.NETWORK_STACK_BYTES) == (width == 40_000)
    net = mlp(2, width, 3)
    fn, params = net.as_jit()
    X = sample(5, 2)
    assert same(fn(params, X), net.predict(X))


def test_layers_of_every_kind():
    inner = fl.Sequential(fl.Tanh(), fl.Linear(8, 6, bias=False, activation="gelu", rng=1))
    net = fl.Sequential(fl.Softmax(), fl.Linear(4, 8, rng=0), inner, fl.Softmax())
    fn, params = net.as_jit()
    X = sample(9, 4)
    assert same(fn(params, X), net.predict(X))


def test_a_layer_by_itself():
    layer = fl.Linear(4, 3, rng=0)
    fn, params = layer.as_jit()
    X = sample(6, 4)
    assert same(fn(params, X), layer.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_of_input_and_output(dtype):
    net = mlp(5, 70, 3, dtype=dtype)
    fn, params = net.as_jit()
    X = sample(8, 5, dtype=dtype)
    expected = net.predict(X)
    inputs, outputs = layouts(X), layouts(blank(8, 3, dtype=dtype))
    strided = ("strided", "negative")  # one layout for Numba
    cases = [("C", "F"), ("F", "C"), *((a, b) for a in strided for b in strided)]
    for of_x, of_out in cases:
        out = outputs[of_out]
        out[...] = np.nan
        assert fn(params, inputs[of_x], out) is out
        assert same(np.ascontiguousarray(out), expected), (of_x, of_out)
    assert same(fn(params, np.repeat(X[0], 2)[::2]), expected[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_of_weights(dtype):
    net = mlp(5, 70, 3, dtype=dtype)
    fn, params = net.as_jit()
    X = sample(8, 5, dtype=dtype)
    for layout in ("C", "strided", "negative"):
        other = tuple(layouts(a)[layout] if a.ndim == 2 else a for a in params)
        for rows in (8, 1):  # one sample takes another kernel
            assert same(fn(other, X[:rows]), net.predict(X[:rows]))


def test_nan_and_infinity_pass_through():
    net = mlp(3, 20, 2)
    fn, params = net.as_jit()
    for value in (np.nan, np.inf, -np.inf):
        X = sample(2, 3)
        X[0, 1] = value
        assert same(fn(params, X), net.predict(X))


# --- one function for many networks ---------------------------------------------------------------


def test_other_weights_and_sizes_compile_nothing():
    first = mlp(3, 4, 2)
    fn, params = first.as_jit()
    x = sample(3)
    before = fn(params, x)
    compiled = list(fn.overloads)
    other = mlp(6, 33, 5, bias=False, rng=1)
    same_fn, other_params = other.as_jit()
    assert same_fn is fn
    assert same(fn(other_params, x.repeat(2)), other.predict(x.repeat(2)))
    assert list(fn.overloads) == compiled

    first.params["0.weight"][...] = 0
    assert same(fn(params, x), before), "params are a snapshot"
    assert same(fn(first.as_jit()[1], x), first.predict(x))


def test_parameters_of_activations_are_run_time_values():
    for alpha in (0.5, 2.0):
        layer = fl.Linear(3, 2, activation=fl.ELU(alpha), rng=0)
        fn, params = layer.as_jit()
        assert params[2][0] == alpha
        assert same(fn(params, sample(3)), layer.predict(sample(3)))


# --- from the user's own compiled code ------------------------------------------------------------

policy, frozen = mlp(6, 16, 2).as_jit()


@njit
def rollout(params, x, steps):
    y = np.empty(2, x.dtype)
    for _ in range(steps):
        policy(params, x, y)
        x[0] += y[0]
        x[1] += y[1]
    return x


@njit(parallel=True)
def rollouts(params, X, steps, Y):
    """The array that `policy` makes of the last x goes to Y."""
    for i in prange(len(X)):
        rollout(params, X[i], steps)
        Y[i] = policy(params, X[i])


@cfunc(types.void(types.CPointer(types.float32), types.CPointer(types.float32)))
def callback(x, y):
    policy(frozen, carray(x, (6,)), carray(y, (2,)))


def stepwise(net, x, steps):
    for _ in range(steps):
        x[:2] += net.predict(x)
    return x


def test_in_njit_and_prange():
    net = mlp(6, 16, 2, rng=3)
    params = net.as_jit()[1]
    X = sample(300, 6)
    expected = np.array([stepwise(net, x.copy(), 20) for x in X])
    assert same(rollout(params, X[0].copy(), 20), expected[0])
    Y = np.empty((300, 2), F4)
    rollouts(params, X, 20, Y)
    assert same(X, expected)
    assert same(Y, net.predict(expected))


def test_in_cfunc():
    net = mlp(6, 16, 2)
    x, y = sample(6), np.empty(2, F4)
    pointers = (a.ctypes.data_as(callback.ctypes.argtypes[0]) for a in (x, y))
    callback.ctypes(*pointers)
    assert same(y, net.predict(x))


def test_allocates_nothing_with_out():
    params = mlp(6, 16, 2).as_jit()[1]
    x = sample(6)
    rollout(params, x, 1)
    _nrt_python.memsys_enable_stats()
    try:
        allocated = []
        for steps in (1, 100):
            before = rtsys.get_allocation_stats().alloc
            rollout(params, x, steps)
            allocated.append(rtsys.get_allocation_stats().alloc - before)
    finally:
        _nrt_python.memsys_disable_stats()
    assert allocated[0] == allocated[1]


def test_counts_no_references_but_that_of_the_result():
    """Each would be a locked instruction, which waits for all that was computed before."""
    cached, params = mlp(6, 16, 2).as_jit()
    fn = njit(cached.py_func)  # code from the disk cache cannot be inspected
    y = np.empty(2, F4)
    references = sys.getrefcount(y)
    assert fn(params, sample(6), y) is y
    assert sys.getrefcount(y) == references
    ((args, code),) = fn.inspect_llvm().items()
    name = fn.overloads[args].fndesc.mangled_name
    body = code[code.index(f"@{name}(") :].split("\n}\n")[0]
    assert (body.count("@NRT_incref("), body.count("@NRT_decref(")) == (1, 0)


CACHED = """
import numba, numpy as np
import fastlinear as fl

fn, params = fl.MLP([3, 4, 2], rng=0).as_jit()

@numba.njit(parallel=True, cache=True)
def run(params, X, Y):
    for i in numba.prange(len(X)):
        fn(params, X[i], Y[i])

X = np.ones((64, 3), np.float32)
Y = np.empty((64, 2), np.float32)
run(params, X, Y)
print(sum(run.stats.cache_hits.values()), np.array_equal(Y, fn(params, X)))
try:
    fn(params, X[:, :2])
except ValueError as error:
    print(error.args)
"""


def test_in_a_function_that_the_user_caches(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(CACHED, encoding="utf-8")
    for hits in (0, 1):
        printed = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, check=True, timeout=300
        ).stdout.splitlines()
        assert printed[0] == f"{hits} True"
        assert printed[1] == "('x or params: layer', 0, 'expected columns', 3, 'got', 2)"


# --- what does not fit ----------------------------------------------------------------------------


def test_wrong_shapes_raise():
    fn, params = mlp(3, 4, 2).as_jit()
    x, X = sample(3), sample(5, 3)
    with pytest.raises(ValueError, match="layer', 0, 'expected columns', 3, 'got', 4"):
        fn(params, sample(4))
    with pytest.raises(ValueError, match="layer', 1, 'expected columns', 3, 'got', 4"):
        fn((*params[:3], *params[:3]), x)
    for given, out, shapes in (
        (x, blank(3, dtype=F4), r"\(1, 2\), 'got', \(1, 3\)"),
        (X, blank(4, 2, dtype=F4), r"\(5, 2\), 'got', \(4, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"out: expected rows and columns', {shapes}"):
            fn(params, given, out)
        assert np.isnan(out).all()
    with pytest.raises(ValueError, match="layer', 0, 'expected biases', 4, 'got', 2"):
        fn((params[0], params[4], *params[2:]), x)
    with pytest.raises(ValueError, match="expected p and q, two numbers"):
        fn((*params[:-1], np.zeros(1, F4)), x)
    nothing = np.empty((0, 0), F4, order="F")
    with pytest.raises(ValueError, match="expected a weight for a Linear layer"):
        fn((*params[:-3], nothing, *params[-2:]), x)
    softmax, none = fl.Sequential(fl.Softmax(), fl.Linear(3, 2, rng=0)).as_jit()
    with pytest.raises(ValueError, match="expected no weight for a Softmax layer"):
        softmax((np.ones((3, 3), F4, order="F"), *none[1:]), X)


def test_wrong_types_do_not_compile():
    fn, params = mlp(3, 4, 2).as_jit()
    x = sample(3)
    with pytest.raises(TypingError, match="expected float32, the dtype of params, got float64"):
        fn(params, x.astype(np.float64))
    with pytest.raises(TypingError, match="out: expected a 1-D array of float32 to write, got"):
        fn(params, x, np.empty(2))
    with pytest.raises(TypingError, match="out: expected a 1-D array"):
        fn(params, x, np.empty((1, 2), F4))
    with pytest.raises(TypingError, match="one or two dimensions"):
        fn(params, x.reshape(1, 1, 3))
    for wrong in (params[:3], (*params, *params[-3:]), params[:-1]):
        with pytest.raises(TypingError, match=r"expected W, b and \(p, q\) for 2 layers, got"):
            fn(wrong, x)
    for wrong in (list(params), params[0], None):
        with pytest.raises(TypingError, match="params: expected a tuple of arrays, got"):
            fn(wrong, x)
    frozen_out = np.empty(2, F4)
    frozen_out.flags.writeable = False
    with pytest.raises(TypingError, match="out: expected a 1-D array of float32 to write"):
        fn(params, x, frozen_out)


def test_networks_that_cannot():
    with pytest.raises(ValueError, match="gives it a dtype"):
        fl.ReLU().as_jit()

    class Own(fl.Linear):
        pass

    class Other(fl.Module):
        dtype = np.dtype(F4)
        forward = backward = predict = arguments = None

    assert Own(2, 3).as_jit()[0] is fl.Linear(2, 3).as_jit()[0]
    with pytest.raises(TypeError, match="Other: expected Linear"):
        Other().as_jit()
