"""Where a result may go: what passes take as it is, and what they leave to the layer's checks."""

import numpy as np
import pytest

import fastlinear as fl

f4 = np.float32
S, N = 2, 5
UNTOUCHED = -7

MODULES = {
    "linear": lambda: fl.Linear(N, N, rng=0),
    "linear-tanh": lambda: fl.Linear(N, N, activation="tanh", rng=0),
    "linear-gelu": lambda: fl.Linear(N, N, activation="gelu", rng=0),
    "relu": fl.ReLU,
    "gelu": fl.GELU,
    "softmax": fl.Softmax,
}
CASES = [
    (module, formulation)
    for module in MODULES
    for formulation in (("tiled", "loops", "blas") if module != "softmax" else ("tiled",))
]

PLACES = {
    "without gaps": lambda memory: memory.reshape(-1)[4 : 4 + S * N].reshape(S, N),
    "gaps after rows": lambda memory: memory[1 : 1 + S, 3 : 3 + N],
    "gaps between columns": lambda memory: memory[:S, : 2 * N : 2],
    "rows backwards": lambda memory: memory[S:0:-1, :N],
    "columns backwards": lambda memory: memory[:S, N:0:-1],
    "transposed": lambda memory: memory[:N, :S].T,
    "one row in two": lambda memory: memory[: 2 * S : 2, :N],
}


@pytest.fixture(params=CASES, ids="-".join)
def module(request):
    name, formulation = request.param
    module = MODULES[name]()
    if hasattr(module, "formulation"):
        module.formulation = formulation
    return module


def arrays():
    return np.random.default_rng(1).normal(size=(2, S, N)).astype(f4)


def results(module, X, dY, outs=(None, None, None)):
    predicted, A, dX = outs
    predicted = module.predict(X, predicted)
    A = module.forward(X, out=A)
    dX = module.backward(dY, out=dX)
    return predicted, A, dX


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_wherever_it_lies_a_result_has_the_same_bits(module, place):
    X, dY = arrays()
    memories = [np.full((3 * S + N, 3 * N), UNTOUCHED, f4) for _ in range(3)]
    outs = [place(memory) for memory in memories]
    expected = results(module, X, dY)
    for got, out, right in zip(results(module, X, dY, outs), outs, expected, strict=True):
        assert got is out
        assert (got == right).all()
    for memory, out in zip(memories, outs, strict=True):
        out[...] = UNTOUCHED
        assert (memory == UNTOUCHED).all()


def test_a_result_between_the_rows_of_what_is_read(module):
    """It shares no element with X, and seems to as long as only their ends are compared."""
    values, gradient = arrays()
    expected = results(module, values, gradient)
    memory = np.full((3, 4, N), UNTOUCHED, f4)
    X, dY = memory[0, ::3], memory[1, ::3]
    X[...], dY[...] = values, gradient
    outs = memory[2, 1:3], memory[0, 1:3], memory[1, 1:3]
    for got, right in zip(results(module, X, dY, outs), expected, strict=True):
        assert (got == right).all()
    assert np.array_equal(X, values)
    assert np.array_equal(dY, gradient)


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
def test_gradients_that_are_added_to_do_not_take_dX(formulation):
    layer = fl.Linear(N, S, activation="gelu", rng=0, formulation=formulation)
    dY = layer.forward(np.ones((S, N), f4))
    dW = layer.grads["weight"]
    dW[...] = UNTOUCHED
    with pytest.raises(ValueError, match="out: overlaps"):
        layer.backward(dY, accumulate=True, out=dW)  # (N, M), as dX is (S, M)
    assert (dW == UNTOUCHED).all()


def test_a_batch_of_matrices(module):
    X, dY = arrays()
    expected = results(module, X, dY)
    shape = (S, 1, N)
    outs = [np.full(shape, np.nan, f4) for _ in range(3)]
    got = results(module, X.reshape(shape), dY.reshape(shape), outs)
    for result, out, right in zip(got, outs, expected, strict=True):
        assert result is out
        assert (result.reshape(S, N) == right).all()


def test_an_input_of_another_kind_leaves_the_output_alone(module):
    out = np.full((S, N), UNTOUCHED, f4)
    for X in (np.ones((S, N)), np.ones((S, N), np.int32), np.ones((S, N + 1), f4), [[1.0] * N] * S):
        with pytest.raises((TypeError, ValueError), match=r"(X|out): expected"):
            module.predict(X, out)
        with pytest.raises((TypeError, ValueError), match=r"(X|out): expected"):
            module.forward(X, out=out)
    assert (out == UNTOUCHED).all()


def shifted(memory, offset):
    return memory[offset : offset + S * N].reshape(S, N)


@pytest.mark.parametrize("offset", [0, 1, S * N - 1])
def test_no_result_goes_over_what_is_read(module, offset):
    """Each of them lies without gaps, so that only where it lies is against it."""
    memory = np.zeros(2 * S * N, f4)
    X, out = shifted(memory, offset), shifted(memory, S * N - 1 - offset)
    for first, second in ((X, out), (out, X), (X, X[:])):
        memory[...] = values = np.arange(memory.size, dtype=f4)
        with pytest.raises(ValueError, match="out: overlaps"):
            module.predict(first, second)
        with pytest.raises(ValueError, match="out: overlaps"):
            module.forward(first, out=second)
        module.forward(first)
        with pytest.raises(ValueError, match="out: overlaps"):
            module.backward(second, out=first)
        assert np.array_equal(memory, values)


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
@pytest.mark.parametrize("activation", [None, "tanh", "gelu"])
def test_no_result_goes_over_what_the_layer_holds(formulation, activation):
    layer = fl.Linear(N, N, activation=activation, rng=0, formulation=formulation)
    held = {**layer.params, "dW": layer.grads["weight"], "db": layer.grads["bias"]}
    before = {name: array.copy() for name, array in held.items()}
    for array in held.values():
        out = np.atleast_2d(array.T)
        assert out.flags.c_contiguous
        X = np.ones(out.shape, f4)
        with pytest.raises(ValueError, match="out: overlaps"):
            layer.predict(X, out)
        dY = layer.forward(X)
        with pytest.raises(ValueError, match="out: overlaps"):
            layer.backward(dY, out=out)
        for name, array in held.items():
            assert np.array_equal(array, before[name]), name


def test_dX_goes_over_nothing_that_was_kept(module):
    X, dY = arrays()
    A = module.forward(X)
    kept = {id(a): a for a in module._kept if isinstance(a, np.ndarray)}.values()
    expected = module.backward(dY)
    for array in kept:
        with pytest.raises(ValueError, match="out: overlaps"):
            module.backward(dY, out=array)
    assert np.array_equal(module.backward(dY), expected)
    assert np.array_equal(module.predict(X), A)
