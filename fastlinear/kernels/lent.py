"""Arrays that Python lends to a compiled function for one call.

Numba makes an owner for every array that comes from Python and counts references to it: 30 to 50 ns
an array. The caller of a call keeps its arguments alive, so for a kernel an array is no more than
what NumPy's own structure says: its address, its shape and its strides.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.extending import NativeValue, models, register_model, unbox
from numba.np.numpy_support import as_dtype

# Bytes from the start of NumPy's PyArrayObject and PyArray_Descr, laid down in its C API
# (ndarraytypes.h), to the fields read here; both begin with Python's own object head.
HEAD = object.__basicsize__
DATA, AXES, SHAPE, STRIDES, DESCRIPTION = HEAD, HEAD + 8, HEAD + 16, HEAD + 24, HEAD + 40
FLAGS = HEAD + 48
BYTE_ORDER, TYPE_NUMBER = HEAD + 10, HEAD + 12

WRITEABLE = 0x0400
"""NumPy's flag of an array that may be written to."""

I8, I32, INTP = ir.IntType(8), ir.IntType(32), cgutils.intp_t


class Lent(types.Array):
    """The type of a strided array that is lent: one of another dtype or ndim has sizes of -1.

    None is lent as an array without elements. Whoever lends sees to it that the argument is an
    ndarray or None; the rest a kernel finds in the shape. One lent to be ``filled`` has sizes of -1
    also where it is read-only.
    """

    def __init__(self, dtype: np.dtype[Any], ndim: int, *, filled: bool = False) -> None:
        self.filled = filled
        name = f"Lent({dtype}, {ndim}{', filled' if filled else ''})"
        super().__init__(from_dtype(dtype), ndim, "A", name=name)

    @property
    def key(self) -> Any:
        """What tells this type from others of its class."""
        return *super().key, self.filled


register_model(Lent)(models.ArrayModel)


@unbox(Lent)
def unbox_lent(typ: Lent, array: Any, c: Any) -> NativeValue:
    """Read NumPy's structure, while Python's lock is held."""
    builder, dtype = c.builder, as_dtype(typ.dtype)
    lent = c.context.make_array(typ)(c.context, builder)
    lent.itemsize = INTP(dtype.itemsize)
    lent.meminfo, lent.parent = lent.meminfo.type(None), lent.parent.type(None)
    _set_sizes(builder, lent, [INTP(0)] * typ.ndim, [INTP(0)] * typ.ndim)
    lent.data = lent.data.type(None)
    with builder.if_then(builder.icmp_unsigned("!=", array, c.pyapi.borrow_none()), likely=True):
        lent.data = field(builder, array, DATA, lent.data.type)
        fits = _is_of(builder, array, dtype, typ.ndim)
        if typ.filled:
            flags = builder.and_(field(builder, array, FLAGS, I32), I32(WRITEABLE))
            fits = builder.and_(fits, builder.icmp_signed("!=", flags, I32(0)))
        with builder.if_else(fits, likely=True) as (then, otherwise):
            with then:
                shape, strides = (_sizes(builder, array, f, typ.ndim) for f in (SHAPE, STRIDES))
                _set_sizes(builder, lent, shape, strides)
            with otherwise:
                _set_sizes(builder, lent, [INTP(-1)] * typ.ndim, [INTP(0)] * typ.ndim)
                lent.nitems = INTP(-1)
    return NativeValue(lent._getvalue())


def _set_sizes(builder: Any, lent: Any, shape: list[Any], strides: list[Any]) -> None:
    lent.shape = cgutils.pack_array(builder, shape)
    lent.strides = cgutils.pack_array(builder, strides)
    lent.nitems = reduce(builder.mul, shape)


def _is_of(builder: Any, array: Any, dtype: np.dtype[Any], ndim: int) -> Any:
    """Return whether an array has that dtype, in this machine's byte order, and as many axes."""
    description = field(builder, array, DESCRIPTION, cgutils.voidptr_t)
    swapped = I8(ord(dtype.newbyteorder("S").byteorder))
    ndims = field(builder, array, AXES, I32)
    number = field(builder, description, TYPE_NUMBER, I32)
    order = field(builder, description, BYTE_ORDER, I8)
    same_type = builder.icmp_signed("==", number, I32(dtype.num))
    same_type = builder.and_(same_type, builder.icmp_signed("!=", order, swapped))
    return builder.and_(same_type, builder.icmp_signed("==", ndims, I32(ndim)))


def _sizes(builder: Any, array: Any, offset: int, ndim: int) -> list[Any]:
    """Return as many integers from where the field at ``offset`` points to."""
    first = field(builder, array, offset, cgutils.voidptr_t)
    return [field(builder, first, axis * INTP.width // 8, INTP) for axis in range(ndim)]


def field(builder: Any, structure: Any, offset: int, kind: ir.Type) -> Any:
    """Return what lies ``offset`` bytes behind a pointer."""
    pointer = cgutils.pointer_add(builder, structure, offset, kind.as_pointer())
    return builder.load(pointer)
