"""The kernels of h and h': every run of a row, wherever it lies in memory."""

from __future__ import annotations

import numpy as np
import pytest
from bits import same
from shapes import DTYPES, around, stray

import fastlinear as fl
from fastlinear.kernels import loops, sizes
from fastlinear.kernels.bound import hadamard_of, map_of
from fastlinear.kernels.tile import LINE_BYTES

GELU = fl.GELU()


def lengths(item):
    vector = sizes.VECTOR_BYTES // item
    limits = (vector, sizes.INTERLEAVED * vector, sizes.LONG_BYTES // item)
    found = {n for limit in limits for n in around(limit)}
    return sorted(found | {sizes.LONG_BYTES // item + n for n in range(vector)})


def matrix(rows, columns, gap, start, dtype, fill=None):
    """Return a matrix that begins ``start`` elements into a cache line, and all of its memory."""
    pitch, item = columns + gap, np.dtype(dtype).itemsize
    memory = np.full(rows * pitch + 3 * LINE_BYTES // item, np.nan, dtype)
    first = (-memory.ctypes.data % LINE_BYTES) // item + LINE_BYTES // item + start
    found = memory[first : first + rows * pitch].reshape(rows, pitch)[:, :columns]
    if fill is not None:
        found[...] = fill.standard_normal((rows, columns))
    return found, memory


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length_wherever_it_lies(dtype, gap):
    rng = np.random.default_rng(0)
    scalar = np.dtype(dtype).type
    forward, backward = map_of(GELU, np.dtype(dtype)), hadamard_of(GELU, np.dtype(dtype))
    vector = sizes.VECTOR_BYTES // np.dtype(dtype).itemsize
    for columns in lengths(np.dtype(dtype).itemsize):
        X, dY = (matrix(3, columns, gap, k, dtype, rng)[0] for k in (1, 2))
        Y, dX = np.empty(X.shape, dtype), np.empty(X.shape, dtype)
        loops.activation_forward(GELU.pair.h, X, scalar(0), scalar(0), Y)
        loops.activation_backward(GELU.pair.h_prime, dY, X, scalar(0), scalar(0), dX)
        for start in range(vector + 1):
            for run, inputs, expected in ((forward, (X,), Y), (backward, (dY, X), dX)):
                computed, memory = matrix(3, columns, gap, start, dtype)
                assert run(*inputs, computed)
                assert same(computed, expected)
                assert np.isnan(memory).sum() == memory.size - computed.size  # nothing beside it


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_beyond_the_caches(dtype, gap, threads):
    rng = np.random.default_rng(2)
    scalar, relu = np.dtype(dtype).type, fl.ReLU()
    forward, backward = map_of(relu, np.dtype(dtype)), hadamard_of(relu, np.dtype(dtype))
    limits = [n // scalar().itemsize for n in (sizes.LONG_BYTES, sizes.BYPASS_ROW_BYTES)]
    for columns in (least + n for least in limits for n in (-1, 0, 1, 37)):
        rows = sizes.BYPASS_BYTES // (columns * scalar().itemsize) + 1
        X, dY = (matrix(rows, columns, gap, k, dtype, rng)[0] for k in (1, 2))
        Y, dX = np.empty(X.shape, dtype), np.empty(X.shape, dtype)
        loops.activation_forward(relu.pair.h, X, scalar(0), scalar(0), Y)
        loops.activation_backward(relu.pair.h_prime_output, dY, Y, scalar(0), scalar(0), dX)
        for start in (0, 3):
            for run, inputs, expected in ((forward, (X,), Y), (backward, (dY, Y), dX)):
                computed, memory = matrix(rows, columns, gap, start, dtype)
                assert run(*inputs, computed)
                assert same(computed, expected)
                assert np.isnan(memory).sum() == memory.size - computed.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place(dtype):
    rng = np.random.default_rng(1)
    forward, backward = map_of(GELU, np.dtype(dtype)), hadamard_of(GELU, np.dtype(dtype))
    for columns in lengths(np.dtype(dtype).itemsize):
        X, V, dY = (matrix(2, columns, 0, k, dtype, rng)[0] for k in (1, 2, 3))
        V[...] = X
        Y, dX = np.empty(X.shape, dtype), np.empty(X.shape, dtype)
        forward(X, Y)
        backward(dY, X, dX)
        backward(dY, V, V)
        backward(dY, X, dY)
        forward(X, X)
        assert same(dX, V)
        assert same(dY, dX)
        assert same(X, Y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 7, 70, 1537, sizes.SHARED_ELEMENTS + 3])
def test_one_column_whatever_its_stride(dtype, rows):
    """NumPy calls it contiguous with any: that of ``v[:, None]`` is 0."""
    rng = np.random.default_rng(0)
    X, dY = (rng.standard_normal((rows, 1)).astype(dtype) for _ in range(2))
    layer = fl.GELU()
    Y, dX = layer.forward(X), layer.backward(dY)
    for x, dy in ((X[:, ::-1], dY[:, 0][:, None]), (stray(X), stray(dY))):
        out = stray(np.full_like(X, np.nan))
        assert same(layer.forward(x, out=out), Y)
        assert same(out, Y)
        assert same(layer.backward(dy, out=out), dX)
        assert same(out, dX)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_one_output_of_a_layer_whatever_its_stride(activation):
    layers = [
        fl.Linear(3, 1, activation=activation, rng=0, formulation=f) for f in ("tiled", "loops")
    ]
    rng = np.random.default_rng(0)
    X, dY = (rng.standard_normal((70, n)).astype(np.float32) for n in (3, 1))
    (A, dX, dW), expected = (
        (layer.forward(X), layer.backward(stray(dY)), layer.grads["weight"]) for layer in layers
    )
    for got, value in zip((A, dX, dW), expected, strict=True):
        assert same(got, value)
    out = stray(np.full_like(A, np.nan))
    assert layers[0].predict(X, out) is out
    assert same(out, A)
