"""Whether arrays lie apart in memory: for an output that must not overlap what a kernel reads.

`numpy.may_share_memory` takes 0.4 us a pair, and there are five beside a layer's output: more than
the forward pass of one small sample. Here they are one call, or, for matrices that a pass has in
its hands, part of the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import NativeValue, intrinsic, models, register_model, unbox
from numpy.typing import NDArray

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.lent import AXES, DATA, I32, INTP, SHAPE, STRIDES, field
from fastlinear.kernels.memory import view

AT_ONCE = 8
"""Arrays that one call takes beside the output."""

NONE = (None,) * AT_ONCE

LONGEST = 8
"""Bytes of the longest element. Arrays of shorter ones seem to end a little later than they do."""


def are_apart(out: NDArray[Any], arrays: Sequence[NDArray[Any] | None]) -> bool:
    """Return whether ``out`` lies apart from other arrays; False where only a closer look tells.

    None, and an array without elements, lie apart from all.
    """
    rest = AT_ONCE - len(arrays)
    if rest < 0:
        return are_apart(out, arrays[:AT_ONCE]) and are_apart(out, arrays[AT_ONCE:])
    return _compiled()(out, *arrays, *NONE[:rest])


def may_fill(
    out: NDArray[Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: Sequence[NDArray[Any] | None],
) -> bool:
    """Return whether ``out`` can take a result: `is_whole`, and apart from what is read for it."""
    fits = out.shape == shape and out.dtype == dtype
    fits = fits and out.flags.c_contiguous and out.flags.writeable
    return fits and are_apart(out, read)


@cache
def _compiled() -> Callable[..., bool]:
    """Return `is_apart` for arrays from Python; see `StridedKernel.entry`."""
    if config.DISABLE_JIT:
        return lambda out, *others: (
            not any(np.may_share_memory(out, other) for other in others if other is not None)
        )
    entry: Callable[..., bool] = is_apart.entry(*[Span()] * (1 + AT_ONCE))
    return entry


@compiled(any_layout=True)
def is_apart(out, a, b, c, d, e, f, g, h):
    """Return whether the first span lies apart from the others."""
    first = apart(out, a) and apart(out, b) and apart(out, c) and apart(out, d)
    return first and apart(out, e) and apart(out, f) and apart(out, g) and apart(out, h)


class Span(types.Type):
    """The type of an ndarray, or None, of which only the addresses where it begins and ends count.

    Of any dtype up to LONGEST bytes, any number of axes and any strides.
    """

    def __init__(self) -> None:
        super().__init__("Span")


@register_model(Span)
class SpanModel(models.PrimitiveModel):
    """Both addresses; two zeros for what has no elements."""

    def __init__(self, dmm: Any, fe_type: Span) -> None:
        super().__init__(dmm, fe_type, ir.LiteralStructType([INTP, INTP]))


@unbox(Span)
def unbox_span(typ: Span, array: Any, c: Any) -> NativeValue:
    """Read NumPy's structure, while Python's lock is held."""
    builder, nowhere = c.builder, INTP(0)
    first, end = (cgutils.alloca_once_value(builder, nowhere) for _ in range(2))
    with builder.if_then(builder.icmp_unsigned("!=", array, c.pyapi.borrow_none())):
        data = field(builder, array, DATA, INTP)
        builder.store(data, first)
        builder.store(builder.add(data, INTP(LONGEST)), end)
        shape, strides = (field(builder, array, f, INTP.as_pointer()) for f in (SHAPE, STRIDES))
        empty = cgutils.alloca_once_value(builder, cgutils.false_bit)
        with cgutils.for_range(builder, field(builder, array, AXES, I32)) as loop:
            length, stride = (
                builder.load(builder.gep(sizes, [loop.index])) for sizes in (shape, strides)
            )
            reach = builder.mul(builder.sub(length, INTP(1)), stride)
            down = builder.icmp_signed("<", stride, nowhere)
            for address, taken in ((first, down), (end, builder.not_(down))):
                step = builder.select(taken, reach, nowhere)
                builder.store(builder.add(builder.load(address), step), address)
            none = builder.icmp_signed("==", length, nowhere)
            builder.store(builder.or_(builder.load(empty), none), empty)
        with builder.if_then(builder.load(empty)):
            builder.store(nowhere, first)
            builder.store(nowhere, end)
    addresses = [builder.load(first), builder.load(end)]
    return NativeValue(cgutils.pack_struct(builder, addresses))


@compiled(internal=True, inline=True)
def span_of(A, rows, columns, item):
    """Return the span of a matrix, that of nothing where it has no elements or no address."""
    if A.data == 0 or rows == 0 or columns == 0:
        return span(0, 0)
    down, right = (rows - 1) * A.row, (columns - 1) * A.col
    return span(A.data + min(down, 0) + min(right, 0), A.data + max(down, 0) + max(right, 0) + item)


@compiled(internal=True, inline=True)
def array_span(array):
    """Return the span of a 2-D array."""
    return span_of(view(array), array.shape[0], array.shape[1], array.itemsize)


@compiled(internal=True, inline=True)
def is_whole(C, rows, columns):
    """Return whether an array has this shape and lies in memory row by row, without gaps."""
    at, item = view(C), C.itemsize
    gapless = at.col == item and (at.row == columns * item or rows == 1)
    return C.shape == (rows, columns) and (gapless or C.size == 0)


@intrinsic
def span(typingctx, first, end):
    """Return the span between two addresses."""

    def codegen(context, builder, signature, args):
        return cgutils.pack_struct(builder, args)

    return Span()(types.intp, types.intp), codegen


@intrinsic
def apart(typingctx, a, b):
    """Return whether one span ends before the other begins."""

    def codegen(context, builder, signature, args):
        (a_first, a_end), (b_first, b_end) = (cgutils.unpack_tuple(builder, s, 2) for s in args)
        before = builder.icmp_unsigned("<=", a_end, b_first)
        return builder.or_(before, builder.icmp_unsigned("<=", b_end, a_first))

    return types.boolean(a, b), codegen
