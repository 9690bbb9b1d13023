"""One block of the sum for a strip of C: the inner loops around the register tile.

3rd: chunks of the block; 2nd: down the rows; 1st: along the strip; and the tile's own loop over the
terms. The outer loops are in `product`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from fastlinear.kernels import sizes
from fastlinear.kernels.along import along
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import MATRIX, Matrix, call, moved
from fastlinear.kernels.packing import fused_type
from fastlinear.kernels.rank_update import (
    load_operand,
    panel_offsets,
    rank_update,
    row_offsets,
    unknown,
)
from fastlinear.kernels.shape import panel_width, row_shape, widened, with_rows
from fastlinear.kernels.tile import add, fetch, load, store, store_past_caches, zeros

BLOCK, (TALL, MIDDLE, LOW, ONE) = sizes.BLOCK, sizes.ROWS
MOST_ROWS = max(sizes.PAIRED_ROWS, sizes.DISTANT_ROWS)  # that are finished at once
FINISHED_BYTES = sizes.FINISHED_BYTES
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES
_, _, LOW_VECTORS, ONE_VECTORS = sizes.WIDTHS


class Block(NamedTuple):
    """A block of the sum, or several, for a strip of C: A (I, K), B (K, J), C and V (I, J)."""

    I: int
    J: int
    K: int
    A: Matrix
    B: Matrix
    panel_a: int
    """Bytes from one panel of A, the rows of a tall tile, to the next one."""
    panel_b: int
    """Bytes from one panel of B, the columns of a tall tile, to the next one."""
    chunk: int
    """Terms that one pass over the strip takes."""
    C: Matrix
    V: Matrix


class End(NamedTuple):
    """How a block's sums begin, and what happens to them when they are finished.

    Only a block whose B is copied comes in parts, of which not all begin and finish it.
    """

    begun: bool
    """Whether the block's sums so far stand in the scratch for partial sums."""
    finish: bool
    """Whether these are the block's last terms; otherwise the sums go there, and that is all."""
    accumulate: bool
    """Whether they are added to C, where earlier blocks' sums stand."""
    bias: int
    """Address of the bias to add after that, or 0."""
    h: int
    """Address of the activation's kernel to apply at last, or 0."""
    far: bool
    """Whether B comes from memory rather than a cache."""
    past: bool
    """Whether finished sums go to C past the caches; with whole vectors there, and no h."""


def block_types(scalar: Any) -> tuple[Any, ...]:
    """Return the types of a dtype's 1, a Block, the partial sums, an End and a Fused."""
    size = types.intp
    fields = (size, size, size, MATRIX, MATRIX, size, size, size, MATRIX, MATRIX)
    block = types.NamedTuple(fields, Block)
    flag = types.boolean
    end = types.NamedTuple((flag, flag, flag, size, size, flag, flag), End)
    return scalar, block, MATRIX, end, fused_type(scalar)


@compiled(internal=True, inline=True)
def block_product(next_rows, shape, one, block, P, end, fused):
    """Compute one block: chunks of the sum (3rd loop), down the rows (2nd).

    Between chunks the partial sums rest in P. ``next_rows`` computes the next few rows and returns
    how many.
    """
    I, J, K, A, B, panel_a, panel_b, chunk, C, V = block
    for k in range(0, max(K, 1), chunk):
        Bk = moved(B, k, 0)
        finish, resume = end.finish and k + chunk >= K, end.begun or k > 0
        some = min(chunk, K - k)
        step = Step(some, resume, finish, end.accumulate, end.bias, 0, panel_a, end.past, end.far)
        i = first = 0
        while i < I:
            Ai = moved(Matrix(A.data + i // TALL * panel_a, A.row, A.col), i % TALL, k)
            Ci = moved(C, i, 0)
            base = 0 if chunk < BLOCK else first  # row of C whose sums stand in P's first row
            Pi = moved(P, i - base, 0)
            Oi = Pi if end.h != 0 or not finish else Ci
            i += next_rows(shape, I - i, J, Ai, Bk, panel_b, Pi, Ci, Oi, step)
            if finish and (i >= I or are_enough(i - first, P)):
                Pf, Cf, Vf = moved(P, first - base, 0), moved(C, first, 0), moved(V, first, 0)
                activate(one, i - first, J, Pf, Cf, Vf, end.h, fused)
                first = i


@compiled(internal=True, inline=True)
def one_row_or_two(shape, left, J, A, B, panel, P, C, O, step):
    """Compute two rows of ``left``, or the last one."""
    if left >= LOW:
        wide = widened(with_rows(shape, LOW), LOW_VECTORS)
        row_of_tiles(wide, J, A, B, panel, P, C, O, step)
        return LOW
    row_of_tiles(widened(with_rows(shape, ONE), ONE_VECTORS), J, A, B, panel, P, C, O, step)
    return ONE


@compiled(internal=True, inline=True)
def few_rows(shape, left, J, A, B, panel, P, C, O, step):
    """Compute four rows of ``left``, or as many of less."""
    if left >= MIDDLE:
        row_of_tiles(with_rows(shape, MIDDLE), J, A, B, panel, P, C, O, step)
        return MIDDLE
    return one_row_or_two(shape, left, J, A, B, panel, P, C, O, step)


@compiled(internal=True, inline=True)
def tall_rows(shape, left, J, A, B, panel, P, C, O, step):
    """Compute the rows of a tall tile."""
    row_of_tiles(with_rows(shape, TALL), J, A, B, panel, P, C, O, step)
    return TALL


@compiled(internal=True)
def tall_product(one, block, P, end, fused):
    """Compute one block of rows for tall tiles, where lanes are adjacent in memory."""
    shape = row_shape(one, VECTORS, VECTOR_BYTES, False)
    block_product(tall_rows, shape, one, block, P, end, fused)


@compiled(internal=True)
def low_product(one, block, P, end, fused):
    """Compute one block of the rows that are left."""
    shape = row_shape(one, VECTORS, VECTOR_BYTES, False)
    block_product(few_rows, shape, one, block, P, end, fused)


tall_address = by_address(tall_product, block_types)
low_address = by_address(low_product, block_types)


@compiled(internal=True)
def are_enough(rows, P):
    """Return whether so many rows of finished sums are worth a call of h."""
    return rows * P.row >= FINISHED_BYTES


@compiled(internal=True)
def finished_rows(I, pitch):
    """Return how many rows of finished sums, ``pitch`` bytes each, scratch must hold for h."""
    return min(I, (FINISHED_BYTES - 1) // pitch + MOST_ROWS)


@compiled(internal=True)
def activate(one, I, J, P, C, V, h, fused):
    """C = h(P), and V = h'(P) where it is wanted; nothing without h."""
    if h != 0:
        if fused.both != 0:
            call(fused.both, (one, I, J, P, V, C, fused.p, fused.q, False))
        else:
            call(h, (one, I, J, P, C, fused.p, fused.q, False))


class Step(NamedTuple):
    """What one pass over a row of tiles does to the sums."""

    terms: int
    """Terms it adds."""
    resume: bool
    """Whether it goes on from the partial sums of this block."""
    finish: bool
    """Whether it is the block's last pass."""
    accumulate: bool
    """Whether earlier blocks' sums stand in C."""
    bias: int
    """Address of the bias to add at the end, or 0."""
    ahead: int
    """How many bytes ahead B is fetched to the L2 cache, or 0."""
    panel_a: int
    """Bytes from one panel of A, the rows of a tall tile, to the next one."""
    past: bool
    """Whether finished sums go to C past the caches."""
    far: bool
    """Whether B comes from memory rather than a cache."""


@compiled(internal=True, inline=True)
def row_of_tiles(shape, J, A, B, panel, P, C, O, step):
    """Go along the strip (1st loop)."""
    along(shape, J, tile_product, (A, B, panel, P, C, O, step))


@compiled(internal=True, inline=True)
def tile_product(shape, left, j, rest):
    """Sum one tile, the ``left`` columns from j on: the innermost loop, over the terms."""
    A, B, panel, P, C, O, step = rest
    columns = panel_width(shape)
    a, b = A.data, B.data + j // columns * panel + j % columns * B.col
    offset = j * C.col
    if step.accumulate:
        # C may be far away: 2 % less time at 1024 x 1024 x 1024 on Zen 3.
        fetch(shape, C.data + offset, C.row)
    if step.ahead != 0:
        for k in range(step.terms):
            fetch(with_rows(shape, 1), b + step.ahead + k * B.row, 0)
    tile = begun_tile(shape, left, offset, P, step)
    rows_of_A, panels_of_B = row_offsets(shape, A.row), panel_offsets(shape, panel)
    for _ in range(step.terms):
        tile = rank_update(tile, load_operand(shape, b, panels_of_B, 0, left), a, rows_of_A, A.col)
        # LLVM would keep an address for each row, and add to all of them: 44 instructions a step
        # for 40, which counts where another thread takes half of the core: 0.94 to 0.98 there. Two
        # terms each time round: 0.98 of the time (0.92 to 1.05), but 1.15 times as long to compile.
        a = unknown(a + A.col)
        b += B.row
    tile = ended_tile(shape, tile, left, offset, C, step)
    if step.past and step.finish:
        store_past_caches(tile, O.data + offset, O.row, left)
    else:
        store(tile, O.data + offset, O.row, left)


@compiled(internal=True, inline=True)
def begun_tile(shape, left, offset, P, step):
    """Return the tile ``offset`` bytes along the rows of P, or zeros where its sums begin."""
    return load(shape, P.data + offset, P.row, left) if step.resume else zeros(shape)


@compiled(internal=True, inline=True)
def ended_tile(shape, tile, left, offset, C, step):
    """Return a tile to store: where the block is finished, plus earlier ones' sums and the bias."""
    if step.finish:
        if step.accumulate:
            tile = add(tile, load(shape, C.data + offset, C.row, left))
        if step.bias != 0:
            tile = add(tile, load(with_rows(shape, 1), step.bias + offset, 0, left))
    return tile
