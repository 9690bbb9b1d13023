"""Networks and kernels inside the user's own compiled code: the bits of the layers, any caller."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numba import carray, cfunc, njit, prange, types
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys
from shapes import DTYPES, around, blank, layouts, tile_width, uniform

import fastlinear as fl
from fastlinear.kernels import loops, sizes, tiled
from fastlinear.layers.activation import NAMES

ACTIVATIONS = {**NAMES, "threshold": lambda: fl.Threshold(0.1, -0.2)}


def sample(*shape, dtype=np.float32, seed=0):
    return uniform(np.random.default_rng(seed), *shape, dtype=dtype)


def same(a, b):
    """Whether two arrays hold the same bits but for the sign and payload of NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def cube(x):
    return x**3


def cube_prime(x):
    return 3 * x**2


# --- the same bits as predict ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name, dtype):
    net = fl.MLP([5, 9, 3], ACTIVATIONS[name](), dtype=dtype, rng=0)
    fn, params = net.as_jit()
    X = sample(4, 5, dtype=dtype)
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
        net = fl.MLP([M, N, N, 2], dtype=dtype, rng=0)
        fn, params = net.as_jit()
        X = sample(S, M, dtype=dtype)
        expected = net.predict(X)
        assert same(fn(params, X), expected), (S, M, N)
        for s in range(min(S, 3)):
            assert same(fn(params, X[s]), expected[s]), (S, M, N)


@pytest.mark.parametrize("width", [3000, 40_000])
def test_scratch_on_the_stack_and_on_the_heap(width):
    assert (3 * 4 * width > sizes.NETWORK_STACK_BYTES) == (width == 40_000)
    net = fl.MLP([2, width, 3], rng=0)
    fn, params = net.as_jit()
    X = sample(5, 2)
    assert same(fn(params, X), net.predict(X))


def test_layers_of_every_kind():
    inner = fl.Sequential(fl.Tanh(), fl.Linear(8, 6, bias=False, activation="gelu", rng=1))
    net = fl.Sequential(fl.Softmax(), fl.Linear(4, 8, rng=0), inner, fl.ELU(0.5), fl.Softmax())
    fn, params = net.as_jit()
    X = sample(9, 4)
    assert same(fn(params, X), net.predict(X))


def test_linear_and_users_activation():
    layer = fl.Linear(4, 3, activation=fl.Activation(cube, cube_prime), rng=0)
    fn, params = layer.as_jit()
    X = sample(6, 4)
    assert same(fn(params, X), layer.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_of_input_output_and_weights(dtype):
    net = fl.MLP([5, 70, 3], "tanh", dtype=dtype, rng=0)
    fn, params = net.as_jit()
    X = sample(8, 5, dtype=dtype)
    expected = net.predict(X)
    for x in layouts(X).values():
        for out in layouts(blank(8, 3, dtype=dtype)).values():
            assert fn(params, x, out) is out
            assert same(np.ascontiguousarray(out), expected)
    assert same(fn(params, np.repeat(X[0], 2)[::2]), expected[0])
    for layout in ("C", "strided", "negative"):
        other = tuple(layouts(a)[layout] if a.ndim == 2 else a for a in params)
        assert same(fn(other, X), expected)
        assert same(fn(other, X[0]), expected[0])


def test_nan_and_infinity_pass_through():
    net = fl.MLP([3, 20, 2], rng=0)
    fn, params = net.as_jit()
    for value in (np.nan, np.inf, -np.inf):
        X = sample(2, 3)
        X[0, 1] = value
        assert same(fn(params, X), net.predict(X))


# --- one function for many networks ---------------------------------------------------------------


def test_other_weights_and_sizes_compile_nothing():
    first = fl.MLP([3, 4, 2], "silu", rng=0)
    fn, params = first.as_jit()
    x = sample(3)
    before = fn(params, x)
    compiled = list(fn.overloads)
    other = fl.MLP([6, 33, 5], "silu", bias=False, rng=1)
    same_fn, other_params = other.as_jit()
    assert same_fn is fn
    assert same(fn(other_params, x.repeat(2)), other.predict(x.repeat(2)))
    assert list(fn.overloads) == compiled

    first.params["0.weight"][...] = 0
    assert same(fn(params, x), before), "params are a snapshot"
    assert same(fn(first.as_jit()[1], x), first.predict(x))


def test_parameters_of_activations_are_run_time_values():
    for alpha in (0.5, 2.0):
        net = fl.MLP([3, 4, 2], fl.ELU(alpha), rng=0)
        fn, params = net.as_jit()
        assert params[2][0] == alpha
        assert same(fn(params, sample(3)), net.predict(sample(3)))


# --- from the user's own compiled code ------------------------------------------------------------

policy, frozen = fl.MLP([6, 16, 2], "tanh", rng=0).as_jit()


@njit
def rollout(params, x, steps):
    y = np.empty(2, x.dtype)
    for _ in range(steps):
        policy(params, x, y)
        x[0] += y[0]
        x[1] += y[1]
    return x


@njit(parallel=True)
def rollouts(params, X, steps):
    for i in prange(len(X)):
        rollout(params, X[i], steps)


@njit(parallel=True)
def new_arrays(params, X, Y):
    for i in prange(len(X)):
        Y[i] = policy(params, X[i])


@cfunc(types.void(types.CPointer(types.float32), types.CPointer(types.float32)))
def callback(x, y):
    policy(frozen, carray(x, (6,)), carray(y, (2,)))


def stepwise(net, x, steps):
    for _ in range(steps):
        x[:2] += net.predict(x)
    return x


def test_in_njit_and_prange():
    net = fl.MLP([6, 16, 2], "tanh", rng=3)
    params = net.as_jit()[1]
    X = sample(300, 6)
    expected = np.array([stepwise(net, x.copy(), 20) for x in X])
    assert same(rollout(params, X[0].copy(), 20), expected[0])
    moved = X.copy()
    rollouts(params, moved, 20)
    assert same(moved, expected)
    Y = np.empty((300, 2), np.float32)
    new_arrays(params, X, Y)
    assert same(Y, net.predict(X))


def test_in_cfunc():
    net = fl.MLP([6, 16, 2], "tanh", rng=0)
    x, y = sample(6), np.empty(2, np.float32)
    pointers = (a.ctypes.data_as(callback.ctypes.argtypes[0]) for a in (x, y))
    callback.ctypes(*pointers)
    assert same(y, net.predict(x))


def test_allocates_nothing_with_out():
    params = fl.MLP([6, 16, 2], "tanh", rng=0).as_jit()[1]
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


# --- what does not fit ----------------------------------------------------------------------------


def test_wrong_shapes_raise():
    fn, params = fl.MLP([3, 4, 2], rng=0).as_jit()
    x, X = sample(3), sample(5, 3)
    with pytest.raises(ValueError, match="columns"):
        fn(params, sample(4))
    for given, out in ((x, blank(3, dtype=np.float32)), (X, blank(4, 2, dtype=np.float32))):
        with pytest.raises(ValueError, match="out: expected"):
            fn(params, given, out)
        assert np.isnan(out).all()
    with pytest.raises(ValueError, match="biases"):
        fn((params[0], params[4], *params[2:]), x)


def test_wrong_types_do_not_compile():
    fn, params = fl.MLP([3, 4, 2], rng=0).as_jit()
    x = sample(3)
    with pytest.raises(TypingError, match="expected float32, the dtype of params, got float64"):
        fn(params, x.astype(np.float64))
    with pytest.raises(TypingError, match="out: expected an array"):
        fn(params, x, np.empty(2))
    with pytest.raises(TypingError, match="out: expected an array"):
        fn(params, x, np.empty((1, 2), np.float32))
    with pytest.raises(TypingError, match="one or two dimensions"):
        fn(params, x.reshape(1, 1, 3))
    frozen_out = np.empty(2, np.float32)
    frozen_out.flags.writeable = False
    with pytest.raises(TypingError, match="out: expected an array to write"):
        fn(params, x, frozen_out)


def test_networks_that_cannot():
    with pytest.raises(ValueError, match="gives it a dtype"):
        fl.ReLU().as_jit()

    class Own(fl.Linear):
        pass

    class Other(fl.Module):
        dtype = np.dtype(np.float32)
        forward = backward = predict = arguments = None

    assert Own(2, 3).as_jit()[0] is fl.Linear(2, 3).as_jit()[0]
    with pytest.raises(TypeError, match="Other: expected Linear"):
        Other().as_jit()


# --- backward -------------------------------------------------------------------------------------


def both_ways(net, X, dY):
    """Return what net and its compiled functions compute, as two dictionaries of arrays."""
    forward, backward, params, grads = net.jit_backward()
    y, kept = forward(params, X)
    dx = np.full_like(X, np.nan)
    backward(params, kept, dY, grads, dx)
    mine = {"y": y, "dx": dx} | {str(i): g for i, g in enumerate(grads)}
    mine = {name: a for name, a in mine.items() if a.size or name in "y dx"}
    theirs = [net.forward(X), net.backward(dY), *net.grads.values()]
    return dict(mine), dict(zip(mine, theirs, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "threshold"])
def test_backward(name, dtype):
    """Activations that keep their output and such that do not."""
    net = fl.MLP([5, 21, 3], ACTIVATIONS[name](), dtype=dtype, rng=0)
    for S in (1, 7, 2 * sizes.BLOCK + 3):
        mine, theirs = both_ways(net, sample(S, 5, dtype=dtype), sample(S, 3, dtype=dtype, seed=1))
        for key, value in theirs.items():
            assert same(mine[key], value), (S, key)


def test_backward_of_layers_of_every_kind():
    net = fl.Sequential(
        fl.Linear(4, 8, activation=fl.Activation(cube, cube_prime), rng=0),
        fl.ELU(0.5),
        fl.Linear(8, 6, bias=False, rng=1),
        fl.Softmax(),
    )
    X, dY = sample(9, 4), np.asfortranarray(sample(9, 6, seed=1))
    mine, theirs = both_ways(net, X, dY)
    for key, value in theirs.items():
        assert same(mine[key], value), key


def test_backward_without_dx_and_into_any_layout():
    net = fl.MLP([5, 21, 3], rng=0)
    X, dY = sample(7, 5), sample(7, 3, seed=1)
    forward, backward, params, grads = net.jit_backward()
    _, kept = forward(params, X)
    net.forward(X)
    net.backward(dY)
    expected = list(net.grads.values())
    for order in "FC":
        grads = tuple(np.full(a.shape, np.nan, a.dtype, order) for a in grads)
        backward(params, kept, dY, grads)
        for got, value in zip(grads, expected, strict=True):
            assert same(got, value)


def test_training_in_threads():
    forward, backward, _, _ = fl.MLP([3, 8, 1], "tanh", rng=0).jit_backward()

    @njit
    def descend(w, g, lr):
        w -= lr * g

    @njit(parallel=True)
    def train(nets, all_grads, X, T, lr, steps):
        for i in prange(len(nets)):
            params, grads = nets[np.int64(i)], all_grads[np.int64(i)]
            for _ in range(steps):
                y, kept = forward(params, X)
                backward(params, kept, y - T, grads)
                descend(params[0], grads[0], lr)
                descend(params[1], grads[1], lr)
                descend(params[3], grads[2], lr)
                descend(params[4], grads[3], lr)

    nets = [fl.MLP([3, 8, 1], "tanh", rng=seed) for seed in range(4)]
    X, T, lr = sample(20, 3), sample(20, 1, seed=1), np.float32(0.01)
    made = [net.jit_backward() for net in nets]
    params = numba.typed.List([m[2] for m in made])
    train(params, numba.typed.List([m[3] for m in made]), X, T, lr, 10)
    for net, trained in zip(nets, params, strict=True):
        for _ in range(10):
            net.backward(net.forward(X) - T, input_grad=False)
            for name, value in net.params.items():
                value -= lr * net.grads[name]
        arrays = (a for i, a in enumerate(trained) if i % 3 < 2)
        for got, value in zip(arrays, net.params.values(), strict=True):
            assert same(got, value)


# --- the kernels themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [loops, tiled], ids=["loops", "tiled"])
def test_kernels_in_nopython_code(kernels):
    forward, weight = kernels.linear_forward, kernels.linear_backward_weight
    bias, inputs = kernels.linear_backward_bias, kernels.linear_backward_input

    @njit(parallel=True)
    def in_prange(X, W, b, dY, Y, dW, db, dX):
        for i in prange(len(X)):
            forward(X[i], W, b, Y[i])
            weight(dY[i], X[i], dW[i])
            bias(dY[i], db[i])
            inputs(dY[i], W, dX[i])

    @njit
    def in_order(X, W, b, dY, Y, dW, db, dX):
        for i in range(len(X)):
            forward(X[i], W, b, Y[i])
            weight(dY[i], X[i], dW[i])
            bias(dY[i], db[i])
            inputs(dY[i], W, dX[i])

    X, W, b, dY = sample(8, 30, 11), sample(17, 11), sample(17), sample(8, 30, 17, seed=1)
    expected = [blank(*s, dtype=np.float32) for s in ((8, 30, 17), (8, 17, 11), (8, 17), X.shape)]
    for i in range(8):
        loops.linear_forward(X[i], W, b, expected[0][i])
        loops.linear_backward_weight(dY[i], X[i], expected[1][i])
        loops.linear_backward_bias(dY[i], expected[2][i])
        loops.linear_backward_input(dY[i], W, expected[3][i])
    for function in (in_prange, in_order):
        results = [np.full_like(a, np.nan) for a in expected]
        function(X, W, b, dY, *results)
        for got, value in zip(results, expected, strict=True):
            assert same(got, value)


def test_loops_activation_in_nopython_code():
    h, h_prime = fl.ELU().pair.h, fl.ELU().pair.h_prime

    @njit(parallel=True)
    def both(X, Y, dX):
        p = np.float32(0.5)
        for i in prange(len(X)):
            loops.activation_forward(h, X[i], p, p, Y[i])
            loops.activation_backward(h_prime, Y[i], X[i], p, p, dX[i])

    X, elu = sample(4, 5, 6), fl.ELU(0.5)
    Y, dX = np.empty_like(X), np.empty_like(X)
    both(X, Y, dX)
    assert same(Y, elu.predict(X))
    expected = np.empty_like(X)
    for i in range(4):
        loops.activation_backward(h_prime, Y[i], X[i], np.float32(0.5), np.float32(0), expected[i])
    assert same(dX, expected)
