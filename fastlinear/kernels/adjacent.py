"""One block of the sum where lanes are adjacent in memory: which kernel takes which rows of it."""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import Block, End, low_address, tall_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, call, itemsize, moved
from fastlinear.kernels.slender import rows_in_pairs, slender_address

BLOCK, (TALL, *_) = sizes.BLOCK, sizes.ROWS


@compiled(internal=True)
def adjacent_product(one, block, P, end, fused):
    """Compute one block: of few columns two tiles at a time, whole tall tiles, then what is left.

    All of them take a chunk of B before the next one, which may come from far.
    """
    I, J, K, chunk = block.I, block.J, block.K, block.chunk
    in_panels = block.panel_a != TALL * block.A.row
    paired = rows_in_pairs(itemsize(one), I, J, in_panels)
    main = max(I - I % TALL, paired)
    kernels = (paired > 0) + (main > paired) + (main < I)
    terms = chunk if kernels > 1 else max(K, 1)
    for k in range(0, max(K, 1), terms):
        some = min(terms, K - k)
        begun, finish = end.begun or k > 0, end.finish and k + some >= K
        so_far = End(begun, finish, end.accumulate, end.bias, end.h, end.far, end.past)
        i = 0
        while i < I:
            if i < paired:
                address, rows = slender_address(one), paired
            elif i < main:
                address, rows = tall_address(one), main - i
            else:
                address, rows = low_address(one), I - i
            Pi = moved(P, i if chunk < BLOCK else 0, 0)  # all rows rest there between chunks
            call(address, (one, piece(block, i, rows, k, some), Pi, so_far, fused))
            i += rows


@compiled(internal=True)
def piece(block, i, rows, k, terms):
    """Return rows i.. of a block, i a multiple of a tall tile's, and terms k.. of its sums."""
    _, J, _, A, B, panel_a, panel_b, chunk, C, V = block
    A = moved(Matrix(A.data + i // TALL * panel_a, A.row, A.col), 0, k)
    B, C, V = moved(B, k, 0), moved(C, i, 0), moved(V, i, 0)
    return Block(rows, J, terms, A, B, panel_a, panel_b, chunk, C, V)
