"""The smooth activations, on the vector functions of `vecmath`."""

from __future__ import annotations

from fastlinear.kernels import vecmath
from fastlinear.kernels.activations.pair import Pair
from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import logistic
from fastlinear.kernels.vecmath.floats import copysign, select
from fastlinear.kernels.vecmath.inlined import inlined

INFINITY = float("inf")


@inlined
def gelu(x, p, q):
    """Return x Phi(x)."""
    return vecmath.gelu(x)


@inlined
def gelu_prime(x, p, q):
    """Return Phi(x) + x phi(x)."""
    return vecmath.gelu_prime(x)


@inlined
def gelu_tanh(x, p, q):
    """Return x (1 + tanh u) / 2."""
    return vecmath.gelu_tanh(x)


@inlined
def gelu_tanh_prime(x, p, q):
    """Return the derivative of `gelu_tanh`."""
    return vecmath.gelu_tanh_prime(x)


@inlined
def silu(x, p, q):
    """Return x sigmoid(x)."""
    return vecmath.silu(x)


@inlined
def silu_prime(x, p, q):
    """Return the derivative of `silu`."""
    return vecmath.silu_prime(x)


@inlined
def mish(x, p, q):
    """Return x tanh(log(1 + e^x))."""
    return vecmath.mish(x)


@inlined
def mish_prime(x, p, q):
    """Return the derivative of `mish`."""
    return vecmath.mish_prime(x)


@inlined
def sigmoid(x, p, q):
    """Return 1 / (1 + e^-x)."""
    return vecmath.sigmoid(x)


@inlined
def sigmoid_prime(x, p, q):
    """Return e^-x / (1 + e^-x)^2."""
    return vecmath.sigmoid_prime(x)


@inlined
def sigmoid_prime_output(y, p, q):
    """Return y (1 - y)."""
    return y * (type(y)(1) - y)


@inlined
def log_sigmoid(x, p, q):
    """Return log(sigmoid(x))."""
    return vecmath.log_sigmoid(x)


@inlined
def log_sigmoid_prime(x, p, q):
    """Return sigmoid(-x)."""
    return vecmath.sigmoid(-x)


@inlined
def log_sigmoid_prime_output(y, p, q):
    """Return 1 - e^y, as accurate as from the input."""
    return -vecmath.expm1(y)


@inlined
def tanh(x, p, q):
    """Return tanh(x)."""
    return vecmath.tanh(x)


@inlined
def tanh_prime(x, p, q):
    """Return 1 - tanh(x)^2."""
    return vecmath.tanh_prime(x)


@inlined
def tanh_prime_output(y, p, q):
    """Return 1 - y^2."""
    return fma(-y, y, type(y)(1))


@inlined
def tanhshrink(x, p, q):
    """Return x - tanh(x)."""
    return vecmath.tanhshrink(x)


@inlined
def tanhshrink_prime(x, p, q):
    """Return tanh(x)^2."""
    return vecmath.tanhshrink_prime(x)


@inlined
def softplus(x, p, q):
    """Return log(1 + e^(p x)) / p, or x where p x > q."""
    return select(p * x > q, x, vecmath.softplus(x, p))


@inlined
def softplus_prime(x, p, q):
    """Return sigmoid(p x), or 1 where p x > q."""
    t = p * x
    return select(t > q, type(x)(1), logistic(t, fma(p, x, -t)))


@inlined
def softsign(x, p, q):
    """Return x / (1 + |x|)."""
    real = type(x)
    a = abs(x)
    return select(a == real(INFINITY), copysign(real(1), x), x / (real(1) + a))


@inlined
def softsign_prime(x, p, q):
    """Return 1 / (1 + |x|)^2."""
    real = type(x)
    t = real(1) / (real(1) + abs(x))
    return t * t


PAIRS = (
    Pair("gelu", gelu, gelu_prime),
    Pair("gelu_tanh", gelu_tanh, gelu_tanh_prime),
    Pair("silu", silu, silu_prime),
    Pair("mish", mish, mish_prime),
    Pair("sigmoid", sigmoid, sigmoid_prime, sigmoid_prime_output),
    Pair("log_sigmoid", log_sigmoid, log_sigmoid_prime, log_sigmoid_prime_output),
    Pair("tanh", tanh, tanh_prime, tanh_prime_output),
    Pair("softplus", softplus, softplus_prime),
    Pair("softsign", softsign, softsign_prime),
    Pair("tanhshrink", tanhshrink, tanhshrink_prime),
)
