"""Along the columns of a result: whole tiles, then narrowed ones."""

from __future__ import annotations

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.shape import cut, is_cut, narrowed, width


@compiled(internal=True, inline=True)
def along(shape, J, visit, rest):
    """Call visit(shape, left, j, rest) for columns j.. of J: tile by tile, masked at the end.

    ``left`` is the number of columns from j on, which matters where the shape is masked.
    """
    n, large = width(shape), narrowed(shape, False)
    main = J - J % n
    for j in range(0, main, n):
        visit(shape, n, j, rest)
    j, left, piece = main, J - main, width(large)
    if is_cut(shape, 4, left):
        visit(cut(shape, 4), left, j, rest)
        left = 0
    if is_cut(shape, 3, left):
        visit(cut(shape, 3), left, j, rest)
        left = 0
    while left * 2 > piece:
        visit(large, left, j, rest)
        j, left = j + piece, left - piece
    if left > 0:
        visit(narrowed(shape, True), left, j, rest)
