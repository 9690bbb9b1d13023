"""What a tile's sums gain from a few terms of A and B, in registers: the innermost step of all.

Addresses and strides are in bytes; ``left`` is the number of columns that exist, as in `tile`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastlinear.kernels.shape import panels_of
from fastlinear.kernels.sizes import FETCHED_TILES
from fastlinear.kernels.tile import LINE_BYTES
from fastlinear.kernels.vectors import (
    I32,
    TO_L1,
    fma,
    hidden,
    lane_addresses,
    load_transposed,
    load_vector,
    pointer_to,
    prefetch,
    splat,
    vectors_in_panels,
)

FIRST = (0,)
"""The offset of the one row of A, or panel of B, where there are no others."""

SCALES = (0, 1, 2, 4)
"""Multiples of a stride that an x86 address takes without a register of their own."""


@intrinsic
def row_offsets(typingctx, shape, stride):
    """Return where a tile's rows of A begin, ``stride`` bytes apart: r stride for each row r."""
    return _multiples(shape.tile.rows, shape, stride)


@intrinsic
def panel_offsets(typingctx, shape, stride):
    """Return where a row's panels of B begin, ``stride`` bytes apart: p stride for each panel p."""
    return _multiples(panels_of(shape.tile), shape, stride)


def _multiples(count: int, shape: Any, stride: Any) -> Any:
    """Return the signature and the generator of code for ``count`` multiples of a stride.

    LLVM sees no connection between them, but where SCALES spare a register: it would compute each
    address from the one before, a chain of additions as long as the fmas take. 6 rows of one vector
    took 1.2 times as long.
    """
    multiples = types.UniTuple(types.intp, count)

    def codegen(context, builder, signature, args):
        integer = args[1].type
        values = [builder.mul(args[1], integer(i)) for i in range(count)]
        for i in set(range(count)).difference(SCALES):
            values[i] = hidden(builder, values[i])
        return context.make_tuple(builder, multiples, values)

    return multiples(shape, stride), codegen


@intrinsic
def unknown(typingctx, value):
    """Return an integer of which LLVM knows nothing, whatever it was."""

    def codegen(context, builder, signature, args):
        return hidden(builder, args[0])

    return value(value), codegen


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

    For terms that make no whole group; as the end of one that overlaps the group before, they took
    0.96 to 1.04 of the time, at (1, 145, 1721) and (5, 99, 55). Masked lanes repeat the last
    existing one.
    """
    tile = shape.tile
    operand = tile.with_rows(1)

    def codegen(context, builder, signature, args):
        _, address, lane_stride, left = args
        value = ir.Constant(context.get_value_type(operand), ir.Undefined)
        addresses = lane_addresses(builder, tile, address, lane_stride, left)
        for v in range(tile.vectors):
            vector = ir.Constant(tile.vector, ir.Undefined)
            for lane in range(tile.lanes):
                pointer = pointer_to(builder, tile.scalar, addresses[v * tile.lanes + lane])
                vector = builder.insert_element(vector, builder.load(pointer), I32(lane))
            value = builder.insert_value(value, vector, v)
        return value

    return operand(shape, address, lane_stride, left), codegen


@intrinsic
def fetch_lanes(typingctx, shape, address, lane_stride, left):
    """Ask for the cache line of each lane to come to the L1 cache."""
    tile = shape.tile

    def codegen(context, builder, signature, args):
        _, address, lane_stride, left = args
        prefetch(builder, lane_addresses(builder, tile, address, lane_stride, left), TO_L1)
        return context.get_dummy_value()

    return types.none(shape, address, lane_stride, left), codegen


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
            if FETCHED_TILES:
                further = builder.add(address, ahead)
                prefetch(builder, lane_addresses(builder, row, further, lane_stride, left))
            at, next_block = A, builder.add(address, block)
            group = address.type(tile.steps * tile.itemsize)
            for _ in range(LINE_BYTES // group.constant):
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
                address = builder.add(address, group)
            address, A = next_block, builder.add(A, block)
        return value

    return tile(tile, address, block, lane_stride, left, A, a_k, ahead), codegen
