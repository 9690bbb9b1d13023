"""Measure the largest error of every vector function and every activation, in ULP.

float32 is walked over all its 2^32 values (every ``--stride``-th of them) against float64
arithmetic; float64 over ``--samples`` random values against the 64 bits of x86's long double, or,
where those are not enough or not there, over a hundredth as many against 50 digits of mpmath::

    python benchmarks/ulp.py                                  # everything, hours
    python benchmarks/ulp.py --stride 997 --samples 100000    # everything, a minute
    python benchmarks/ulp.py exp gelu "gelu'" --dtype float32

h' is written ``gelu'``, h' from the output ``tanh' (y)``. One ULP is the distance between two
floats at the exact value, or at the case's floor where the value is smaller than that: h' of gelu,
silu and mish crosses zero between two terms that cancel, and an h' made from the output has the
absolute error of that output.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath
import numpy as np
import scipy.special

from fastlinear.kernels import vecmath
from fastlinear.kernels.activations import PAIRS
from fastlinear.kernels.jit import compiled

mpmath.mp.dps = 50
CHUNK = 1 << 17  # elements: temporaries stay in the cache


# --- the exact functions, of arrays of float64 (to judge float32) or of mpmath numbers ------------


class Mathematics(NamedTuple):
    """Elementary functions of arrays, and the numbers they take."""

    exp: Callable[[Any], Any]
    expm1: Callable[[Any], Any]
    log: Callable[[Any], Any]
    log1p: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    erf: Callable[[Any], Any] | None
    erfc: Callable[[Any], Any] | None
    number: Callable[[Any], Any]


DOUBLE = Mathematics(
    np.exp, np.expm1, np.log, np.log1p, np.tanh, scipy.special.erf, scipy.special.erfc, float
)
LONG_DOUBLE = Mathematics(
    np.exp,
    np.expm1,
    np.log,
    np.log1p,
    np.tanh,
    None,
    None,
    lambda value: np.longdouble(mpmath.nstr(mpmath.mpf(value), 25)),  # not by way of a float
)
HAS_LONG_DOUBLE = np.finfo(np.longdouble).nmant >= 63
MANY_DIGITS = Mathematics(
    *(np.frompyfunc(getattr(mpmath, name), 1, 1) for name in Mathematics._fields[:-1]), mpmath.mpf
)

Exact = Callable[[Mathematics, Any, Any, Any], Any]
"""``exact(m, x, p, q)``."""

TANH_SERIES = mpmath.taylor(mpmath.tanh, 0, 61)[1::2]


def sigmoid(m: Mathematics, x: Any) -> Any:
    e = m.exp(-abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def tanhshrink(m: Mathematics, x: Any) -> Any:
    small = abs(x) < 0.2  # where the series is exact enough; above, at most 7 bits cancel
    near = np.where(small, x, 0)
    series = sum(m.number(-c) * near ** (2 * k + 3) for k, c in enumerate(TANH_SERIES[1:]))
    return np.where(small, series, x - m.tanh(x))


def normal(m: Mathematics, x: Any) -> Any:
    bounded = clamp(x, -1000, 1000)  # beyond lies 0 or 1; mpmath refuses huge arguments
    return m.erfc(-bounded / m.number(mpmath.sqrt(2))) / 2


def density(m: Mathematics, x: Any) -> Any:
    return m.exp(-x * x / 2) / m.number(mpmath.sqrt(2 * mpmath.pi))


def cubic(m: Mathematics, x: Any) -> tuple[Any, Any]:
    """Return 2 u(x) of the tanh form of GELU, and its derivative."""
    scale, c = m.number(2 * mpmath.sqrt(2 / mpmath.pi)), m.number(mpmath.mpf("0.044715"))
    return scale * (x + c * x * x * x), scale * (1 + 3 * c * x * x)


def gelu_tanh_prime(m: Mathematics, x: Any, p: Any, q: Any) -> Any:
    v, v_prime = cubic(m, x)
    return sigmoid(m, v) * (1 + x * v_prime * sigmoid(m, -v))


def mish_prime(m: Mathematics, x: Any, p: Any, q: Any) -> Any:
    gate = m.tanh(m.log1p(m.exp(x)))
    return gate + x * (1 - gate * gate) * sigmoid(m, x)


def elu(m: Mathematics, x: Any, p: Any, q: Any) -> Any:
    return np.where(x > 0, x, p * m.expm1(np.where(x > 0, 0, x)))


def elu_prime(m: Mathematics, x: Any, p: Any, q: Any) -> Any:
    return np.where(x > 0, 1, p * m.exp(np.where(x > 0, 0, x)))


def selu_constants(m: Mathematics) -> tuple[Any, Any]:
    alpha, scale = "1.6732632423543772848170429916717", "1.0507009873554804934193349852946"
    return m.number(mpmath.mpf(alpha)), m.number(mpmath.mpf(scale))


def selu(m: Mathematics, x: Any, p: Any, q: Any) -> Any:
    alpha, scale = selu_constants(m)
    return scale * elu(m, x, alpha, q)


def selu_prime(m: Mathematics, x: Any, p: Any, q: Any) -> Any:
    alpha, scale = selu_constants(m)
    return scale * elu_prime(m, x, alpha, q)


def clamp(x: Any, low: Any, high: Any) -> Any:
    return np.where(x < low, low, np.where(x > high, high, x))


def softplus(m: Mathematics, x: Any) -> Any:
    return np.where(x > 0, x, 0) + m.log1p(m.exp(-abs(x)))


FUNCTIONS: dict[str, Callable[[Mathematics, Any], Any]] = {
    "exp": lambda m, x: m.exp(x),
    "expm1": lambda m, x: m.expm1(x),
    "log": lambda m, x: m.log(x),
    "log1p": lambda m, x: m.log1p(x),
    "erf": lambda m, x: m.erf(x),
}
"""The vector functions that are not activations."""

ACTIVATIONS: dict[str, tuple[Exact, Exact]] = {
    "identity": (lambda m, x, p, q: x, lambda m, x, p, q: np.ones_like(x)),
    "relu": (lambda m, x, p, q: np.where(x > 0, x, 0), lambda m, x, p, q: np.where(x > 0, 1, 0)),
    "leaky_relu": (
        lambda m, x, p, q: np.where(x > 0, x, p * x),
        lambda m, x, p, q: np.where(x > 0, 1, p),
    ),
    "elu": (elu, elu_prime),
    "selu": (selu, selu_prime),
    "celu": (
        lambda m, x, p, q: p * elu(m, x / p, 1, q),
        lambda m, x, p, q: elu_prime(m, x / p, 1, q),
    ),
    "gelu": (
        lambda m, x, p, q: x * normal(m, x),
        lambda m, x, p, q: normal(m, x) + x * density(m, x),
    ),
    "gelu_tanh": (lambda m, x, p, q: x * sigmoid(m, cubic(m, x)[0]), gelu_tanh_prime),
    "silu": (
        lambda m, x, p, q: x * sigmoid(m, x),
        lambda m, x, p, q: sigmoid(m, x) * (1 + x * sigmoid(m, -x)),
    ),
    "mish": (lambda m, x, p, q: x * m.tanh(m.log1p(m.exp(x))), mish_prime),
    "sigmoid": (
        lambda m, x, p, q: sigmoid(m, x),
        lambda m, x, p, q: sigmoid(m, x) * sigmoid(m, -x),
    ),
    "log_sigmoid": (
        lambda m, x, p, q: -softplus(m, -x),
        lambda m, x, p, q: sigmoid(m, -x),
    ),
    "tanh": (
        lambda m, x, p, q: m.tanh(x),
        lambda m, x, p, q: 4 * sigmoid(m, 2 * x) * sigmoid(m, -2 * x),
    ),
    "softplus": (
        lambda m, x, p, q: np.where(p * x > q, x, softplus(m, p * x) / p),
        lambda m, x, p, q: np.where(p * x > q, 1, sigmoid(m, p * x)),
    ),
    "softsign": (
        lambda m, x, p, q: x / (1 + abs(x)),
        lambda m, x, p, q: 1 / ((1 + abs(x)) * (1 + abs(x))),
    ),
    "hardtanh": (
        lambda m, x, p, q: clamp(x, p, q),
        lambda m, x, p, q: np.where((x > p) & (x < q), 1, 0),
    ),
    "relu6": (
        lambda m, x, p, q: clamp(x, 0, 6),
        lambda m, x, p, q: np.where((x > 0) & (x < 6), 1, 0),
    ),
    "hardsigmoid": (
        lambda m, x, p, q: clamp(x + 3, 0, 6) / 6,
        lambda m, x, p, q: np.where(abs(x) < 3, m.number(1) / 6, 0),
    ),
    "hardswish": (
        lambda m, x, p, q: x * clamp(x + 3, 0, 6) / 6,
        lambda m, x, p, q: np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6)),
    ),
    "softshrink": (
        lambda m, x, p, q: np.where(x > p, x - p, np.where(x < -p, x + p, 0)),
        lambda m, x, p, q: np.where(abs(x) > p, 1, 0),
    ),
    "hardshrink": (
        lambda m, x, p, q: np.where(abs(x) > p, x, 0),
        lambda m, x, p, q: np.where(abs(x) > p, 1, 0),
    ),
    "tanhshrink": (
        lambda m, x, p, q: tanhshrink(m, x),
        lambda m, x, p, q: m.tanh(x) * m.tanh(x),
    ),
    "threshold": (
        lambda m, x, p, q: np.where(x > p, x, q),
        lambda m, x, p, q: np.where(x > p, 1, 0),
    ),
}
"""(h, h') of every activation."""

PARAMETERS: dict[str, tuple[tuple[float, float], ...]] = {
    "leaky_relu": ((0.01, 0.0),),
    "elu": ((1.0, 0.0), (0.3, 0.0)),
    "celu": ((1.0, 0.0), (0.3, 0.0)),
    "softplus": ((1.0, 20.0), (0.3, 20.0), (7.1, 30.0), (-0.7, 20.0)),
    "hardtanh": ((-1.0, 1.0), (-0.3, 2.5)),
    "softshrink": ((0.5, 0.0),),
    "hardshrink": ((0.5, 0.0),),
    "threshold": ((0.1, -20.0),),
}
"""(p, q) at which an activation is measured, PyTorch's defaults first; (0, 0) for the others."""

CROSSES_ZERO = {"gelu", "gelu_tanh", "silu", "mish"}
"""Those whose h' has a zero, and the floor 1/2 = h'(0) between -2.5 and 0."""
ROUNDED_OUTPUT = {"sigmoid": 0.25, "tanh": 1.0, "elu": 1.0, "selu": 1.0, "celu": 1.0}
"""Those whose h' from the output has an absolute error, and h'(0), to which it relates."""


# --- measuring ------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One function under measurement: compiled steps applied in turn, and what they should give."""

    name: str
    steps: tuple[Any, ...]
    exact: Exact
    p: float = 0.0
    q: float = 0.0
    floor: float = 0.0
    floor_from: float = -math.inf
    floor_to: float = math.inf


@compiled
def sweep(f, x, y):
    """Store f(x) in y, element by element: the plain loop that LLVM vectorises."""
    for i in range(x.size):
        y[i] = f(x[i])


@compiled
def sweep_with(f, x, p, q, y):
    """Store f(x, p, q) in y."""
    for i in range(x.size):
        y[i] = f(x[i], p, q)


def cases() -> Iterator[Case]:
    """Yield every vector function, h, h' and h' from the output."""
    for name, function in FUNCTIONS.items():
        f = getattr(vecmath, name)
        yield Case(name, (f,), lambda m, x, p, q, function=function: function(m, x))
    for name, (h, h_prime) in ACTIVATIONS.items():
        pair = PAIRS[name]
        for p, q in PARAMETERS.get(name, ((0.0, 0.0),)):
            yield Case(name, (pair.h,), h, p, q)
            floor = (0.5, -2.5, 0.0) if name in CROSSES_ZERO else (0.0,)
            yield Case(f"{name}'", (pair.h_prime,), h_prime, p, q, *floor)
            if pair.h_prime_output is not None and pair.invertible(p, q):
                steps = (pair.h, pair.h_prime_output)
                yield Case(f"{name}' (y)", steps, h_prime, p, q, ROUNDED_OUTPUT.get(name, 0.0))


def apply(case: Case, x: np.ndarray) -> np.ndarray:
    """Return the case's result for every element of a contiguous vector."""
    p, q = x.dtype.type(case.p), x.dtype.type(case.q)
    for step in case.steps:
        y = np.empty_like(x)
        if case.name in FUNCTIONS:
            sweep(step, x, y)
        else:
            sweep_with(step, x, p, q, y)
        x = y
    return x


def reference(case: Case, dtype: Any) -> Mathematics:
    """Return what is exact enough to judge a case."""
    if dtype == np.float32:
        return DOUBLE
    # A product p x, or a polynomial in the exponent, takes more digits; and C has no long erf here.
    enough = case.p in (0, 1) and not case.name.startswith(("erf", "gelu"))
    return LONG_DOUBLE if HAS_LONG_DOUBLE and enough else MANY_DIGITS


def widened(x: np.ndarray, m: Mathematics) -> np.ndarray:
    """Return an array of the numbers that these functions take."""
    if m is MANY_DIGITS:
        return np.array([mpmath.mpf(float(v)) for v in x], dtype=object)
    return x.astype(type(m.number(0)))


def errors(case: Case, x: np.ndarray) -> np.ndarray:
    """Return the error at every element of x, in ULP; infinity where a special value is wrong."""
    got, m = apply(case, x), reference(case, x.dtype)
    p, q = (m.number(float(x.dtype.type(v))) for v in (case.p, case.q))
    with np.errstate(all="ignore"):
        exact = case.exact(m, widened(x, m), p, q)
        exact = exact.astype(object) if m is MANY_DIGITS else np.asarray(exact, type(p))
        rounded = exact.astype(x.dtype)
        floor = np.where((x > case.floor_from) & (x < case.floor_to), case.floor, 0)
        unit = np.spacing(np.maximum(abs(rounded), floor.astype(x.dtype)))
        # Divided in the wide type: a difference of subnormals is no multiple of the smallest.
        value = got.astype(exact.dtype)
        # An infinity stands for the power of two after the largest number, one ULP from it.
        early = np.isinf(got) & np.isfinite(rounded)
        beyond = m.number(2) ** int(np.finfo(x.dtype).maxexp)
        value[early] = [math.copysign(1, v) * beyond for v in got[early]]
        ulp = (abs(exact - value) / unit.astype(exact.dtype)).astype(np.float64)
    ulp[~np.isfinite(ulp)] = np.inf
    ulp[(got == rounded) & ~np.isfinite(got)] = 0
    ulp[np.isnan(got) & np.isnan(rounded)] = 0
    return ulp


def assembly(step: Any, dtype: type) -> str:
    """Return the machine code of the sweep over a compiled step, which has run."""
    for compiled_sweep in (sweep, sweep_with):
        for signature in compiled_sweep.signatures:
            if signature[0].dispatcher is step and str(signature[1].dtype) == dtype.__name__:
                return compiled_sweep.inspect_asm(signature)
    raise LookupError(f"{step} has not run on {dtype.__name__}")


def float32_inputs(stride: int) -> Iterator[np.ndarray]:
    """Every stride-th finite float32, in chunks."""
    for start in range(0, 1 << 32, CHUNK * stride):
        bits = np.arange(start, min(start + CHUNK * stride, 1 << 32), stride, dtype=np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        yield x[np.isfinite(x)]


def float64_inputs(samples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random float64: two thirds where functions change, one third over the whole range."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], samples)
    for scale in (1.0, 8.0, 50.0, 800.0):
        yield rng.uniform(-scale, scale, samples // 6)
    yield (sign * np.exp2(rng.uniform(-60, 10, samples)))[: samples // 6]
    yield (sign * np.exp2(rng.uniform(-1074, 1024, samples)))[: samples // 6]


def worst(case: Case, inputs: Iterator[np.ndarray]) -> tuple[float, float]:
    """Return the largest error of a case and the input where it occurs."""
    largest, where = 0.0, 0.0
    for x in inputs:
        if case.name == "log":
            x = x[x > 0]
        elif case.name == "log1p":
            x = x[x > -1]
        ulp = errors(case, x)
        if ulp.size and ulp.max() > largest:
            largest, where = float(ulp.max()), float(x[ulp.argmax()])
    return largest, where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="cases to measure (all)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="one dtype (both)")
    parser.add_argument("--stride", type=int, default=1, help="take every n-th float32 (1)")
    parser.add_argument("--samples", type=int, default=10_000_000, help="float64 values (10^7)")
    options = parser.parse_args()
    print(f"{'case':<22} {'p':>6} {'q':>6}  {'float32':>8} {'at':<16} {'float64':>8} at")
    for case in cases():
        if options.names and case.name not in options.names:
            continue
        line = f"{case.name:<22} {case.p:6.4g} {case.q:6.4g}"
        for dtype in ("float32", "float64"):
            if options.dtype in (None, dtype):
                slow = reference(case, np.dtype(dtype)) is MANY_DIGITS
                samples = options.samples // 100 if slow else options.samples
                single = dtype == "float32"
                inputs = float32_inputs(options.stride) if single else float64_inputs(samples)
                largest, where = worst(case, inputs)
                line += f"  {largest:8.3f} {where:<16.9g}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
