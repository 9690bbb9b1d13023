"""A user's function that does not compile: the error shows the line at fault."""

import math
from functools import partial
from traceback import format_exception

import pytest
from numba import njit

import fastlinear as fl
from fastlinear.layers.activation import USER_NAMES


def one(x):
    return 1


def helper(x):
    return x


@njit
def broken_helper(x):
    return x.inner


def of_module(x):
    y = x
    return math.nothing(y)


def undefined(x):
    return nowhere(x)  # noqa: F821


def not_compiled(x):
    return helper(x) + 1


def nested(x):
    return broken_helper(x)


def text(x):
    return "text" + x


def imports(x):
    import os

    return os.fspath(x)


def complex_result(x):
    return 1j * x


def no_result(x):
    pass


def two_arguments(x, alpha):
    return alpha * x


@pytest.mark.parametrize(
    ("function", "line", "reason"),
    [
        (of_module, "return math.nothing(y)", "module 'math' has no attribute 'nothing'"),
        (undefined, "return nowhere(x)  # noqa: F821", "name 'nowhere' is not defined"),
        (not_compiled, "return helper(x) + 1", "'helper': Cannot determine Numba type"),
        (nested, "return x.inner", "Unknown attribute 'inner' of type float"),
        (text, 'return "text" + x', "No implementation of function"),
        (imports, "import os", "unsupported opcode"),
        (complex_result, "def complex_result(x):", "returns complex128 for float32, expected a"),
        (no_result, "def no_result(x):", "returns none for float32, expected a real number"),
        (two_arguments, "def two_arguments(x, alpha):", "missing a required argument: 'alpha'"),
        (njit(of_module), "return math.nothing(y)", "module 'math' has no attribute 'nothing'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_compile_is_shown(function, line, reason):
    for pair in ((function, one), (one, function)):
        with pytest.raises(ValueError, match=function.__name__) as caught:
            fl.Activation(*pair, name="bad")
        summary, place, shown = str(caught.value).splitlines()
        assert reason in summary
        assert place.startswith(f'  File "{__file__}", line ')
        assert shown.strip() == line
        number = int(place.rpartition(" ")[2])
        with open(__file__, encoding="utf-8") as file:
            assert file.readlines()[number - 1].strip() == line
        assert "site-packages/numba" not in "".join(format_exception(caught.value))
    assert "bad" not in USER_NAMES


def test_arguments_of_the_wrong_type():
    with pytest.raises(TypeError, match="h: expected a function of one number, got 'relu'"):
        fl.Activation("relu", one)
    with pytest.raises(TypeError, match="h_prime: expected a function of one number, got None"):
        fl.Activation(one, None)
    with pytest.raises(TypeError, match="name: expected a string such as 'snake', got 3"):
        fl.Activation(one, one, name=3)
    Callable = type("Callable", (), {"__call__": lambda self, x: x, "__hash__": None})
    for unknown in (Callable(), Callable().__call__, partial(one)):
        with pytest.raises(TypeError, match="h: expected a function of one number, got "):
            fl.Activation(unknown, one)
