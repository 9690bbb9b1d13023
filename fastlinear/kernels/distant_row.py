"""One row of A times a B whose lanes lie apart in memory: transposed in registers on its way.

Called by address, and compiled when it first occurs: most programs never need it.

A tile of one row is a single chain of fma, each waiting for the one before. So two tiles take
turns, a cache line of terms each. On Emerald Rapids, with two vectors of 32 bytes each, (1, 440,
512) took 21.6 us by one tile, and 15.6 by two; with one of 64 bytes each, 0.9 to 1 of that, but
0.83 to 0.87 where another thread takes half of the core. The last lanes are one tile, of up to two
such vectors: 28 of them took 6.5 us at (1, 968, 28) one after another, and take 2.75.

Where lanes lie a power of two apart, they crowd a few sets of the cache. With 64-byte vectors one
tile at a time is best then: it has done with a line before another takes its place. Narrower ones
take several: 16 rows of memory took 250 us at (1, 1024, 1024) on Zen 4. Blocks of the sum are
independent of each other too, and two of them over 8 rows of memory took 88 us: they go abreast.
Four were no better: 123 us at (1, 2048, 300), for 57. Nor were four tiles of 8 rows, each a quarter
of a block behind the one before: 25 us at (1, 512, 512), for 23.

With 16 registers two blocks take turns in the same way. On Zen 3 they take 130 us at (1, 1024,
1024), where one by one took 167. Two tiles in turns are better where lanes do not crowd: 430 us at
(1, 2000, 2000), for 570 by blocks and 650 one by one. Where they crowd and come from memory, one by
one is: 2.9 ms at (1, 4096, 4096), 3.7 by blocks; and by tiles, one of them 1 to 8 lines behind the
other, 2.9 to 3.3.

A B from memory is asked for early, where EARLY_BYTES says so.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import activate, block_types
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.distant import add_terms, whole_steps
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, itemsize, moved
from fastlinear.kernels.packing import are_lanes_crowded
from fastlinear.kernels.rank_update import blocks_update, fetch_lanes, unknown
from fastlinear.kernels.shape import fewest, in_steps, narrowed, row_shape, width, with_rows
from fastlinear.kernels.tile import LINE_BYTES, add, load, row, stacked, store, zeros

ABREAST, BLOCK, BLOCKS_IN_TURNS = sizes.ABREAST, sizes.BLOCK, sizes.BLOCKS_IN_TURNS
CROWDED_BLOCKS, DISTANT_VECTOR_BYTES = sizes.CROWDED_BLOCKS, sizes.DISTANT_VECTOR_BYTES
EARLY_BYTES, FETCHED_TILES = sizes.EARLY_BYTES, sizes.FETCHED_TILES
LAST_VECTORS = sizes.LAST_VECTORS
TURN_BYTES, TURN_TERMS, TURN_VECTORS = sizes.TURN_BYTES, sizes.TURN_TERMS, sizes.TURN_VECTORS


@compiled(internal=True)
def distant_row_product(one, block, P, end, fused):
    """Compute one block of the sum, or several, for a strip of the one row of C."""
    _, J, K, A, B, _, _, _, C, V = block
    single_row(one, J, K, A, B, C, P if end.h != 0 else C, end)
    activate(one, 1, J, P, C, V, end.h, fused)


@compiled
def is_single_row(I, K, B):
    """Return whether K terms are those of one row that goes by itself; otherwise see `distant`."""
    alone = CROWDED_BLOCKS == 1 or not are_lanes_crowded(B)
    return K > BLOCK or (I == 1 and K >= TURN_TERMS and alone)


distant_row_address = by_address(distant_row_product, block_types, lazy=True)


@compiled(internal=True, inline=True)
def single_row(one, J, K, A, B, C, O, end):
    """Add K terms to the J sums of C, if they have begun, and write them to O; A is (1, K).

    A's terms are adjacent, and so are B's rows.
    """
    if are_lanes_crowded(B):
        crowded_row(one, J, K, A, B, C, O, end)
        return
    pair = with_rows(turn_shape(one, TURN_VECTORS), 2)
    both = turn_shape(one, LAST_VECTORS)
    most, few = narrowed(both, False), narrowed(both, True)
    least = fewest(few)
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
def turn_shape(one, vectors):
    """Return the shape of such a tile: it takes TURN_BYTES of each lane at once."""
    return in_steps(row_shape(one, vectors, DISTANT_VECTOR_BYTES, True), TURN_BYTES)


@compiled(internal=True, inline=True)
def crowded_row(one, J, K, A, B, C, O, end):
    """Do so, few lanes at a time, so that they fit a set of the L1 cache; blocks go abreast."""
    shape, item = turn_shape(one, 1), itemsize(one)
    n = width(shape)
    terms = BLOCK if BLOCKS_IN_TURNS and end.far else CROWDED_BLOCKS * BLOCK
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
    begun, pitch, early = end.accumulate, width(shape) * item, EARLY_BYTES > 0 and end.far
    total = load(shape, C.data + offset, pitch, left) if begun else zeros(shape)
    k = 0
    while k < K:
        some = terms if K - k >= terms else min(BLOCK, K - k)
        total = gain(shape, total, begun, item, left, some, moved(A, 0, k), moved(B, k, 0), early)
        begun = True
        k += some
    if end.bias != 0:
        total = add(total, load(shape, end.bias + offset, pitch, left))
    store(total, O.data + offset, pitch, left)


@compiled(internal=True, inline=True)
def gain_of_block(shape, total, begun, item, left, K, A, B, early):
    """Return the sums, if they have begun, plus one block of K terms."""
    only = by_lines(shape, item, left, K, A, B, early)
    return add(total, only) if begun else only


@compiled(internal=True, inline=True)
def gain_of_blocks(shape, total, begun, item, left, K, A, B, early):
    """Return the sums, if they have begun, plus one block of K terms, or two."""
    if K <= BLOCK:
        return gain_of_block(shape, total, begun, item, left, K, A, B, early)
    if BLOCKS_IN_TURNS:
        first, second = in_turns(
            shape, item, left, BLOCK, A, B, moved(A, 0, BLOCK), moved(B, BLOCK, 0), early
        )
    else:
        sums = blocks_abreast(with_rows(shape, ABREAST), item, left, A, B)
        first, second = row(sums, 0), row(sums, 1)
    return add(add(total, first) if begun else first, second)


@compiled(internal=True, inline=True)
def gain_of_tiles(shape, total, begun, item, left, K, A, B, early):
    """Return the sums of two tiles, if they have begun, plus one block of K terms."""
    one_row = with_rows(shape, 1)
    sums = stacked(*in_turns(one_row, item, left, K, A, B, A, moved(B, 0, width(shape)), early))
    return add(total, sums) if begun else sums


@compiled(internal=True, inline=True)
def in_turns(shape, item, left, K, A, B, C, D, early):
    """Return two sums of K terms, of A B and of C D: a cache line of each in turns."""
    line = LINE_BYTES // item
    main, terms = K - K % line, terms_of_line(item)
    first = second = zeros(shape)
    a, b, c, d = A.data, B.data, C.data, D.data
    for _ in range(0, main, line):
        first = line_of(shape, first, left, terms, a, item, b, B.col, early)
        second = line_of(shape, second, left, terms, c, item, d, D.col, early)
        a, b, c, d = a + LINE_BYTES, b + LINE_BYTES, c + LINE_BYTES, d + LINE_BYTES
    first = add_terms(
        shape, first, left, K - main, Matrix(a, 0, item), Matrix(b, item, B.col), False
    )
    second = add_terms(
        shape, second, left, K - main, Matrix(c, 0, item), Matrix(d, item, D.col), False
    )
    return first, second


@compiled(internal=True, inline=True)
def terms_of_line(item):
    """Return how many terms a cache line has."""
    # LLVM would unroll, mix and spill; with 32 registers that is worth it.
    return unknown(LINE_BYTES // item) if BLOCKS_IN_TURNS else LINE_BYTES // item


@compiled(internal=True, inline=True)
def line_of(shape, tile, left, terms, a, item, b, lane_stride, early):
    """Add the terms of a cache line to a tile; those to come are asked for, if ``early``."""
    if early:
        fetch_lanes(shape, b + EARLY_BYTES, lane_stride, left)
    A, B = Matrix(a, 0, item), Matrix(b, item, lane_stride)
    return whole_steps(shape, tile, left, 0, terms, A, B, False)[0]


@compiled(internal=True, inline=True)
def by_lines(shape, item, left, K, A, B, early):
    """Return a sum of K terms of A B, a cache line of them in a step of the loop."""
    line = LINE_BYTES // item
    main, tile = K - K % line, zeros(shape)
    a, b, terms = A.data, B.data, terms_of_line(item)
    for _ in range(0, main, line):
        tile = line_of(shape, tile, left, terms, a, item, b, B.col, early)
        a, b = a + LINE_BYTES, b + LINE_BYTES
    return add_terms(shape, tile, left, K - main, Matrix(a, 0, item), Matrix(b, item, B.col), False)


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
