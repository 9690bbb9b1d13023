"""Dividing a product among threads, by output elements: no sum is ever split."""

from __future__ import annotations

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import itemsize
from fastlinear.kernels.orientation import may_turn, part, run_product, turned
from fastlinear.kernels.packing import FORWARD
from fastlinear.kernels.sizes import (
    NEAR_READING_ROWS,
    READ_NEAR_BYTES,
    READING_ROWS,
    SHARE_WORK,
    VECTOR_BYTES,
)
from fastlinear.kernels.threads import thread_count


@compiled(internal=True)
def threads_for(item, I, J, K):
    """Return how many threads to use for a product.

    By its multiply-adds, and the reading of the larger operand.
    """
    longer, shorter = max(I, J), min(I, J)
    larger = longer * K * item
    reading = READING_ROWS if larger > READ_NEAR_BYTES else NEAR_READING_ROWS
    return max(1, min(thread_count(), (shorter + reading) * larger // SHARE_WORK))


@compiled(internal=True)
def run_share(one, task, t, threads):
    """Compute share t of a product.

    The columns of C must be adjacent for `product`, so a C whose rows are is turned round; one that
    is strided both ways, or to whose rows a bias or h is still to come, is taken column by column.
    """
    item = itemsize(one)
    if task.C.col != item and task.J > 1 and fits_turned(item, task):
        task = turned(task)
    if threads == 1 and (task.C.col == item or task.J == 1):
        run_product(one, task)
        return
    i, j, rows, columns = cell(t, threads, task.I, task.J, VECTOR_BYTES // item)
    if task.C.col == item or columns == 1:
        run_product(one, part(item, task, i, j, rows, columns))
    else:
        for c in range(j, j + columns):
            run_product(one, part(item, task, i, c, rows, 1))


@compiled(internal=True)
def fits_turned(item, task):
    """Return whether C's rows are adjacent and no bias or h, which take rows of it, is to come."""
    plain_end = task.bias == 0 and task.fused.formed != FORWARD
    return task.C.row == item and plain_end and may_turn(item, task)


@compiled(internal=True)
def cell(t, threads, I, J, lanes):
    """Return row, column, height and width of cell t of a grid of ``threads`` cells over I x J.

    Of all grids, the one whose largest cell is done first; a cell costs its whole vectors times its
    rows, and each of its rows and columns as much again as READING_ROWS, for reading A and B.
    """
    best, along = -1, 1
    for n in range(1, threads + 1):
        if threads % n == 0:
            rows, columns = -(-I * n // threads), (-(-J // n) + lanes - 1) // lanes * lanes
            cost = rows * columns + READING_ROWS * (rows + columns)
            if best < 0 or cost < best:
                best, along = cost, n
    down = threads // along
    width = (-(-J // along) + lanes - 1) // lanes * lanes
    j = min(t % along * width, J)
    i, end = t // along * I // down, (t // along + 1) * I // down
    return i, j, end - i, min(width, J - j)
