"""Cells of a product's result, one for each thread: no sum is split."""

from __future__ import annotations

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.sizes import CUT_VECTORS, READING_ROWS, WRITING


@compiled
def cell(t, threads, I, J, K, lanes):
    """Return row, column, height and width of cell t of a grid of ``threads`` cells over I x J."""
    along, _ = grid(threads, I, J, K, lanes)
    down, width = threads // along, whole_vectors(J, along, lanes)
    j = min(t % along * width, J)
    i, end = t // along * I // down, (t // along + 1) * I // down
    return i, j, end - i, min(width, J - j)


@compiled
def grid(threads, I, J, K, lanes):
    """Return how many cells lie along a row of the grid whose largest cell is done first.

    And what that one costs, in multiply-adds. Rows of C that are cut cost more: a core's
    prefetchers ask for what the other one writes.
    """
    best, along = -1, 1
    for n in range(1, threads + 1):
        if threads % n == 0:
            rows, columns = -(-I * n // threads), whole_vectors(J, n, lanes)
            beyond = min(CUT_VECTORS * lanes, max(J - columns, 0))
            cost = cost_of(rows, columns, K) + WRITING * rows * beyond
            if best < 0 or cost < best:
                best, along = cost, n
    return along, best


@compiled
def cost_of(rows, columns, K):
    """Return what so many sums of K terms cost, in multiply-adds.

    Each row and column as much again as READING_ROWS for reading A and B.
    """
    return (rows * columns + READING_ROWS * (rows + columns)) * K


@compiled
def whole_vectors(J, parts, lanes):
    """Return the columns of the widest of so many parts of J, all but the last whole vectors."""
    return (-(-J // parts) + lanes - 1) // lanes * lanes
