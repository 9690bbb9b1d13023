"""One row of A times a B that is read where it stands, a few of its rows at a time.

Nothing but reading B counts here. Called by address, and compiled when it first occurs.
"""

from __future__ import annotations

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import Step, activate, block_types, row_of_tiles
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import moved
from fastlinear.kernels.shape import row_shape

FETCHED, STREAM_STEPS, STREAM_VECTORS = sizes.FETCHED, sizes.STREAM_STEPS, sizes.STREAM_VECTORS
VECTOR_BYTES = sizes.VECTOR_BYTES


@compiled(internal=True)
def streamed_product(one, block, P, end, fused):
    """Compute a block of the sum for a strip of the one row of C.

    As `block_product` does, but a number of terms that is constant lets LLVM unroll their loop: 4 %
    less time at (1, 512, 512).
    """
    _, J, K, A, B, _, panel, _, C, V = block
    shape = row_shape(one, STREAM_VECTORS, VECTOR_BYTES, False)
    ahead = STREAM_STEPS * B.row if FETCHED and end.far else 0
    for k in range(0, K, STREAM_STEPS):
        finish = k + STREAM_STEPS >= K
        O = P if end.h != 0 or not finish else C
        Ak, Bk = moved(A, 0, k), moved(B, k, 0)
        if K - k >= STREAM_STEPS:
            step = Step(
                STREAM_STEPS, k > 0, finish, end.accumulate, end.bias, ahead, 0, False, end.far
            )
            row_of_tiles(shape, J, Ak, Bk, panel, P, C, O, step)
        else:
            step = Step(K - k, k > 0, finish, end.accumulate, end.bias, 0, 0, False, end.far)
            row_of_tiles(shape, J, Ak, Bk, panel, P, C, O, step)
    activate(one, 1, J, P, C, V, end.h, fused)


streamed_address = by_address(streamed_product, block_types, lazy=True)
