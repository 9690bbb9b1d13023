"""Several vectors under way at once, where a loop's body is one long chain of operations.

h and h' are some 20 to 40 operations, each waiting for the one before: 70 cycles and more for a
vector, of which a core's schedulers hold two or three. LLVM's vectoriser can take several vectors
through the body side by side, each operation for all of them before the next, but does so of its
own accord only for loops of a few instructions. Here its loops are asked for it, by the metadata
that Clang writes for ``#pragma clang loop interleave_count``. They are not unrolled: one over as
many elements as a constant says would be before the vectoriser sees it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba.core import ir

from fastlinear.kernels.sizes import INTERLEAVED
from fastlinear.kernels.vector_width import WideLower


class InterleavingLower(WideLower):
    """Lowering that asks for `INTERLEAVED` vectors at once in each loop."""

    def lower_inst(self, inst: Any) -> None:
        """Lower one instruction; mark it where it closes a loop."""
        backward = isinstance(inst, ir.Jump) and self.blkmap[inst.target].is_terminated
        super().lower_inst(inst)
        if backward:
            self.builder.block.terminator.set_metadata("llvm.loop", _loop(self.module))


def _loop(module: Any) -> Any:
    """Return the metadata of one loop: a node that begins with itself, and so is like no other."""
    count = llvm.Constant(llvm.IntType(32), INTERLEAVED)
    requests = [["llvm.loop.interleave.count", count], ["llvm.loop.unroll.disable"]]
    nodes = [module.add_metadata(request) for request in requests]
    loop = llvm.MDValue(module, nodes, name=str(len(module.metadata)))
    loop.operands = (loop, *nodes)
    return loop
