"""A few rows of A times a B whose lanes lie apart in memory: transposed in registers on their way.

Called by address, and compiled when they first occur: most programs never need them.

A tile of one row is a single chain of fma, each waiting for the one before. More rows of memory
make more chains, but where they lie a power of two apart they crowd a few sets of the cache: 16 of
them took 250 us at (1, 1024, 1024) on Zen 4. Blocks of the sum are independent of each other too,
and two of them over 8 rows of memory took 88 us: they go abreast. Four were no better: 123 us at
(1, 2048, 300), for 57. Nor were four tiles of 8 rows, each a quarter of a block behind the one
before, so that no two crowd a set: 25 us at (1, 512, 512), for 23. There the shuffles set the pace.

Where lanes do not crowd, two tiles take turns, a cache line of terms each. With 32 registers each
of them has two vectors, since two chains are half of what two units take: on Emerald Rapids, (1,
440, 512) took 21.6 us by one tile, and takes 15.6, (1, 480, 1024) 103, and takes 73; by four
tiles of one vector, 17.9 and 88; two of two, but each group of four terms a step of a loop: 20.7
and 101. The last lanes are one tile, of up to four vectors: 28 of them took 6.5 us at (1, 968, 28)
one vector after another, and take 2.75.

With 16 registers two blocks take turns in the same way. On Zen 3 they take 130 us at (1, 1024,
1024), where one by one took 167. Two tiles in turns are better where lanes do not crowd: 430 us at
(1, 2000, 2000), for 570 by blocks and 650 one by one. Where they crowd and come from memory, one by
one is: 2.9 ms at (1, 4096, 4096), 3.7 by blocks; and by tiles, one of them 1 to 8 lines behind the
other, 2.9 to 3.3.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import Block, activate, block_product, block_types, one_row_or_two
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, itemsize, moved
from fastlinear.kernels.plan import are_lanes_crowded
from fastlinear.kernels.rank_update import (
    FIRST,
    blocks_update,
    gather_operand,
    load_operand,
    rank_update,
    unknown,
)
from fastlinear.kernels.shape import narrowed, panel_width, row_shape, steps, width, with_rows
from fastlinear.kernels.tile import LINE_BYTES, add, load, row, stacked, store, zeros

ABREAST, BLOCK, BLOCKS_IN_TURNS = sizes.ABREAST, sizes.BLOCK, sizes.BLOCKS_IN_TURNS
FETCHED_TILES, LAST_VECTORS = sizes.FETCHED_TILES, sizes.LAST_VECTORS
TURN_TERMS, TURN_VECTORS = sizes.TURN_TERMS, sizes.TURN_VECTORS
TRANSPOSED_VECTOR_BYTES = sizes.TRANSPOSED_VECTOR_BYTES


@compiled(internal=True)
def distant_product(one, block, P, end, fused):
    """Compute a block, or several of a sum of one row, for a strip of C."""
    I, J, K, A, B, panel_a, _, chunk, C, V = block
    if has_two_tiles(itemsize(one), I, K, A, B):
        single_row(one, J, K, A, B, C, P if end.h != 0 else C, end)
        activate(one, 1, J, P, C, V, end.h, fused)
    else:
        shape = row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, True)
        strip = Block(I, J, K, A, B, panel_a, panel_width(shape) * B.col, chunk, C, V)
        block_product(one_row_or_two, shape, one, strip, P, end, fused)


@compiled
def has_two_tiles(item, I, K, A, B):
    """Return whether K terms are those of one row, two tiles or blocks of which go side by side."""
    return K > BLOCK or (I == 1 and A.col == item and K >= TURN_TERMS and not are_lanes_crowded(B))


distant_address = by_address(distant_product, block_types, lazy=True)


@compiled(internal=True, inline=True)
def single_row(one, J, K, A, B, C, O, end):
    """Add K terms to the J sums of C, if they have begun, and write them to O; A is (1, K).

    A's terms are adjacent, and so are B's rows.
    """
    if are_lanes_crowded(B):
        crowded_row(one, J, K, A, B, C, O, end)
        return
    pair = with_rows(row_shape(one, TURN_VECTORS, TRANSPOSED_VECTOR_BYTES, True), 2)
    both = row_shape(one, LAST_VECTORS, TRANSPOSED_VECTOR_BYTES, True)
    most, few = narrowed(both, False), narrowed(both, True)
    least = narrowed(few, True)
    n, item = 2 * width(pair), itemsize(one)
    main = J - J % n
    for j in range(0, main, n):
        Bj, offset = moved(B, 0, j), j * item
        finished_sums(pair, gain_of_tiles, item, width(pair), K, BLOCK, A, Bj, offset, C, O, end)
    left, Bj, offset = J - main, moved(B, 0, main), main * item
    if left > width(few):
        finished_sums(most, gain_of_block, item, left, K, BLOCK, A, Bj, offset, C, O, end)
    elif not BLOCKS_IN_TURNS and left > width(least):
        finished_sums(few, gain_of_block, item, left, K, BLOCK, A, Bj, offset, C, O, end)
    elif left > 0:
        terms = BLOCK if BLOCKS_IN_TURNS else ABREAST * BLOCK
        finished_sums(least, gain_of_blocks, item, left, K, terms, A, Bj, offset, C, O, end)


@compiled(internal=True, inline=True)
def crowded_row(one, J, K, A, B, C, O, end):
    """Do so, few lanes at a time, so that they fit a set of the L1 cache; blocks go abreast."""
    shape, item = row_shape(one, 1, TRANSPOSED_VECTOR_BYTES, True), itemsize(one)
    n = width(shape)
    terms = BLOCK if BLOCKS_IN_TURNS and end.far else ABREAST * BLOCK
    main = J - J % n
    for j in range(0, main, n):
        Bj, offset = moved(B, 0, j), j * item
        finished_sums(shape, gain_of_blocks, item, n, K, terms, A, Bj, offset, C, O, end)
    if main < J:
        tail, Bj, offset = narrowed(shape, False), moved(B, 0, main), main * item
        finished_sums(tail, gain_of_blocks, item, J - main, K, terms, A, Bj, offset, C, O, end)


@compiled(internal=True, inline=True)
def finished_sums(shape, gain, item, left, K, terms, A, B, offset, C, O, end):
    """Sum ``left`` columns, ``terms`` at a time; the shape's rows are tiles, side by side in C."""
    begun, pitch = end.accumulate, width(shape) * item
    total = load(shape, C.data + offset, pitch, left) if begun else zeros(shape)
    k = 0
    while k < K:
        some = terms if K - k >= terms else min(BLOCK, K - k)
        total = gain(shape, total, begun, item, left, some, moved(A, 0, k), moved(B, k, 0))
        begun = True
        k += some
    if end.bias != 0:
        total = add(total, load(shape, end.bias + offset, pitch, left))
    store(total, O.data + offset, pitch, left)


@compiled(internal=True, inline=True)
def gain_of_block(shape, total, begun, item, left, K, A, B):
    """Return the sums, if they have begun, plus one block of K terms."""
    only = by_lines(shape, item, left, K, A, B)
    return add(total, only) if begun else only


@compiled(internal=True, inline=True)
def gain_of_blocks(shape, total, begun, item, left, K, A, B):
    """Return the sums, if they have begun, plus one block of K terms, or two."""
    if K <= BLOCK:
        return gain_of_block(shape, total, begun, item, left, K, A, B)
    if BLOCKS_IN_TURNS:
        first, second = in_turns(
            shape, item, left, BLOCK, A, B, moved(A, 0, BLOCK), moved(B, BLOCK, 0)
        )
    else:
        sums = blocks_abreast(with_rows(shape, ABREAST), item, left, A, B)
        first, second = row(sums, 0), row(sums, 1)
    return add(add(total, first) if begun else first, second)


@compiled(internal=True, inline=True)
def gain_of_tiles(shape, total, begun, item, left, K, A, B):
    """Return the sums of two tiles, if they have begun, plus one block of K terms."""
    one_row = with_rows(shape, 1)
    sums = stacked(*in_turns(one_row, item, left, K, A, B, A, moved(B, 0, width(shape))))
    return add(total, sums) if begun else sums


@compiled(internal=True, inline=True)
def in_turns(shape, item, left, K, A, B, C, D):
    """Return two sums of K terms, of A B and of C D: a cache line of each in turns."""
    line = LINE_BYTES // item
    main, groups = K - K % line, groups_of_line(shape, item)
    first = second = zeros(shape)
    a, b, c, d = A.data, B.data, C.data, D.data
    for _ in range(0, main, line):
        first = whole_groups(shape, first, left, groups, a, item, Matrix(b, item, B.col))
        second = whole_groups(shape, second, left, groups, c, item, Matrix(d, item, D.col))
        a, b, c, d = a + LINE_BYTES, b + LINE_BYTES, c + LINE_BYTES, d + LINE_BYTES
    first = add_terms(shape, first, left, K - main, Matrix(a, 0, item), Matrix(b, item, B.col))
    second = add_terms(shape, second, left, K - main, Matrix(c, 0, item), Matrix(d, item, D.col))
    return first, second


@compiled(internal=True, inline=True)
def groups_of_line(shape, item):
    """Return how many groups of terms, each transposed at once, a cache line has."""
    groups = LINE_BYTES // item // steps(shape)
    # LLVM would unroll, mix and spill; with 32 registers that is worth it.
    return unknown(groups) if BLOCKS_IN_TURNS else groups


@compiled(internal=True, inline=True)
def by_lines(shape, item, left, K, A, B):
    """Return a sum of K terms of A B, a cache line of them in a step of the loop."""
    line = LINE_BYTES // item
    main, tile = K - K % line, zeros(shape)
    a, b, groups = A.data, B.data, groups_of_line(shape, item)
    for _ in range(0, main, line):
        tile = whole_groups(shape, tile, left, groups, a, item, Matrix(b, item, B.col))
        a, b = a + LINE_BYTES, b + LINE_BYTES
    return add_terms(shape, tile, left, K - main, Matrix(a, 0, item), Matrix(b, item, B.col))


@compiled(internal=True, inline=True)
def blocks_abreast(shape, item, left, A, B):
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
def add_terms(shape, tile, left, K, A, B):
    """Add K terms, the last ones of a block or all, to a tile."""
    n = steps(shape)
    tile = whole_groups(shape, tile, left, K // n, A.data, A.col, B)
    for k in range(K - K % n, K):
        a, b = moved(A, 0, k).data, moved(B, k, 0).data
        tile = rank_update(tile, gather_operand(shape, b, B.col, left), a, FIRST, A.col)
    return tile


@compiled(internal=True, inline=True)
def whole_groups(shape, tile, left, groups, a, a_k, B):
    """Add some groups of terms to a tile, each transposed at once; A's lie ``a_k`` bytes apart."""
    n, b = steps(shape), B.data
    for _ in range(groups):
        tile = rank_update(tile, load_operand(shape, b, FIRST, B.col, left), a, FIRST, a_k)
        a += n * a_k
        b += n * B.row
    return tile
