"""CrossEntropyLoss and MSELoss: PyTorch's values, accuracy, the order of their sums, layouts."""

import math
import pickle

import numpy as np
import pytest
from bits import same

import fastlinear as fl
from fastlinear.kernels import reductions
from fastlinear.kernels.sizes import BLOCK, SHARED_ELEMENTS

EPS = np.finfo(float).eps
f4 = np.float32
X = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
LABELS = [0, 2]
TARGET = np.array([[0.0, 2.0, 5.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1.0), ("sum", 2.0)])
def test_cross_entropy_against_pytorch(reduction, factor):
    """PyTorch 2.13, float64: both are a few roundings from the truth, 8 eps."""
    loss = fl.CrossEntropyLoss(reduction)
    assert abs(loss(X, LABELS) / factor - 1.2161754272916017) <= 8 * EPS
    expected = [
        [-0.4549847134148098, 0.12236423552739882, 0.3326204778874109],
        [0.008933990935152254, 0.0032866315926545426, -0.012220622527806757],
    ]
    assert np.abs(loss.backward() / factor - expected).max() <= 8 * EPS


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1.0), ("sum", 6.0)])
def test_mse_against_pytorch(reduction, factor):
    loss = fl.MSELoss(reduction)
    assert loss(X, TARGET) == 19 * (factor / 6)
    assert (loss.backward() == (2.0 * (factor / 6)) * (X - TARGET)).all()


def test_cross_entropy_keeps_its_accuracy_for_confident_predictions():
    """The loss is log1p(exp(-g)) for a gap g: 8 eps of it, however small, and of its gradient."""
    loss = fl.CrossEntropyLoss()
    for gap in (1.0, 20.0, 40.0, 300.0, 700.0):
        tail = math.exp(-gap)
        assert abs(loss(np.array([gap, 0.0]), 0) / math.log1p(tail) - 1) <= 8 * EPS
        dX = loss.backward()
        expected = tail / (1 + tail)
        assert np.abs(dX / [-expected, expected] - 1).max() <= 8 * EPS
        assert loss(np.array([gap, 0.0]), 1) == gap + math.log1p(tail)


def test_cross_entropy_extremes():
    loss, inf = fl.CrossEntropyLoss("sum"), np.inf
    assert loss(np.array([1e300, -1e300, 0.0]), 0) == 0
    assert loss(np.array([0.0, -inf, -inf]), 0) == 0  # masked classes
    assert loss.backward().tolist() == [0, 0, 0]
    assert loss(np.array([0.0, -inf]), 1) == inf
    assert math.isnan(loss(np.array([0.0, np.nan]), 0))
    assert math.isnan(loss(np.array([np.nan, 0.0]), 1))
    assert np.isnan(loss.backward()).all()
    assert math.isnan(loss(np.array([inf, 0.0]), 0))
    assert loss(np.array([[3.0], [5.0]]), [0, 0]) == 0  # one class


def test_shapes_and_label_types():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(f4)
    labels = np.array([[0, 1, 2], [3, 0, 1]])
    loss = fl.CrossEntropyLoss()
    expected, gradient = loss(logits, labels), loss.backward()
    assert isinstance(expected, float)
    assert gradient.shape == logits.shape
    assert gradient.dtype == f4
    for kind in (np.int8, np.uint8, np.int32, np.uint64):
        assert loss(logits, labels.astype(kind)) == expected
    assert loss(logits, labels.tolist()) == expected
    assert loss(np.asfortranarray(logits), np.asfortranarray(labels)) == expected
    assert loss(logits[::-1], labels[::-1]) == pytest.approx(expected, rel=8 * 1.2e-7)
    out = np.empty_like(logits)
    assert loss(logits, labels) == expected
    assert loss.backward(out=out) is out
    assert (out == gradient).all()


def test_labels_that_change_before_backward():
    """They say where `backward` writes."""
    logits, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 2, 0])
    loss = fl.CrossEntropyLoss()
    loss(logits, labels)
    expected = loss.backward()
    labels[1] = 50_000_000
    assert (loss.backward() == expected).all()


@pytest.mark.parametrize("loss", [fl.CrossEntropyLoss, fl.MSELoss])
def test_empty_batches(loss):
    empty = np.empty((0, 3), f4)
    target = np.empty(0, int) if loss is fl.CrossEntropyLoss else empty
    assert loss("sum")(empty, target) == 0
    mean = loss()
    assert math.isnan(mean(empty, target))  # as in PyTorch
    assert mean.backward().shape == (0, 3)


def blocked(terms):
    """The documented order: blocks in index order, then the blocks in order."""
    total = None
    for start in range(0, len(terms), BLOCK):
        part = terms.dtype.type(0)
        for term in terms[start : start + BLOCK]:
            part += term
        total = part if total is None else total + part
    return total


def mixed(n, seed):
    """Numbers of 12 bits and many magnitudes: products of two are exact in float32, sums are not.

    So a fused multiply-add rounds as an addition does, and the order of a sum shows.
    """
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 4096, n) * np.exp2(rng.integers(-16, 0, n))).astype(f4)


OTHER_ORDERS = {
    "backwards": lambda terms: blocked(terms[::-1]),
    "blocks moved": lambda terms: blocked(np.concatenate(([f4(0)], terms))),
    "one block": lambda terms: np.cumsum(terms)[-1],
    "half blocks": lambda terms: sum(
        blocked(terms[i : i + BLOCK // 2]) for i in range(0, len(terms), BLOCK // 2)
    ),
}


def check_order(cases):
    """Each sum found is that of the documented order, and any other order would have shown."""
    for terms, found in cases:
        assert found == blocked(terms)
    for name, other in OTHER_ORDERS.items():
        assert any(found != other(terms) for terms, found in cases), name


N = 3 * BLOCK + 17


def test_squared_error_is_summed_in_blocks_in_index_order():
    rows = [mixed(N, seed) for seed in range(8)]
    check_order([(x * x, fl.MSELoss("sum")(x, np.zeros_like(x))) for x in rows])


def test_softmax_is_summed_in_blocks_in_index_order():
    def rests(logits):
        """R of each row, the sum of all exponentials but the largest."""
        found = np.empty(len(logits), f4)
        zeros = np.zeros(len(logits), np.int64)
        reductions.cross_entropy(logits, zeros, zeros.copy(), found)
        return found

    cases = []
    for seed in range(8):
        x = np.random.default_rng(seed).uniform(-12, 0, N).astype(f4)
        x[0] = 0
        terms = rests(np.stack([np.zeros_like(x), x], axis=1))  # exp(x_j) alone, by the kernel
        terms[0] = 0
        cases.append((terms, rests(x[None])[0]))
        assert fl.Softmax().predict(x)[0] == 1 / (1 + blocked(terms))
    check_order(cases)


def test_softmax_gradient_is_summed_in_blocks_in_index_order():
    cases = []
    for seed in range(8):
        Y, dY = mixed(N, seed), mixed(N, seed + 100)
        Y[-1], dY[-1] = 1, 0  # so that dX there is minus the sum
        dX = np.empty((1, N), f4)
        reductions.softmax_backward(dY[None], Y[None], dX)
        cases.append((Y * dY, -dX[0, -1]))
    check_order(cases)


def test_large_inputs_have_the_bits_of_small_ones():
    """Rows computed in parallel chunks equal rows computed alone; so do their sums."""
    S = SHARED_ELEMENTS // 64 + 37
    logits = np.random.default_rng(0).normal(size=(S, 64)).astype(f4)
    labels = np.arange(S) % 64
    softmax, loss = fl.Softmax(), fl.CrossEntropyLoss("sum")
    Y, L = softmax(logits), loss(logits, labels)
    dX, dS = loss.backward(), softmax.backward(logits)
    rows = slice(S - 50, S)
    assert same(softmax(logits[rows]), Y[rows])
    assert same(softmax.backward(logits[rows]), dS[rows])
    loss(logits[rows], labels[rows])
    assert same(loss.backward(), dX[rows])
    terms = np.array([loss(logits[s], labels[s]) for s in range(S)], f4)
    assert blocked(terms) == L
    n = SHARED_ELEMENTS + 1001
    x, zero = logits.ravel()[:n], np.zeros(n, f4)
    mse = fl.MSELoss("sum")
    parts = [mse(x[i : i + BLOCK], zero[i : i + BLOCK]) for i in range(0, n, BLOCK)]
    total = f4(parts[0])
    for part in parts[1:]:
        total += f4(part)
    assert mse(x, zero) == total
    assert (mse.backward() == 2 * x).all()


def test_pickle_and_repr():
    loss = fl.CrossEntropyLoss("sum")
    loss(X, LABELS)
    other = pickle.loads(pickle.dumps(loss))
    assert repr(other) == repr(loss) == "CrossEntropyLoss(reduction='sum')"
    with pytest.raises(RuntimeError, match="needs a forward"):
        other.backward()
    loss.clear_cache()
    with pytest.raises(RuntimeError, match="needs a forward"):
        loss.backward()


@pytest.mark.parametrize("shape", [(4, 5), (5,), (2, 2, 5)])
def test_gradients_are_those_of_differences(shape):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, *shape))
    labels = rng.integers(0, 5, shape[:-1])
    for reduction in ("mean", "sum"):
        assert fl.gradcheck(fl.CrossEntropyLoss(reduction), logits, labels).kinks == 0
        assert fl.gradcheck(fl.MSELoss(reduction), logits, target).kinks == 0
    assert fl.gradcheck(fl.Softmax(), logits).kinks == 0


@pytest.mark.parametrize("loss", [fl.MSELoss("sum"), fl.CrossEntropyLoss("sum")])
def test_arrays_that_their_owner_changes_before_backward(loss):
    """Their memory may be given back, and is not read."""
    is_squared = isinstance(loss, fl.MSELoss)
    for name in ("X", "target")[: 1 + is_squared]:
        for change in ("shape", "dtype"):
            given = {"X": np.ones((400, 300), f4), "target": np.zeros((400, 300), f4)}
            loss(given["X"], given["target"] if is_squared else np.zeros(400, int))
            if change == "shape":
                given[name].resize((2, 2), refcheck=False)
            else:
                given[name].dtype = np.int32
            with pytest.raises(ValueError, match=rf"{name}: forward was given float32 of shape"):
                loss.backward()


def test_labels_that_are_masked_or_none():
    with pytest.raises(TypeError, match="labels: expected an array, got MaskedArray"):
        fl.CrossEntropyLoss()(X, np.ma.array(LABELS, mask=LABELS == 0))
    assert fl.CrossEntropyLoss("sum")(X[:0], []) == 0
