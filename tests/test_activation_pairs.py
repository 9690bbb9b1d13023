"""The pairs (h, h'): error bounds, PyTorch's kinks, limits, and h' as the derivative of h."""

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
from numba import from_dtype

from fastlinear.kernels import vecmath
from fastlinear.kernels.activations import PAIRS

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ulp  # the references, and the sweep that LLVM vectorises

DTYPES = (np.float32, np.float64)
INF, NAN = math.inf, math.nan
CASES = [case for case in ulp.cases() if case.name not in ulp.FUNCTIONS]
DERIVATIVES = [case for case in CASES if "'" in case.name]
# PyTorch's defaults, with a threshold that keeps the value below it.
DEFAULTS = {name: ulp.PARAMETERS.get(name, ((0.0, 0.0),))[0] for name in PAIRS}

# PyTorch 2.13: (p, q), then x: h'(x) at every kink and at NaN, where h' is piecewise constant.
KINKS = {
    "relu": ((0, 0), {-1: 0, -0.0: 0, 1e-30: 1, NAN: 1}),
    "leaky_relu": ((0.01, 0), {-1: 0.01, 0: 0.01, 1e-30: 1, NAN: 0.01}),
    "elu": ((0.5, 0), {0: 0.5, 1e-30: 1}),
    "selu": ((0, 0), {0: 1.7580993408473768, 1e-30: 1.0507009873554805}),
    "celu": ((0.5, 0), {0: 1, 1e-30: 1}),
    "softplus": ((2, 20), {10: 1 / (1 + math.exp(-20)), 10.5: 1, INF: 1}),
    "hardtanh": ((-2, 3), {-3: 0, -2: 0, -1.9: 1, 2.9: 1, 3: 0, 4: 0, NAN: 0}),
    "relu6": ((0, 0), {0: 0, 1e-30: 1, 5.9: 1, 6: 0, NAN: 0}),
    "hardsigmoid": ((0, 0), {-3: 0, -2.9: 1 / 6, 2.9: 1 / 6, 3: 0, NAN: 0}),
    "hardswish": ((0, 0), {-4: 0, -3: 0, -1.5: 0, 0: 0.5, 3: 1, 4: 1}),
    "softshrink": ((0.5, 0), {-0.6: 1, -0.5: 0, 0: 0, 0.5: 0, 0.6: 1, NAN: 0}),
    "hardshrink": ((0.5, 0), {-0.6: 1, -0.5: 0, 0: 0, 0.5: 0, 0.6: 1, NAN: 0}),
    "threshold": ((0.5, 20), {0.4: 0, 0.5: 0, 0.6: 1, NAN: 1}),
}

# (h, h') at -inf and at inf.
LIMITS = {
    "identity": ((-INF, 1), (INF, 1)),
    "relu": ((0, 0), (INF, 1)),
    "leaky_relu": ((-INF, 0.01), (INF, 1)),
    "elu": ((-1, 0), (INF, 1)),
    "selu": ((-1.7580993408473768, 0), (INF, 1.0507009873554805)),
    "celu": ((-1, 0), (INF, 1)),
    "gelu": ((0, 0), (INF, 1)),
    "gelu_tanh": ((0, 0), (INF, 1)),
    "silu": ((0, 0), (INF, 1)),
    "mish": ((0, 0), (INF, 1)),
    "sigmoid": ((0, 0), (1, 0)),
    "log_sigmoid": ((-INF, 1), (0, 0)),
    "tanh": ((-1, 0), (1, 0)),
    "softplus": ((0, 0), (INF, 1)),
    "softsign": ((-1, 0), (1, 0)),
    "hardtanh": ((-1, 0), (1, 0)),
    "relu6": ((0, 0), (6, 0)),
    "hardsigmoid": ((0, 0), (1, 0)),
    "hardswish": ((0, 0), (INF, 1)),
    "softshrink": ((-INF, 1), (INF, 1)),
    "hardshrink": ((-INF, 1), (INF, 1)),
    "tanhshrink": ((-INF, 1), (INF, 1)),
    "threshold": ((-20, 0), (INF, 1)),
}

# Those whose h' from the output is the same as from the input, bit for bit.
EXACT_FROM_OUTPUT = (
    "identity",
    "relu",
    "leaky_relu",
    "hardtanh",
    "relu6",
    "softshrink",
    "hardshrink",
    "threshold",
)


HAS_FMA = platform.machine() in ("x86_64", "AMD64") and get_host_cpu_features().get("fma")
PACKED = {np.float32: r"\bv(?!mov)\w+ps\s.*%[xyz]mm", np.float64: r"\bv(?!mov)\w+pd\s.*%[xyz]mm"}
LIBRARY_CALL = r"\b(expf?|expm1f?|logf?|log1pf?|tanhf?|erff?|fmaf?|rintf?)\b"


def values(f, x, p, q, dtype):
    x = np.atleast_1d(np.array(x, dtype))
    y = np.empty_like(x)
    ulp.sweep_with(f, x, dtype(p), dtype(q), y)
    return y


def test_names():
    assert {name: pair.name for name, pair in PAIRS.items()} == {name: name for name in LIMITS}
    assert set(ulp.ACTIVATIONS) == set(PAIRS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.p:g}")
def test_within_four_ulp(case, dtype):
    single = dtype == np.float32
    inputs = ulp.float32_inputs(stride=200_003) if single else ulp.float64_inputs(samples=240)
    largest, where = ulp.worst(case, inputs)
    assert largest <= 4, where


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "gelu_tanh", "elu", "softplus", "tanh"])
@given(x=st.floats(min_value=-800, max_value=50))
@settings(deadline=None, max_examples=60)
def test_within_four_ulp_of_any_float64(name, x):
    for case in CASES:
        if case.name in (name, f"{name}'"):
            assert ulp.errors(case, np.array([x]))[0] <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish"])
def test_tail_reaches_the_smallest_subnormal(name, dtype):
    # Down the left tail h passes through every magnitude without a jump to zero.
    steep = {"gelu": (14.4, 38.6), "gelu_tanh": (10.8, 22.4)}.get(name, (109.0, 753.0))
    x = np.linspace(-steep[dtype == np.float64], -5, 20_000)
    y = values(PAIRS[name].h, x, 0, 0, dtype)
    assert np.all(np.diff(y) <= 0)
    assert np.all(y[y != 0] < 0)
    assert np.abs(y[y != 0]).min() == np.finfo(dtype).smallest_subnormal


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KINKS)
def test_kinks(name, dtype):
    (p, q), slopes = KINKS[name]
    got = values(PAIRS[name].h_prime, list(slopes), p, q, dtype)
    np.testing.assert_array_max_ulp(got, np.array(list(slopes.values()), dtype), 1)
    at_zero = values(PAIRS[name].h_prime, [0.0, -0.0], p, q, dtype)
    assert at_zero[0] == at_zero[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_limits_and_nan(name, dtype):
    pair, (p, q) = PAIRS[name], DEFAULTS[name]
    h = values(pair.h, [-INF, INF, NAN], p, q, dtype)
    slope = values(pair.h_prime, [-INF, INF, NAN], p, q, dtype)
    expected = np.array(LIMITS[name], dtype)
    np.testing.assert_array_equal(h[:2], expected[:, 0])
    np.testing.assert_array_equal(slope[:2], expected[:, 1])
    assert np.isnan(h[2])
    if name not in KINKS or NAN not in KINKS[name][1]:
        assert np.isnan(slope[2]) == (name != "identity")
    if pair.h_prime_output is not None and pair.invertible(p, q):
        from_output = values(pair.h_prime_output, h, p, q, dtype)
        np.testing.assert_array_equal(from_output, slope)


@pytest.mark.parametrize("case", DERIVATIVES, ids=lambda case: f"{case.name} {case.p:g}")
def test_h_prime_is_the_derivative_of_h(case):
    name = case.name.split("'")[0]
    # No kink lies within d of these points, and d^2 h'''/6 is far below an ulp.
    x = np.array([-30.3, -7.7, -2.6, -1.1, -0.41, -0.2, -0.013, 0.02, 0.31, 0.77, 1.9, 4.4, 11.0])
    with mpmath.workdps(150):
        d = mpmath.mpf("1e-15")
        p, q = mpmath.mpf(case.p), mpmath.mpf(case.q)
        numbers = np.array([mpmath.mpf(v) for v in x], dtype=object)
        h = ulp.ACTIVATIONS[name][0]
        above, below = (h(ulp.MANY_DIGITS, numbers + step, p, q) for step in (d, -d))
        slopes = (above - below) / (2 * d)
    quotient = case._replace(exact=lambda m, x, p, q: slopes)
    assert ulp.errors(quotient, x).max() <= 4


@pytest.mark.parametrize("name", EXACT_FROM_OUTPUT)
@given(
    x=st.floats(width=32),
    p=st.floats(-4, 4, width=32),
    q=st.floats(-4, 4, width=32),
)
@settings(deadline=None, max_examples=200)
def test_from_output_equals_from_input(name, x, p, q):
    pair = PAIRS[name]
    if name == "hardtanh":
        p, q = min(p, q), max(p, q)
    if pair.invertible(p, q) and not (name == "leaky_relu" and abs(x) == INF):
        for point in (x, p, -p, q, 0.0, -0.0):
            y = values(pair.h, point, p, q, np.float32)
            from_output = values(pair.h_prime_output, y, p, q, np.float32)
            from_input = values(pair.h_prime, point, p, q, np.float32)
            np.testing.assert_array_equal(from_output, from_input)


@pytest.mark.parametrize(
    ("name", "p", "q"),
    [
        ("leaky_relu", -1, 0),
        ("elu", -1, 0),
        ("hardshrink", -1, 0),
        ("softshrink", -1, 0),
        ("threshold", 0, 1),
    ],
)
def test_not_invertible_parameters_are_named(name, p, q):
    assert not PAIRS[name].invertible(p, q)


@pytest.mark.parametrize("dtype", DTYPES)
def test_celu_of_negative_alpha(dtype):
    # PyTorch allows it: for x < 0 the exponent x / p is positive. Division by -2 is exact.
    x = np.linspace(-9, 9, 1001, dtype=dtype)
    e = np.empty_like(x)
    ulp.sweep(vecmath.exp, x / dtype(-2), e)
    slope = values(PAIRS["celu"].h_prime, x, -2, 0, dtype)
    np.testing.assert_array_equal(slope, np.where(x > 0, dtype(1), e))


@pytest.mark.parametrize("name", PAIRS)
@given(x=st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, max_examples=40)
def test_finite_gives_finite(name, x):
    pair, (p, q) = PAIRS[name], DEFAULTS[name]
    assert np.isfinite(values(pair.h, x, p, q, np.float64)) or name == "selu"
    assert np.isfinite(values(pair.h_prime, x, p, q, np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_same_bits_at_every_position_and_length(name, dtype):
    pair, (p, q) = PAIRS[name], DEFAULTS[name]
    x = np.random.default_rng(2).normal(scale=6, size=500)
    for f in (pair.h, pair.h_prime):
        whole = bits(values(f, x, p, q, dtype))
        for start, length in ((0, 1), (1, 3), (5, 16), (7, 33), (3, 130), (499, 1)):
            part = bits(values(f, x[start : start + length], p, q, dtype))
            np.testing.assert_array_equal(part, whole[start : start + length])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_dtype_is_kept_and_loops_are_vectorised(name, dtype):
    pair, (p, q) = PAIRS[name], DEFAULTS[name]
    kind = from_dtype(np.dtype(dtype))
    for f in (pair.h, pair.h_prime, pair.h_prime_output):
        if f is not None:
            values(f, [1.0], p, q, dtype)
            assert f.overloads[(kind, kind, kind)].signature.return_type == kind
            if HAS_FMA and name != "identity":
                text = ulp.assembly(f, dtype)
                assert re.search(PACKED[dtype], text)
                assert not re.search(LIBRARY_CALL, text)
