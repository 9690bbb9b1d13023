"""C = A B: the loops around the register tile, one path for Y, dW, db and dX.

Each product is one call with its operands turned the right way (A, B and C are ``Matrix`` views):

======  =========  ===  ===  ===  =======  =======
sum     equation   I    J    K    A        B
======  =========  ===  ===  ===  =======  =======
Y       (2)        S    N    M    X        W^T
dW      (4)        N    M    S    dY^T     X
db      (9)        1    N    S    ones     dY
dX      (14)       S    M    N    dY       W
======  =========  ===  ===  ===  =======  =======

The loops, from the outside: 7th down the rows of A and 6th along the strips of B that share what is
brought of A, or copied of B, to scratch (all rows and one strip where nothing is), 5th over blocks
of the sum, 4th over these strips (copied, some at once or by parts, where that pays), 3rd over
chunks of the block, 2nd down the rows, 1st along the strip, and the tile's own loop over the sum.
Whatever the path, element (i, j) is summed in the documented order.

Requirements: C's columns are adjacent in memory, and so are those of V, and of the dY to be formed.
"""

from __future__ import annotations

from typing import NamedTuple

from fastlinear.kernels import sizes
from fastlinear.kernels.abreast import abreast_address
from fastlinear.kernels.adjacent import adjacent_product
from fastlinear.kernels.blocks import Block, End, finished_rows
from fastlinear.kernels.distant import distant_product
from fastlinear.kernels.distant_row import distant_row_address, is_single_row
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, at, call, fence, itemsize, moved, up_to
from fastlinear.kernels.packing import (
    Fused,
    bring_rows,
    brought_bytes,
    copy_strips,
)
from fastlinear.kernels.plan import planned
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.shape import row_shape, width
from fastlinear.kernels.streamed import streamed_address

BLOCK, (TALL, *_) = sizes.BLOCK, sizes.ROWS
SHORT_BYTES = sizes.SHORT_BYTES
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES
STACK_BYTES = sizes.STACK_BYTES


class Product(NamedTuple):
    """C = h(A B + bias): A (I, K), B (K, J), C (I, J), bias the address of J elements or 0."""

    I: int
    J: int
    K: int
    A: Matrix
    B: Matrix
    C: Matrix
    bias: int
    fused: Fused


@compiled(internal=True)
def product(one, task):
    """Compute a product, serially; ``one`` is a 1 of the dtype.

    Scratch: some strips of B (2 MiB at most), some rows of A (2.1 MiB) and rows of partial sums, a
    few or those of PAGED_ROWS (0.5 MiB beside 0.5 of B), together less than 4.5 MiB for each
    thread, whatever the shape.
    """
    I, J, K, fused = task.I, task.J, task.K, task.fused
    if I == 0 or J == 0:
        return
    item = itemsize(one)
    plan = planned(item, I, J, K, task.A, task.B, task.C, fused.formed)
    span, resting = plan.span * item, plan.chunk < BLOCK
    panel = VECTORS * VECTOR_BYTES
    padded = up_to(min(span, J * item), panel)
    pitch = J * item if J * item < SHORT_BYTES else padded
    summed = I if resting else finished_rows(I, pitch) if fused.h != 0 else 0
    partial = up_to(summed * pitch, VECTOR_BYTES)
    strip = min(K, plan.chunk) * up_to(min(plan.copied, J) * item, panel)
    brought = brought_bytes(item, plan.rows, min(K, plan.block), task.A) if plan.bring_a else 0
    nbytes = VECTOR_BYTES + partial + strip + brought
    scratch = borrow_bytes(nbytes, STACK_BYTES)
    P = (scratch // VECTOR_BYTES + 1) * VECTOR_BYTES
    strips(one, task, plan, Matrix(P, pitch, item), P + partial, P + partial + strip)
    if plan.past:
        fence()
    return_bytes(scratch, nbytes, STACK_BYTES)


@compiled(internal=True)
def strips(one, task, plan, P, T, F):
    """Walk rows of A and groups of strips (7th and 6th loop), blocks (5th) and strips (4th).

    Scratch: P holds partial sums, T and F are the addresses for a strip of B and rows of A.
    """
    I, J, K, A, B, C, bias, fused = task
    item = itemsize(one)
    # Whole vectors, of which none straddles two cache lines: Y of (45, 512, 37) took 32 us with
    # panels of 37 columns, and takes 23.
    n = min(width(row_shape(one, VECTORS, VECTOR_BYTES, False)), up_to(J, VECTOR_BYTES // item))
    for i in range(0, I, plan.rows):
        height = min(plan.rows, I - i)
        for first in range(0, J, plan.columns):
            beyond = min(J, first + plan.columns)
            for k in range(0, max(K, 1), plan.block):
                terms = min(plan.block, K - k)
                Aik, panel_a = moved(A, i, k), TALL * A.row
                if plan.bring_a:
                    Vik = moved(fused.V, i, k)
                    Aik, panel_a = bring_rows(one, height, terms, Aik, Vik, F, fused)
                for j in range(first, beyond, plan.span):
                    columns, last = min(plan.span, beyond - j), k + plan.block >= K
                    row, h = (at(bias, j * item), fused.h) if last else (0, 0)
                    end = End(False, True, k > 0, row, h, plan.far, plan.past)
                    Bkj, Cij, Vij = moved(B, k, j), moved(C, i, j), moved(fused.V, i, j)
                    block = Block(
                        height, columns, terms, Aik, Bkj, panel_a, n * B.col, plan.chunk, Cij, Vij
                    )
                    if plan.copied != 0:
                        before, Vkj = (j - first) % plan.copied, moved(fused.V, k, j)
                        wide = min(plan.copied, beyond - j) if before == 0 else 0
                        copied_product(one, plan, block, n, before, wide, Vkj, P, T, end, fused)
                    elif plan.abreast and terms > BLOCK:
                        call(abreast_address(one), (one, block, P, end, fused))
                    elif not plan.direct:
                        transposed_product(one, block, P, end, fused)
                    elif I == 1 and plan.chunk < BLOCK:
                        call(streamed_address(one), (one, block, P, end, fused))
                    else:
                        adjacent_product(one, block, P, end, fused)


@compiled(internal=True)
def transposed_product(one, block, P, end, fused):
    """Compute a block whose B is transposed in registers, for the few rows there are."""
    if is_single_row(block.I, block.K, block.B):
        call(distant_row_address(one), (one, block, P, end, fused))
    else:
        distant_product(one, block, P, end, fused)


@compiled(internal=True)
def copied_product(one, plan, block, n, before, wide, V, P, T, end, fused):
    """Compute a block whose B is copied to panels of n columns from T on, a part of it at a time.

    ``wide`` columns are copied now, with ``V`` where they are to be formed; the strip begins
    ``before`` columns behind the first one in T.
    """
    item, terms, part = itemsize(one), block.K, block.chunk
    for t in range(0, max(terms, 1), part):
        some = min(part, terms - t)
        if wide > 0:
            Bt, Vt = moved(block.B, t, 0), moved(V, t, 0)
            copy_strips(one, plan.direct, n, some, wide, Bt, Vt, T, fused)
        A, B = moved(block.A, 0, t), Matrix(T + before * some * item, n * item, item)
        I, J, panel_a, panel_b = block.I, block.J, block.panel_a, some * n * item
        piece = Block(I, J, some, A, B, panel_a, panel_b, part, block.C, block.V)
        so_far = End(t > 0, t + part >= terms, end.accumulate, end.bias, end.h, end.far, end.past)
        adjacent_product(one, piece, P, so_far, fused)
