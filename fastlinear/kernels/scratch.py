"""Scratch memory for the length of one call: small amounts on the stack, which costs nothing."""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastlinear.kernels.sizes import VECTOR_BYTES


@intrinsic
def borrow_bytes(typingctx, nbytes, most):
    """Return the address of scratch memory: on the stack up to ``most`` bytes, else on the heap.

    It lives until the compiled function that asked for it returns, and must go through
    `return_bytes` before that. Raises MemoryError where the heap has no more.
    """

    def codegen(context, builder, signature, args):
        nbytes, most = args
        intp = nbytes.type
        address = cgutils.alloca_once(builder, intp)
        small = builder.icmp_signed("<=", nbytes, most)
        with builder.if_else(small) as (on_stack, on_heap):
            with on_stack:
                memory = builder.alloca(cgutils.int8_t, nbytes)
                memory.align = VECTOR_BYTES
                builder.store(builder.ptrtoint(memory, intp), address)
            with on_heap:
                memory = context.nrt.allocate(builder, nbytes)
                builder.store(builder.ptrtoint(memory, intp), address)
        return builder.load(address)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def return_bytes(typingctx, address, nbytes, most):
    """Give back what `borrow_bytes` lent."""

    def codegen(context, builder, signature, args):
        address, nbytes, most = args
        with cgutils.if_unlikely(builder, builder.icmp_signed(">", nbytes, most)):
            context.nrt.free(builder, builder.inttoptr(address, cgutils.voidptr_t))
        return context.get_dummy_value()

    return types.none(*[types.intp] * 3), codegen
