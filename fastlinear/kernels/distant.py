"""A few rows of A times a B whose lanes lie apart in memory: transposed in registers on their way.

All rows are one tile. With 64-byte vectors it is one vector wide, and takes a cache line of every
lane at a time: B passes by once, is transposed once, and no line of it is asked for again, however
many of them crowd a set of the L1 cache. On Emerald Rapids, Y in C order of (2, 512, 512) takes
0.69 to 0.86 of the time that two vectors of 32 bytes took, 16 bytes of each lane at a time; of (3,
512, 512) 0.68 of what transposing to scratch took, of (4, 1024, 1024) 0.78, of (8, 1024, 1024)
0.88, of (8, 2000, 10) 0.73. Two rows by two such vectors, half a line at a time, took 0.9 to 1.24
of one by lines. One row is in `distant_row`.

Called by address, and compiled when they first occur: most programs never need them.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.along import along
from fastlinear.kernels.blocks import begun_tile, block_product, block_types, ended_tile
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, moved
from fastlinear.kernels.rank_update import (
    FIRST,
    gather_operand,
    load_operand,
    rank_update,
    row_offsets,
)
from fastlinear.kernels.shape import (
    LANE_GROUP,
    fewest,
    in_steps,
    itemsize_of,
    narrowed,
    row_shape,
    steps,
    width,
    with_rows,
)
from fastlinear.kernels.tile import store

DISTANT_ROWS, DISTANT_VECTORS = sizes.DISTANT_ROWS, sizes.DISTANT_VECTORS
DISTANT_BYTES, DISTANT_VECTOR_BYTES = sizes.DISTANT_BYTES, sizes.DISTANT_VECTOR_BYTES


@compiled(internal=True)
def distant_product(one, block, P, end, fused):
    """Compute a block of one to four rows of C; the terms of A's rows are adjacent."""
    shape = row_shape(one, DISTANT_VECTORS, DISTANT_VECTOR_BYTES, True)
    block_product(up_to_four, in_steps(shape, DISTANT_BYTES), one, block, P, end, fused)


@compiled(internal=True)
def distant_tall_product(one, block, P, end, fused):
    """Compute a block of five to eight rows of C."""
    shape = row_shape(one, DISTANT_VECTORS, DISTANT_VECTOR_BYTES, True)
    block_product(up_to_eight, in_steps(shape, DISTANT_BYTES), one, block, P, end, fused)


distant_address = by_address(distant_product, block_types, lazy=True)
distant_tall_address = by_address(distant_tall_product, block_types, lazy=True)


@compiled(internal=True, inline=True)
def up_to_four(shape, left, J, A, B, panel, P, C, O, step):
    """Compute the ``left`` rows there are."""
    rest = A, B, P, C, O, step
    if left == 1:
        row_of_tiles(shape, J, rest)
    elif left == 2 or DISTANT_ROWS == 2:
        row_of_tiles(with_rows(shape, 2), J, rest)
    elif left == 3:
        row_of_tiles(with_rows(shape, 3), J, rest)
    else:
        row_of_tiles(with_rows(shape, 4), J, rest)
    return left


@compiled(internal=True, inline=True)
def up_to_eight(shape, left, J, A, B, panel, P, C, O, step):
    """Compute the ``left`` rows there are."""
    rest = A, B, P, C, O, step
    if DISTANT_ROWS < 8:
        pass  # there are never so many, and 16 registers could not hold them
    elif left == 5:
        row_of_tiles(with_rows(shape, 5), J, rest)
    elif left == 6:
        row_of_tiles(with_rows(shape, 6), J, rest)
    elif left == 7:
        row_of_tiles(with_rows(shape, 7), J, rest)
    else:
        row_of_tiles(with_rows(shape, 8), J, rest)
    return left


@compiled(internal=True, inline=True)
def row_of_tiles(shape, J, rest):
    """Go along the columns; the last ones take a vector half as long where that is enough."""
    if DISTANT_VECTORS > 1:
        along(shape, J, distant_tile, rest)
        return
    n = width(shape)
    main, left = J - J % n, J % n
    for j in range(0, main, n):
        distant_tile(shape, n, j, rest)
    if left * 2 > n:
        distant_tile(narrowed(shape, True), left, main, rest)
    elif left > 0:
        distant_tile(fewest(shape), left, main, rest)


@compiled(internal=True, inline=True)
def distant_tile(shape, left, j, rest):
    """Sum one tile, the ``left`` columns from j on."""
    A, B, P, C, O, step = rest
    # Constants, in A's strides too, are part of an address; variables take a register for each.
    item, offset = itemsize_of(shape), j * C.col
    A, B = Matrix(A.data, A.row, item), Matrix(B.data + j * B.col, item, B.col)
    tile = add_terms(shape, begun_tile(shape, left, offset, P, step), left, step.terms, A, B)
    store(ended_tile(shape, tile, left, offset, C, step), O.data + offset, O.row, left)


@compiled(internal=True, inline=True)
def add_terms(shape, tile, left, K, A, B):
    """Add K terms to a tile: in steps of the shape, then in the smallest ones, then one by one."""
    few = in_steps(shape, LANE_GROUP)
    tile, k = whole_steps(shape, tile, left, 0, K, A, B)
    if steps(few) < steps(shape):
        tile, k = whole_steps(few, tile, left, k, K, A, B)
    rows = row_offsets(shape, A.row)
    for last in range(k, K):
        a, b = moved(A, 0, last).data, moved(B, last, 0).data
        tile = rank_update(tile, gather_operand(shape, b, B.col, left), a, rows, A.col)
    return tile


@compiled(internal=True, inline=True)
def whole_steps(shape, tile, left, k, K, A, B):
    """Add terms k.. of K to a tile, as far as there are whole steps of them.

    Returns the first term that is left, too.
    """
    n, rows = steps(shape), row_offsets(shape, A.row)
    a, b, count = moved(A, 0, k).data, moved(B, k, 0).data, (K - k) // n
    for _ in range(count):
        tile = rank_update(tile, load_operand(shape, b, FIRST, B.col, left), a, rows, A.col)
        a += n * A.col
        b += n * B.row
    return tile, k + count * n
