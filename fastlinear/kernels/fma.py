"""The fused multiply-add: a b + c with one rounding, the one arithmetic step of every sum."""

from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic


@intrinsic
def fma(typingctx, a, b, c):
    """Return a b + c rounded once (IEEE 754 fusedMultiplyAdd); all three of one float dtype."""
    if not (a == b == c and isinstance(a, types.Float)):
        raise TypingError(f"fma takes three floats of one dtype, got {a}, {b}, {c}")

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, a, a), codegen
