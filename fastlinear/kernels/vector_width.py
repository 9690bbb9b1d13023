"""How LLVM compiles plain loops: the width of vectors, the core it orders for, and the stack.

As wide as those of the register tile: left to itself it takes 32 bytes on Intel's server cores
although they have 64: the first of them lowered their clock for wider ones. The tiles take 64 there
in any case. The core is the one that `sizes` finds.

What does not fit the registers goes to the stack, which starts at any multiple of 16 bytes. Vectors
there would lie across two cache lines in some processes and not in others: exact GELU in float64
took 1.7 times as long. So each function that spills one aligns its stack. LLVM knows too late that
it will, and has to be told at once; the register tiles took 0.998 of their time, spilling nothing.
"""

from __future__ import annotations

from typing import Any

from numba.core.lowering import Lower

from fastlinear.kernels.sizes import CORE_NAME, VECTOR_BYTES

ATTRIBUTES = f'"prefer-vector-width"="{8 * VECTOR_BYTES}" "tune-cpu"="{CORE_NAME}" "stackrealign"'


class WideLower(Lower):
    """Lowering that asks for whole vector registers, a core's order and an aligned stack."""

    def setup_function(self, fndesc: Any) -> None:
        """Begin a function."""
        super().setup_function(fndesc)
        # llvmlite prints attributes as they are, but lets in only those without a value.
        set.add(self.function.attributes, ATTRIBUTES)
