"""The register tile: a small matrix that LLVM keeps in vector registers, as one Numba value.

Its type is in `shape`, what its sums gain term by term in `rank_update`. Every operation is
unrolled when the code is generated, on fixed lanes: no reduction ever crosses lanes, so each
element is computed as a scalar loop would compute it.

Addresses and strides are in bytes. ``left`` is the number of elements of a row that exist: its last
``masked`` vectors touch no memory beyond them; the others ignore it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastlinear.kernels.shape import empty
from fastlinear.kernels.vectors import (
    TO_L1,
    TO_L2,
    is_masked,
    load_vector,
    prefetch,
    store_part,
    store_vector,
    store_vector_past_caches,
    vectors_in_memory,
)

LINE_BYTES = 64
"""A cache line of current x86 and most ARM cores: what is fetched at a time."""


@intrinsic
def zeros(typingctx, shape):
    """Return a tile of zeros."""
    return shape.tile(shape), empty


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


def storer(store_whole: Any) -> Any:
    """Make ``store(tile, address, stride, left)``, which writes a tile to memory."""

    @intrinsic
    def store(typingctx, tile, address, stride, left):
        def codegen(context, builder, signature, args):
            value, address, stride, left = args
            parts: dict[int, Any] = {}
            for i, target in vectors_in_memory(builder, tile, address, stride):
                vector = builder.extract_value(value, i)
                if is_masked(tile, i):
                    parts.setdefault(i % tile.vectors, []).append((target, vector))
                else:
                    store_whole(builder, tile, target, vector)
            for v, part in parts.items():
                targets, vectors = zip(*part, strict=True)
                store_part(builder, tile, v, targets, left, vectors)
            return context.get_dummy_value()

        return types.none(tile, address, stride, left), codegen

    return store


store = storer(store_vector)

store_past_caches = storer(store_vector_past_caches)
"""``store`` where every whole vector of the tile is one in memory, too. Caches would read what is
about to be overwritten. Other threads see it after a `fence`."""


def fetcher(cache: int) -> Any:
    """Make ``fetch(shape, address, stride)``, which asks for a tile's lines to come to a cache."""

    @intrinsic
    def fetch(typingctx, shape, address, stride):
        tile = shape.tile

        def codegen(context, builder, signature, args):
            _, address, stride = args
            nbytes = tile.vectors * tile.lanes * tile.itemsize
            for _ in range(tile.rows):
                lines = [address.type(line) for line in range(0, nbytes, LINE_BYTES)]
                prefetch(builder, [builder.add(address, line) for line in lines], cache)
                address = builder.add(address, stride)
            return context.get_dummy_value()

        return types.none(shape, address, stride), codegen

    return fetch


fetch, fetch_to_l1 = fetcher(TO_L2), fetcher(TO_L1)


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
def stacked(typingctx, upper, lower):
    """Return one tile of the rows of two."""
    result = upper.with_rows(upper.rows + lower.rows)

    def codegen(context, builder, signature, args):
        value, i = ir.Constant(context.get_value_type(result), ir.Undefined), 0
        for part, tile in zip(args, (upper, lower), strict=True):
            for e in range(tile.rows * tile.vectors):
                value = builder.insert_value(value, builder.extract_value(part, e), i)
                i += 1
        return value

    return result(upper, lower), codegen


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
