"""Training inside the user's own compiled code: the bits of `forward` and `backward`."""

from __future__ import annotations

import numpy as np
import pytest
from bits import same
from networks import sample, users_activation
from numba import njit, prange
from numba.core.errors import TypingError
from shapes import DTYPES

import fastlinear as fl
from fastlinear.kernels import sizes


def mlp(dtype=np.float32, widths=(5, 21, 6, 3), first="relu", second="gelu"):
    """A network of three layers: relu is differentiated from its output, gelu from its input."""
    M, K, L, N = widths
    return fl.Sequential(
        fl.Linear(M, K, activation=first, dtype=dtype, rng=0),
        fl.Linear(K, L, activation=second, dtype=dtype, rng=1),
        fl.Linear(L, N, dtype=dtype, rng=2),
    )


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


# --- the same bits as the layers ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("names", [("relu", "gelu"), ("threshold", "tanh")], ids="-".join)
def test_same_bits(names, dtype):
    first, second = (fl.Threshold(0.1, -0.2) if name == "threshold" else name for name in names)
    net = mlp(dtype, first=first, second=second)
    for S in (1, 7, 2 * sizes.BLOCK + 3):
        mine, theirs = both_ways(net, sample(S, 5, dtype=dtype), sample(S, 3, dtype=dtype, seed=1))
        for key, value in theirs.items():
            assert same(mine[key], value), (S, key)


def test_layers_of_every_kind():
    net = fl.Sequential(
        fl.Linear(4, 8, activation=users_activation(), rng=0),
        fl.ELU(0.5),
        fl.Linear(8, 6, bias=False, rng=1),
        fl.Softmax(),
    )
    X, dY = sample(9, 4), np.asfortranarray(sample(9, 6, seed=1))
    mine, theirs = both_ways(net, X, dY)
    for key, value in theirs.items():
        assert same(mine[key], value), key


def test_without_dx_and_into_any_layout():
    net = mlp()
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
    """Layers side by side: their weights are one array, and their biases are another."""
    layers = [fl.Linear(3, 2, activation="tanh", rng=seed) for seed in range(4)]
    forward, backward, params, _ = layers[0].jit_backward()
    pq = params[2]

    @njit
    def steps(W, b, X, T, lr, count):
        grads = np.empty_like(W), np.empty_like(b)
        for _ in range(count):
            y, kept = forward((W, b, pq), X)
            backward((W, b, pq), kept, y - T, grads)
            W -= lr * grads[0]
            b -= lr * grads[1]

    @njit(parallel=True)
    def train(W, b, X, T, lr, count):
        for i in prange(len(W)):
            steps(W[i], b[i], X, T, lr, count)

    stacked = [np.stack([layer.params[name] for layer in layers]) for name in ("weight", "bias")]
    X, T, lr = sample(20, 3), sample(20, 2, seed=1), np.float32(0.01)
    train(*stacked, X, T, lr, 10)
    for i, layer in enumerate(layers):
        for _ in range(10):
            layer.backward(layer.forward(X) - T, input_grad=False)
            for name, value in layer.params.items():
                value -= lr * layer.grads[name]
        for got, value in zip(stacked, layer.params.values(), strict=True):
            assert same(got[i], value)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitting():
    """Functions and arguments that fit together; the gradients hold a mark."""
    forward, backward, params, grads = mlp().jit_backward()
    X = sample(7, 5)
    for g in grads:
        g[...] = 7
    return forward, backward, params, X, forward(params, X)[1], sample(7, 3), grads


def swapped(arrays, i, shape):
    """Replace array i by one of another shape."""
    return (*arrays[:i], np.full(shape, 7, np.float32), *arrays[i + 1 :])


@pytest.mark.parametrize(
    ("name", "i", "shape", "message"),
    [
        ("dy", None, (6, 3), r"dy: expected shape', \(7, 3\), 'got', \(6, 3\)"),
        ("dy", None, (7, 4), r"dy: expected shape', \(7, 3\), 'got', \(7, 4\)"),
        ("dx", None, (6, 5), r"dx: expected shape', \(7, 5\), 'got', \(6, 5\)"),
        ("dx", None, (7, 6), r"dx: expected shape', \(7, 5\), 'got', \(7, 6\)"),
        ("grads", 0, (20, 5), r"grads: dW of layer', 0, 'expected', \(21, 5\), 'got', \(20, 5\)"),
        ("grads", 3, (7,), r"grads: db of layer', 1, 'expected', 6, 'got', 7"),
        ("kept", 0, (7, 4), r"columns', 5, 'got', 4"),
        ("kept", 1, (7, 20), r"kept: layer', 0, 'expected', \(7, 21\), 'got', \(7, 20\)"),
        ("kept", 4, (8, 6), r"kept: layer', 2, 'expected', \(7, 6\), 'got', \(8, 6\)"),
        ("params", 1, (20,), r"params: layer', 0, 'expected biases', 21, 'got', 20"),
    ],
)
def test_wrong_shapes_raise_before_anything_is_written(fitting, name, i, shape, message):
    _, backward, params, X, kept, dy, grads = fitting
    given = {"params": params, "kept": kept, "dy": dy, "grads": grads, "dx": np.full_like(X, 7)}
    given[name] = np.zeros(shape, np.float32) if i is None else swapped(given[name], i, shape)
    with pytest.raises(ValueError, match=message):
        backward(*given.values())
    assert all((g == 7).all() for g in given["grads"])
    assert name == "dx" or (given["dx"] == 7).all()


def test_forward_raises(fitting):
    forward, _, params, X, *_ = fitting
    with pytest.raises(ValueError, match="layer', 0, 'expected columns', 5, 'got', 4"):
        forward(params, np.ones((7, 4), np.float32))
    nothing = np.empty((0, 0), np.float32, order="F")
    with pytest.raises(ValueError, match="expected a weight for a Linear layer"):
        forward((*params[:-3], nothing, *params[-2:]), X)
    with pytest.raises(TypingError, match="x: expected a 2-D array of float32"):
        forward(params, X[0])
    with pytest.raises(TypingError, match=r"expected W, b and \(p, q\) for 3 layers, got"):
        forward(params[:6], X)
    with pytest.raises(TypingError, match=r"expected W, b and \(p, q\) for each layer, got"):
        fitting[1]((), *fitting[4:])


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("dy", lambda dy: dy.astype(np.float64), "dy: expected a 2-D array of float32, got"),
        ("dy", lambda dy: dy[0], "dy: expected a 2-D array of float32, got"),
        ("dx", lambda dx: dx.astype(np.float64), "dx: expected a 2-D array of float32 to write"),
        ("grads", lambda grads: grads[:-1], "grads: expected 6 arrays"),
        ("grads", lambda grads: grads[::-1], r"grads\[0\]: expected a 2-D array of float32"),
        ("kept", lambda kept: kept[:2], "kept: expected 6 arrays"),
        ("params", lambda params: params[:6], "expected 4 arrays"),
    ],
)
def test_wrong_types_do_not_compile(fitting, name, wrong, message):
    _, backward, params, X, kept, dy, grads = fitting
    given = {"params": params, "kept": kept, "dy": dy, "grads": grads, "dx": np.full_like(X, 7)}
    given[name] = wrong(given[name])
    with pytest.raises(TypingError, match=message):
        backward(*given.values())


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning")
@pytest.mark.parametrize("name", ["kept", "grads"])
def test_lists_do_not_compile(fitting, name):
    _, backward, params, _, kept, dy, grads = fitting
    given = {"params": params, "kept": kept, "dy": dy, "grads": grads}
    given[name] = list(given[name])
    with pytest.raises(TypingError, match=f"{name}.*: expected a tuple of arrays, got"):
        backward(*given.values())
