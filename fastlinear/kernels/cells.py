"""Cells of a product's result, one for each thread: no sum is split."""

from __future__ import annotations

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.sizes import READING_ROWS


@compiled
def cell(t, threads, I, J, lanes):
    """Return row, column, height and width of cell t of a grid of ``threads`` cells over I x J."""
    along, _ = grid(threads, I, J, lanes)
    down, width = threads // along, whole_vectors(J, along, lanes)
    j = min(t % along * width, J)
    i, end = t // along * I // down, (t // along + 1) * I // down
    return i, j, end - i, min(width, J - j)


@compiled
def grid(threads, I, J, lanes):
    """Return how many cells lie along a row of the grid whose largest cell is done first.

    And what that one costs for each term: its whole vectors times its rows, and each of its rows
    and columns as much again as READING_ROWS, for reading A and B.
    """
    best, along = -1, 1
    for n in range(1, threads + 1):
        if threads % n == 0:
            cost = cost_of(-(-I * n // threads), whole_vectors(J, n, lanes))
            if best < 0 or cost < best:
                best, along = cost, n
    return along, best


@compiled
def cost_of(rows, columns):
    """Return what so many sums cost for each term, in multiply-adds."""
    return rows * columns + READING_ROWS * (rows + columns)


@compiled
def whole_vectors(J, parts, lanes):
    """Return the columns of the widest of so many parts of J, all but the last whole vectors."""
    return (-(-J // parts) + lanes - 1) // lanes * lanes
