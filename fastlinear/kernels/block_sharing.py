"""The blocks of a sum divided among threads, for few sums of many terms.

Blocks are independent of each other. The first thread adds its own up, those of the others come to
scratch one by one, and are added in order when all are there. So each thread reads a part of A and
of B, where a cell of a small C takes all of one of them. With two threads on Granite Rapids, dW of
(100000, 8, 4) took 208 us by cells, and takes 136, of (50000, 64, 10) 833 and 515, and Y of (1,
1024, 1024) in a layer's memory order 122 and 62: prefetchers brought each core the other half too.
"""

from __future__ import annotations

from fastlinear.kernels.blocks import activate
from fastlinear.kernels.cells import cost_of, grid, whole_vectors
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, itemsize, row_of
from fastlinear.kernels.orientation import of_terms, run_product, upright
from fastlinear.kernels.sizes import (
    ADDING,
    BLOCK,
    L2_BYTES,
    OVERRUN_BYTES,
    READING_ROWS,
    SUMS_BYTES,
    VECTOR_BYTES,
)


@compiled(internal=True)
def sums_bytes(one, task, threads):
    """Return the bytes of scratch for the sums of blocks, or 0 where threads take cells of C."""
    if threads == 1 or task.K <= BLOCK:
        return 0
    item = itemsize(one)
    task = upright(item, task)
    adjacent = task.C.col == item or task.J == 1
    nbytes = (1 + later_blocks(threads, task.K)) * task.I * task.J * item
    fits = adjacent and nbytes <= SUMS_BYTES
    return nbytes if fits and are_blocks_shared(item, task, threads) else 0


@compiled(internal=True)
def are_blocks_shared(item, task, threads):
    """Return whether blocks of the sum, one part for each thread, are done before cells of C.

    By a tenth at least: adding them up is serial.
    """
    I, J, K, lanes = task.I, task.J, task.K, VECTOR_BYTES // item
    along, cells = grid(threads, I, J, K, lanes)
    near = max(I, J) * K * item <= threads * L2_BYTES * 3 // 2  # two thirds of it at least
    overrun = (OVERRUN_BYTES if near else OVERRUN_BYTES // 4) // item
    if task.B.col == item:
        cells += READING_ROWS * K * min(overrun, J - min(J, whole_vectors(J, along, lanes)))
    if task.A.col != item:
        cells += READING_ROWS * K * min(overrun, I - -(-I * along // threads))
    blocks = cost_of(I, whole_vectors(J, 1, lanes), longest_share(threads, K))
    blocks += ADDING * later_blocks(threads, K) * I * J
    return blocks * 10 < cells * 9


@compiled
def terms_of(t, threads, K):
    """Return the first of the terms that are share t of K, and the one beyond: whole blocks."""
    return edge(t, threads, K), edge(t + 1, threads, K)


@compiled
def edge(t, threads, K):
    """Return where share t of K terms begins: at the edge of a block nearest to its even part.

    The first share is a block at least: sums begin with the first block's, and 0 + -0 is 0.
    """
    if t == 0:
        return 0
    if t == threads:
        return K
    blocks = (2 * t * K + threads * BLOCK) // (2 * threads * BLOCK)
    return min(max(blocks, 1) * BLOCK, K)


@compiled(internal=True)
def longest_share(threads, K):
    """Return the terms of the longest share."""
    longest = 0
    for t in range(threads):
        longest = max(longest, edge(t + 1, threads, K) - edge(t, threads, K))
    return longest


@compiled(internal=True)
def later_blocks(threads, K):
    """Return how many blocks are not the first thread's."""
    return (K - edge(1, threads, K) + BLOCK - 1) // BLOCK


@compiled(internal=True)
def run_blocks(one, task, t, threads, sums):
    """Compute share t of an upright product: the first one's sum, or the sum of each block."""
    item = itemsize(one)
    first, beyond = terms_of(t, threads, task.K)
    if t == 0:
        run_product(one, of_terms(task, 0, beyond, first_sums(item, task, sums)))
        return
    own = edge(1, threads, task.K)
    for k in range(first, beyond, BLOCK):
        result = slot(item, task, sums, 1 + (k - own) // BLOCK)
        run_product(one, of_terms(task, k, min(BLOCK, beyond - k), result))


@compiled(internal=True)
def slot(item, task, sums, n):
    """Return the nth matrix of sums in scratch."""
    return Matrix(sums + n * task.I * task.J * item, task.J * item, item)


@compiled(internal=True)
def first_sums(item, task, sums):
    """Return where the first thread's sums go: to C, unless h is to follow."""
    return task.C if task.fused.h == 0 else slot(item, task, sums, 0)


@compiled(internal=True)
def add_blocks(one, task, threads, sums):
    """Add the blocks' sums in order, then the bias, and apply h."""
    item = itemsize(one)
    task = upright(item, task)
    total = first_sums(item, task, sums)
    rows, columns = task.I, task.J
    if total.row == columns * item:
        rows, columns = 1, rows * columns
    for n in range(later_blocks(threads, task.K)):
        add_matrix(one, rows, columns, total, slot(item, task, sums, 1 + n))
    if task.bias != 0:
        add_matrix(one, task.I, task.J, total, Matrix(task.bias, 0, item))
    activate(one, task.I, task.J, total, task.C, task.fused.V, task.fused.h, task.fused)


@compiled(internal=True)
def add_matrix(one, I, J, total, term):
    """Add an I x J matrix to another; the columns of both are adjacent."""
    for i in range(I):
        t, other = row_of(one, total, i, J), row_of(one, term, i, J)
        for j in range(J):
            t[j] += other[j]
