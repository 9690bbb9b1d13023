"""Arrays and scratch without reference counts, for functions that run in a user's inner loops.

Numba counts the references to each array with locked instructions. Where threads share arrays, as
they share a network's weights, each would wait for the others at every call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from fastlinear.kernels.memory import MATRIX, Matrix
from fastlinear.kernels.sizes import NETWORK_STACK_BYTES, VECTOR_BYTES


class Plane(NamedTuple):
    """A 2-D array without its owner; a 1-D array is a plane of one row."""

    rows: int
    columns: int
    at: Matrix


class Layer(NamedTuple):
    """What one stage takes at run time; W and b have no elements where there are none."""

    W: Plane
    b: Plane
    p: Any
    q: Any


PLANE = types.NamedTuple((types.intp, types.intp, MATRIX), Plane)


@intrinsic
def plane(typingctx, array):
    """Return the plane of a 1-D or 2-D array."""
    if not (isinstance(array, types.Array) and array.ndim in (1, 2)):
        raise TypingError(f"expected an array of one or two dimensions, got {array}")

    def codegen(context, builder, signature, args):
        return _plane(context, builder, array, args[0])

    return PLANE(array), codegen


@intrinsic
def output_plane(typingctx, x, out):
    """Return the plane of ``out``, a writeable array of the dtype of ``x``; None if it is None."""
    if isinstance(out, types.NoneType | types.Omitted):
        return types.none(x, out), lambda context, *_: context.get_dummy_value()
    if not isinstance(out, types.Array) or (out.dtype, out.ndim, out.mutable) != (
        x.dtype,
        x.ndim,
        True,
    ):
        raise TypingError(f"out: expected an array to write, like {x}, got {out}")

    def codegen(context, builder, signature, args):
        return _plane(context, builder, out, args[1])

    return PLANE(x, out), codegen


@intrinsic
def layers_of(typingctx, params, x):
    """Return ``params`` as a tuple of `Layer`, all in the dtype of the array ``x``.

    ``params`` is flat, because Numba takes no nested tuple into a ``prange``: W, b and the array of
    p and q, layer by layer.
    """
    scalar = x.dtype
    if not isinstance(scalar, types.Float):
        raise TypingError(f"x: expected float32 or float64, got {scalar}")
    if not all(isinstance(t, types.Array) and t.dtype == scalar for t in params):
        raise TypingError(f"x: expected {params[0].dtype}, the dtype of params, got {scalar}")
    if len(params) % 3 != 0 or any(t.ndim != 2 - (i % 3 > 0) for i, t in enumerate(params)):
        raise TypingError(f"params: expected W, b and (p, q) for each layer, got {params}")
    if any(t.ndim == 1 and t.layout != "C" for t in params):
        raise TypingError(f"params: expected contiguous biases, got {params}")
    layer = types.NamedTuple((PLANE, PLANE, scalar, scalar), Layer)
    result = types.UniTuple(layer, len(params) // 3)

    def codegen(context, builder, signature, args):
        arrays = cgutils.unpack_tuple(builder, args[0])
        layers = []
        for i in range(0, len(params), 3):
            planes = [
                _plane(context, builder, *both)
                for both in zip(params[i : i + 2], arrays[i : i + 2], strict=True)
            ]
            pq = context.make_array(params[i + 2])(context, builder, arrays[i + 2]).data
            parameters = [
                builder.load(builder.gep(pq, [context.get_constant(types.intp, j)])) for j in (0, 1)
            ]
            layers.append(context.make_tuple(builder, layer, planes + parameters))
        return context.make_tuple(builder, result, layers)

    return result(params, x), codegen


def _plane(context: Any, builder: Any, array: Any, value: Any) -> Any:
    held = context.make_array(array)(context, builder, value)
    intp = context.get_value_type(types.intp)
    shape = [intp(1), *cgutils.unpack_tuple(builder, held.shape)][-2:]
    strides = [intp(0), *cgutils.unpack_tuple(builder, held.strides)][-2:]
    data = builder.ptrtoint(held.data, intp)
    at = context.make_tuple(builder, MATRIX, [data, *strides])
    return context.make_tuple(builder, PLANE, [*shape, at])


@intrinsic
def borrow_bytes(typingctx, nbytes):
    """Return the address of scratch memory, on the stack while that is sensible.

    It lives until the compiled function that asked for it returns, and must go through
    `return_bytes` before that.
    """

    def codegen(context, builder, signature, args):
        intp = args[0].type
        address = cgutils.alloca_once(builder, intp)
        small = builder.icmp_signed("<=", args[0], intp(NETWORK_STACK_BYTES))
        with builder.if_else(small) as (on_stack, on_heap):
            with on_stack:
                memory = builder.alloca(cgutils.int8_t, args[0])
                memory.align = VECTOR_BYTES
                builder.store(builder.ptrtoint(memory, intp), address)
            with on_heap:
                memory = context.nrt.allocate(builder, args[0])
                builder.store(builder.ptrtoint(memory, intp), address)
        return builder.load(address)

    return types.intp(types.intp), codegen


@intrinsic
def return_bytes(typingctx, address, nbytes):
    """Give back what `borrow_bytes` lent."""

    def codegen(context, builder, signature, args):
        address, nbytes = args
        with cgutils.if_unlikely(
            builder, builder.icmp_signed(">", nbytes, nbytes.type(NETWORK_STACK_BYTES))
        ):
            context.nrt.free(builder, builder.inttoptr(address, cgutils.voidptr_t))
        return context.get_dummy_value()

    return types.none(types.intp, types.intp), codegen
