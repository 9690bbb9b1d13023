"""SGD, Adam and AdamW: PyTorch's results, parallel and serial bits, training, copies."""

import copy
import pickle

import numpy as np
import pytest

import fastlinear as fl
from fastlinear.kernels import updates
from fastlinear.kernels.sizes import SHARED_ELEMENTS

EPS = np.finfo(float).eps

# Three steps of PyTorch 2.13 in float64 from w = [[1, -2], [3, 0.5]], with gradients
# t (-1)^(t-1) [[0.1, -0.2], [0.3, 4]] at step t.
KNOWN = [
    (fl.SGD, {"lr": 0.1}, [0.98, -1.96, 2.94, -0.3]),
    (
        fl.SGD,
        {"lr": 0.1, "weight_decay": 0.01},
        [0.9770029889999999, -1.9540059779999999, 2.9310089670000004, -0.3014989005],
    ),
    (fl.SGD, {"lr": 0.1, "momentum": 0.9}, [0.9809, -1.9618, 2.9427, -0.264]),
    (
        fl.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        [0.9548056125509999, -1.9096112251019999, 2.864416837653, -0.9903890930295],
    ),
    (
        fl.Adam,
        {"lr": 0.1},
        [0.9022862539477428, -1.9022862493110693, 2.9022862477655114, 0.40228624490622866],
    ),
    (
        fl.Adam,
        {"lr": 0.1, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.01},
        [0.8952318206020222, -1.8945695643760392, 2.8943472171242957, 0.40342362262868947],
    ),
    (
        fl.AdamW,
        {"lr": 0.1},
        [0.8994525425773644, -1.896455536949528, 2.893458534406916, 0.4009510340530832],
    ),
    (
        fl.AdamW,
        {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.1},
        [0.875376675148629, -1.8456756706734945, 2.8159746691817820, 0.3902271664221162],
    ),
]


@pytest.mark.parametrize(("rule", "settings", "expected"), KNOWN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_three_steps_are_pytorchs(rule, settings, expected, dtype):
    """Some ten roundings a step, none amplified: 32 eps of the largest number about, 4."""
    net = fl.Linear(2, 2, bias=False, dtype=dtype)
    net.params["weight"] = np.array([[1, -2], [3, 0.5]], dtype)
    optimizer = rule(net, **settings)
    for t in (1, 2, 3):
        gradient = np.array([[0.1, -0.2], [0.3, 4]]) * (t * (-1) ** (t - 1))
        net.grads["weight"] = gradient.astype(dtype)
        optimizer.step()
    bound = 32 * np.finfo(dtype).eps * 4
    assert np.abs(net.params["weight"].ravel() - expected).max() <= bound


def network():
    net = fl.MLP([3, 4, 2], activation="tanh", rng=0)
    for name, g in net.grads.items():
        g[...] = np.random.default_rng(len(name)).normal(size=g.shape)
    return net


@pytest.mark.parametrize(
    ("rule", "settings"),
    [(fl.SGD, {"lr": 0.1, "momentum": 0.9}), (fl.Adam, {}), (fl.AdamW, {})],
)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_go_on_with_their_own_network(rule, settings, duplicate):
    net = network()
    optimizer = rule(net, **settings)
    optimizer.step()
    other = duplicate(optimizer)
    assert other.net is not net
    for name, g in net.grads.items():
        other.net.grads[name] = g
    before = net.state_dict()
    other.step()
    assert all((net.params[name] == w).all() for name, w in before.items())
    optimizer.step()
    for name, w in net.params.items():
        assert (other.net.params[name] == w).all()
        assert (before[name] != w).any()


def test_the_learning_rate_may_change_between_steps():
    net = network()
    optimizer = fl.SGD(net, 0.5)
    optimizer.lr = 0.0
    before = net.state_dict()
    optimizer.step()
    assert all((net.params[name] == w).all() for name, w in before.items())
    for wrong in (-0.1, np.nan, "fast"):
        with pytest.raises((TypeError, ValueError), match="lr: expected a "):
            optimizer.lr = wrong
    assert (optimizer.lr, optimizer.steps) == (0.0, 1)


def test_parallel_chunks_change_no_bit():
    n = SHARED_ELEMENTS + 1001
    rng = np.random.default_rng(0)
    whole = [rng.random(n).astype(np.float32) for _ in range(4)]
    calls = [
        lambda a: updates.add(*a[:2]),
        lambda a: updates.sgd(*a[:2], 0.1, 0.2),
        lambda a: updates.momentum(*a[:3], 0.1, 0.2, 0.9, True),
        lambda a: updates.adam(*a, 0.1, (0.9, 0.99), 0.7, 1e-8, 0.2, 0.9),
    ]
    for call in calls:
        together = [a.copy() for a in whole]
        call(together)
        apart = [a.copy() for a in whole]
        for start in range(0, n, 999):
            call([a[start : start + 999] for a in apart])
        assert all((a == b).all() for a, b in zip(together, apart, strict=True))
        assert (together[0] != whole[0]).all()


def test_accumulated_gradients_of_a_large_layer():
    layer = fl.Linear(300, 250, rng=0)
    layer(np.ones((2, 300), np.float32))
    dY = np.ones((2, 250), np.float32)
    layer.backward(dY)
    layer.backward(dY, accumulate=True)
    assert (layer.grads["weight"] == 4).all()


@pytest.mark.parametrize("formulation", ["tiled", "loops"])
def test_training_learns(formulation):
    """XOR, which no linear model can learn; the same losses under both formulations."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    labels = np.array([0, 1, 1, 0])
    net = fl.MLP([2, 16, 2], activation="tanh", rng=0, formulation=formulation)
    loss, optimizer = fl.CrossEntropyLoss(), fl.Adam(net, 0.05)
    losses = []
    for _ in range(100):
        losses.append(loss(net(X), labels))
        net.backward(loss.backward(), input_grad=False)
        optimizer.step()
    assert losses[-1] < 0.02 < 0.5 < losses[0]
    assert (net.predict(X).argmax(1) == labels).all()
    first = TRAINED.setdefault("losses", losses)
    assert losses == first


TRAINED: dict[str, list[float]] = {}


def test_repr():
    assert repr(fl.SGD(network(), 0.1, momentum=0.9)) == (
        "SGD(lr=0.1, weight_decay=0.0, momentum=0.9, nesterov=False)"
    )
    assert repr(fl.AdamW(network())) == (
        "AdamW(lr=0.001, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-08)"
    )
