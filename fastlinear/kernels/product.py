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
brought of A to scratch (all rows and one strip where nothing is), 5th over blocks of the sum, 4th
over these strips (each copied to scratch where that pays), 3rd over chunks of the block, 2nd down
the rows, 1st along the strip, and the tile's own loop over the sum.
Whatever the path, element (i, j) is summed in the documented order.

Requirements: C's columns are adjacent in memory, and so are those of V, and of the dY to be formed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlinear.kernels import sizes
from fastlinear.kernels.blocks import Block, End, block_product
from fastlinear.kernels.distant import distant_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, address_of, call, itemsize, moved
from fastlinear.kernels.packing import (
    FORM_A,
    FORM_B,
    Fused,
    are_rows_brought,
    bring_rows,
    copy_strip,
    form_strip,
    row_pitch,
)
from fastlinear.kernels.tile import row_shape, width

ABREAST, BLOCK = sizes.ABREAST, sizes.BLOCK
TALL, LOW, _ = sizes.ROWS
GATHERED_BYTES, GATHERED_TERMS = sizes.GATHERED_BYTES, sizes.GATHERED_TERMS
GROUP_BYTES, SHORT_BYTES = sizes.GROUP_BYTES, sizes.SHORT_BYTES
ROWS_OF_A_BYTES = sizes.ROWS_OF_A_BYTES
STRIPS_OF_ROWS = sizes.STRIPS_OF_ROWS
RESIDENT_BYTES, STREAM_BYTES = sizes.RESIDENT_BYTES, sizes.STREAM_BYTES
STREAM_ROWS, STREAM_STEPS = sizes.STREAM_ROWS, sizes.STREAM_STEPS
STRIP_BYTES, TRANSPOSED_ROWS = sizes.STRIP_BYTES, sizes.TRANSPOSED_ROWS
TRANSPOSED_VECTOR_BYTES = sizes.TRANSPOSED_VECTOR_BYTES
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES


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

    Scratch: a strip of B (512 KiB at most), some rows of A (2.1 MiB) and a few rows of partial
    sums, together less than 3 MiB for each thread, whatever the shape.
    """
    I, J, K, A, B = task.I, task.J, task.K, task.A, task.B
    fused = task.fused
    if I == 0 or J == 0:
        return
    item = itemsize(one)
    direct = B.col == item or J == 1
    resident = K * J * item <= (
        RESIDENT_BYTES if I <= LOW or I > STREAM_ROWS else 2 * RESIDENT_BYTES
    )
    if direct:
        copied = fused.formed == FORM_B or (I > STREAM_ROWS and not resident)
    else:
        copied = I > TRANSPOSED_ROWS or B.row != item
    streamed = direct and not copied and not resident
    abreast = not direct and not copied and I == 1 and K >= ABREAST * BLOCK and A.col == item
    block = BLOCK
    if abreast:  # from end to end, as memory lies, unless A's row must be formed in scratch
        block = ABREAST * BLOCK if fused.formed == FORM_A else K
    span = STREAM_BYTES // I // STRIP_BYTES * STRIP_BYTES if streamed else STRIP_BYTES
    bring_a = fused.formed == FORM_A or are_rows_brought(item, I, A)
    rows, columns = I, span // item
    if bring_a:
        rows = min(I, (ROWS_OF_A_BYTES if K > GATHERED_TERMS else GROUP_BYTES) // item)
        columns *= STRIPS_OF_ROWS
    chunk = STREAM_STEPS if streamed else BLOCK
    plan = Plan(rows, columns, span // item, chunk, direct, copied, bring_a, block)

    panel = VECTORS * VECTOR_BYTES
    padded = up_to(min(span, J * item), panel)
    pitch = J * item if J * item < SHORT_BYTES else padded
    partial = up_to((I if streamed else TALL if fused.h != 0 else 0) * pitch, VECTOR_BYTES)
    strip = min(K, BLOCK) * padded if copied else 0
    brought = 0
    if bring_a:
        brought = rows * row_pitch(item, min(K, block)) + GATHERED_TERMS * GATHERED_BYTES
    # One call, even where no scratch is needed: a second would compile all loops twice.
    scratch = np.empty(VECTOR_BYTES + partial + strip + brought, np.uint8)
    P = (address_of(scratch) // VECTOR_BYTES + 1) * VECTOR_BYTES
    strips(one, task, plan, Matrix(P, pitch, item), P + partial, P + partial + strip)
    scratch[0] = 0  # alive until here: Numba frees an array after its last mention


@compiled(internal=True)
def up_to(nbytes, multiple):
    """Return ``nbytes`` rounded up to a multiple."""
    return (nbytes + multiple - 1) // multiple * multiple


class Plan(NamedTuple):
    """How a product reads its operands."""

    rows: int
    """Rows of A that are taken together."""
    columns: int
    """Columns of B that are taken together: the rows of A are brought once for all of them."""
    span: int
    """Columns of a strip of B."""
    chunk: int
    """Terms that one pass over a strip takes."""
    direct: bool
    """Whether B's columns are adjacent."""
    copied: bool
    """Whether strips of B are copied to scratch, in panels of a tile's width."""
    bring_a: bool
    """Whether rows of A come to scratch: to be formed, or because its terms lie far apart."""
    block: int
    """Terms of the sum that are taken together: one block, or several that go abreast."""


@compiled(internal=True)
def strips(one, task, plan, P, T, F):
    """Walk rows of A and groups of strips (7th and 6th loop), blocks (5th) and strips (4th).

    Scratch: P holds partial sums, T and F are the addresses for a strip of B and rows of A.
    """
    I, J, K, A, B, C, bias, fused = task
    item = itemsize(one)
    plain = row_shape(one, VECTORS, VECTOR_BYTES, False, False)
    turned = row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, False, True)
    for i in range(0, I, plan.rows):
        height = min(plan.rows, I - i)
        for first in range(0, J, plan.columns):
            for k in range(0, max(K, 1), plan.block):
                terms = min(plan.block, K - k)
                Aik = moved(A, i, k)
                if plan.bring_a:
                    Aik = bring_rows(one, height, terms, Aik, moved(fused.V, i, k), F, fused)
                for j in range(first, min(J, first + plan.columns), plan.span):
                    columns = min(plan.span, J - j)
                    n = min(width(plain), columns)
                    Bk, panel = moved(B, k, j), n * B.col
                    if plan.copied:
                        if fused.formed == FORM_B:
                            form_strip(one, n, terms, columns, Bk, moved(fused.V, k, j), T, fused)
                        elif plan.direct:
                            copy_strip(plain, item, terms, columns, Bk, T, n)
                        else:
                            copy_strip(turned, item, terms, columns, Bk, T, n)
                        Bk, panel = Matrix(T, n * item, item), terms * n * item
                    last = k + plan.block >= K
                    row = bias + j * item if last and bias != 0 else 0
                    end = End(k > 0, row, fused.h if last else 0)
                    Cij, Vij = moved(C, i, j), moved(fused.V, i, j)
                    block = Block(height, columns, terms, Aik, Bk, panel, Cij, Vij)
                    if plan.direct or plan.copied:
                        block_product(plain, one, block, P, plan.chunk, end, fused)
                    else:
                        call(distant_address(one), (one, block, P, end, fused))
