"""Arrays as the passes take them from Python: without an owner, and never one of another kind."""

import pickle
import sys

import numpy as np
import pytest
from numba.core import config

import fastlinear as fl

if config.DISABLE_JIT:
    pytest.skip("nothing is lent where nothing compiles", allow_module_level=True)

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.lent import Lent

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SWAPPED = F32.newbyteorder("S")


@compiled(any_layout=True)
def described(array, total):
    for axis in range(array.ndim):
        total[axis] = array.shape[axis]
        total[array.ndim + axis] = array.strides[axis]
    return array.size


def describe(array, dtype, ndim, filled=False):
    total = np.zeros(2 * ndim, np.int64)
    entry = described.entry(Lent(dtype, ndim, filled=filled), Lent(np.dtype(np.int64), 1))
    size = entry(array, total)
    return size, tuple(total[:ndim]), tuple(total[ndim:])


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a.T,
        lambda a: a[::-2, 1:],
        lambda a: a[:0],
        lambda a: np.broadcast_to(a[0], (3, 4)),
        lambda a: pickle.loads(pickle.dumps(a)),
        lambda a: a.view(np.dtype(a.dtype, metadata={"unit": "m"})),
    ],
)
def test_an_array_comes_as_it_is(dtype, view):
    array = view(np.zeros((5, 4), dtype))
    before = sys.getrefcount(array)
    assert describe(array, dtype, 2) == (array.size, array.shape, array.strides)
    assert sys.getrefcount(array) == before


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 4), k) for k in (F64, SWAPPED, np.int32, np.complex64, "U1", object)]
    + [np.zeros(shape, F32) for shape in ((), 3, (2, 3, 4))],
    ids=lambda array: f"{array.dtype.str}-{array.ndim}",
)
def test_one_of_another_kind_has_no_shape(array):
    assert describe(array, F32, 2) == (-1, (-1, -1), (0, 0))


def test_one_to_be_filled_is_writeable():
    array = np.zeros((3, 4), F32)
    assert describe(array, F32, 2, filled=True) == describe(array, F32, 2)
    assert describe(array.astype(F64), F32, 2, filled=True)[0] == -1
    array.flags.writeable = False
    assert describe(array, F32, 2, filled=True) == (-1, (-1, -1), (0, 0))
    assert describe(array, F32, 2)[0] == 12


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_backward_takes_what_needs_a_copy(formulation, activation):
    X, dY = np.random.default_rng(0).standard_normal((2, 6, 6)).astype(F32)
    layer = fl.Linear(6, 6, activation=activation, rng=0, formulation=formulation)
    layer.forward(X)
    expected = layer.backward(dY), *map(np.copy, layer.grads.values())
    for other in (np.asfortranarray(dY), np.repeat(dY, 2, axis=1)[:, ::2]):
        layer.forward(X)
        got = layer.backward(other), *layer.grads.values()
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
def test_another_kind_is_refused(formulation):
    layer = fl.Linear(4, 4, activation="relu", rng=0, formulation=formulation)
    X = np.ones((3, 4), F32)
    for wrong in (X.astype(F64), X.astype(SWAPPED), X.astype(np.int32)):
        for call in (layer.forward, layer.predict):
            with pytest.raises(TypeError, match="X: expected float32"):
                call(wrong)
        layer.forward(X)
        with pytest.raises(TypeError, match="dY: expected float32"):
            layer.backward(wrong)
    for call in (layer.forward, layer.predict):
        with pytest.raises(ValueError, match=r"X: expected shape \(\.\.\., 4\), got \(3, 5\)"):
            call(np.ones((3, 5), F32))
    layer.forward(X)
    for shape in ((3, 5), (2, 4), (3,), (1, 3, 4)):
        with pytest.raises(ValueError, match="dY: expected shape"):
            layer.backward(np.ones(shape, F32))


def test_a_batch_of_more_axes_has_its_shape_back():
    layer = fl.Linear(4, 5, activation="tanh", rng=0)
    X = np.ones((2, 3, 4), F32)
    assert layer.forward(X).shape == (2, 3, 5)
    dX = layer.backward(np.ones((2, 3, 5), F32))
    flat = layer.forward(X.reshape(6, 4))
    assert np.array_equal(dX.reshape(6, 4), layer.backward(np.ones_like(flat)))


@pytest.mark.filterwarnings("ignore:Setting the dtype:DeprecationWarning")
def test_what_forward_kept_may_not_change_its_dtype():
    layer = fl.Linear(4, 4, activation="relu", rng=0)
    A = layer.forward(np.ones((3, 4), F32))
    A.dtype = np.int32
    with pytest.raises(RuntimeError, match="an array that forward kept has changed"):
        layer.backward(np.ones((3, 4), F32))


def test_none_is_an_array_without_elements():
    for ndim in (1, 2):
        nothing = (0,) * ndim
        assert describe(None, F32, ndim) == (0, nothing, nothing)
