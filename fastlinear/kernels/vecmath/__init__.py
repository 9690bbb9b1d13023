"""Elementary functions of our own, for vectorised loops in compiled code.

Each takes one float32 or float64 and returns the same dtype. One body serves both; the dtype
chooses the coefficients at compile time. All are straight-line code: selects instead of branches,
explicit fused multiply-adds, IEEE division, no call to a C library. So LLVM vectorises any plain
loop over them, and a result has the same bits at every vector width, position and machine.

Each docstring states the largest errors that ``benchmarks/ulp.py`` measured for float32 and for
float64: over all float32 values, and over ten million samples of float64 and more where errors are
large, or some hundred thousand where it takes 50 digits to judge them. Zeros keep their sign, NaN
gives NaN, and subnormal results are rounded like any other.

An activation of the user's own may call them, and is vectorised as the built-in ones are:

>>> import fastlinear as fl
>>> from fastlinear.kernels import vecmath
>>> fl.Activation(lambda x: vecmath.erf(x), lambda x: 1.1283791671 * vecmath.exp(-x * x))
Activation(<lambda>, <lambda>)
"""

from fastlinear.kernels.vecmath.exponential import exp, expm1, sigmoid, sigmoid_prime
from fastlinear.kernels.vecmath.gates import (
    gelu,
    gelu_prime,
    gelu_tanh,
    gelu_tanh_prime,
    mish,
    mish_prime,
    silu,
    silu_prime,
)
from fastlinear.kernels.vecmath.hyperbolic import tanh, tanh_prime, tanhshrink, tanhshrink_prime
from fastlinear.kernels.vecmath.logarithm import log, log1p, log_sigmoid, softplus
from fastlinear.kernels.vecmath.normal import erf

__all__ = [
    "erf",
    "exp",
    "expm1",
    "gelu",
    "gelu_prime",
    "gelu_tanh",
    "gelu_tanh_prime",
    "log",
    "log1p",
    "log_sigmoid",
    "mish",
    "mish_prime",
    "sigmoid",
    "sigmoid_prime",
    "silu",
    "silu_prime",
    "softplus",
    "tanh",
    "tanh_prime",
    "tanhshrink",
    "tanhshrink_prime",
]
