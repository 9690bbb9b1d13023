"""The fused multiply-add: a b + c with one rounding, the one arithmetic step of every sum."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from fastlinear.kernels.jit import intrinsic_or

if TYPE_CHECKING:
    from fractions import Fraction


def exact_fma(a: Any, b: Any, c: Any) -> Any:
    """Return a b + c rounded once, by exact fractions: what `fma` is where nothing compiles."""
    if not (isfinite(a) and isfinite(b)):
        return a * b + c
    if not isfinite(c):
        return c
    from fractions import Fraction  # 2 ms, and only where nothing compiles

    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return rounded(exact, type(a)) if exact != 0 else a * b + c  # for the sign of the zero


def rounded(exact: Fraction, dtype: Any) -> Any:
    """Return the float nearest to a fraction other than 0, ties to even."""
    info, two = np.finfo(dtype), type(exact)(2)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    if abs(exact) < two**exponent:
        exponent -= 1
    last_bit = max(exponent, int(info.minexp)) - int(info.nmant)
    size = abs(round(exact / two**last_bit)) * two**last_bit
    result = dtype(np.inf) if size > float(info.max) else dtype(float(size))
    return result if exact > 0 else -result


@intrinsic_or(exact_fma)
def fma(typingctx, a, b, c):
    """Return a b + c rounded once (IEEE 754 fusedMultiplyAdd); all three of one float dtype."""
    if not (a == b == c and isinstance(a, types.Float)):
        raise TypingError(f"fma takes three floats of one dtype, got {a}, {b}, {c}")

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, a, a), codegen
