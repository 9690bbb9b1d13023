"""How wide LLVM makes the vectors of plain loops, and for which core it orders instructions.

As wide as those of the register tile: left to itself it takes 32 bytes on Intel's server cores
although they have 64: the first of them lowered their clock for wider ones. The tiles take 64 there
in any case. The core is the one that `sizes` finds.
"""

from __future__ import annotations

from typing import Any

from numba.core.lowering import Lower

from fastlinear.kernels.sizes import CORE_NAME, VECTOR_BYTES

ATTRIBUTES = f'"prefer-vector-width"="{8 * VECTOR_BYTES}" "tune-cpu"="{CORE_NAME}"'


class WideLower(Lower):
    """Lowering that asks for whole vector registers, and for a core's order of instructions."""

    def setup_function(self, fndesc: Any) -> None:
        """Begin a function."""
        super().setup_function(fndesc)
        # llvmlite prints attributes as they are, but lets in only those without a value.
        set.add(self.function.attributes, ATTRIBUTES)
