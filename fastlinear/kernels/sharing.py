"""Dividing a product among threads, by output elements: no sum is ever split."""

from __future__ import annotations

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import call, itemsize, moved, transposed
from fastlinear.kernels.product import (
    FORM_A,
    FORM_B,
    FORWARD,
    PLAIN,
    Fused,
    Product,
    product_address,
)
from fastlinear.kernels.sizes import COPY_ROWS, SHARE_WORK, VECTOR_BYTES
from fastlinear.kernels.threads import thread_count


@compiled(internal=True)
def threads_for(work):
    """Return how many threads to use for that many multiply-adds."""
    return max(1, min(thread_count(), work // SHARE_WORK))


@compiled(internal=True)
def run_share(one, task, t, threads):
    """Compute share t of a product.

    The columns of C must be adjacent for `product`, so a C whose rows are is turned round, and one
    that is strided both ways is taken column by column.
    """
    item = itemsize(one)
    if task.C.col != item and task.J > 1 and may_turn(item, task):
        task = turned(task)
    if threads == 1 and (task.C.col == item or task.J == 1):
        call(product_address(one), (one, task))
        return
    i, j, rows, columns = cell(t, threads, task.I, task.J, VECTOR_BYTES // item)
    if task.C.col == item or columns == 1:
        call(product_address(one), (one, part(item, task, i, j, rows, columns)))
    else:
        for c in range(j, j + columns):
            call(product_address(one), (one, part(item, task, i, c, rows, 1)))


@compiled(internal=True)
def may_turn(item, task):
    """Return whether a product can be turned round: B's and V's columns stay adjacent."""
    formed = task.fused.formed
    forms_rows = formed == PLAIN or (formed == FORM_A and task.A.row == item)
    return task.C.row == item and task.bias == 0 and forms_rows


@compiled(internal=True)
def turned(task):
    """Return C^T = B^T A^T, the same sums with rows and columns exchanged."""
    f = task.fused
    formed = FORM_B if f.formed == FORM_A else FORM_A if f.formed == FORM_B else f.formed
    fused = Fused(f.h, f.h_prime, f.hadamard, formed, transposed(f.V), f.p, f.q)
    A, B, C = transposed(task.B), transposed(task.A), transposed(task.C)
    return Product(task.J, task.I, task.K, A, B, C, 0, fused)


@compiled(internal=True)
def part(item, task, i, j, rows, columns):
    """Return the product of rows i.. of A and columns j.. of B."""
    f = task.fused
    v_i = i if f.formed == FORM_A or f.formed == FORWARD else 0
    v_j = j if f.formed == FORM_B or f.formed == FORWARD else 0
    fused = Fused(f.h, f.h_prime, f.hadamard, f.formed, moved(f.V, v_i, v_j), f.p, f.q)
    A, B, C = moved(task.A, i, 0), moved(task.B, 0, j), moved(task.C, i, j)
    bias = task.bias + j * item if task.bias != 0 else 0
    return Product(rows, columns, task.K, A, B, C, bias, fused)


@compiled(internal=True)
def cell(t, threads, I, J, lanes):
    """Return row, column, height and width of cell t of a grid of ``threads`` cells over I x J.

    Of all grids, the one whose largest cell is done first; a cell costs its whole vectors times its
    rows, and each column of vectors as much again as COPY_ROWS rows, for reading B.
    """
    best, along = -1, 1
    for n in range(1, threads + 1):
        if threads % n == 0:
            vectors = (-(-J // n) + lanes - 1) // lanes
            cost = vectors * (-(-I * n // threads) + COPY_ROWS)
            if best < 0 or cost < best:
                best, along = cost, n
    down = threads // along
    width = (-(-J // along) + lanes - 1) // lanes * lanes
    j = min(t % along * width, J)
    i, end = t // along * I // down, (t // along + 1) * I // down
    return i, j, end - i, min(width, J - j)
