"""functional.linear and linear_backward: the layer's bits from bare arrays."""

import numpy as np
import pytest
from bits import same
from networks import integers

import fastlinear as fl
from fastlinear.functional import linear, linear_backward

f4 = np.float32


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,)])
def test_exact_on_integers(formulation, lead):
    X, W, b, dY = (
        integers((*lead, 7), 1),
        integers((5, 7), 2),
        integers(5, 3),
        integers((*lead, 5), 4),
    )
    Y = linear(X, W, b, formulation=formulation)
    assert Y.shape == dY.shape
    assert (X @ W.T + b == Y).all()
    assert (linear(X, W, formulation=formulation) == X @ W.T).all()
    dX, dW, db = linear_backward(dY, X, W, formulation=formulation)
    rows, gradients = X.reshape(-1, 7), dY.reshape(-1, 5)
    if X.size == 0:
        rows, gradients = np.empty((0, 7), f4), np.empty((0, 5), f4)
    assert (dX == dY @ W).all()
    assert (dW == gradients.T @ rows).all()
    assert (db == gradients.sum(0)).all()


def test_the_layers_bits():
    layer = fl.Linear(7, 5, activation="silu", rng=0)
    X = np.random.default_rng(1).normal(size=(6, 7)).astype(f4)
    W, b = layer.state_dict().values()
    assert same(linear(X, W, b, activation="silu"), layer.predict(X))
    assert same(linear(X, W, b, activation=fl.SiLU()), layer.predict(X))
    assert same(linear(X[::-1], W[:, ::-1], b), linear(X[::-1].copy(), W[:, ::-1].copy(), b))


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
def test_a_bias_of_any_stride(formulation):
    X, W, b = integers((6, 7), 1), integers((5, 7), 2), integers(10, 3)
    for strided in (b[::2], b[4::-1]):
        assert (linear(X, W, strided, formulation=formulation) == X @ W.T + strided).all()


def test_out():
    X, W = integers((6, 7), 1), integers((5, 7), 2)
    out = np.full((6, 5), np.nan, f4)
    assert linear(X, W, out=out) is out
    assert (out == X @ W.T).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((2, 3), f4), np.ones((4, 5), f4)), ValueError, r"X: expected shape \(..., 5\)"),
        ((np.ones((2, 3), f4), np.ones(3, f4)), ValueError, r"W: expected shape \(N, M\)"),
        ((np.ones((2, 3), f4), np.ones((4, 3))), TypeError, "W: expected float32, got float64"),
        ((np.ones((2, 3), int), np.ones((4, 3))), TypeError, "X: expected float32 or float64"),
        (
            (np.ones((2, 3), f4), np.ones((4, 3), f4), np.ones(3, f4)),
            ValueError,
            r"b: expected shape \(4,\)",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        linear(*arguments)


def test_bad_input_backward():
    X, W = np.ones((2, 3), f4), np.ones((4, 3), f4)
    with pytest.raises(ValueError, match=r"dY: expected shape \(2, 4\)"):
        linear_backward(np.ones((3, 4), f4), X, W)
    with pytest.raises(ValueError, match=r"dY: expected shape \(..., 4\)"):
        linear_backward(np.ones((2, 3), f4), X, W)
    with pytest.raises(ValueError, match="loops"):
        linear_backward(np.ones((2, 4), f4), X, W, formulation="fast")
    with pytest.raises(ValueError, match="overlaps"):
        linear(X, W[:3], out=X)
