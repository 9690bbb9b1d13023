"""Sequential, MLP and Softmax: values, names, whatever is put in order."""

import numpy as np
import pytest
from networks import integers

import fastlinear as fl

f4 = np.float32

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


def test_nothing_stays_kept_where_a_layer_raises():
    """Otherwise backward would take some arrays of this X and some of the last one."""

    class Failing(fl.Tanh):
        fails = False

        def forward(self, X, *, out=None):
            if self.fails:
                raise MemoryError
            return super().forward(X, out=out)

    failing = Failing()
    net = fl.Sequential(fl.Linear(3, 3), failing, fl.Linear(3, 2))
    X = np.ones((4, 3), np.float32)
    net.forward(X)
    failing.fails = True
    with pytest.raises(MemoryError):
        net.forward(2 * X)
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        net.backward(np.ones((4, 2), np.float32))


def test_a_layer_of_the_users_own():
    class Double(fl.Module):
        def forward(self, X, *, out=None):
            Y = np.multiply(X, 2, out=out)
            self._keep(X, Y)
            return Y

        def predict(self, X, out=None):
            return np.multiply(X, 2, out=out)

        def backward(self, dY, *, accumulate=False, input_grad=True, out=None):
            return np.multiply(dY, 2, out=out) if input_grad else None

        def arguments(self):
            return {}

    net = fl.Sequential(fl.Linear(3, 3, rng=0), Double(), fl.Linear(3, 2, rng=1))
    assert fl.gradcheck(net, np.ones((4, 3), np.float32)).checked == 12 + 9 + 3 + 6 + 2
    with pytest.raises(RuntimeError, match=r"Double\.backward needs a forward before it"):
        fl.Sequential(Double()).backward(np.ones((4, 3), np.float32))
