"""The few operations on floats that vectorised mathematics needs and Python does not spell.

Each is an LLVM instruction or two, of the dtype of its argument, without a branch and without a
call, so a loop over it vectorises; none rounds differently at another vector width. They work
inside compiled code only; where nothing compiles, the Python function before each takes its place.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core.errors import TypingError

from fastlinear.kernels.fma import exact_fma
from fastlinear.kernels.jit import intrinsic_or


class Format(NamedTuple):
    """An IEEE 754 binary format: its bits, its stored significand bits and its exponent bias."""

    bits: int
    significand: int
    bias: int

    @property
    def integer(self) -> ir.IntType:
        """The integer type of the same width."""
        return ir.IntType(self.bits)

    @property
    def unit(self) -> float:
        """2^significand: from here to its double, the last bit of a float counts ones."""
        return 2.0**self.significand

    @property
    def shift(self) -> float:
        """What leaves n + bias in the low bits of its sum with an integral float n."""
        return 1.5 * self.unit + self.bias

    def power(self, builder: Any, shifted: Any) -> Any:
        """Generate 2^n of n + `shift`: its low bits are brought into the exponent field."""
        field = builder.bitcast(shifted, self.integer)
        field = builder.shl(field, ir.Constant(self.integer, self.significand))
        return builder.bitcast(field, shifted.type)


FORMATS = {types.float32: Format(32, 23, 127), types.float64: Format(64, 52, 1023)}


def _format(x: Any) -> Format:
    if x not in FORMATS:
        raise TypingError(f"expected a float32 or a float64, got {x}")
    return FORMATS[x]


def polynomial(
    *,
    float32: Sequence[float],
    float64: Sequence[float],
    times: float = 1.0,
    of: float = 1.0,
    chains: tuple[int, int] = (1, 1),
    first_alone: bool = False,
    block: int = 0,
) -> Any:
    """Make ``p(x)``: the polynomial with these coefficients, lowest degree first.

    The dtype of ``x`` chooses the coefficients when ``p`` is compiled. Horner's rule, one fused
    multiply-add for each degree. With ``times`` and ``of``, powers of two, ``times * p(of * x)``.

    The coefficients of each dtype may be dealt out to so many ``chains`` (1, 2 or 4), which do not
    wait for each other: to two the even and the odd degrees, in x^2. A long chain of fmas takes
    longer than all the work on the vectors under way at once. Cycles a vector: in float64 tanh 21
    in one chain, 17 in two; in float32 GELU 19 in one, 16.5 in two. With ``first_alone`` the first
    coefficient is added last, to all the others: it is rounded once, not in its chain as well.

    Where the even and the odd degrees would cancel, because signs alternate and x is positive, a
    ``block`` of so many coefficients is a chain, and the polynomial one in x^block of their values.
    """

    def stretched(coefficients):
        return [times * of**k * c for k, c in enumerate(coefficients)]

    choices = (stretched(float32), chains[0]), (stretched(float64), chains[1])
    value_of = _first_alone if first_alone else _evaluated

    def interpreted(x):
        coefficients, apart = choices[type(x) is np.float64]
        coefficients = [*map(type(x), coefficients)]
        return value_of(coefficients, x, apart, block, exact_fma, operator.mul)

    @intrinsic_or(interpreted)
    def evaluate(typingctx, x):
        _format(x)
        coefficients, apart = choices[x == types.float64]

        def codegen(context, builder, signature, args):
            constants = [ir.Constant(args[0].type, float(c)) for c in coefficients]
            return value_of(constants, args[0], apart, block, builder.fma, builder.fmul)

        return x(x), codegen

    return evaluate


def _evaluated(
    coefficients: list[Any], x: Any, chains: int, block: int, fma: Any, multiply: Any
) -> Any:
    """Return the value of a polynomial at x, by these two operations."""
    if block > 0:
        starts = range(0, len(coefficients), block)
        values = [_horner(coefficients[i : i + block], x, fma) for i in starts]
        return _horner(values, reduce(multiply, [x] * block), fma)
    if chains == 1:
        return _horner(coefficients, x, fma)
    square = multiply(x, x)
    even, odd = (
        _evaluated(coefficients[i::2], square, chains // 2, 0, fma, multiply) for i in (0, 1)
    )
    return fma(odd, x, even)


def _first_alone(
    coefficients: list[Any], x: Any, chains: int, block: int, fma: Any, multiply: Any
) -> Any:
    """Return what `_evaluated` does, the first coefficient added to the value of the others."""
    first, *others = coefficients
    return fma(_evaluated(others, x, chains, block, fma, multiply), x, first)


def _horner(coefficients: list[Any], x: Any, fma: Any) -> Any:
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = fma(value, x, coefficient)
    return value


def constant(*, float32: float, float64: float) -> Any:
    """Make ``c(x)``: a constant that differs between the dtypes, in the dtype of ``x``."""
    return polynomial(float32=(float32,), float64=(float64,))


@intrinsic_or(lambda condition, a, b: a if condition else b)
def select(typingctx, condition, a, b):
    """Return ``a`` where ``condition`` holds, else ``b``; both are computed, nothing branches."""
    if condition != types.boolean or a != b:
        raise TypingError(f"select takes a bool and two of one dtype, got {condition}, {a}, {b}")

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(condition, a, b), codegen


@intrinsic_or(np.rint)
def nearest(typingctx, x):
    """Return the integer nearest to ``x``, ties to even, as a float."""
    _format(x)

    def codegen(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.rint", (args[0].type,)), args)

    return x(x), codegen


@intrinsic_or(np.copysign)
def copysign(typingctx, x, sign):
    """Return ``x`` with the sign bit of ``sign``."""
    _format(x)
    if x != sign:
        raise TypingError(f"copysign takes two floats of one dtype, got {x}, {sign}")

    def codegen(context, builder, signature, args):
        kind = args[0].type
        function = builder.module.declare_intrinsic(
            "llvm.copysign", (kind,), ir.FunctionType(kind, (kind, kind))
        )
        return builder.call(function, args)

    return x(x, sign), codegen


@intrinsic_or(lambda n: np.ldexp(type(n)(1), int(n)) if n == n else n)
def power_of_two(typingctx, n):
    """Return 2^n for an integral float ``n`` whose power is normal, or one above (infinity).

    By way of `Format.shift`: no conversion to an integer, which AVX2 lacks for float64.
    """
    layout = _format(n)

    def codegen(context, builder, signature, args):
        shift = ir.Constant(args[0].type, layout.shift)
        return layout.power(builder, builder.fadd(args[0], shift))

    return n(n), codegen


def _rounded_and_power(x: Any, factor: Any, offset: Any) -> tuple[Any, Any]:
    real = type(x)
    shift = real(FORMATS[from_dtype(np.dtype(real))].shift) + offset
    n = exact_fma(x, factor, shift) - shift
    return n, np.ldexp(real(1), int(n + offset)) if n == n else n


@intrinsic_or(_rounded_and_power)
def rounded_and_power(typingctx, x, factor, offset):
    """Return n, the integer nearest to ``x * factor``, and 2^(n + offset), which must be normal.

    Both are by-products of one fused multiply-add with `Format.shift`, whose sum has no bits below
    one. ``offset`` is a constant.
    """
    layout = _format(x)
    if not x == factor == offset:
        raise TypingError(f"expected three floats of one dtype, got {x}, {factor}, {offset}")

    def codegen(context, builder, signature, args):
        value, factor, offset = args
        shift = builder.fadd(offset, ir.Constant(value.type, layout.shift))
        shifted = builder.fma(value, factor, shift)
        results = builder.fsub(shifted, shift), layout.power(builder, shifted)
        return context.make_tuple(builder, signature.return_type, results)

    return types.UniTuple(x, 2)(x, factor, offset), codegen


@intrinsic_or(lambda x: type(x)(np.frexp(x)[1] - 1))
def exponent(typingctx, x):
    """Return floor(log2 x) as a float, for a positive normal ``x``; bias + 1 for infinity."""
    layout = _format(x)

    def codegen(context, builder, signature, args):
        kind = args[0].type
        field = builder.bitcast(args[0], layout.integer)
        field = builder.lshr(field, ir.Constant(layout.integer, layout.significand))
        # The inverse of power_of_two: the field becomes the low bits of a float in [unit, 2 unit).
        unit_bits = (layout.significand + layout.bias) << layout.significand
        field = builder.or_(field, ir.Constant(layout.integer, unit_bits))
        value = builder.bitcast(field, kind)
        return builder.fsub(value, ir.Constant(kind, layout.unit + layout.bias))

    return x(x), codegen
