"""Matrices as addresses and strides: what the kernels below the arrays work on.

One kernel serves every layout, and a transposed or shifted matrix costs nothing. All sizes are in
bytes. Nothing here keeps an array alive: whoever takes its address holds on to the array, to the
end with `alive`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastlinear.kernels.jit import compiled


class Matrix(NamedTuple):
    """A matrix in memory: the address of element (0, 0), and the bytes to the next row, column."""

    data: int
    row: int
    col: int


MATRIX = types.NamedUniTuple(types.intp, 3, Matrix)
"""The Numba type of a Matrix."""


@compiled
def view(array):
    """Return the matrix that a 2-D array holds.

    A single column counts as adjacent: NumPy leaves its stride to chance, and calls it contiguous.
    """
    col = array.strides[1] if array.shape[1] != 1 else array.itemsize
    return Matrix(address_of(array), array.strides[0], col)


@compiled
def moved(M, i, j):
    """Return M without its first i rows and j columns."""
    return Matrix(M.data + i * M.row + j * M.col, M.row, M.col)


@compiled
def transposed(M):
    """Return M^T."""
    return Matrix(M.data, M.col, M.row)


@compiled(internal=True, inline=True)
def at(address, offset):
    """Return an address moved by an offset; 0, which stands for nothing, stays 0."""
    return address + offset if address != 0 else 0


@compiled(internal=True, inline=True)
def up_to(nbytes, multiple):
    """Return ``nbytes`` rounded up to a multiple."""
    return (nbytes + multiple - 1) // multiple * multiple


@compiled
def row_of(like, M, i, length):
    """Return row i of M, whose columns are adjacent, as an array of the dtype of ``like``."""
    return carray(pointer_to(like, M.data + i * M.row), (length,))


@compiled(internal=True)
def alive(array):
    """Do nothing. Numba frees an array after its last mention: this is one, after its last use."""


@intrinsic
def address_of(typingctx, array):
    """Return the address of an array's first element."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


@intrinsic
def address_of_one(typingctx, one):
    """Return the address of a one of the dtype of ``one`` that is always there."""

    def codegen(context, builder, signature, args):
        constant = cgutils.global_constant(builder, "one", ir.Constant(args[0].type, 1))
        return builder.ptrtoint(constant, context.get_value_type(types.intp))

    return types.intp(one), codegen


@intrinsic
def itemsize(typingctx, like):
    """Return the bytes of the dtype of ``like``, a constant."""

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(types.intp), like.bitwidth // 8)

    return types.intp(like), codegen


@intrinsic
def pointer_to(typingctx, like, address):
    """Return an address as a pointer to the dtype of ``like``."""
    pointer = types.CPointer(like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(pointer))

    return pointer(like, address), codegen


@intrinsic
def placed(typingctx, value):
    """Return the address of a value in memory that lives until the calling function returns."""

    def codegen(context, builder, signature, args):
        memory = cgutils.alloca_once_value(builder, args[0])
        return builder.ptrtoint(memory, context.get_value_type(types.intp))

    return types.intp(value), codegen


@intrinsic
def store_value(typingctx, address, value):
    """Write a value to memory."""

    def codegen(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer()))
        return context.get_dummy_value()

    return types.none(address, value), codegen


def loader(type_of: Callable[[Any], Any]) -> Any:
    """Return ``load(one, address)``, which reads a value of the type for the dtype of ``one``."""

    @intrinsic
    def load(typingctx, one, address):
        kind = type_of(one)

        def codegen(context, builder, signature, args):
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(args[1], pointer))

        return kind(one, address), codegen

    return load


@intrinsic
def fence(typingctx):
    """Let other threads see all that was written before, also what went past the caches."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def call(typingctx, address, arguments):
    """Call the compiled function at ``address`` with a tuple of exactly the types it takes.

    Calling by address keeps a large function out of its callers' modules, where linking would
    compile it anew for each of them.
    """

    def codegen(context, builder, signature, args):
        values = [builder.extract_value(args[1], i) for i in range(len(arguments))]
        types_ = [types.unliteral(t) for t in arguments]
        function = context.call_conv.get_function_type(types.none, types_)
        callee = builder.inttoptr(args[0], ir.PointerType(function))
        status, _ = context.call_conv.call_function(builder, callee, types.none, types_, values)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(address, arguments), codegen
