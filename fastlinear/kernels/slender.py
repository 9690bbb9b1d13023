"""Five rows and more of few columns, one vector at most: two tiles at a time, one below the other.

A tall tile of one vector is 6 chains of fma, where two units with an fma's latency of 4 cycles want
8; and two of them share what they load of B. On Emerald Rapids, Y of (12, 300, 16) takes 0.64 of
the time that it took, of (24, 2000, 16) 0.77, dX of (500, 16, 40) 0.68, of (100, 12, 100) 0.76. As
one tile of 12 rows, Y of (24, 2000, 16) took 0.82: LLVM keeps too many addresses. Fewer than 12
rows go so too, up to 8 in tiles of 4, some of them in both tiles, which find the same sums: Y of
(5, 300, 16) takes 0.6 of the time, of (8, 300, 16) 0.55 and of (11, 300, 16) 0.5.

Called by address, and compiled when it first occurs.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.along import along
from fastlinear.kernels.blocks import begun_tile, block_product, block_types, ended_tile
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import moved
from fastlinear.kernels.rank_update import FIRST, load_operand, rank_update, row_offsets, unknown
from fastlinear.kernels.shape import row_shape, with_rows
from fastlinear.kernels.tile import store

(TALL, MIDDLE, *_), PAIRED = sizes.ROWS, sizes.PAIRED_ROWS
VECTOR_BYTES = sizes.VECTOR_BYTES


@compiled
def rows_in_pairs(item, I, J, in_panels):
    """Return how many of I rows go in pairs of tiles: none if J columns exceed one vector.

    In panels a tile's rows begin where a panel does, so that no row can be in two tiles.
    """
    if J * item > VECTOR_BYTES:
        return 0
    left = I % PAIRED
    return I if left > MIDDLE and not in_panels else I - left


@compiled(internal=True)
def slender_product(one, block, P, end, fused):
    """Compute one block of rows for pairs of tiles, where lanes are adjacent in memory."""
    shape = row_shape(one, 1, VECTOR_BYTES, False)
    block_product(paired_rows, shape, one, block, P, end, fused)


slender_address = by_address(slender_product, block_types, lazy=True)


@compiled(internal=True, inline=True)
def paired_rows(shape, left, J, A, B, panel, P, C, O, step):
    """Compute the rows of two tiles, tall or middling, the second one ending with the last row."""
    rows = min(left, PAIRED)
    if rows > 2 * MIDDLE:
        along(with_rows(shape, TALL), J, two_tiles, (A, B, P, C, O, rows - TALL, step))
    else:
        along(with_rows(shape, MIDDLE), J, two_tiles, (A, B, P, C, O, rows - MIDDLE, step))
    return rows


@compiled(internal=True, inline=True)
def two_tiles(shape, left, j, rest):
    """Sum two tiles, the second one ``down`` rows below, of the ``left`` columns there are."""
    A, B, P, C, O, down, step = rest
    rows = row_offsets(shape, A.row)
    a, b = A.data, B.data
    a_below = a + (step.panel_a if down == TALL else down * A.row)
    P_below, C_below, O_below = moved(P, down, 0), moved(C, down, 0), moved(O, down, 0)
    tile, below = begun_tile(shape, left, 0, P, step), begun_tile(shape, left, 0, P_below, step)
    for _ in range(step.terms):
        operand = load_operand(shape, b, FIRST, 0, left)
        tile = rank_update(tile, operand, a, rows, A.col)
        below = rank_update(below, operand, a_below, rows, A.col)
        a, a_below, b = unknown(a + A.col), unknown(a_below + A.col), b + B.row
    # Both before either is stored: what a row in both tiles is added to stands there but once.
    tile = ended_tile(shape, tile, left, 0, C, step)
    below = ended_tile(shape, below, left, 0, C_below, step)
    store(tile, O.data, O.row, left)
    store(below, O_below.data, O_below.row, left)
