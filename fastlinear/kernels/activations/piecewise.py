"""Activations made of straight lines: values and slopes chosen by comparison.

A slope takes PyTorch's value at each kink. Where one function serves the input and the output
alike, its argument is called v.
"""

from __future__ import annotations

from fastlinear.kernels.activations.pair import Pair, p_not_negative, q_at_most_p
from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import at_least, at_most
from fastlinear.kernels.vecmath.floats import select
from fastlinear.kernels.vecmath.inlined import inlined


@inlined
def identity(x, p, q):
    """Return x."""
    return x


@inlined
def identity_prime(v, p, q):
    """Return 1."""
    return type(v)(1)


@inlined
def relu(x, p, q):
    """Return max(x, 0), keeping NaN."""
    return at_least(x, type(x)(0))


@inlined
def relu_prime(v, p, q):
    """Return 0 for v <= 0, else 1; v may be the input or the output."""
    real = type(v)
    return select(v <= real(0), real(0), real(1))


@inlined
def leaky_relu(x, p, q):
    """Return x above 0, else p x."""
    return select(x > type(x)(0), x, p * x)


@inlined
def leaky_relu_prime(v, p, q):
    """Return 1 above 0, else p; v may be the input, or the output if p >= 0."""
    real = type(v)
    return select(v > real(0), real(1), p)


@inlined
def hardtanh(x, p, q):
    """Return x clamped to [p, q]."""
    return at_most(at_least(x, p), q)


@inlined
def hardtanh_prime(v, p, q):
    """Return 1 strictly between p and q, else 0; v may be the input or the output."""
    real = type(v)
    return select((v > p) & (v < q), real(1), real(0))


@inlined
def relu6(x, p, q):
    """Return x clamped to [0, 6]."""
    real = type(x)
    return hardtanh(x, real(0), real(6))


@inlined
def relu6_prime(v, p, q):
    """Return 1 strictly between 0 and 6, else 0; v may be the input or the output."""
    real = type(v)
    return hardtanh_prime(v, real(0), real(6))


@inlined
def hardsigmoid(x, p, q):
    """Return x + 3 clamped to [0, 6], over 6."""
    real = type(x)
    return hardtanh(x + real(3), real(0), real(6)) / real(6)


@inlined
def hardsigmoid_prime(x, p, q):
    """Return 1/6 strictly between -3 and 3, else 0.

    The output cannot tell: just below 3 it already rounds to 1.
    """
    real = type(x)
    return select(abs(x) < real(3), real(1 / 6), real(0))


@inlined
def hardswish(x, p, q):
    """Return x hardsigmoid(x); 0 at -inf."""
    return at_least(x, type(x)(-3)) * hardsigmoid(x, p, q)


@inlined
def hardswish_prime(x, p, q):
    """Return 0 for x <= -3, 1 for x >= 3, else x/3 + 1/2, written (2 x + 3) / 6 to be exact."""
    real = type(x)
    inner = fma(real(2), x, real(3)) / real(6)
    return select(x <= real(-3), real(0), select(x >= real(3), real(1), inner))


@inlined
def softshrink(x, p, q):
    """Return x moved towards 0 by p, at most to 0."""
    return select(x > p, x - p, select(x >= -p, type(x)(0), x + p))


@inlined
def hardshrink(x, p, q):
    """Return 0 in [-p, p], else x."""
    return select(abs(x) <= p, type(x)(0), x)


@inlined
def outside_prime(x, p, q):
    """Return 1 outside [-p, p], else 0: the derivative of softshrink and hardshrink."""
    real = type(x)
    return select(abs(x) > p, real(1), real(0))


@inlined
def outside_prime_output(y, p, q):
    """Return 0 where y = 0, else 1, if p >= 0."""
    real = type(y)
    return outside_prime(y, real(0), q)


@inlined
def threshold(x, p, q):
    """Return x above p, else q."""
    return select(x <= p, q, x)


@inlined
def threshold_prime(v, p, q):
    """Return 1 above p, else 0; v may be the input, or the output if q <= p."""
    real = type(v)
    return select(v <= p, real(0), real(1))


PAIRS = (
    Pair("identity", identity, identity_prime, identity_prime),
    Pair("relu", relu, relu_prime, relu_prime),
    Pair("leaky_relu", leaky_relu, leaky_relu_prime, leaky_relu_prime, p_not_negative),
    Pair("hardtanh", hardtanh, hardtanh_prime, hardtanh_prime),
    Pair("relu6", relu6, relu6_prime, relu6_prime),
    Pair("hardsigmoid", hardsigmoid, hardsigmoid_prime),
    Pair("hardswish", hardswish, hardswish_prime),
    Pair("softshrink", softshrink, outside_prime, outside_prime_output, p_not_negative),
    Pair("hardshrink", hardshrink, outside_prime, outside_prime_output, p_not_negative),
    Pair("threshold", threshold, threshold_prime, threshold_prime, q_at_most_p),
)
