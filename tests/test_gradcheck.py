"""gradcheck itself: it passes right gradients, finds wrong ones, and tells kinks from both."""

import numpy as np
import pytest

import fastlinear as fl

X = np.random.default_rng(0).normal(size=(3, 4))


@pytest.mark.parametrize(
    "activation", [None, "relu", "leaky_relu", "tanh", "gelu", "gelu_tanh", "silu", "softplus"]
)
@pytest.mark.parametrize("formulation", ["tiled", "blas"])
def test_fused_layers(activation, formulation):
    layer = fl.Linear(4, 3, activation=activation, rng=1, formulation=formulation)
    report = fl.gradcheck(layer, X)
    assert report.checked == 12 + 12 + 3
    assert report.kinks == 0
    assert report.error < 1e-8


def test_networks():
    net = fl.Sequential(
        fl.Linear(4, 5, bias=False, rng=0),
        fl.ELU(0.5),
        fl.MLP([5, 4, 3], "silu", rng=1),
        fl.Softmax(),
    )
    report = fl.gradcheck(net, X)
    assert report.checked == 12 + 20 + 24 + 15
    assert fl.gradcheck(net, np.stack([X, X]), limit=5).checked == 5 + 5 + (5 + 4) + (5 + 3)


def test_the_module_and_its_gradients_stay_as_they_were():
    layer = fl.Linear(4, 3, rng=0)
    before = layer.state_dict()
    fl.gradcheck(layer, X)
    assert layer.dtype == np.float32
    assert all((layer.params[name] == w).all() for name, w in before.items())
    assert not layer.grads["weight"].any()
    with pytest.raises(RuntimeError):
        layer.backward(np.zeros((3, 3), np.float32))


class Wrong(fl.Linear):
    """Gradients off by a relative 1e-6 in one entry."""

    entry = "weight"

    def backward(self, dY, **options):
        dX = super().backward(dY, **options)
        target = {**self.grads, "X": dX}[self.entry]
        target[-1] *= 1 + 1e-6
        return dX


@pytest.mark.parametrize("entry", ["weight", "bias", "X"])
def test_a_wrong_gradient_is_found_and_named(entry):
    layer = Wrong(4, 3, activation="tanh", rng=0)
    layer.entry = entry
    with pytest.raises(fl.GradcheckError, match="backward says") as caught:
        fl.gradcheck(layer, X)
    report = caught.value.report
    assert report.excess > 10
    assert report.where.startswith(f"{entry}[2")
    assert abs(report.analytic / report.numeric - 1 - 1e-6) < 1e-7


def test_a_missing_gradient_is_found():
    class Silent(fl.Linear):
        def backward(self, dY, **options):
            dX = super().backward(dY, **options)
            self.grads["weight"][...] = 0
            return dX

    with pytest.raises(fl.GradcheckError):
        fl.gradcheck(Silent(4, 3, rng=0), X)

    class NotANumber(fl.Linear):
        def backward(self, dY, **options):
            return super().backward(dY, **options) * np.nan

    with pytest.raises(fl.GradcheckError, match="nan"):
        fl.gradcheck(NotANumber(4, 3, rng=0), X)


@pytest.mark.parametrize(
    ("activation", "kinks"),
    [
        (fl.ReLU(), [0.0]),
        (fl.LeakyReLU(), [0.0]),
        (fl.ReLU6(), [0.0, 6.0]),
        (fl.Hardtanh(), [-1.0, 1.0]),
        (fl.Hardsigmoid(), [-3.0, 3.0]),
        (fl.Softshrink(), [-0.5, 0.5]),
        (fl.Hardshrink(), [-0.5, 0.5]),  # jumps
        (fl.Threshold(0.1, 20), [0.1]),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 1e-6, -4e-6, 7e-6])
def test_kinks_are_counted_not_compared(activation, kinks, offset):
    smooth = np.linspace(-3.3, 4.1, 20)
    points = np.concatenate([smooth, np.array(kinks) + offset])
    report = fl.gradcheck(activation, points)
    assert report.kinks == len(kinks)
    assert report.checked == 20


def test_flat_and_curved_points_are_no_kinks():
    """The minimum of (x - t)^2, where the slope is zero; tails, where everything nearly is."""
    report = fl.gradcheck(fl.MSELoss(), np.arange(4.0), np.arange(4.0))
    assert (report.checked, report.kinks) == (4, 0)
    tails = np.array([-800.0, -40.0, -1.278, 1e-9, 0.0, 30.0, 700.0])
    for name in ("silu", "gelu", "sigmoid", "tanh", "mish", "softplus"):
        activation = fl.Linear(1, 1, activation=name).activation
        report = fl.gradcheck(activation, tails[tails != 30.0] if name == "softplus" else tails)
        assert report.kinks == 0, name


def test_only_kinks_is_nothing_to_compare():
    with pytest.raises(ValueError, match="nothing to compare"):
        fl.gradcheck(fl.ReLU(), np.zeros(3))
    with pytest.raises(ValueError, match="nothing to compare"):
        fl.gradcheck(fl.ReLU(), np.zeros((0, 3)))


def test_bad_input():
    with pytest.raises(TypeError, match="target: expected"):
        fl.gradcheck(fl.MSELoss(), X)
    with pytest.raises(TypeError, match="module: expected"):
        fl.gradcheck(np.tanh, X)
