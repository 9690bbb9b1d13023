"""Every activation as a layer: PyTorch's values with default arguments, names, gradients."""

import weakref

import numpy as np
import pytest

import fastlinear as fl
from fastlinear.kernels.activations import PAIRS
from fastlinear.layers.activation import CLASSES, NAMES, resolve

X = np.array([-2.0, -0.3, 0.2, 1.5, 7.0])
EPS = np.finfo(float).eps

# PyTorch 2.13, float64: value and derivative at each x of X, default arguments.
KNOWN = {
    fl.Identity(): ([-2.0, -0.3, 0.2, 1.5, 7.0], [1.0, 1.0, 1.0, 1.0, 1.0]),
    fl.ReLU(): ([0.0, 0.0, 0.2, 1.5, 7.0], [0.0, 0.0, 1.0, 1.0, 1.0]),
    fl.LeakyReLU(): ([-0.02, -0.003, 0.2, 1.5, 7.0], [0.01, 0.01, 1.0, 1.0, 1.0]),
    fl.ELU(): (
        [-0.8646647167633873, -0.2591817793182821, 0.2, 1.5, 7.0],
        [0.1353352832366127, 0.7408182206817179, 1.0, 1.0, 1.0],
    ),
    fl.SELU(): (
        [
            -1.5201664685956948,
            -0.45566731537912203,
            0.2101401974710961,
            1.5760514810332207,
            7.354906911488364,
        ],
        [
            0.2379328722516818,
            1.3024320254682547,
            1.0507009873554805,
            1.0507009873554805,
            1.0507009873554805,
        ],
    ),
    fl.CELU(): (
        [-0.8646647167633873, -0.2591817793182821, 0.2, 1.5, 7.0],
        [0.1353352832366127, 0.7408182206817179, 1.0, 1.0, 1.0],
    ),
    fl.GELU(): (
        [
            -0.04550026389635842,
            -0.1146265733433142,
            0.11585194188782061,
            1.399789198096713,
            6.999999999991041,
        ],
        [
            -0.08523180107819692,
            0.26767223317289013,
            0.6574682482341941,
            1.1274691922299795,
            1.0000000000626632,
        ],
    ),
    fl.SiLU(): (
        [
            -0.2384058440442351,
            -0.1276672449565023,
            0.1099667994624956,
            1.2263617142904655,
            6.993622641639196,
        ],
        [
            -0.09078424878489547,
            0.3522199896811173,
            0.59933731185485,
            1.041294154299143,
            1.0054604970664518,
        ],
    ),
    fl.Mish(): (
        [
            -0.2525014826957089,
            -0.15113317713833455,
            0.13259900186215923,
            1.4033782663958028,
            6.999988379809741,
        ],
        [
            -0.1083550924203939,
            0.40851087693570215,
            0.7246245404198407,
            1.0884879850078475,
            1.000021559160889,
        ],
    ),
    fl.Sigmoid(): (
        [
            0.11920292202211755,
            0.425557483188341,
            0.549833997312478,
            0.8175744761936437,
            0.9990889488055994,
        ],
        [
            0.1049935854035065,
            0.24445831169074586,
            0.24751657271185995,
            0.14914645207033286,
            0.000910221180121784,
        ],
    ),
    fl.LogSigmoid(): (
        [
            -2.1269280110429727,
            -0.8543552444685272,
            -0.5981388693815918,
            -0.2014132779827524,
            -0.0009114664537742447,
        ],
        [
            0.8807970779778824,
            0.5744425168116589,
            0.4501660026875221,
            0.18242552380635632,
            0.0009110511944006454,
        ],
    ),
    fl.Tanh(): (
        [
            -0.9640275800758169,
            -0.2913126124515909,
            0.197375320224904,
            0.9051482536448664,
            0.9999983369439447,
        ],
        [
            0.07065082485316443,
            0.9151369618266292,
            0.9610429829661166,
            0.1807066389236486,
            3.3261093448688367e-06,
        ],
    ),
    fl.Softplus(): (
        [
            0.1269280110429725,
            0.5543552444685271,
            0.7981388693815918,
            1.7014132779827524,
            7.000911466453774,
        ],
        [
            0.11920292202211755,
            0.425557483188341,
            0.549833997312478,
            0.8175744761936437,
            0.9990889488055994,
        ],
    ),
    fl.Softsign(): (
        [-2 / 3, -0.23076923076923075, 1 / 6, 0.6, 0.875],
        [1 / 9, 0.5917159763313609, 0.6944444444444444, 0.16, 0.015625],
    ),
    fl.Hardtanh(): ([-1.0, -0.3, 0.2, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0]),
    fl.ReLU6(): ([0.0, 0.0, 0.2, 1.5, 6.0], [0.0, 0.0, 1.0, 1.0, 0.0]),
    # PyTorch's derivative is 1/6 rounded to float32 here; ours is 1/6.
    fl.Hardsigmoid(): ([1 / 6, 0.45, 8 / 15, 0.75, 1.0], [1 / 6, 1 / 6, 1 / 6, 1 / 6, 0.0]),
    fl.Hardswish(): ([-1 / 3, -0.135, 8 / 75, 1.125, 7.0], [-1 / 6, 0.4, 17 / 30, 1.0, 1.0]),
    fl.Softshrink(): ([-1.5, 0.0, 0.0, 1.0, 6.5], [1.0, 0.0, 0.0, 1.0, 1.0]),
    fl.Hardshrink(): ([-2.0, 0.0, 0.0, 1.5, 7.0], [1.0, 0.0, 0.0, 1.0, 1.0]),
    fl.Tanhshrink(): (
        [
            -1.035972419924183,
            -0.008687387548409087,
            0.002624679775096006,
            0.5948517463551336,
            6.0000016630560555,
        ],
        [
            0.9293491751468356,
            0.08486303817337082,
            0.038957017033883434,
            0.8192933610763514,
            0.9999966738906552,
        ],
    ),
    fl.Threshold(0.1, 20): ([20.0, 20.0, 0.2, 1.5, 7.0], [0.0, 0.0, 1.0, 1.0, 1.0]),
}


def test_the_table_has_every_activation():
    assert {type(activation) for activation in KNOWN} == set(CLASSES)
    assert {activation.pair.name for activation in KNOWN} | {"gelu_tanh"} == set(PAIRS)
    assert len(CLASSES) == 22


@pytest.mark.parametrize("activation", KNOWN, ids=lambda a: type(a).__name__)
def test_values_and_derivatives_are_pytorchs(activation):
    """Both sides are within 4 ulp of the truth, but derivatives taken from the output lose some.

    tanh' = 1 - y^2 at y near 1, and PyTorch's tanhshrink' and x - tanh(x), cancel: their error is
    a few eps of 1, not of the result. 8 eps max(1, |value|) covers all.
    """
    Y, derivative = KNOWN[activation]
    assert (np.abs(activation(X) - Y) <= 8 * EPS * np.maximum(1, np.abs(Y))).all()
    found = activation.backward(np.ones(5))
    assert (np.abs(found - derivative) <= 8 * EPS * np.maximum(1, np.abs(derivative))).all()


@pytest.mark.parametrize("activation", KNOWN, ids=lambda a: type(a).__name__)
def test_gradients_are_those_of_differences(activation):
    report = fl.gradcheck(activation, np.linspace(-3.3, 4.1, 20).reshape(4, 5))
    assert report.checked == 20
    assert report.kinks == 0


def test_arguments_reach_the_kernels():
    assert fl.LeakyReLU(0.5).predict(X)[0] == -1
    assert fl.Hardtanh(-0.5, 2).predict(X).tolist() == [-0.5, -0.3, 0.2, 1.5, 2]
    assert fl.Softshrink(1).predict(X).tolist() == [-1, 0, 0, 0.5, 6]
    assert fl.Hardshrink(1.5).predict(X).tolist() == [-2, 0, 0, 0, 7]
    assert fl.Threshold(0.2, -3).predict(X).tolist() == [-3, -3, -3, 1.5, 7]
    half = fl.ELU(0.5).predict(X)
    assert (half[:2] == fl.ELU().predict(X)[:2] / 2).all()
    assert (fl.Softplus(1, threshold=1).predict(X)[3:] == X[3:]).all()
    exact, approximate = fl.GELU().predict(X), fl.GELU("tanh").predict(X)
    assert (exact != approximate).any()
    assert np.abs(exact - approximate).max() < 1e-3  # the approximation is that good


@pytest.mark.parametrize("beta", [2.0**-120, -(2.0**-120), 1e38])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_of_extreme_beta(beta, dtype):
    x = np.array([-np.inf, 0, np.inf], dtype) * dtype(np.sign(beta))
    found = fl.Softplus(beta, np.inf).predict(x)
    assert found[[0, 2]].tolist() == [0, x[2]]
    assert abs(found[1] - np.log(2) / beta) <= 4 * np.spacing(abs(found[1]))


def test_parameters_are_read_only():
    elu, softplus = fl.ELU(0.25), fl.Softplus(2)
    assert (elu.alpha, softplus.beta, softplus.threshold) == (0.25, 2.0, 20.0)
    with pytest.raises(AttributeError, match=r"make another fl\.ELU"):
        elu.alpha = 0.5


def test_names():
    for name in NAMES:
        activation = resolve(name)
        assert (activation is None) == (name == "identity")
        assert activation is None or activation.pair is PAIRS[name]
    assert set(NAMES) == set(PAIRS) - {"threshold"}  # it has no defaults


def test_one_object_may_serve_several_layers():
    elu = fl.ELU(0.3)
    net = fl.MLP([3, 4, 4, 2], elu, rng=0)
    assert net[0].activation is net[1].activation is elu


@pytest.mark.parametrize("layer", [*KNOWN, fl.Softmax()], ids=str)
def test_nothing_is_kept_that_backward_does_not_read(layer):
    inputs = X.copy()
    outputs = layer.forward(inputs)
    refs = weakref.ref(inputs), weakref.ref(outputs)
    del inputs, outputs
    reads_output = getattr(layer, "from_output", True)
    assert [ref() is not None for ref in refs] == [not reads_output, reads_output]


def test_zero_dimensional_and_empty_arrays():
    relu = fl.ReLU()
    for shape in ((), (0,), (3, 0), (0, 3), (2, 0, 3)):
        Z = np.ones(shape)
        assert relu(Z).shape == relu.backward(Z).shape == shape
        assert (relu.predict(Z) == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_linear_units_of_either_sign_of_alpha(dtype):
    """x / alpha is positive for a negative x and alpha: CELU then grows like an exponential."""
    x = np.array([[-200.0, -20.0, -1.0, -1e-9, -0.0, 0.0, 1e-9, 3.0, 90.0]], dtype)
    exact = x.astype(np.float64)
    for alpha in (-1.0, -0.5, 0.5, 2.0):
        for act, t in ((fl.CELU(alpha), exact / alpha), (fl.ELU(alpha), exact)):
            with np.errstate(over="ignore"):
                expected = np.where(x > 0, exact, alpha * np.expm1(t)).astype(dtype)
            np.testing.assert_array_max_ulp(act.predict(x), expected, maxulp=4)
