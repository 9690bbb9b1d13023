"""A few rows of A times a B whose lanes lie apart in memory: transposed in registers on their way.

Called by address, and compiled when they first occur: most programs never need them.

A tile of one row is a single chain of fma, each waiting for the one before. More rows of memory
make more chains, but where they lie a power of two apart they crowd a few sets of the cache: 16 of
them took 250 us at (1, 1024, 1024) on Zen 4. Blocks of the sum are independent of each other too,
and two of them over 8 rows of memory took 88 us: they go abreast. Four were no better: 123 us at
(1, 2048, 300), for 57. Nor were four tiles of 8 rows, each a quarter of a block behind the one
before, so that no two crowd a set: 25 us at (1, 512, 512), for 23. There the shuffles set the pace.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import Block, activate, block_product, block_types
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import itemsize, moved
from fastlinear.kernels.rank_update import (
    FIRST,
    blocks_update,
    gather_operand,
    load_operand,
    rank_update,
)
from fastlinear.kernels.shape import narrowed, panel_width, row_shape, steps, width, with_rows
from fastlinear.kernels.shared import shared
from fastlinear.kernels.tile import LINE_BYTES, add, load, row, store, zeros

ABREAST, BLOCK, FETCHED_TILES = sizes.ABREAST, sizes.BLOCK, sizes.FETCHED_TILES
LAST, TRANSPOSED_VECTOR_BYTES = ABREAST - 1, sizes.TRANSPOSED_VECTOR_BYTES


@compiled(internal=True)
def distant_product(one, block, P, end, fused):
    """Compute a block, or several of a sum of one row, for a strip of C."""
    I, J, K, A, B, _, chunk, C, V = block
    if K > BLOCK:
        row_abreast(one, J, K, A, B, C, P if end.h != 0 else C, end)
        activate(one, 1, J, P, C, V, end, fused)
    else:
        shape = row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, True)
        strip = Block(I, J, K, A, B, panel_width(shape) * B.col, chunk, C, V)
        block_product(shape, one, strip, P, end, fused)


distant_address = shared(distant_product, block_types, lazy=True)


@compiled(internal=True, inline=True)
def row_abreast(one, J, K, A, B, C, O, end):
    """Add K terms to the J sums of C, if they have begun, and write them to O; A is (1, K).

    A's terms are adjacent, and so are B's rows.
    """
    shape = row_shape(one, 1, TRANSPOSED_VECTOR_BYTES, True)
    n, item = width(shape), itemsize(one)
    main = J - J % n
    for j in range(0, main, n):
        sums_abreast(shape, item, n, K, A, moved(B, 0, j), j * item, C, O, end)
    if main < J:
        tail = narrowed(shape, False)
        sums_abreast(tail, item, J - main, K, A, moved(B, 0, main), main * item, C, O, end)


@compiled(internal=True, inline=True)
def sums_abreast(shape, item, left, K, A, B, offset, C, O, end):
    """Sum ``left`` columns: `ABREAST` blocks at a time, and what is left one by one."""
    begun = end.accumulate
    total = load(shape, C.data + offset, 0, left) if begun else zeros(shape)
    k = 0
    while K - k >= ABREAST * BLOCK:
        sums = blocks(with_rows(shape, ABREAST), item, left, moved(A, 0, k), moved(B, k, 0))
        total = add(total, row(sums, 0)) if begun else row(sums, 0)
        if ABREAST > 1:
            total = add(total, row(sums, LAST))
        begun = True
        k += ABREAST * BLOCK
    while k < K:
        terms = min(BLOCK, K - k)
        last = block(shape, left, terms, moved(A, 0, k), moved(B, k, 0))
        total = add(total, last) if begun else last
        begun = True
        k += terms
    if end.bias != 0:
        total = add(total, load(shape, end.bias + offset, 0, left))
    store(total, O.data + offset, 0, left)


@compiled(internal=True, inline=True)
def blocks(shape, item, left, A, B):
    """Sum as many whole blocks as the shape has rows.

    Strides that are constants are spelled as such: in registers they would leave too few for the
    addresses of the lanes.
    """
    a, b, ahead = A.data, B.data, FETCHED_TILES * width(shape) * B.col
    tile = zeros(shape)
    for _ in range(BLOCK * item // LINE_BYTES):
        tile = blocks_update(tile, b, BLOCK * item, B.col, left, a, item, ahead)
        a += LINE_BYTES
        b += LINE_BYTES
    return tile


@compiled(internal=True, inline=True)
def block(shape, left, K, A, B):
    """Sum one block of K terms."""
    n, a, b = steps(shape), A.data, B.data
    tile = zeros(shape)
    for _ in range(K // n):
        tile = rank_update(tile, load_operand(shape, b, FIRST, B.col, left), a, FIRST, A.col)
        a += n * A.col
        b += n * B.row
    for _ in range(K % n):
        tile = rank_update(tile, gather_operand(shape, b, B.col, left), a, FIRST, A.col)
        a += A.col
        b += B.row
    return tile
