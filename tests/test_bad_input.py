"""Bad input: a clear error before anything is written."""

import math

import numpy as np
import pytest

import fastlinear as fl
from fastlinear.layers import checks

f4, f8 = np.float32, np.float64


def zeros(*shape, dtype=f4):
    return np.zeros(shape, dtype)


def ready(module, X):
    """The module after a forward, its gradients set to a mark."""
    module(X)
    for g in module.grads.values():
        g[...] = 7
    return module


def linear():
    return ready(fl.Linear(3, 2, activation="relu", rng=0), zeros(4, 3))


def mlp():
    return ready(fl.MLP([3, 5, 2], rng=0), zeros(4, 3))


MODULES = pytest.mark.parametrize("make", [linear, mlp])


@MODULES
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (zeros(4, 2), ValueError, r"X: expected shape \(\.\.\., 3\), got \(4, 2\)"),
        (zeros(3, 4), ValueError, r"X: expected shape \(\.\.\., 3\), got \(3, 4\)"),
        (zeros(), ValueError, r"X: expected shape \(\.\.\., 3\), got \(\)"),
        (
            zeros(4, 3, dtype=f8),
            TypeError,
            r"X: expected float32, got float64: cast it with \.astype\(np\.float32\), "
            r"or build with dtype=np\.float64",
        ),
        (zeros(4, 3, dtype=int), TypeError, "X: expected float32, got int64"),
        (zeros(4, 3, dtype=">f4"), TypeError, "X: expected float32, got >f4"),
        (zeros(4, 3, dtype=np.float16), TypeError, r"got float16: cast .*\(np\.float32\)$"),
        ([[1.0, 2.0, 3.0]], TypeError, "X: expected a NumPy array, got list"),
        (np.ma.zeros((4, 3), f4), TypeError, "X: expected a NumPy array, got MaskedArray"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_input(make, X, error, message):
    module = make()
    for method in (module.forward, module.predict):
        with pytest.raises(error, match=message):
            method(X)
    module.backward(zeros(4, 2))  # what the good forward kept is still there


@MODULES
@pytest.mark.parametrize(
    ("dY", "error", "message"),
    [
        (zeros(4, 3), ValueError, r"dY: expected shape \(4, 2\), that of the last forward, got"),
        (zeros(3, 2), ValueError, r"dY: expected shape \(4, 2\)"),
        (zeros(8), ValueError, r"dY: expected shape \(4, 2\)"),
        (zeros(4, 2, dtype=f8), TypeError, "dY: expected float32, got float64"),
        ([[0.0, 0.0]], TypeError, "dY: expected a NumPy array, got list"),
    ],
)
def test_gradient(make, dY, error, message):
    module = make()
    with pytest.raises(error, match=message):
        module.backward(dY)
    assert all((g == 7).all() for g in module.grads.values())


@pytest.mark.parametrize(
    "module",
    [fl.Linear(3, 2), fl.MLP([3, 4, 2]), fl.ReLU(), fl.Softmax(), fl.Sequential(fl.ReLU())],
)
def test_backward_before_forward(module):
    module.predict(zeros(4, 3))
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        module.backward(zeros(4, 2))
    assert not any(g.any() for g in module.grads.values())


@pytest.mark.parametrize("shape", [12, (3, 4), (2, 2, 3)])
@pytest.mark.parametrize("of", ["X", "Y"])
@pytest.mark.parametrize(
    "module", [fl.Linear(3, 3, activation="tanh"), fl.Tanh(), fl.GELU(), fl.Softmax()], ids=str
)
def test_arrays_that_forward_kept_and_their_owner_reshaped(module, of, shape):
    arrays = {"X": zeros(4, 3)}
    arrays["Y"] = module.forward(arrays["X"])
    kept = any(array is arrays[of] for array in module._kept[:2])
    arrays[of].resize(shape, refcheck=False)
    if not kept:
        module.backward(zeros(4, 3))
        return
    with pytest.raises(ValueError, match=r"forward kept had shape \(4, 3\)"):
        module.backward(zeros(4, 3))


def test_backward_of_a_network_whose_inner_layer_moved_on():
    """A layer of the middle was run with another batch, or cleared: nothing is half done."""
    net = mlp()
    net[0].forward(zeros(2, 3))
    with pytest.raises(ValueError, match=r"dY: expected shape \(2, 5\)"):
        net.backward(zeros(4, 2))
    net[0].clear_cache()
    with pytest.raises(RuntimeError, match="needs a forward"):
        net.backward(zeros(4, 2))
    assert all((g == 7).all() for g in net.grads.values())


def read_only():
    array = zeros(4, 2)
    array.flags.writeable = False
    return array


@MODULES
@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (zeros(4, 3), ValueError, r"out: expected shape \(4, 2\) \(that of the result\), got"),
        (zeros(8), ValueError, r"out: expected shape \(4, 2\)"),
        (zeros(4, 2, dtype=f8), TypeError, "out: expected float32, got float64"),
        (read_only(), ValueError, "out: expected a writeable array"),
        ([], TypeError, "out: expected a NumPy array, got list"),
    ],
)
def test_out(make, out, error, message):
    module = make()
    before = np.array(out)
    for call in (
        lambda: module.forward(zeros(4, 3), out=out),
        lambda: module.predict(zeros(4, 3), out),
    ):
        with pytest.raises(error, match=message):
            call()
    assert (np.array(out) == before).all()
    assert (module.backward(zeros(4, 2)) == 0).all()  # of the good forward


@MODULES
def test_out_of_backward(make):
    module = make()
    for out in (zeros(4, 2), zeros(4, 3, dtype=f8), []):
        with pytest.raises((TypeError, ValueError), match="out: expected"):
            module.backward(zeros(4, 2), out=out)
    assert all((g == 7).all() for g in module.grads.values())


def test_out_overlapping_an_input():
    memory = zeros(4, 6)
    X = memory[:, :3]
    for module in (
        fl.Linear(3, 3),
        fl.Sequential(fl.Linear(3, 3), fl.Linear(3, 3)),
        fl.ReLU(),
        fl.GELU(),
        fl.Softmax(),
    ):
        for out in (X, memory[:, 1:4], memory[:, 2:5]):
            with pytest.raises(ValueError, match="out: overlaps"):
                module.forward(X, out=out)
            with pytest.raises(ValueError, match="out: overlaps"):
                module.predict(X, out)
        module.forward(X, out=memory[:, 3:])  # beside it, not over it
        dY = memory[:, 3:]
        with pytest.raises(ValueError, match="out: overlaps"):
            module.backward(dY, out=dY)
        if isinstance(module, fl.ReLU | fl.Softmax):
            module.backward(dY, out=X)  # which they do not read
        else:
            with pytest.raises(ValueError, match="out: overlaps"):
                module.backward(dY, out=X)


def test_out_overlapping_itself():
    layer, X = fl.Linear(3, 2), zeros(4, 3)
    as_strided = np.lib.stride_tricks.as_strided
    for strides in ((0, 4), (4, 4), (4, -4), (4, 8)):
        out = as_strided(np.zeros(20, f4)[5:], (4, 2), strides)
        with pytest.raises(ValueError, match="out: expected elements apart in memory, got strides"):
            layer.predict(X, out)
    out = as_strided(np.zeros(20, f4), (4, 2), (8, 36))  # between one another, none in two places
    assert layer.predict(X, out) is out


def test_a_subclass_as_out_is_filled_like_any_other():
    X = np.ones((4, 3), f4)
    for formulation in ("tiled", "loops", "blas"):
        layer = fl.Linear(3, 3, activation="relu", rng=0, formulation=formulation)
        out = np.zeros((4, 3), f4).view(np.matrix)
        assert layer.forward(X, out=out) is out
        assert (np.asarray(out) == layer.predict(X)).all()
        assert type(layer.backward(X)) is np.ndarray


@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
def test_parameters_beyond_float32(formulation):
    """They would be infinite, and 0 times them NaN; float64 holds them."""
    for activation in (fl.CELU(1e300), fl.LeakyReLU(1e300), fl.ELU(-1e300), fl.Softplus(1e300)):
        activation.formulation = formulation
        layer = fl.Linear(3, 2, activation=activation, formulation=formulation)
        for module in (activation, layer):
            with pytest.raises(ValueError, match="expected parameters within float32, got"):
                module.predict(zeros(4, 3))
        assert not np.isnan(activation.predict(zeros(4, 3, dtype=f8))).any()
    with pytest.raises(ValueError, match="expected parameters within float32, got"):
        layer.as_jit()
    unbounded = fl.Hardtanh(-math.inf, math.inf)
    unbounded.formulation = formulation
    assert unbounded.predict(np.array([-1e38, 3], f4)).tolist() == [f4(-1e38), 3]


def test_out_overlapping_the_layer():
    layer = fl.Linear(3, 3)
    net = fl.Sequential(layer, fl.Linear(3, 3))
    X = zeros(3, 3)
    for module in (layer, net):
        Y = module(X)
        for out in (*module.params.values(), *module.grads.values()):
            if out.ndim == 2:
                with pytest.raises(ValueError, match="out: overlaps"):
                    module.predict(X, out)
                with pytest.raises(ValueError, match="out: overlaps"):
                    module.backward(Y, out=out)


def test_overlap_that_takes_too_long_to_decide_is_assumed():
    memory = np.zeros(100_000, f4)
    strides = [(4 * 17, 4 * 391, 4 * 7), (4 * 19, 4 * 403, 4 * 11)]
    a, b = (np.lib.stride_tricks.as_strided(memory, (20, 20, 20), s) for s in strides)
    assert checks.overlap(a, b)


def test_out_without_an_input_gradient():
    layer = linear()
    with pytest.raises(ValueError, match="input_grad=False"):
        layer.backward(zeros(4, 2), input_grad=False, out=zeros(4, 3))
    assert (layer.grads["weight"] == 7).all()


@pytest.mark.parametrize("module", [fl.ReLU(), fl.Softmax()])
def test_maps(module):
    with pytest.raises(TypeError, match="X: expected float32 or float64, got int64: cast"):
        module(zeros(4, 3, dtype=int))
    with pytest.raises(TypeError, match="X: expected a NumPy array, got list"):
        module([1.0])
    Y = module(zeros(4, 3))
    with pytest.raises(TypeError, match="dY: expected float32, that of the last forward"):
        module.backward(Y.astype(f8))
    with pytest.raises(ValueError, match=r"dY: expected shape \(4, 3\)"):
        module.backward(Y[:2])


def twice(layer):
    return fl.Sequential(fl.Sequential(layer, fl.ReLU()), fl.Sequential(layer))


# -- construction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: fl.Linear(0, 2), ValueError, "in_features: expected at least 1, got 0"),
        (lambda: fl.Linear(3, -2), ValueError, "out_features: expected at least 1, got -2"),
        (lambda: fl.Linear(3.5, 2), TypeError, "in_features: expected an integer, got 3.5"),
        (lambda: fl.Linear(3, 2, dtype=int), TypeError, "dtype: expected float32 or float64"),
        (lambda: fl.Linear(3, 2, dtype="x"), TypeError, "dtype: expected float32 or float64"),
        (lambda: fl.Linear(3, 2, dtype=None), TypeError, "dtype: .* got None"),
        (lambda: fl.Linear(3, 2, init="he"), ValueError, "init: .* kaiming_uniform.* got 'he'"),
        (lambda: fl.Linear(3, 2, rng="a"), TypeError, "rng: expected None, an integer"),
        (lambda: fl.Linear(3, 2, rng=-1), TypeError, "rng: expected None, an integer"),
        (lambda: fl.Linear(3, 2, activation="rely"), ValueError, "activation: .*relu.*'rely'"),
        (lambda: fl.Linear(3, 2, activation="threshold"), ValueError, r"such as fl\.ELU"),
        (lambda: fl.Linear(3, 2, activation=fl.ReLU), TypeError, "activation: expected a name"),
        (lambda: fl.Linear(3, 2, activation=math.tanh), TypeError, "activation: expected a name"),
        (lambda: fl.Linear(3, 2, formulation="fast"), ValueError, "tiled.*loops.*blas.*'fast'"),
        (lambda: fl.MLP([3]), ValueError, r"sizes: expected at least two numbers, got \[3\]"),
        (lambda: fl.MLP([3, 0, 2]), ValueError, "sizes: expected at least 1, got 0"),
        (lambda: fl.MLP([3, 4, 2], activation="x"), ValueError, "activation: expected one of"),
        (lambda: fl.Sequential(), ValueError, "at least one layer"),
        (lambda: fl.Sequential(fl.ReLU), TypeError, "expected layers"),
        (lambda: fl.Sequential(*[fl.ReLU()] * 2), ValueError, "same object twice"),
        (lambda: twice(fl.Linear(3, 3)), ValueError, "same object twice"),
        (
            lambda: fl.Sequential(fl.Linear(3, 4), fl.ReLU(), fl.Linear(5, 2)),
            ValueError,
            r"Linear\(5, 2, .*: expected in_features=4",
        ),
        (
            lambda: fl.Sequential(fl.Linear(3, 4), fl.Linear(4, 2, dtype=f8)),
            TypeError,
            r"Linear\(4, 2, dtype=float64\): expected dtype float32",
        ),
        (lambda: fl.CELU(0), ValueError, r"CELU: expected \|alpha\| of 2\^-120 or more, got 0"),
        (lambda: fl.CELU("1"), TypeError, "CELU: alpha: expected a number, got '1'"),
        (lambda: fl.ELU(10**400), ValueError, "ELU: alpha: expected a number that a float holds"),
        (lambda: fl.Hardtanh("a", 1), TypeError, "Hardtanh: min_val: expected a number"),
        (lambda: fl.Linear(3, 2, bias="no"), TypeError, "bias: expected True or False, got 'no'"),
        (lambda: fl.MLP(5), TypeError, "sizes: expected numbers such as"),
        (lambda: fl.SGD(fl.ReLU(), "0.1"), TypeError, "lr: expected a number, got '0.1'"),
        (lambda: fl.Adam(fl.ReLU(), betas=(0.9,)), TypeError, "betas: expected two numbers, got"),
        (lambda: fl.Adam(fl.ReLU(), betas=0.9), TypeError, "betas: expected two numbers, got 0.9"),
        (lambda: fl.Softplus(0), ValueError, r"expected \|beta\| of 2\^-120 or more, got 0"),
        (lambda: fl.Softplus(-7e-37), ValueError, r"expected \|beta\| .* got -7e-37"),
        (lambda: fl.Softshrink(-1), ValueError, "Softshrink: expected lambd of at least 0"),
        (lambda: fl.Hardtanh(1, 1), ValueError, "Hardtanh: expected min_val < max_val, got 1, 1"),
        (lambda: fl.ELU(math.nan), ValueError, "ELU: alpha: expected a number, got NaN"),
        (lambda: fl.GELU("erf"), ValueError, "GELU: approximate: expected one of none, tanh"),
        (lambda: fl.Threshold(1), TypeError, "value"),
        (lambda: fl.MSELoss("none"), ValueError, "reduction: expected one of mean, sum; got"),
        (lambda: fl.SGD([], 0.1), TypeError, "net: expected a layer or network, got list"),
        (lambda: fl.SGD(fl.ReLU(), -0.1), ValueError, "lr: expected a finite number of at least 0"),
        (lambda: fl.Adam(fl.ReLU(), math.inf), ValueError, "lr: expected a finite number"),
        (lambda: fl.SGD(fl.ReLU(), 0.1, nesterov=True), ValueError, "nesterov: expected a mom"),
        (lambda: fl.Adam(fl.ReLU(), betas=(0.9, 1)), ValueError, r"betas: expected .* \[0, 1\)"),
    ],
)
def test_construction(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_formulation_that_does_not_exist_leaves_the_old_one():
    layer = fl.Linear(3, 2)
    with pytest.raises(ValueError, match="fast"):
        layer.formulation = "fast"
    assert layer.formulation == "tiled"
    layer.predict(zeros(4, 3))


# -- parameters ------------------------------------------------------------------------------------


@MODULES
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.popitem(), ValueError, r"missing \['\S*bias'\], surplus \[\]"),
        (lambda d: d.update(extra=zeros(1)), ValueError, r"missing \[\], surplus \['extra'\]"),
        (lambda d: d.update({last(d): zeros(3)}), ValueError, r"bias'\]: expected shape \(2,\)"),
        (lambda d: d.update({last(d): zeros(2, dtype=f8)}), TypeError, "expected float32, got fl"),
        (lambda d: d.update({last(d): zeros(2, dtype=int)}), TypeError, "expected float32, got i"),
        (lambda d: d.update({last(d): "text"}), TypeError, "expected float32, got <U4"),
        (lambda d: d.update({last(d): masked(2)}), TypeError, "expected a NumPy array, got Masked"),
    ],
)
def test_state_dicts(make, change, error, message):
    module = make()
    before = module.state_dict()
    state = {name: a + 1 for name, a in before.items()}
    change(state)
    with pytest.raises(error, match=message):
        module.load_state_dict(state)
    assert all((module.params[name] == a).all() for name, a in before.items())


def masked(size):
    return np.ma.masked_equal(zeros(size), 0)


def last(state):
    return list(state)[-1]


def test_assigning_parameters():
    layer = fl.Linear(3, 2)
    before = layer.params["weight"].copy()
    for value, error in (
        (zeros(3, 2), ValueError),
        (zeros(2, 3, dtype=f8), TypeError),
        (1, TypeError),
    ):
        with pytest.raises(error, match="weight: expected"):
            layer.params["weight"] = value
    with pytest.raises(KeyError, match="expected one of weight, bias"):
        layer.params["wieght"] = before
    for remove in (lambda: layer.params.pop("bias"), layer.params.clear):
        with pytest.raises(TypeError, match="not removed"):
            remove()
    with pytest.raises(AttributeError):
        layer.params = {}
    assert (layer.params["weight"] == before).all()


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 2, 3], ValueError, "labels: expected 0 to 2, got 3 at index 3"),
        ([0, -1, 2, 1], ValueError, "labels: expected 0 to 2, got -1 at index 1"),
        (np.array([2**64 - 1, 0, 0, 0], np.uint64), ValueError, "labels: expected 0 to 2"),
        ([0, 1, 2], ValueError, r"labels: expected shape \(4,\) \(one for each row"),
        ([[0, 1, 2, 0]], ValueError, r"labels: expected shape \(4,\)"),
        ([0.0, 1.0, 2.0, 0.0], TypeError, "labels: expected integers, got float64"),
        ([True, False, True, True], TypeError, "labels: expected integers, got bool"),
        (["a", "b", "c", "d"], TypeError, "labels: expected integers, got <U1"),
    ],
)
def test_labels(labels, error, message):
    loss = fl.CrossEntropyLoss()
    loss(zeros(4, 3), [0, 1, 2, 0])
    with pytest.raises(error, match=message):
        loss(zeros(4, 3), labels)
    assert loss.backward().shape == (4, 3)  # of the good forward


def test_losses():
    loss = fl.CrossEntropyLoss()
    with pytest.raises(RuntimeError, match=r"CrossEntropyLoss\.backward needs a forward"):
        loss.backward()
    with pytest.raises(ValueError, match=r"X: expected shape \(\.\.\., classes\), got \(4, 0\)"):
        loss(zeros(4, 0), [0] * 4)
    with pytest.raises(ValueError, match=r"X: expected shape \(\.\.\., classes\), got \(\)"):
        loss(zeros(), 0)
    with pytest.raises(TypeError, match="X: expected float32 or float64, got int64"):
        loss(zeros(4, 3, dtype=int), [0] * 4)
    X = zeros(4, 3)
    loss(X, [0] * 4)
    for out, message in ((X, "overlaps"), (zeros(3, 4), r"shape \(4, 3\)")):
        with pytest.raises(ValueError, match=message):
            loss.backward(out=out)
    mse = fl.MSELoss()
    with pytest.raises(ValueError, match=r"target: expected shape \(4, 3\) \(that of X\), got"):
        mse(X, zeros(3))
    with pytest.raises(TypeError, match="target: expected float32, got float64"):
        mse(X, zeros(4, 3, dtype=f8))
