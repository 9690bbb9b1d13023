"""Few sums of many terms: two blocks of the sum go abreast.

The sums of a few rows, and of no more columns than a vector has lanes, are as few chains of fma,
each waiting for the one before. Blocks of the sum are independent of each other: two of them are
twice as many chains. On Emerald Rapids, dW of (4096, 8, 4) took 15.5 us, and takes 6.3, Y of (1,
2048, 8) 4.3 and 2.7. Four blocks were no better, for want of loads: each fma has one for A.

B's columns are adjacent. Where they are not, copying B takes most of the time, and two blocks of
the copy do not fit the L1 cache: Y of (8, 2000, 10) took 1.14 times as long, of (4, 4096, 10) 0.94.

Called by address, and compiled when it first occurs.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import activate, block_types
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import moved
from fastlinear.kernels.rank_update import FIRST, load_operand, rank_update, row_offsets
from fastlinear.kernels.shape import narrowed, row_shape, with_rows
from fastlinear.kernels.tile import add, load, store, zeros

BLOCK, VECTOR_BYTES = sizes.BLOCK, sizes.VECTOR_BYTES
TALL, LOW, ONE = sizes.ABREAST_HEIGHTS


@compiled(internal=True)
def abreast_product(one, block, P, end, fused):
    """Compute two blocks of the sum, of which the second may be shorter, for a strip of C."""
    I, J, K, A, B, _, _, _, C, V = block
    shape = narrowed(row_shape(one, 1, VECTOR_BYTES, False), True)
    O = P if end.h != 0 else C
    i = 0
    while i < I:
        Ai, Ci, Oi = moved(A, i, 0), moved(C, i, 0), moved(O, i, 0)
        if I - i >= TALL:
            rows = TALL
            rows_of_sums(with_rows(shape, TALL), J, K, Ai, B, Ci, Oi, end)
        elif I - i >= LOW:
            rows = LOW
            rows_of_sums(with_rows(shape, LOW), J, K, Ai, B, Ci, Oi, end)
        else:
            rows = ONE
            rows_of_sums(with_rows(shape, ONE), J, K, Ai, B, Ci, Oi, end)
        i += rows
    activate(one, I, J, P, C, V, end.h, fused)


abreast_address = by_address(abreast_product, block_types, lazy=True)


@compiled(internal=True, inline=True)
def rows_of_sums(shape, J, K, A, B, C, O, end):
    """Add K terms to a few rows of C, if their sums have begun, and write them to O."""
    short = K - BLOCK
    first, second = two_sums(shape, J, short, BLOCK, zeros(shape), zeros(shape), A, B)
    A, B = moved(A, 0, short), moved(B, short, 0)
    first, _ = two_sums(shape, J, BLOCK - short, 0, first, zeros(shape), A, B)  # no second one
    if end.accumulate:
        first = add(load(shape, C.data, C.row, J), first)
    total = add(first, second)
    if end.bias != 0:
        total = add(total, load(with_rows(shape, 1), end.bias, 0, J))
    store(total, O.data, O.row, J)


@compiled(internal=True, inline=True)
def two_sums(shape, J, K, later, first, second, A, B):
    """Return two tiles, each plus K terms of A B; those of the second begin ``later`` terms on."""
    rows = row_offsets(shape, A.row)
    a, b = A.data, B.data
    c, d = a + later * A.col, b + later * B.row
    for _ in range(K):
        first = rank_update(first, load_operand(shape, b, FIRST, 0, J), a, rows, 0)
        second = rank_update(second, load_operand(shape, d, FIRST, 0, J), c, rows, 0)
        a, b, c, d = a + A.col, b + B.row, c + A.col, d + B.row
    return first, second
