"""A few rows of A times a B whose lanes lie apart in memory: transposed in registers on their way.

All rows are one tile. With 64-byte vectors it is one vector wide, and takes a cache line of every
lane at a time: B passes by once, is transposed once, and no line of it is asked for again, however
many of them crowd a set of the L1 cache. On Emerald Rapids, Y in C order of (2, 512, 512) takes
0.69 to 0.86 of the time that two vectors of 32 bytes took, 16 bytes of each lane at a time; of (3,
512, 512) 0.68 of what transposing to scratch took, of (4, 1024, 1024) 0.78, of (8, 1024, 1024)
0.88, of (8, 2000, 10) 0.73; on Granite Rapids, of (9, 512, 512) 0.76, of (16, 1024, 1024) 0.84, of
(16, 3000, 10) 0.79, although more than eleven rows lay some vectors down on the stack. Two rows by
two such vectors, half a line at a time, took 0.9 to 1.24 of one by lines. One row is in
`distant_row`.

Called by address, and compiled when they first occur: most programs never need them.
"""

from __future__ import annotations

from typing import Any

from fastlinear.kernels import sizes
from fastlinear.kernels.along import along
from fastlinear.kernels.blocks import begun_tile, block_product, block_types, ended_tile
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, call, moved
from fastlinear.kernels.rank_update import (
    FIRST,
    fetch_lanes,
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
EARLY_BYTES = sizes.EARLY_BYTES
DISTANT_BYTES, DISTANT_VECTOR_BYTES = sizes.DISTANT_BYTES, sizes.DISTANT_VECTOR_BYTES

KERNEL_HEIGHTS = 4
"""Heights of a tile in one kernel: compiled together when one of them first occurs, some 6 s."""


def one_tile(fewest_rows: int, most: int) -> Any:
    """Return ``next_rows`` of `block_product` that takes all rows, from so many to so many.

    A tile's height is a constant where it is compiled.
    """

    @compiled(internal=True, inline=True)
    def highest(shape, left, J, A, B, panel, P, C, O, step):
        row_of_tiles(with_rows(shape, most), J, (A, B, P, C, O, step))
        return most

    if fewest_rows == most:
        return highest
    fewer = one_tile(fewest_rows, most - 1)

    @compiled(internal=True, inline=True)
    def next_rows(shape, left, J, A, B, panel, P, C, O, step):
        if left < most:
            return fewer(shape, left, J, A, B, panel, P, C, O, step)
        return highest(shape, left, J, A, B, panel, P, C, O, step)

    return next_rows


def distant_kernel(most: int) -> Any:
    """Return the kernel of a block of ``most`` rows of C or a few less: see KERNEL_HEIGHTS.

    The terms of A's rows are adjacent.
    """
    next_rows = one_tile(max(1, most - KERNEL_HEIGHTS + 1), most)

    def kernel(one, block, P, end, fused):
        shape = row_shape(one, DISTANT_VECTORS, DISTANT_VECTOR_BYTES, True)
        block_product(next_rows, in_steps(shape, DISTANT_BYTES), one, block, P, end, fused)

    kernel.__name__ = kernel.__qualname__ = f"distant_{most}_product"
    return compiled(kernel, internal=True)


DISTANT_KERNELS = [distant_kernel(n) for n in range(DISTANT_ROWS, 0, -KERNEL_HEIGHTS)]
"""Those of the most rows first."""


def chosen(kernels: list[Any], most: int) -> Any:
    """Return the function that computes a block with that of the kernels which takes its rows."""
    address = by_address(kernels[0], block_types, lazy=True)

    @compiled(internal=True, inline=True)
    def most_rows(one, block, P, end, fused):
        call(address(one), (one, block, P, end, fused))

    if len(kernels) == 1:
        return most_rows
    fewer = most - KERNEL_HEIGHTS
    fewer_rows = chosen(kernels[1:], fewer)

    @compiled(internal=True, inline=True)
    def run(one, block, P, end, fused):
        if fewer < block.I:
            most_rows(one, block, P, end, fused)
        else:
            fewer_rows(one, block, P, end, fused)

    return run


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
    tile = add_terms(
        shape, begun_tile(shape, left, offset, P, step), left, step.terms, A, B, step.far
    )
    store(ended_tile(shape, tile, left, offset, C, step), O.data + offset, O.row, left)


@compiled(internal=True, inline=True)
def add_terms(shape, tile, left, K, A, B, far):
    """Add K terms to a tile: in steps of the shape, then in the smallest ones, then one by one.

    A ``far`` B is asked for early, as EARLY_BYTES says.
    """
    few = in_steps(shape, LANE_GROUP)
    tile, k = whole_steps(shape, tile, left, 0, K, A, B, EARLY_BYTES > 0 and far)
    if steps(few) < steps(shape):
        tile, k = whole_steps(few, tile, left, k, K, A, B, False)
    rows = row_offsets(shape, A.row)
    for last in range(k, K):
        a, b = moved(A, 0, last).data, moved(B, last, 0).data
        tile = rank_update(tile, gather_operand(shape, b, B.col, left), a, rows, A.col)
    return tile


@compiled(internal=True, inline=True)
def whole_steps(shape, tile, left, k, K, A, B, early):
    """Add terms k.. of K to a tile, as far as there are whole steps of them.

    Those to come are asked for ``early``, if it is worth while.

    Returns the first term that is left, too.
    """
    n, rows = steps(shape), row_offsets(shape, A.row)
    a, b, count = moved(A, 0, k).data, moved(B, k, 0).data, (K - k) // n
    for _ in range(count):
        if early:
            fetch_lanes(shape, b + EARLY_BYTES, B.col, left)
        tile = rank_update(tile, load_operand(shape, b, FIRST, B.col, left), a, rows, A.col)
        a += n * A.col
        b += n * B.row
    return tile, k + count * n


distant_product = chosen(DISTANT_KERNELS, DISTANT_ROWS)
"""Compute a block of 1 to DISTANT_ROWS rows."""
