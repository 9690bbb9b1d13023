"""Linear, Softmax, Sequential, MLP: values, shapes, layouts, `out`, accumulation, copies."""

import copy
import pickle

import numpy as np
import pytest

import fastlinear as fl
from fastlinear.kernels.tile import LINE_BYTES

FORMULATIONS = ("tiled", "loops", "blas")
f4 = np.float32


def integers(shape, seed, dtype=f4):
    """Small integers as floats: sums of their products are exact, in any order."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


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


# -- Sequential and MLP ----------------------------------------------------------------------------


def test_a_network_against_pytorch():
    """PyTorch 2.13: Sequential(Linear(3, 2), Tanh(), Linear(2, 2)), float64.

    The longest chain here is some 20 roundings, none amplified: 32 eps of the largest value, 4.1.
    """
    net = fl.MLP([3, 2, 2], activation="tanh", dtype=np.float64)
    net.load_state_dict(
        {
            "0.weight": [[0.1, 0.2, 0.3], [-0.4, 0.5, -0.6]],
            "0.bias": [0.01, -0.02],
            "2.weight": [[1.0, -1.0], [0.5, 2.0]],
            "2.bias": [0.0, 0.25],
        }
    )
    X = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
    bound = 32 * np.finfo(float).eps * 4.1

    def close(found, expected):
        return np.abs(found - np.array(expected)).max() <= bound

    assert close(
        net(X),
        [[1.7271483085080406, -0.985561284881918], [1.7599612066448707, -1.3555173676686438]],
    )
    assert close(
        net.backward(np.array([[1.0, -1.0], [2.0, 0.5]])),
        [
            [0.36459474657492186, -0.4212358815442252, 0.5628186821736568],
            [0.09768910908356811, 0.18033985223769655, 0.2861265429755783],
        ],
    )
    expected = {
        "0.weight": [
            [0.10617708207516034, -0.7182650315178537, 4.041008028898179],
            [-0.8849425959185145, -1.7583172180451525, -2.7010996829230502],
        ],
        "0.bias": [1.0367962777433348, -0.8965105697103912],
        "2.weight": [
            [2.4190181693505433, -2.8280525524472386],
            [-0.5046131237294458, 0.34255458145615947],
        ],
        "2.bias": [3.0, -0.5],
    }
    assert list(net.grads) == list(expected)
    assert all(close(net.grads[name], expected[name]) for name in expected)


def test_names_are_pytorchs_fused_or_not():
    names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    fused = fl.MLP([4, 3, 3, 2], rng=0)
    separate = fl.Sequential(
        fl.Linear(4, 3, rng=1), fl.ReLU(), fl.Linear(3, 3), fl.ReLU(), fl.Linear(3, 2)
    )
    assert list(fused.params) == list(separate.params) == list(fused.grads) == names
    separate.load_state_dict(fused.state_dict())
    X = integers((6, 4), 0)
    assert (separate.predict(X) == fused.predict(X)).all()
    assert list(fl.MLP([4, 3, 2], activation=None).params)[2] == "1.weight"
    assert list(fl.MLP([4, 3, 2], activation="identity").params)[2] == "1.weight"
    nested = fl.Sequential(fl.Sequential(fl.Linear(4, 3), fl.Tanh()), fl.Linear(3, 2))
    assert list(nested.params) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]


def test_sequential_is_its_layers_in_order():
    net = fl.MLP([7, 5, 3], rng=0)
    first, last = net
    assert len(net) == 2
    assert net[0] is first
    assert (net.in_features, net.out_features, net.dtype) == (7, 3, f4)
    X, dY = integers((2, 3, 7), 3), integers((2, 3, 3), 4)
    out = np.empty((2, 3, 3), f4)
    assert net.forward(X, out=out) is out
    assert (last(first(X)) == out).all()
    assert (net.predict(X) == out).all()
    dX = first.backward(last.backward(dY))
    dW = first.grads["weight"].copy()
    into = np.empty_like(X)
    assert net.backward(dY, out=into) is into
    assert (into == dX).all()
    assert net.backward(dY, accumulate=True, input_grad=False) is None
    assert (net.grads["0.weight"] == 2 * dW).all()
    assert net.grads["0.weight"] is first.grads["weight"]
    net.clear_cache()
    with pytest.raises(RuntimeError, match="needs a forward"):
        net.backward(dY)


def test_sequential_of_activations_takes_any_shape_and_dtype():
    net = fl.Sequential(fl.ReLU(), fl.Softmax())
    assert (net.in_features, net.out_features, net.dtype) == (None, None, None)
    for dtype in (np.float32, np.float64):
        X = integers((2, 3, 4), 0, dtype)
        assert net(X).dtype == net.backward(X).dtype == dtype


def test_the_formulation_of_a_network():
    net = fl.Sequential(fl.MLP([4, 3, 2], rng=0), fl.ReLU(), fl.Softmax())
    assert net.formulation == "tiled"
    net.formulation = "loops"
    assert net.formulation == net[0][0].formulation == net[1].formulation == "loops"
    net[1].formulation = "tiled"
    assert net.formulation is None
    assert fl.Sequential(fl.Softmax()).formulation is None
    with pytest.raises(ValueError, match="fast"):
        net.formulation = "fast"


def test_mlp_draws_its_layers_from_one_generator():
    net = fl.MLP([4, 4, 4], rng=3)
    again = fl.MLP([4, 4, 4], rng=np.random.default_rng(3))
    assert (net.params["0.weight"] != net.params["2.weight"]).any()
    assert all((again.params[name] == w).all() for name, w in net.params.items())


# -- Softmax ---------------------------------------------------------------------------------------


def test_softmax_against_pytorch():
    """PyTorch 2.13, float64. exp is off by 1 ulp, the rest by a rounding each: 8 eps."""
    softmax = fl.Softmax()
    Y = softmax(np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]]))
    dX = softmax.backward(np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]))
    expected = [
        [0.09003057317038045, 0.2447284710547976, 0.6652409557748218],
        [0.0178679818703045, 0.006573263185309083, 0.9755587549443865],
    ]
    gradient = [
        [0.09775100456946356, 0.5104432504895875, -0.608194255059051],
        [-0.043519439893195906, -0.019296538820657627, 0.06281597871385312],
    ]
    eps = np.finfo(float).eps
    assert (np.abs(Y - expected) <= 8 * eps * np.array(expected)).all()
    assert np.abs(dX - gradient).max() <= 8 * eps * 3


def test_softmax_extremes():
    inf, nan = np.inf, np.nan
    Y = fl.Softmax().predict(np.array([[1000, 0, -1000], [0, -inf, 0], [inf, 0, 0], [nan, 0, 0]]))
    assert (Y[:2] == [[1, 0, 0], [0.5, 0, 0.5]]).all()
    assert np.isnan(Y[2:]).all()
    assert fl.Softmax().predict(np.zeros((3, 0), f4)).shape == (3, 0)
    assert (fl.Softmax().predict(np.full((2, 1), 5, f4)) == 1).all()
