"""The register tile: a small matrix that LLVM keeps in vector registers, as one Numba value.

A ``Tile`` has ``rows`` x ``vectors`` vectors of ``lanes`` elements: element (r, v * lanes + l) sits
in lane l of vector (r, v). Every operation is unrolled when the code is generated, on fixed lanes:
no reduction ever crosses lanes, so each element is computed as a scalar loop would compute it.

Addresses and strides are in bytes. ``left`` is the number of elements of a row that exist: its last
``masked`` vectors touch no memory beyond them; the others ignore it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastlinear.kernels.sizes import FETCHED_TILES, VECTORS, WHOLE_EDGE
from fastlinear.kernels.vectors import (
    I32,
    fma,
    is_masked,
    lane_offsets,
    load_transposed,
    load_vector,
    pointer_to,
    prefetch,
    splat,
    store_part,
    store_vector,
    vectors_in_memory,
    vectors_in_panels,
)

LANE_GROUP = 16
"""Bytes that one step of a transposing load takes from each row: the widest shuffle granule that
all instruction sets share."""

LINE_BYTES = 64
"""A cache line of current x86 and most ARM cores: what is fetched at a time."""

FIRST = (0,)
"""The offset of the one row of A, or panel of B, where there are no others."""

SCALES = (0, 1, 2, 4)
"""Multiples of a stride that an x86 address takes without a register of their own."""


class Tile(types.Type):
    """The type of a register tile; it carries the shape, so kernels specialise by it."""

    def __init__(
        self, dtype: Any, rows: int, vectors: int, lanes: int, masked: int, transposed: bool
    ) -> None:
        self.dtype, self.rows, self.vectors, self.lanes = dtype, rows, vectors, lanes
        self.masked, self.transposed = masked, transposed
        super().__init__(
            f"Tile({dtype}, {rows}x{vectors}x{lanes}, masked={masked}, transposed={transposed})"
        )

    def with_rows(self, rows: int) -> Tile:
        """Return the type of the same shape but for its number of rows."""
        return Tile(self.dtype, rows, self.vectors, self.lanes, self.masked, self.transposed)

    def widened(self, vectors: int) -> Tile:
        """Return the type of the same shape but for its number of vectors."""
        return Tile(self.dtype, self.rows, vectors, self.lanes, self.masked, self.transposed)

    def narrowed(self, last: bool) -> Tile:
        """Return the masked type for columns that do not fill this one.

        For more than half of what it holds, and so masked in its upper half only; or half as wide,
        for the ``last`` ones, masked everywhere.
        """
        vectors = self.vectors if self.vectors <= WHOLE_EDGE else self.vectors // 2
        vectors = max(1, vectors // 2 if last else vectors)
        masked = vectors if last else vectors - vectors // 2
        return Tile(self.dtype, self.rows, vectors, self.lanes, masked, self.transposed)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self.dtype.bitwidth) // 8

    @property
    def scalar(self) -> ir.Type:
        """LLVM type of one element."""
        return ir.FloatType() if self.dtype.bitwidth == 32 else ir.DoubleType()

    @property
    def vector(self) -> ir.Type:
        """LLVM type of one vector."""
        return ir.VectorType(self.scalar, self.lanes)

    @property
    def steps(self) -> int:
        """Terms of the sum that one rank update takes: rows of the operand loaded at once."""
        return LANE_GROUP // self.itemsize if self.transposed else 1


class Shape(types.Type):
    """The type of a tile's shape alone: a value without content, to pass where no tile is yet."""

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        super().__init__(f"Shape({tile})")


register_model(Shape)(models.OpaqueModel)


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    """An LLVM array of vectors, row by row."""

    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        super().__init__(dmm, fe_type, ir.ArrayType(fe_type.vector, fe_type.rows * fe_type.vectors))


# ---- what kernels call ----------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def row_shape(typingctx, like, vectors, nbytes, transposed):
    """Return the shape of one row of ``vectors`` vectors of ``nbytes`` bytes, dtype of ``like``.

    All but ``like`` are compile-time constants. A ``transposed`` tile loads operands whose lanes
    lie apart in memory.
    """
    dtype = types.unliteral(like)
    lanes = nbytes.literal_value * 8 // dtype.bitwidth
    shape = Shape(Tile(dtype, 1, vectors.literal_value, lanes, 0, bool(transposed.literal_value)))
    return shape(like, vectors, nbytes, transposed), _empty


@intrinsic(prefer_literal=True)
def with_rows(typingctx, shape, rows):
    """Return the shape with ``rows`` rows, a constant."""
    return Shape(shape.tile.with_rows(rows.literal_value))(shape, rows), _empty


@intrinsic(prefer_literal=True)
def widened(typingctx, shape, vectors):
    """Return the shape with ``vectors`` vectors, a constant, unless it is transposed."""
    wide = shape if shape.tile.transposed else Shape(shape.tile.widened(vectors.literal_value))
    return wide(shape, vectors), _empty


@intrinsic(prefer_literal=True)
def narrowed(typingctx, shape, last):
    """Return the masked shape for columns that do not fill it, or the ``last`` ones, a constant."""
    return Shape(shape.tile.narrowed(last.literal_value))(shape, last), _empty


@intrinsic
def zeros(typingctx, shape):
    """Return a tile of zeros."""
    return shape.tile(shape), _empty


@intrinsic
def steps(typingctx, shape):
    """Return how many terms of the sum one ``rank_update`` takes, a constant."""
    return types.intp(shape), _constant(shape.tile.steps)


@intrinsic
def panels(typingctx, shape):
    """Return how many panels of B a row spans, a constant; at least 1."""
    return types.intp(shape), _constant(_panels(shape.tile))


@intrinsic
def width(typingctx, shape):
    """Return the number of elements in a row, a constant."""
    return types.intp(shape), _constant(shape.tile.vectors * shape.tile.lanes)


@intrinsic
def load(typingctx, shape, address, stride, left):
    """Return a tile read from memory, its rows ``stride`` bytes apart."""
    tile = shape.tile

    def codegen(context, builder, signature, args):
        _, address, stride, left = args
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for i, pointer in vectors_in_memory(builder, tile, address, stride):
            value = builder.insert_value(value, load_vector(builder, tile, i, pointer, left), i)
        return value

    return tile(shape, address, stride, left), codegen


@intrinsic
def fetch(typingctx, shape, address, stride):
    """Ask for the cache lines of a tile, rows ``stride`` bytes apart, to come to the L2 cache."""
    tile = shape.tile

    def codegen(context, builder, signature, args):
        _, address, stride = args
        nbytes = tile.vectors * tile.lanes * tile.itemsize
        for _ in range(tile.rows):
            lines = [address.type(line) for line in range(0, nbytes, LINE_BYTES)]
            prefetch(builder, [builder.add(address, line) for line in lines])
            address = builder.add(address, stride)
        return context.get_dummy_value()

    return types.none(shape, address, stride), codegen


@intrinsic
def store(typingctx, tile, address, stride, left):
    """Write the tile to memory, its rows ``stride`` bytes apart."""

    def codegen(context, builder, signature, args):
        value, address, stride, left = args
        parts: dict[int, Any] = {}
        for i, pointer in vectors_in_memory(builder, tile, address, stride):
            vector = builder.extract_value(value, i)
            if is_masked(tile, i):
                parts.setdefault(i % tile.vectors, []).append((pointer, vector))
            else:
                store_vector(builder, tile, pointer, vector)
        for v, part in parts.items():
            pointers, vectors = zip(*part, strict=True)
            store_part(builder, tile, v, pointers, left, vectors)
        return context.get_dummy_value()

    return types.none(tile, address, stride, left), codegen


@intrinsic
def add(typingctx, tile, other):
    """Return tile + other, element by element; an ``other`` of one row is added to every row."""
    if other not in (tile, tile.with_rows(1)):
        raise TypeError(f"add takes tiles of one shape, got {tile} and {other}")

    def codegen(context, builder, signature, args):
        value, addend = args
        for i in range(tile.rows * tile.vectors):
            term = builder.extract_value(addend, i % (other.rows * other.vectors))
            value = builder.insert_value(
                value, builder.fadd(builder.extract_value(value, i), term), i
            )
        return value

    return tile(tile, other), codegen


@intrinsic
def row_offsets(typingctx, shape, stride):
    """Return where a tile's rows of A begin, ``stride`` bytes apart: r stride for each row r."""
    return _multiples(shape.tile.rows, shape, stride)


@intrinsic
def panel_offsets(typingctx, shape, stride):
    """Return where a row's panels of B begin, ``stride`` bytes apart: p stride for each panel p."""
    return _multiples(_panels(shape.tile), shape, stride)


def _multiples(count: int, shape: Any, stride: Any) -> Any:
    """Return the signature and the generator of code for ``count`` multiples of a stride.

    LLVM sees no connection between them, but where SCALES spare a register: it would compute each
    address from the one before, a chain of additions as long as the fmas take. 6 rows of one vector
    took 1.2 times as long.
    """
    multiples = types.UniTuple(types.intp, count)

    def codegen(context, builder, signature, args):
        integer = args[1].type
        hide = ir.FunctionType(integer, [integer])
        values = [builder.mul(args[1], integer(i)) for i in range(count)]
        for i in set(range(count)).difference(SCALES):
            values[i] = builder.asm(hide, "", "=r,0", [values[i]], side_effect=False)
        return context.make_tuple(builder, multiples, values)

    return multiples(shape, stride), codegen


@intrinsic
def load_operand(typingctx, shape, address, panels, lane_stride, left):
    """Return the rows of B that the next ``rank_update`` takes, as a tile.

    A plain tile reads one row, its lanes adjacent in each panel of VECTORS vectors, the panels at
    the offsets ``panels``. A transposed one reads ``steps`` rows whose elements are adjacent
    *across* rows while lanes lie ``lane_stride`` bytes apart, and transposes them in registers;
    masked lanes repeat the last existing one.
    """
    tile = shape.tile
    operand = tile.with_rows(tile.steps)

    def codegen(context, builder, signature, args):
        _, address, offsets, lane_stride, left = args
        value = ir.Constant(context.get_value_type(operand), ir.Undefined)
        if tile.transposed:
            columns = load_transposed(builder, tile, address, lane_stride, left)
        else:
            columns = [
                load_vector(builder, tile, i, pointer, left)
                for i, pointer in vectors_in_panels(builder, tile, address, offsets)
            ]
        for i, column in enumerate(columns):
            value = builder.insert_value(value, column, i)
        return value

    return operand(shape, address, panels, lane_stride, left), codegen


@intrinsic
def gather_operand(typingctx, shape, address, lane_stride, left):
    """Return one row of B whose lanes lie ``lane_stride`` bytes apart, element by element.

    Masked lanes repeat the last existing one.
    """
    tile = shape.tile
    operand = tile.with_rows(1)

    def codegen(context, builder, signature, args):
        _, address, lane_stride, left = args
        value = ir.Constant(context.get_value_type(operand), ir.Undefined)
        offsets = lane_offsets(builder, tile, lane_stride, left)
        for v in range(tile.vectors):
            vector = ir.Constant(tile.vector, ir.Undefined)
            for lane in range(tile.lanes):
                pointer = pointer_to(
                    builder, tile.scalar, builder.add(address, offsets[v * tile.lanes + lane])
                )
                vector = builder.insert_element(vector, builder.load(pointer), I32(lane))
            value = builder.insert_value(value, vector, v)
        return value

    return operand(shape, address, lane_stride, left), codegen


@intrinsic
def rank_update(typingctx, tile, operand, A, rows, a_k):
    """Return tile + A operand: for each row k of the operand, in order, one fma for each element.

    The tile's element (r, j) gains A[r, k] operand[k, j], with A[r, k] at A + rows[r] + k a_k.
    """

    def codegen(context, builder, signature, args):
        value, terms, A, offsets, a_k = args
        for k in range(operand.rows):
            for r in range(tile.rows):
                address = builder.add(A, builder.extract_value(offsets, r))
                scalar = builder.load(pointer_to(builder, tile.scalar, address))
                factor = splat(builder, tile.vector, scalar)
                for v in range(tile.vectors):
                    i = r * tile.vectors + v
                    term = builder.extract_value(terms, k * tile.vectors + v)
                    total = fma(builder, tile, factor, term, builder.extract_value(value, i))
                    value = builder.insert_value(value, total, i)
            if k + 1 < operand.rows:
                A = builder.add(A, a_k)
        return value

    return tile(tile, operand, A, rows, a_k), codegen


@intrinsic
def blocks_update(typingctx, tile, address, block, lane_stride, left, A, a_k, ahead):
    """Return the tile after the next cache line of terms, each of its rows a block of one sum.

    Row r gains A[r, k] B_r[k, j] for each k in order, with A[r, k] at A + r block + k a_k and B_r
    at address + r block, lanes ``lane_stride`` bytes apart: as many independent chains of fma as
    there are blocks, over few rows of memory. With FETCHED_TILES, what lies ``ahead`` bytes further
    is fetched to L2.
    """

    def codegen(context, builder, signature, args):
        value, address, block, lane_stride, left, A, a_k, ahead = args
        row = tile.with_rows(1)
        for r in range(tile.rows):
            offsets = lane_offsets(builder, tile, lane_stride, left)
            if FETCHED_TILES:
                further = builder.add(address, ahead)
                prefetch(builder, [builder.add(further, offset) for offset in offsets])
            at, next_block = A, builder.add(address, block)
            for _ in range(LINE_BYTES // LANE_GROUP):
                columns = load_transposed(builder, row, address, lane_stride, left)
                for k in range(tile.steps):
                    scalar = builder.load(pointer_to(builder, tile.scalar, at))
                    factor = splat(builder, tile.vector, scalar)
                    for v in range(tile.vectors):
                        i = r * tile.vectors + v
                        term = columns[k * tile.vectors + v]
                        total = fma(builder, tile, factor, term, builder.extract_value(value, i))
                        value = builder.insert_value(value, total, i)
                    at = builder.add(at, a_k)
                address = builder.add(address, address.type(LANE_GROUP))
            address, A = next_block, builder.add(A, block)
        return value

    return tile(tile, address, block, lane_stride, left, A, a_k, ahead), codegen


@intrinsic(prefer_literal=True)
def row(typingctx, tile, r):
    """Return row r of a tile, r a constant."""
    result = tile.with_rows(1)

    def codegen(context, builder, signature, args):
        value = ir.Constant(context.get_value_type(result), ir.Undefined)
        for v in range(tile.vectors):
            element = builder.extract_value(args[0], r.literal_value * tile.vectors + v)
            value = builder.insert_value(value, element, v)
        return value

    return result(tile, r), codegen


@intrinsic
def spread(typingctx, tile):
    """Return a pointer to the elements of a tile, row by row, for a loop over them.

    With bounds that are constants the loop is unrolled, and nothing of it touches memory.
    """
    pointer = types.CPointer(tile.dtype)

    def codegen(context, builder, signature, args):
        memory = _room(context, builder, tile)
        builder.store(args[0], memory)
        return builder.bitcast(memory, context.get_value_type(pointer))

    return pointer(tile), codegen


@intrinsic
def room(typingctx, shape):
    """Return a pointer to memory for the elements of a tile, for `collect`."""
    tile = shape.tile
    pointer = types.CPointer(tile.dtype)

    def codegen(context, builder, signature, args):
        return builder.bitcast(_room(context, builder, tile), context.get_value_type(pointer))

    return pointer(shape), codegen


@intrinsic
def collect(typingctx, shape, pointer):
    """Return the tile whose elements lie at a pointer."""
    tile = shape.tile

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(tile)
        return builder.load(builder.bitcast(args[1], kind.as_pointer()))

    return tile(shape, pointer), codegen


def _room(context: Any, builder: Any, tile: Any) -> Any:
    """Return stack memory for a tile, as long as the function runs."""
    memory = cgutils.alloca_once(builder, context.get_value_type(tile))
    memory.align = tile.itemsize * tile.lanes
    return memory


def _panels(tile: Tile) -> int:
    """Return how many panels of B a row spans; at least 1."""
    return 1 if tile.transposed else max(1, tile.vectors // VECTORS)


def _empty(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Return the zero of a tile's type, or the null that stands for a shape."""
    return ir.Constant(context.get_value_type(signature.return_type), None)


def _constant(value: int) -> Any:
    """Return the generator of code for an integer that is known by then."""
    return lambda context, builder, *_: ir.Constant(context.get_value_type(types.intp), value)
