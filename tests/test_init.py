"""Initialisers: PyTorch's bounds, seeds, order of the draws."""

from math import sqrt

import numpy as np
import pytest

import fastlinear as fl

SHAPE = (300, 500)

# PyTorch 2.13: bound of the uniform, standard deviation of the normal ones, at (300, 500), and what
# torch.nn.init drew there: largest |w| 0.109544, 0.086602; standard deviation 0.063359, 0.050057.
BOUNDS = {"kaiming_uniform": sqrt(6 / 500), "xavier_uniform": sqrt(6 / 800)}
DEVIATIONS = {"kaiming_normal": sqrt(2 / 500), "xavier_normal": sqrt(2 / 800)}


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_uniform(name, bound):
    """150 000 draws come within 1e-4 of the bound but with probability e^-15 at each end."""
    W = getattr(fl.init, name)(SHAPE, 0, dtype=np.float64)
    assert bound * (1 - 1e-4) < W.max() < bound
    assert bound * (1 - 1e-4) < -W.min() <= bound
    check_moments(W, bound / sqrt(3), 1.8)


@pytest.mark.parametrize(("name", "deviation"), DEVIATIONS.items())
def test_normal(name, deviation):
    W = getattr(fl.init, name)(SHAPE, 0, dtype=np.float64)
    assert np.abs(W).max() > 4 * deviation  # 150 000 normal draws stay below with e^-9.5
    check_moments(W, deviation, 3.0)


def check_moments(W, deviation, kurtosis):
    """Mean and variance within five standard errors."""
    n = W.size
    assert abs(W.mean()) < 5 * deviation / sqrt(n)
    assert abs(W.var() / deviation**2 - 1) < 5 * sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize("name", [*BOUNDS, *DEVIATIONS])
def test_seed_gain_and_dtype(name):
    draw = getattr(fl.init, name)
    W = draw((3, 5), 7, dtype=np.float64)
    assert (draw((3, 5), np.random.default_rng(7), dtype=np.float64) == W).all()
    assert (draw((3, 5), 7) == W.astype(np.float32)).all()
    assert draw((3, 5), 7).dtype == np.float32
    assert (draw((3, 5), 8) != draw((3, 5), 7)).any()
    assert (draw((3, 5)) != draw((3, 5))).any()
    default = sqrt(2) if "kaiming" in name else 1.0
    assert (draw((3, 5), 7, gain=4 * default, dtype=np.float64) == 4 * W).all()


def test_known_draws():
    """NumPy's PCG64 stream for seed 0, scaled: a change of the stream or of its use shows."""
    stream = np.random.default_rng(0).random(6)
    bound = sqrt(2) * sqrt(3 / 3)
    W = fl.init.kaiming_uniform((2, 3), 0, dtype=np.float64)
    assert ((-bound + 2 * bound * stream).reshape(2, 3) == W).all()
    assert stream[0] == 0.6369616873214543


def test_a_layer_draws_in_index_order_then_its_bias():
    layer = fl.Linear(5, 3, rng=7, dtype=np.float64)
    generator = np.random.default_rng(7)
    W = fl.init.kaiming_uniform((3, 5), generator, dtype=np.float64)
    assert (layer.params["weight"] == W).all()
    assert (layer.params["bias"] == generator.uniform(-1 / sqrt(5), 1 / sqrt(5), 3)).all()
    single = fl.Linear(5, 3, rng=7)
    assert (single.params["weight"] == W.astype(np.float32)).all()


@pytest.mark.parametrize("name", [*BOUNDS, *DEVIATIONS])
def test_a_layer_takes_the_names(name):
    layer = fl.Linear(5, 3, init=name, rng=7)
    assert (layer.params["weight"] == getattr(fl.init, name)((3, 5), 7)).all()


def test_zeros_are_zeros_the_bias_included():
    layer = fl.Linear(5, 3, init="zeros")
    assert not any(w.any() for w in layer.params.values())
    assert not fl.init.zeros((3, 5)).any()
