"""The shape of a register tile: its type, and what kernels ask and derive at compile time.

A ``Tile`` has ``rows`` x ``vectors`` vectors of ``lanes`` elements: element (r, v * lanes + l) sits
in lane l of vector (r, v). Its last ``masked`` vectors may not exist in full. Kernels are
specialised by it, and pass a `Shape` where no tile is yet.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastlinear.kernels.sizes import CUTS, VECTORS, WHOLE_EDGE

LANE_GROUP = 16
"""Bytes inside which, and as which, all instruction sets shuffle: at least so many of each lane are
transposed at once."""


class Tile(types.Type):
    """The type of a register tile; it carries the shape, so kernels specialise by it.

    One rank update takes ``steps`` terms of the sum, rows of the operand that are loaded at once: 1
    where their lanes are adjacent.
    """

    def __init__(
        self, dtype: Any, rows: int, vectors: int, lanes: int, masked: int, steps: int
    ) -> None:
        self.dtype, self.rows, self.vectors, self.lanes = dtype, rows, vectors, lanes
        self.masked, self.steps = masked, steps
        super().__init__(f"Tile({dtype}, {rows}x{vectors}x{lanes}, masked={masked}, steps={steps})")

    def with_rows(self, rows: int) -> Tile:
        """Return the type of the same shape but for its number of rows."""
        return Tile(self.dtype, rows, self.vectors, self.lanes, self.masked, self.steps)

    def widened(self, vectors: int) -> Tile:
        """Return the type of the same shape but for its number of vectors."""
        return Tile(self.dtype, self.rows, vectors, self.lanes, self.masked, self.steps)

    def narrowed(self, last: bool) -> Tile:
        """Return the masked type for columns that do not fill this one.

        For more than half of what it holds, and so masked in its upper half only; or half as wide,
        for the ``last`` ones, masked everywhere.
        """
        vectors = self.vectors if self.vectors <= WHOLE_EDGE else self.vectors // 2
        vectors = max(1, vectors // 2 if last else vectors)
        masked = vectors if last else vectors - vectors // 2
        return Tile(self.dtype, self.rows, vectors, self.lanes, masked, self.steps)

    def cut(self, quarters: int) -> Tile:
        """Return the type of so many quarters of the width, masked beyond ``too_few``."""
        if not self.may_cut(quarters):
            return self.narrowed(False)
        vectors = self.vectors * quarters // 4
        masked = vectors - self.too_few(quarters) // self.lanes
        return Tile(self.dtype, self.rows, vectors, self.lanes, masked, self.steps)

    def may_cut(self, quarters: int) -> bool:
        """Return whether there is such a type: not where more code would bring little.

        What is transposed is long, and one row waits for each fma, however wide.
        """
        long = self.transposed or (self.rows == 1 and quarters < 4)
        return quarters in CUTS and self.vectors % 4 == 0 and not long

    def too_few(self, quarters: int) -> int:
        """Return the most columns that are too few for it: a quarter less, or half of one row."""
        return self.vectors * self.lanes * (2 if self.rows == 1 else quarters - 1) // 4

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
    def transposed(self) -> bool:
        """Whether operands' lanes lie apart in memory: it loads several of their terms at once."""
        return self.steps > 1


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
    lie apart in memory, LANE_GROUP bytes of each at once.
    """
    dtype = types.unliteral(like)
    item = dtype.bitwidth // 8
    steps = LANE_GROUP // item if transposed.literal_value else 1
    shape = Shape(Tile(dtype, 1, vectors.literal_value, nbytes.literal_value // item, 0, steps))
    return shape(like, vectors, nbytes, transposed), empty


@intrinsic(prefer_literal=True)
def run_shape(typingctx, like, lanes):
    """Return the shape of one vector of ``lanes`` elements, a constant: any number of them."""
    shape = Shape(Tile(types.unliteral(like), 1, 1, lanes.literal_value, 0, 1))
    return shape(like, lanes), empty


@intrinsic(prefer_literal=True)
def with_rows(typingctx, shape, rows):
    """Return the shape with ``rows`` rows, a constant."""
    return Shape(shape.tile.with_rows(rows.literal_value))(shape, rows), empty


@intrinsic(prefer_literal=True)
def in_steps(typingctx, shape, nbytes):
    """Return the transposed shape that takes ``nbytes`` bytes of each lane at once, a constant."""
    tile, steps = shape.tile, nbytes.literal_value // shape.tile.itemsize
    taking = Tile(tile.dtype, tile.rows, tile.vectors, tile.lanes, tile.masked, steps)
    return Shape(taking)(shape, nbytes), empty


@intrinsic
def fewest(typingctx, shape):
    """Return the masked shape for the fewest columns: of half a 64-byte vector, or of one."""
    tile = shape.tile
    lanes = min(tile.lanes, 32 // tile.itemsize)
    few = Tile(tile.dtype, tile.rows, tile.vectors, lanes, tile.masked, tile.steps).narrowed(True)
    return Shape(few)(shape), empty


@intrinsic(prefer_literal=True)
def widened(typingctx, shape, vectors):
    """Return the shape with ``vectors`` vectors, a constant."""
    return Shape(shape.tile.widened(vectors.literal_value))(shape, vectors), empty


@intrinsic(prefer_literal=True)
def narrowed(typingctx, shape, last):
    """Return the masked shape for columns that do not fill it, or the ``last`` ones, a constant."""
    return Shape(shape.tile.narrowed(last.literal_value))(shape, last), empty


@intrinsic(prefer_literal=True)
def cut(typingctx, shape, quarters):
    """Return the shape with so many quarters of the vectors, a constant, masked at their end."""
    return Shape(shape.tile.cut(quarters.literal_value))(shape, quarters), empty


@intrinsic(prefer_literal=True)
def is_cut(typingctx, shape, quarters, left):
    """Return whether so many columns are enough for `cut`; constantly false where none may be."""
    tile, count = shape.tile, quarters.literal_value

    def codegen(context, builder, signature, args):
        if not tile.may_cut(count):
            return cgutils.false_bit
        return builder.icmp_signed(">", args[2], args[2].type(tile.too_few(count)))

    return types.boolean(shape, quarters, left), codegen


@intrinsic
def steps(typingctx, shape):
    """Return how many terms of the sum one ``rank_update`` takes, a constant."""
    return types.intp(shape), _constant(shape.tile.steps)


@intrinsic
def itemsize_of(typingctx, shape):
    """Return the bytes of one element, a constant."""
    return types.intp(shape), _constant(shape.tile.itemsize)


@intrinsic
def panel_width(typingctx, shape):
    """Return how many columns a panel of B has, a constant: those of the tallest tile."""
    return types.intp(shape), _constant(VECTORS * shape.tile.lanes)


@intrinsic
def width(typingctx, shape):
    """Return the number of elements in a row, a constant."""
    return types.intp(shape), _constant(shape.tile.vectors * shape.tile.lanes)


def panels_of(tile: Tile) -> int:
    """Return how many panels of B a row spans; at least 1."""
    return max(1, tile.vectors // VECTORS)


def empty(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Return the zero of a tile's type, or the null that stands for a shape."""
    return ir.Constant(context.get_value_type(signature.return_type), None)


def _constant(value: int) -> Any:
    """Return the generator of code for an integer that is known by then."""
    return lambda context, builder, *_: ir.Constant(context.get_value_type(types.intp), value)
