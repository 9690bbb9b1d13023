"""How wide the vectors are that LLVM makes of plain loops: as wide as those of the register tile.

Left to itself it takes 32 bytes on Intel's server cores although they have 64: the first of them
lowered their clock for wider ones. The tiles take 64 there in any case.
"""

from __future__ import annotations

from typing import Any

from numba.core.lowering import Lower

from fastlinear.kernels.sizes import VECTOR_BYTES

ATTRIBUTE = f'"prefer-vector-width"="{8 * VECTOR_BYTES}"'


class WideLower(Lower):
    """Lowering that asks for whole vector registers."""

    def setup_function(self, fndesc: Any) -> None:
        """Begin a function."""
        super().setup_function(fndesc)
        # llvmlite prints attributes as they are, but lets in only those without a value.
        set.add(self.function.attributes, ATTRIBUTE)
