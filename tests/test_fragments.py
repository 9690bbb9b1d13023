"""Functions compiled as part of others: no machine code of their own until they are wanted."""

import numpy as np
import pytest
from numba import njit, types

from fastlinear.kernels.fragments import is_fragment
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.lent import Lent


def functions():
    """Return two new kernels, the second with the first as its part."""

    @compiled
    def part(x):
        if x < 0:
            raise ValueError("expected no negative number, got", (x, x))
        return x + 1

    @compiled
    def whole(x):
        return 2 * part(x)

    return part, whole


def is_part(function):
    """Return whether the function is compiled, for one signature, as part of others only."""
    (result,) = function.overloads.values()
    return is_fragment(result)


def test_a_part_has_no_machine_code_until_it_is_called():
    part, whole = functions()
    assert whole(3.0) == 8.0
    assert (is_part(part), is_part(whole)) == (True, False)
    assert part(3.0) == 4.0
    assert not is_part(part)
    assert whole(4.0) == 10.0


def test_what_is_compiled_is_used_as_a_part():
    part, whole = functions()
    assert part(3.0) == 4.0
    before = dict(part.overloads)
    assert whole(3.0) == 8.0
    assert part.overloads == before


def test_a_part_called_by_nopython_code_of_others():
    part, whole = functions()
    whole(3.0)

    @njit
    def user(x):
        return part(x) + whole(x)

    assert user(3.0) == 12.0
    assert not is_part(part)


def test_exceptions_made_of_run_time_values():
    """They need the environment of the part, which has an address in machine code only."""
    _, whole = functions()
    with pytest.raises(ValueError, match="-7") as caught:
        whole(-7.0)
    assert caught.value.args == ("expected no negative number, got", (-7.0, -7.0))


def test_strided_parts():
    @compiled(any_layout=True)
    def fill(X, value):
        X[:, :] = value

    @compiled
    def whole(X):
        fill(X, 2.0)

    strided = types.Array(types.float64, 2, "A")
    whole(np.empty((3, 2)))
    assert is_fragment(fill.overloads[strided, types.float64])
    for X in (np.empty((3, 2)), np.empty((3, 2), order="F"), np.empty((6, 2))[::2]):
        fill(X, 5.0)
        assert (X == 5.0).all()
    assert not is_fragment(fill.overloads[Lent(np.dtype(np.float64), 2), types.float64])
