"""Linear, and what all layers share: values, shapes, layouts, `out`, accumulation, copies."""

import copy
import pickle

import numpy as np
import pytest
from bits import same
from networks import integers

import fastlinear as fl
from fastlinear.kernels.tile import LINE_BYTES

FORMULATIONS = ("tiled", "loops", "blas")
f4 = np.float32


def integer_layer(M, N, dtype=f4, **options):
    layer = fl.Linear(M, N, dtype=dtype, **options)
    layer.params["weight"] = integers((N, M), 1, dtype)
    if "bias" in layer.params:
        layer.params["bias"] = integers(N, 2, dtype)
    return layer


def pickled(module):
    """Return what a pickle of it gives."""
    return pickle.loads(pickle.dumps(module))


def layouts(array):
    """The same values as C, Fortran, strided, negatively strided and read-only arrays."""
    yield array
    yield np.asfortranarray(array)
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    yield wide[..., ::2]
    yield np.ascontiguousarray(array[::-1, ..., ::-1])[::-1, ..., ::-1]
    read_only = array.copy()
    read_only.flags.writeable = False
    yield read_only


# -- Linear ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_is_exact_on_integers(formulation, dtype):
    layer = integer_layer(7, 5, dtype, formulation=formulation)
    X, dY = integers((6, 7), 3, dtype), integers((6, 5), 4, dtype)
    W, b = layer.params["weight"].astype(int), layer.params["bias"].astype(int)
    Y = layer.forward(X)
    dX = layer.backward(dY)
    assert Y.dtype == dX.dtype == dtype
    assert (X.astype(int) @ W.T + b == Y).all()
    assert (layer.grads["weight"] == dY.astype(int).T @ X.astype(int)).all()
    assert (layer.grads["bias"] == dY.astype(int).sum(0)).all()
    assert (dX == dY.astype(int) @ W).all()


@pytest.mark.parametrize("shape", [(7,), (1, 7), (6, 7), (2, 3, 7), (0, 7), (2, 0, 7)])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_leading_axes(shape, activation):
    layer = integer_layer(7, 5, activation=activation)
    X, dY = integers(shape, 3), integers((*shape[:-1], 5), 4)
    rows = X.reshape(-1, 7) if X.size else np.zeros((0, 7), f4)
    expected = layer.predict(rows)
    Y = layer.forward(X)
    dX = layer.backward(dY)
    assert Y.shape == dY.shape
    assert dX.shape == X.shape
    assert (Y.reshape(expected.shape) == expected).all()
    assert (layer.predict(X) == Y).all()
    dW = layer.grads["weight"].copy()
    layer.forward(rows)
    assert (layer.backward(dY.reshape(expected.shape)).reshape(shape) == dX).all()
    assert (layer.grads["weight"] == dW).all()
    if X.size == 0:
        assert not dW.any()


@pytest.mark.parametrize("shape", [(6, 7), (2, 3, 7)])
@pytest.mark.parametrize("module", ["linear", "relu", "softmax"])
def test_memory_layout_changes_no_bit(shape, module):
    layer = {
        "linear": integer_layer(7, 7, activation="relu"),
        "relu": fl.ReLU(),
        "softmax": fl.Softmax(),
    }[module]
    rng = np.random.default_rng(0)
    values, gradient = rng.normal(size=(2, *shape)).astype(f4)
    Y, dX = layer.forward(values), layer.backward(gradient)
    dW = [g.copy() for g in layer.grads.values()]
    for X, dY in zip(layouts(values), layouts(gradient), strict=True):
        assert (layer.forward(X) == Y).all()
        assert (layer.backward(dY) == dX).all()
        assert (layer.predict(X) == Y).all()
        for kept, again in zip(dW, layer.grads.values(), strict=True):
            assert (kept == again).all()


@pytest.mark.parametrize("make", [lambda: integer_layer(7, 5, activation="relu"), fl.ReLU])
@pytest.mark.parametrize("lead", [(), (6,), (2, 3)])
def test_out(make, lead):
    layer = make()
    X = integers((*lead, 7), 3)
    Y = layer.forward(X)
    dY = integers(Y.shape, 4)
    dX = layer.backward(dY)
    for order in "CF":
        out = np.full(Y.shape, np.nan, f4, order)
        assert layer.predict(X, out) is out
        assert (out == Y).all()
        out = np.full(Y.shape, np.nan, f4, order)
        assert layer.forward(X, out=out) is out
        assert layer.forward(X, out=out) is out  # a buffer may serve again
        assert (out == Y).all()
        out = np.full(X.shape, np.nan, f4, order)
        assert layer.backward(dY, out=out) is out
        assert (out == dX).all()
    strided = np.zeros((*Y.shape[:-1], 2 * Y.shape[-1]), f4)
    layer.predict(X, strided[..., ::2])
    assert (strided[..., ::2] == Y).all()
    assert not strided[..., 1::2].any()


def test_accumulate_adds_and_the_default_replaces():
    layer = integer_layer(7, 5, activation="relu")
    layer.forward(integers((6, 7), 3))
    dY = integers((6, 5), 4)
    dX = layer.backward(dY, accumulate=True)  # onto the zeros before the first
    once = {name: g.copy() for name, g in layer.grads.items()}
    assert (layer.backward(dY, accumulate=True) == dX).all()
    assert all((layer.grads[name] == 2 * g).all() for name, g in once.items())
    layer.backward(dY)
    assert all((layer.grads[name] == g).all() for name, g in once.items())


def test_what_accumulate_keeps_is_dropped_and_not_copied():
    layer = integer_layer(7, 5)
    X, dY = integers((6, 7), 3), integers((6, 5), 4)
    layer.forward(X)
    layer.backward(dY, accumulate=True)
    once = {name: g.copy() for name, g in layer.grads.items()}
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer):
        other.clear_cache()
        other.params["weight"][...] += 1
        other.forward(X)
        other.backward(dY, accumulate=True)
    assert all((layer.grads[name] == 2 * g).all() for name, g in once.items())


def test_input_grad_false_fills_the_same_gradients():
    layer = integer_layer(7, 5, activation="relu")
    layer.forward(integers((6, 7), 3))
    dY = integers((6, 5), 4)
    layer.backward(dY)
    dW = layer.grads["weight"].copy()
    assert layer.backward(dY, input_grad=False) is None
    assert (layer.grads["weight"] == dW).all()
    relu = fl.ReLU()
    relu.forward(dY)
    assert relu.backward(dY, input_grad=False) is None


def test_without_bias():
    layer = integer_layer(7, 5, bias=False)
    X = integers((6, 7), 3)
    assert list(layer.params) == list(layer.grads) == ["weight"]
    assert (layer(X) == X @ layer.params["weight"].T).all()
    layer.backward(integers((6, 5), 4))


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", fl.ELU(0.5)])
def test_a_fused_activation_equals_a_separate_one(activation):
    fused = fl.Linear(7, 5, activation=activation, rng=0)
    plain = fl.Linear(7, 5, rng=0)
    alone = copy.deepcopy(fused.activation)
    X, dY = np.random.default_rng(1).normal(size=(2, 6, 7)).astype(f4)
    dY = dY[:, :5]
    assert (fused(X) == alone(plain(X))).all()
    assert (fused.backward(dY) == plain.backward(alone.backward(dY))).all()
    for name in ("weight", "bias"):
        assert (fused.grads[name] == plain.grads[name]).all()


def test_predict_keeps_nothing_and_clear_cache_drops():
    layer = integer_layer(7, 5)
    X, dY = integers((6, 7), 3), integers((6, 5), 4)
    layer.predict(X)
    with pytest.raises(RuntimeError, match="needs a forward before"):
        layer.backward(dY)
    layer(X)
    layer.predict(X[:2])
    layer.backward(dY)  # predict did not touch what forward kept
    layer.clear_cache()
    with pytest.raises(RuntimeError, match="needs a forward before"):
        layer.backward(dY)


def test_the_weight_lies_transposed_and_assignment_copies_into_it():
    layer = fl.Linear(7, 5, rng=0)
    weight = layer.params["weight"]
    assert weight.shape == (5, 7)
    assert weight.flags.f_contiguous
    assert layer.grads["weight"].flags.f_contiguous
    layer.params["weight"] = integers((5, 7), 1)
    assert layer.params["weight"] is weight
    X = integers((6, 7), 3)
    layer.params["bias"] -= layer.params["bias"]  # in place, then assigned to itself
    assert (layer.predict(X) == X @ weight.T).all()
    weight *= 2  # a change in place shows at once
    assert (layer.predict(X) == X @ weight.T).all()


@pytest.mark.parametrize(
    "made",
    [lambda m: m, lambda m: m.astype("f8"), copy.copy, copy.deepcopy, pickled],
    ids=["new", "astype", "copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("init", ["kaiming_uniform", "zeros"])
def test_parameters_and_gradients_begin_at_a_cache_line(made, init):
    for n in range(1, 30):  # so many that no allocator does it by chance
        layer = made(fl.Linear(3, n, init=init))
        for array in (*layer.params.values(), *layer.grads.values()):
            assert array.ctypes.data % LINE_BYTES == 0
            assert array.flags.writeable
            assert array.flags.f_contiguous


def test_the_formulation_can_be_swapped():
    layer = integer_layer(7, 5, activation="relu")
    X = integers((6, 7), 3)
    Y = layer.predict(X)
    for name in FORMULATIONS:
        layer.formulation = name
        assert layer.formulation == name
        assert (layer.predict(X) == Y).all()
    layer.forward(X)
    layer.formulation = "tiled"
    with pytest.raises(RuntimeError, match="needs a forward"):
        layer.backward(Y)  # what blas kept is not for tiled


# -- copies and repr -------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_copies_carry_parameters_and_settings_but_no_cache(duplicate):
    net = fl.Sequential(
        fl.Linear(7, 5, activation=fl.ELU(0.5), rng=0, formulation="loops"),
        fl.ReLU(),
        fl.MLP([5, 4, 3], "gelu_tanh", rng=1),
        fl.Softmax(),
    )
    net[1].formulation = "loops"
    X = integers((6, 7), 3)
    Y = net(X)
    other = duplicate(net)
    assert (other.predict(X) == Y).all()
    assert repr(other) == repr(net)
    assert other[0].formulation == other[1].formulation == "loops"
    assert other[0].params["weight"].flags.f_contiguous
    with pytest.raises(RuntimeError):
        other.backward(Y)
    other.params["0.weight"][...] = 0  # a copy's arrays are its own
    assert (net.predict(X) == Y).all()
    other(X)
    other.backward(Y)
    assert not net.grads["0.weight"].any()


def test_pickle_holds_no_cache():
    layer = fl.Linear(4, 3, rng=0)
    size = len(pickle.dumps(layer))
    layer.forward(np.zeros((1000, 4), f4))
    assert len(pickle.dumps(layer)) == size


def test_astype():
    net = fl.MLP([7, 5, 3], rng=0)
    double = net.astype(np.float64)
    assert isinstance(double, fl.MLP)
    assert double.dtype == np.float64
    assert net.dtype == np.float32
    for name, w in net.params.items():
        assert double.params[name].dtype == np.float64
        assert (double.params[name] == w).all()
    double.predict(integers((6, 7), 3, np.float64))


def test_repr():
    net = fl.Sequential(fl.Linear(4, 3, activation="leaky_relu"), fl.Linear(3, 2, bias=False))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(4, 3, activation=LeakyReLU(negative_slope=0.01), dtype=float32)\n"
        "  (2): Linear(3, 2, bias=False, dtype=float32)\n"
        ")"
    )
    assert repr(fl.GELU("tanh")) == "GELU(approximate='tanh')"
    assert repr(fl.Threshold(0.1, 20)) == "Threshold(threshold=0.1, value=20.0)"
    assert repr(fl.Softmax()) == "Softmax()"
    assert repr(net.params) == (
        "{'0.weight': float32[3, 4], '0.bias': float32[3], '2.weight': float32[2, 3]}"
    )
    assert repr(fl.MLP([4, 3, 2], "tanh")).startswith("MLP(\n  (0): Linear(4, 3, activation=Tanh()")


def test_arrays_of_a_layer_that_are_read_only():
    layer = fl.Linear(3, 2, rng=0)
    before = layer.params["weight"].copy()
    layer.params["bias"].flags.writeable = False
    with pytest.raises(ValueError, match=r"state\['bias'\]: the layer's own array is read-only"):
        layer.load_state_dict({"weight": np.ones((2, 3), f4), "bias": np.ones(2, f4)})
    assert same(layer.params["weight"], before)
    with pytest.raises(ValueError, match="net: expected parameters to change, bias is read-only"):
        fl.SGD(layer, 0.1)
