"""The vector functions: error bounds, special values, same bits wherever an element stands."""

import math
import platform
import re
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from bits import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite.binding import get_host_cpu_features
from numba.core.errors import TypingError

from fastlinear.kernels import vecmath
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.vecmath import exponential, gates, normal
from fastlinear.kernels.vecmath.exponential import decay
from fastlinear.kernels.vecmath.floats import exponent, power_of_two, select

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ulp  # the references, and the sweep that LLVM vectorises

DTYPES = (np.float32, np.float64)
INF, NAN = math.inf, math.nan

# The largest errors over all float32 and dense float64 (benchmarks/ulp.py), rounded up: the
# contract.
BOUNDS = {"exp": 1.0, "expm1": 1.5, "log": 1.6, "log1p": 2.0, "erf": 1.1}
BOUNDS |= {"sigmoid": 2.0, "tanh": 2.0, "silu": 2.0, "log_sigmoid": 2.1}
CASES = {case.name: case for case in ulp.cases() if case.name in BOUNDS}

# f(0), f(-0), f(inf), f(-inf), and (x, f(x)) where a formula must not be trusted; exact, so
# compared by ==.
SPECIAL = {
    "exp": (1.0, 1.0, INF, 0.0, (1e4, INF), (-1e4, 0.0), (1e-30, 1.0)),
    "expm1": (0.0, -0.0, INF, -1.0, (1e4, INF), (-1e4, -1.0), (1e-30, 1e-30)),
    "log": (-INF, -INF, INF, NAN, (1.0, 0.0), (-1.0, NAN), (-1e-30, NAN)),
    "log1p": (0.0, -0.0, INF, NAN, (-1.0, -INF), (-2.0, NAN), (1e-30, 1e-30)),
    "erf": (0.0, -0.0, 1.0, -1.0, (30.0, 1.0), (-1e30, -1.0)),
    "sigmoid": (0.5, 0.5, 1.0, 0.0, (1e4, 1.0), (-1e4, 0.0)),
    "tanh": (0.0, -0.0, 1.0, -1.0, (100.0, 1.0), (-100.0, -1.0), (1e-30, 1e-30)),
}


HAS_FMA = platform.machine() in ("x86_64", "AMD64") and get_host_cpu_features().get("fma")


def values(name, x):
    y = np.empty_like(x)
    ulp.sweep(getattr(vecmath, name), x, y)
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_error_on_dense_samples(name, dtype):
    single = dtype == np.float32
    inputs = ulp.float32_inputs(stride=50_021) if single else ulp.float64_inputs(samples=30_000)
    largest, where = ulp.worst(CASES[name], inputs)
    assert largest <= BOUNDS[name], where


def test_constants_are_the_nearest_floats():
    """One that was a bit off took half an ULP of GELU's in float64."""
    assert float(mpmath.sqrt(2 * mpmath.pi)) == normal.ROOT_2_PI
    assert float(mpmath.sqrt(2)) == normal.ROOT_2
    assert float(1 / mpmath.sqrt(2 * mpmath.pi)) == gates.INVERSE_ROOT_2_PI


@pytest.mark.parametrize("parts", [("LN2", "LN2_REST"), ("LN2_SHORT", "LN2_LONG")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_a_logarithm_add_up(parts, dtype):
    total = sum(mpmath.mpf(float(value(part, dtype))) for part in parts)
    assert abs(total - mpmath.log(2)) < float(np.finfo(dtype).eps) * 2**-20


def value(name, dtype):
    """Return a constant that differs between the dtypes."""
    part = getattr(exponential, name)

    @compiled
    def read(x):
        return part(x)

    return read(dtype(1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, dtype):
    ends = zip((0.0, -0.0, INF, -INF), SPECIAL[name][:4], strict=True)
    points = [*ends, *SPECIAL[name][4:], (NAN, NAN)]
    x, expected = np.array(points, dtype).T
    got = values(name, np.ascontiguousarray(x))
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh"])
def test_smallest_arguments_come_back(name, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([tiny, 3 * tiny, np.finfo(dtype).tiny, -tiny], dtype)
    np.testing.assert_array_equal(values(name, x), x)


def test_exp_at_the_ends_of_its_range():
    # The last finite result and the first infinite; the last subnormal and the first zero.
    edges = {
        np.float32: (88.72283, 88.72284, -103.97208, -103.97209),
        np.float64: (709.782712893384, 709.7827128933841, -745.1332191019411, -745.1332191019412),
    }
    for dtype, arguments in edges.items():
        info, x = np.finfo(dtype), np.array(arguments, dtype)
        finite, infinite, subnormal, zero = values("exp", x)
        assert info.max * (1 - 2 * np.spacing(x[0])) < finite <= info.max  # a step of x or less
        assert infinite == INF
        assert subnormal == info.smallest_subnormal
        assert zero == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_results_are_rounded_once(dtype):
    x = np.linspace(-103, -87.5, 997) if dtype == np.float32 else np.linspace(-744.4, -708.5, 997)
    assert ulp.errors(CASES["exp"], x.astype(dtype)).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_same_bits_at_every_position_and_length(name, dtype):
    x = np.random.default_rng(1).normal(scale=4, size=1000).astype(dtype)
    x[::17] *= dtype(30)
    whole = bits(values(name, x))
    for start, length in ((0, 1), (1, 3), (5, 16), (7, 33), (3, 130), (999, 1)):
        part = bits(values(name, x[start : start + length].copy()))
        np.testing.assert_array_equal(part, whole[start : start + length])
    f = getattr(vecmath, name)
    alone = np.array([f(value) for value in x[:100]], dtype)
    np.testing.assert_array_equal(bits(alone), whole[:100])


@pytest.mark.parametrize("name", ["erf", "tanh"])
@given(x=st.floats(allow_nan=False))
@settings(deadline=None, max_examples=100)
def test_odd(name, x):
    f = getattr(vecmath, name)
    assert f(-x) == -f(x)
    assert abs(f(x)) <= 1


@given(x=st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(deadline=None, max_examples=200)
def test_error_on_any_float32(x):
    for name, bound in BOUNDS.items():
        if (name != "log" or x > 0) and (name != "log1p" or x > -1):
            assert ulp.errors(CASES[name], np.array([x], np.float32))[0] <= bound


@given(x=st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, max_examples=100)
def test_error_on_any_float64(x):
    for name, bound in BOUNDS.items():
        if (name != "log" or x > 0) and (name != "log1p" or x > -1):
            assert ulp.errors(CASES[name], np.array([x]))[0] <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_rounding_error_of_an_argument_is_put_back(dtype):
    @compiled
    def decayed(x, rest):
        return decay(x, rest)[0]

    # e^(x + rest) = e^x (1 + rest): at -80 half an ulp of x is 2^5 ulp of the result.
    x, rest = dtype(-80), dtype(np.spacing(dtype(80)) / 2)
    plain = decayed(x, dtype(-0.0))
    exact = plain * (1 + float(rest))
    assert abs(decayed(x, rest) - exact) <= np.spacing(dtype(exact))
    assert abs(plain - exact) > 30 * np.spacing(dtype(exact))


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_of_two_and_exponent_are_exact(dtype):
    @compiled
    def both(n, power, back):
        for i in range(n.size):
            power[i] = power_of_two(n[i])
            back[i] = exponent(power[i])

    info = np.finfo(dtype)
    n = np.arange(info.minexp, info.maxexp, dtype=dtype)
    power, back = np.empty_like(n), np.empty_like(n)
    both(n, power, back)
    np.testing.assert_array_equal(power, np.ldexp(dtype(1), n.astype(int)))
    np.testing.assert_array_equal(back, n)


def test_wrong_types_are_refused_at_compile_time():
    with pytest.raises(TypingError, match="expected a float32 or a float64, got int64"):
        compiled(lambda x: power_of_two(x))(1)
    with pytest.raises(TypingError, match="select takes a bool and two of one dtype"):
        compiled(lambda x: select(x > 0, x, 1))(1.0)


@pytest.mark.skipif(not HAS_FMA, reason="reads x86 assembly with fused multiply-add")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_loop_is_vectorised_without_calls(name, dtype):
    f = getattr(vecmath, name)
    values(name, np.ones(1, dtype))
    text = ulp.assembly(f, dtype)
    suffix = "ps" if dtype == np.float32 else "pd"
    assert re.search(rf"vfn?madd\d+{suffix}\s.*%[xyz]mm", text)
    assert not re.search(r"\b(expf?|expm1f?|logf?|log1pf?|tanhf?|erff?|fmaf?|rintf?)\b", text)
