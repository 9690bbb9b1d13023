"""The user's own h and h': in every kernel, by name, in files and pickles, and what goes wrong."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from bits import same
from numba import njit

import fastlinear as fl
from fastlinear.kernels import cache, elementwise
from fastlinear.layers.activation import NAMES, USER_NAMES
from fastlinear.layers.user_function import scalar

f4, f8 = np.float32, np.float64


def snake(x):
    return x + math.sin(x) ** 2


def snake_prime(x):
    return 1 + math.sin(2 * x)


def my_relu(x):
    return x if x > 0 else 0


def my_relu_prime(x):
    return x > 0


@njit
def jit_tanh(x):
    return math.tanh(x)


@njit
def jit_tanh_prime(y):
    return 1 - y * y


def reciprocal(x):
    return 1 / x


def one(x):
    return 1


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    """Undo what a test names."""
    for name in list(USER_NAMES):
        monkeypatch.delitem(USER_NAMES, name)
    yield
    USER_NAMES.clear()


def arrays(dtype, shape=(7, 5)):
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(dtype), rng.normal(size=(*shape[:-1], 3)).astype(dtype)


def step(layer, X, dA):
    """Return predict, forward, dX and all gradients."""
    results = [layer.predict(X), layer.forward(X), layer.backward(dA)]
    return results + [g.copy() for g in layer.grads.values()]


# ---- in the kernels ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [f4, f8])
@pytest.mark.parametrize("formulation", ["tiled", "loops", "blas"])
def test_the_users_relu_is_relu(dtype, formulation):
    """The same bits, though it returns an integer, and its derivative a boolean."""
    X, dA = arrays(dtype)
    mine, built_in = (
        fl.Linear(5, 3, activation=a, dtype=dtype, rng=0, formulation=formulation)
        for a in (fl.Activation(my_relu, my_relu_prime), "relu")
    )
    for a, b in zip(step(mine, X, dA), step(built_in, X, dA), strict=True):
        assert a.dtype == dtype
        assert same(a, b)


@pytest.mark.parametrize("dtype", [f4, f8])
@pytest.mark.parametrize("functions", [(snake, snake_prime), (jit_tanh, jit_tanh_prime, True)])
def test_fused_is_unfused_and_tiled_is_loops(functions, dtype):
    X, dA = arrays(dtype)
    activation = fl.Activation(*functions)
    fused = fl.Linear(5, 3, activation=activation, dtype=dtype, rng=0)
    apart = fl.Sequential(fl.Linear(5, 3, dtype=dtype, rng=0), copy.copy(activation))
    looped = fl.Linear(5, 3, activation=activation, dtype=dtype, rng=0, formulation="loops")
    expected = step(fused, X, dA)
    for other in (apart, looped):
        for a, b in zip(step(other, X, dA), expected, strict=True):
            assert same(a, b)


@pytest.mark.parametrize("functions", [(snake, snake_prime), (jit_tanh, jit_tanh_prime, True)])
def test_gradients_are_those_of_differences(functions):
    activation = fl.Activation(*functions)
    X = arrays(f8)[0]
    assert fl.gradcheck(activation, X).checked == X.size
    fl.gradcheck(fl.MLP([5, 4, 3], activation, rng=0), X)


def test_a_wrong_derivative_is_found():
    with pytest.raises(fl.GradcheckError):
        fl.gradcheck(fl.Activation(snake, one), arrays(f8)[0])


def test_results_have_the_dtype_of_x():
    """What Numba promotes to float64 is computed there and rounded once."""
    X = arrays(f4)[0]
    activation = fl.Activation(lambda x: 0.1 * x, lambda x: 0.1)
    Y = activation(X)
    assert Y.dtype == f4
    expected = (0.1 * X.astype(f8)).astype(f4)
    assert np.array_equal(Y, expected)
    assert (activation.backward(np.ones_like(X)) == f4(0.1)).all()


def test_division_is_that_of_ieee():
    X = np.array([0.0, -0.0, 4.0], f4)
    assert fl.Activation(reciprocal, one)(X).tolist() == [np.inf, -np.inf, 0.25]


def test_what_is_compiled_with_njit_is_called_as_it_is():
    """Numba's default is to divide as Python does."""
    with pytest.raises(ZeroDivisionError):
        fl.Activation(njit(reciprocal), one)(np.zeros(3, f4))


def test_functions_that_numba_knows():
    X = arrays(f4)[0]
    activation = fl.Activation(np.sin, np.cos)
    assert (activation(X) == fl.Activation(math.sin, math.cos)(X)).all()
    fl.gradcheck(activation, X)
    assert repr(activation) == "Activation(sin, cos)"


def test_a_function_is_compiled_once():
    X, dA = arrays(f4)
    step(fl.Linear(5, 3, activation=fl.Activation(snake, snake_prime)), X, dA)
    before = elementwise.map_address.cache_info(), elementwise.hadamard_address.cache_info()
    h = scalar(snake)
    again = fl.Activation(snake, snake_prime)
    step(fl.Linear(5, 3, activation=again), X, dA)
    assert again.pair.h is h
    assert again.pair == fl.Activation(snake, snake_prime).pair
    after = elementwise.map_address.cache_info(), elementwise.hadamard_address.cache_info()
    assert [a.misses for a in after] == [b.misses for b in before]


def test_nothing_of_it_is_stored_on_disk(monkeypatch):
    """A file's name could not say what the user's function computes."""
    X = arrays(f4)[0]
    for formulation in ("tiled", "loops"):
        relu = fl.ReLU()
        relu.formulation = formulation
        relu(X)
        relu.backward(X)
    written = []
    monkeypatch.setattr(cache, "_write", lambda path, body: written.append(path))
    for functions in ((lambda x: 2 * x, lambda x: 2), (lambda x: -x, lambda y: -1, True)):
        for formulation in ("tiled", "loops"):
            activation = fl.Activation(*functions)
            activation.formulation = formulation
            activation(X)
            activation.backward(X)
    assert written == []


# ---- names, copies, files ------------------------------------------------------------------------


def test_repr():
    assert repr(fl.Activation(snake, snake_prime)) == "Activation(snake, snake_prime)"
    named = fl.Activation(jit_tanh, jit_tanh_prime, True, name="my_tanh")
    assert repr(named) == "Activation(jit_tanh, jit_tanh_prime, from_output=True, name='my_tanh')"
    assert named.name == "my_tanh"
    assert eval(repr(named), {**globals(), "Activation": fl.Activation}).pair == named.pair


def test_a_name_stands_for_it():
    X, dA = arrays(f4)
    activation = fl.Activation(snake, snake_prime, name="snake")
    by_name, by_object = (fl.Linear(5, 3, activation=a, rng=0) for a in ("snake", activation))
    for a, b in zip(step(by_name, X, dA), step(by_object, X, dA), strict=True):
        assert same(a, b)
    assert (fl.functional.linear(X, np.eye(5, dtype=f4), activation="snake") == activation(X)).all()
    with pytest.raises(ValueError, match=r"expected one of celu, .*snake, .*; got 'snail'"):
        fl.Linear(5, 3, activation="snail")


@pytest.mark.parametrize("name", [*NAMES, "threshold"])
def test_names_of_built_in_activations_are_taken(name):
    with pytest.raises(ValueError, match=f"'{name}' is that of a built-in activation"):
        fl.Activation(snake, snake_prime, name=name)
    assert USER_NAMES == {}


def test_a_name_is_not_given_twice():
    first = fl.Activation(snake, snake_prime, name="snake")
    fl.Activation(snake, snake_prime, name="snake")
    with pytest.raises(ValueError, match=r"'snake' stands for .*\.snake and .*\.snake_prime"):
        fl.Activation(snake, one, name="snake")
    assert fl.Linear(2, 2, activation="snake").activation.pair == first.pair


def test_a_second_definition_replaces_the_first():
    """As when a notebook's cell runs again; a copy of the first does not bring it back."""

    def define(slope):
        def line(x):
            return slope * x

        return fl.Activation(line, one, name="line")

    X = np.ones(3, f4)
    first, _ = define(2), define(3)
    assert (copy.deepcopy(first)(X) == 2).all()
    assert (fl.Linear(1, 1, activation="line").activation(X) == 3).all()


def test_an_unnamed_identity_is_not_the_identity():
    """Linear leaves the built-in identity out; by its name, not the function's."""

    def identity(x):
        return x + 1

    assert fl.Linear(2, 2, activation=fl.Activation(identity, one)).activation is not None


def test_copies_and_pickles():
    X = arrays(f4)[0]
    for functions in ((snake, snake_prime), (jit_tanh, jit_tanh_prime, True)):
        activation = fl.Activation(*functions)
        activation.formulation = "loops"
        Y = activation(X)
        pickled = pickle.loads(pickle.dumps(activation))
        for twin in (pickled, copy.copy(activation), copy.deepcopy(activation)):
            assert repr(twin) == repr(activation)
            assert twin.formulation == "loops"
            assert twin.pair == activation.pair  # nothing compiles anew
            assert (twin.predict(X) == Y).all()
            with pytest.raises(RuntimeError, match="needs a forward"):
                twin.backward(X)
    local = fl.Activation(lambda x: x, one)
    assert copy.deepcopy(local).pair == local.pair
    with pytest.raises((pickle.PicklingError, AttributeError), match="<lambda>"):
        pickle.dumps(local)


def test_a_file_holds_the_name(tmp_path):
    path = tmp_path / "net"
    activation = fl.Activation(snake, snake_prime, name="snake")
    copies = (copy.copy(activation) for _ in range(2))
    net = fl.Sequential(fl.Linear(5, 3, activation="snake", rng=0), *copies)
    net.save(path)
    again = fl.load(path)
    X = arrays(f4)[0]
    assert repr(again) == repr(net)
    assert (again.predict(X) == net.predict(X)).all()
    USER_NAMES.clear()
    with pytest.raises(ValueError, match=r"net: holds the user's own activation 'snake'; make it"):
        fl.load(path)


def test_what_a_file_cannot_name(tmp_path):
    class Mine(fl.Activation):
        pass

    for layer in (fl.Activation(snake, one), Mine(snake, snake_prime, name="snake")):
        with pytest.raises(TypeError, match=r"expected a name to save it by|own classes"):
            fl.Linear(2, 2, activation=layer).save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


CHILD = """
import pickle, sys
import numpy as np, fastlinear as fl
saved, pickled = sys.argv[1:]
try:
    fl.load(saved)
except ValueError as error:
    assert "make it first: fl.Activation(h, h_prime, name='double')" in str(error), error
else:
    raise AssertionError("loaded without its activation")
activation = pickle.load(open(pickled, "rb"))
assert repr(fl.load(saved)) == repr(activation)
assert (fl.load(saved).predict(np.ones(3)) == 2).all()
"""


def test_another_process(tmp_path, monkeypatch):
    """It loads the file once the activation is made there: here, out of a pickle."""
    (tmp_path / "mine.py").write_text("def double(x): return 2 * x\ndef two(x): return 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    import mine

    activation = fl.Activation(mine.double, mine.two, name="double")
    activation.save(tmp_path / "saved")
    (tmp_path / "pickled").write_bytes(pickle.dumps(activation))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / "saved", tmp_path / "pickled"], check=True
    )


def test_a_lambda_does_not_replace_another_one():
    def scaled(k):
        return lambda x: k * x, lambda x: k

    twice = fl.Activation(*scaled(2), name="scaled")
    assert fl.Activation(*scaled(2), name="scaled").predict(np.ones(1, f4)) == 2
    with pytest.raises(ValueError, match=r"name: 'scaled' stands for .*<lambda>.*; choose"):
        fl.Activation(*scaled(3), name="scaled")
    with pytest.raises(ValueError, match="choose another"):
        fl.Activation(lambda x: x + 1, lambda x: 1.0, name="scaled")
    fl.Activation(lambda x: math.sin(x), lambda x: math.cos(x), name="wave")
    with pytest.raises(ValueError, match="choose another"):
        fl.Activation(lambda x: math.cos(x), lambda x: -math.sin(x), name="wave")
    assert fl.Linear(1, 1, activation="scaled").activation.predict(np.ones(1, f4)) == 2
    assert twice.name == "scaled"
