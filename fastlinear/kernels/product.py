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

The loops, from the outside: 6th over strips of B's columns, 5th over blocks of the sum (and B's
block is copied to scratch where that pays), 4th over rows of A that are brought to scratch together
if need be, 3rd over chunks of the block, 2nd down the rows, 1st along the strip, and the tile's own
loop over the sum.
Whatever the path, element (i, j) is summed in the documented order.

Requirements: C's columns are adjacent in memory, and so are those of V, and of the dY to be formed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from fastlinear.kernels import sizes
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import (
    MATRIX,
    Matrix,
    address_of,
    call,
    itemsize,
    moved,
    transposed,
)
from fastlinear.kernels.shared import shared
from fastlinear.kernels.tile import (
    add,
    gather_operand,
    load,
    load_operand,
    narrowed,
    rank_update,
    row_shape,
    steps,
    store,
    width,
    with_rows,
    zeros,
)

BLOCK = sizes.BLOCK
TALL, LOW, ONE = sizes.ROWS
ROWS_OF_A_BYTES = sizes.ROWS_OF_A_BYTES
RESIDENT_BYTES, STREAM_BYTES = sizes.RESIDENT_BYTES, sizes.STREAM_BYTES
STREAM_ROWS, STREAM_STEPS = sizes.STREAM_ROWS, sizes.STREAM_STEPS
STRIP_BYTES, TRANSPOSED_ROWS = sizes.STRIP_BYTES, sizes.TRANSPOSED_ROWS
TRANSPOSED_VECTOR_BYTES = sizes.TRANSPOSED_VECTOR_BYTES
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES

PLAIN, FORWARD, FORM_A, FORM_B = range(4)


class Fused(NamedTuple):
    """The activation's part of a product; kernels are addresses, 0 where there is none.

    With ``formed`` = FORWARD, ``h`` turns the finished sums Z into C = h(Z), and ``h_prime`` writes
    h'(Z) to V, which has the shape of C. With FORM_A or FORM_B that operand is dA and becomes
    dZ = dA o h'(V) on its way into the product, by ``hadamard``; V has the operand's shape.
    """

    h: int
    h_prime: int
    hadamard: int
    formed: int
    V: Matrix
    p: Any
    q: Any


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

    Scratch: a strip of B, some rows of A and a few rows of partial sums, together less than 1 MiB
    for each thread, whatever the shape.
    """
    I, J, K, A, B = task.I, task.J, task.K, task.A, task.B
    fused = task.fused
    if I == 0 or J == 0:
        return
    item = itemsize(one)
    direct = B.col == item or J == 1
    form_a, form_b = fused.formed == FORM_A, fused.formed == FORM_B
    resident = K * J * item <= (
        RESIDENT_BYTES if I <= LOW or I > STREAM_ROWS else 2 * RESIDENT_BYTES
    )
    if direct:
        copied = form_b or (I > STREAM_ROWS and not resident)
    else:
        copied = I > TRANSPOSED_ROWS or B.row != item
    streamed = direct and not copied and not resident
    span = STREAM_BYTES // I // STRIP_BYTES * STRIP_BYTES if streamed else STRIP_BYTES
    gather_a = A.row == item and A.col > ROWS_OF_A_BYTES and I > STREAM_ROWS
    plan = Plan(span // item, STREAM_STEPS if streamed else BLOCK, direct, copied, gather_a)

    panel = VECTORS * VECTOR_BYTES
    pitch = (min(span, J * item) + panel - 1) // panel * panel
    partial = I * pitch if streamed else TALL * pitch if fused.h != 0 else 0
    strip = min(K, BLOCK) * pitch if copied else 0
    rows = ROWS_OF_A_BYTES * (min(K, BLOCK) + VECTOR_BYTES // item) if form_a or gather_a else 0
    if partial + strip + rows == 0:
        strips(one, task, plan, Matrix(0, pitch, item), 0, 0)
    else:
        scratch = np.empty(VECTOR_BYTES + partial + strip + rows, np.uint8)
        P = (address_of(scratch) // VECTOR_BYTES + 1) * VECTOR_BYTES
        strips(one, task, plan, Matrix(P, pitch, item), P + partial, P + partial + strip)
        scratch[0] = 0  # alive until here: Numba frees an array after its last mention


class Plan(NamedTuple):
    """How a product reads its operands."""

    span: int
    """Columns of a strip of B."""
    chunk: int
    """Terms that one pass over a strip takes."""
    direct: bool
    """Whether B's columns are adjacent."""
    copied: bool
    """Whether strips of B are copied to scratch, in panels of a tile's width."""
    gather_a: bool
    """Whether rows of A are copied to scratch, because its terms lie far apart."""


@compiled(internal=True)
def strips(one, task, plan, P, T, F):
    """Walk the strips of B (6th loop), the blocks of the sum (5th) and groups of A's rows (4th).

    Scratch: P holds partial sums, T and F are the addresses for a strip of B and rows of A.
    """
    I, J, K, A, B, C, bias, fused = task
    item = itemsize(one)
    plain = row_shape(one, VECTORS, VECTOR_BYTES, False, False)
    turned = row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, False, True)
    n = width(plain)
    rows = ROWS_OF_A_BYTES // item if fused.formed == FORM_A or plan.gather_a else I
    for j in range(0, J, plan.span):
        columns = min(plan.span, J - j)
        for k in range(0, max(K, 1), BLOCK):
            terms = min(BLOCK, K - k)
            Bk, panel = moved(B, k, j), width(plain) * B.col
            if plan.copied:
                if fused.formed == FORM_B:
                    form_strip(one, n, terms, columns, Bk, moved(fused.V, k, j), T, fused)
                elif plan.direct:
                    copy_strip(plain, item, terms, columns, Bk, T, n)
                else:
                    copy_strip(turned, item, terms, columns, Bk, T, n)
                Bk, panel = Matrix(T, n * item, item), terms * n * item
            last = k + BLOCK >= K
            end = End(k > 0, bias + j * item if last and bias != 0 else 0, fused.h if last else 0)
            for i in range(0, I, rows):
                height = min(rows, I - i)
                Aik, Cij, Vij = moved(A, i, k), moved(C, i, j), moved(fused.V, i, j)
                if fused.formed == FORM_A:
                    Aik = form_rows(one, height, terms, Aik, moved(fused.V, i, k), F, fused)
                elif plan.gather_a:
                    copy_strip(plain, item, terms, height, transposed(Aik), F, rows)
                    Aik = Matrix(F, item, ROWS_OF_A_BYTES)
                block = Block(height, columns, terms, Aik, Bk, panel, Cij, Vij)
                if plan.direct or plan.copied:
                    block_product(plain, one, block, P, plan.chunk, end, fused)
                else:
                    turned_block = Block(
                        height, columns, terms, Aik, Bk, width(turned) * B.col, Cij, Vij
                    )
                    block_product(turned, one, turned_block, P, plan.chunk, end, fused)


class Block(NamedTuple):
    """One block of the sum for a strip of C: A (I, K), B (K, J), C and V (I, J)."""

    I: int
    J: int
    K: int
    A: Matrix
    B: Matrix
    panel: int
    """Bytes from one tile's columns of B to the next one's."""
    C: Matrix
    V: Matrix


class End(NamedTuple):
    """What happens to a block's sums when they are finished."""

    accumulate: bool
    """Whether they are added to C, where earlier blocks' sums stand."""
    bias: int
    """Address of the bias to add after that, or 0."""
    h: int
    """Address of the activation's kernel to apply at last, or 0."""


@compiled(internal=True)
def form_strip(one, n, K, J, dA, V, T, fused):
    """Write K x J elements of dZ = dA o h'(V) to panels of n columns from T on."""
    item = itemsize(one)
    for j in range(0, J, n):
        panel = Matrix(T + j * K * item, n * item, item)
        piece = moved(dA, 0, j), moved(V, 0, j), panel
        call(fused.hadamard, (one, K, min(n, J - j), *piece, fused.p, fused.q))


@compiled(internal=True)
def form_rows(one, I, K, dA, V, F, fused):
    """Write I x K elements of dZ = dA o h'(V) to F, adjacent the way dA's are; return them."""
    item = itemsize(one)
    if dA.col == item:
        dZ = Matrix(F, K * item + VECTOR_BYTES, item)
        call(fused.hadamard, (one, I, K, dA, V, dZ, fused.p, fused.q))
        return dZ
    dZ = Matrix(F, I * item, item)
    call(fused.hadamard, (one, K, I, transposed(dA), transposed(V), dZ, fused.p, fused.q))
    return transposed(dZ)


@compiled(internal=True)
def block_product(shape, one, block, P, chunk, end, fused):
    """Compute one block: chunks of the sum (3rd loop), down the rows (2nd).

    Between chunks the partial sums rest in P.
    """
    I, J, K, A, B, panel, C, V = block
    for k in range(0, max(K, 1), chunk):
        Bk = moved(B, k, 0)
        finish = k + chunk >= K
        step = Step(min(chunk, K - k), k > 0, finish, end.accumulate, end.bias)
        i = 0
        while i < I:
            Ai, Ci = moved(A, i, k), moved(C, i, 0)
            Pi = moved(P, i, 0) if chunk < BLOCK else P
            Oi = Pi if end.h != 0 or not finish else Ci
            # A constant drops the tall tile where rows are too few for it: transposing, it spills.
            if steps(shape) == 1 and I - i >= TALL:
                rows = TALL
                row_of_tiles(with_rows(shape, TALL), J, Ai, Bk, panel, Pi, Ci, Oi, step)
            elif I - i >= LOW:
                rows = LOW
                row_of_tiles(with_rows(shape, LOW), J, Ai, Bk, panel, Pi, Ci, Oi, step)
            else:
                rows = ONE
                row_of_tiles(with_rows(shape, ONE), J, Ai, Bk, panel, Pi, Ci, Oi, step)
            if end.h != 0 and finish:
                call(end.h, (one, rows, J, Pi, Ci, fused.p, fused.q))
                if fused.h_prime != 0:
                    call(fused.h_prime, (one, rows, J, Pi, moved(V, i, 0), fused.p, fused.q))
            i += rows


class Step(NamedTuple):
    """What one pass over a row of tiles does to the sums."""

    terms: int
    """Terms it adds."""
    resume: bool
    """Whether it goes on from the partial sums of this block."""
    finish: bool
    """Whether it is the block's last pass."""
    accumulate: bool
    """Whether earlier blocks' sums stand in C."""
    bias: int
    """Address of the bias to add at the end, or 0."""


@compiled(internal=True, inline=True)
def row_of_tiles(shape, J, A, B, panel, P, C, O, step):
    """Go along the strip (1st loop): whole tiles, then one that is narrowed and masked."""
    n = width(shape)
    main = J - J % n
    b = B.data
    for j in range(0, main, n):
        tile_product(shape, n, j, A, b, B, P, C, O, step)
        b += panel
    left = J - main
    if left * 2 > n:
        tile_product(narrowed(shape, 0), left, main, A, b, B, P, C, O, step)
    elif left * 4 > n:
        tile_product(narrowed(shape, 1), left, main, A, b, B, P, C, O, step)
    elif left > 0:
        tile_product(narrowed(shape, 2), left, main, A, b, B, P, C, O, step)


@compiled(internal=True, inline=True)
def tile_product(shape, left, j, A, b, B, P, C, O, step):
    """Sum one tile, the ``left`` columns from j on: the innermost loop, over the terms.

    ``b`` is the address of B's first row there.
    """
    n = steps(shape)
    a = A.data
    offset = j * C.col
    tile = load(shape, P.data + offset, P.row, left) if step.resume else zeros(shape)
    main = step.terms - step.terms % n
    for _ in range(0, main, n):
        tile = rank_update(tile, load_operand(shape, b, B.row, B.col, left), a, A.row, A.col)
        a += n * A.col
        b += n * B.row
    for _ in range(main, step.terms):
        tile = rank_update(tile, gather_operand(shape, b, B.col, left), a, A.row, A.col)
        a += A.col
        b += B.row
    if step.finish:
        if step.accumulate:
            tile = add(tile, load(shape, C.data + offset, C.row, left))
        if step.bias != 0:
            tile = add(tile, load(with_rows(shape, 1), step.bias + offset, 0, left))
    store(tile, O.data + offset, O.row, left)


@compiled(internal=True)
def copy_strip(shape, item, K, J, B, T, n):
    """Copy K x J elements of B to panels of n columns, each of them without gaps, from T on.

    n is a multiple of the shape's width.
    """
    step = width(shape)
    for j in range(0, J, step):
        Bj = moved(B, 0, j)
        t = T + (j // n * K * n + j % n) * item
        left = J - j
        if left >= step:
            copy_panel(shape, item, K, Bj, t, n * item, step)
        elif left * 2 > step:
            copy_panel(narrowed(shape, 0), item, K, Bj, t, n * item, left)
        elif left * 4 > step:
            copy_panel(narrowed(shape, 1), item, K, Bj, t, n * item, left)
        else:
            copy_panel(narrowed(shape, 2), item, K, Bj, t, n * item, left)


@compiled(internal=True)
def copy_panel(shape, item, K, B, t, pitch, left):
    """Copy K rows of one tile's width: rows at once where they or their columns are adjacent."""
    n = steps(shape)
    main = K - K % n if n == 1 or B.row == item else 0
    b = B.data
    for _ in range(0, main, n):
        store(load_operand(shape, b, B.row, B.col, left), t, pitch, left)
        b += n * B.row
        t += n * pitch
    for _ in range(main, K):
        store(gather_operand(shape, b, B.col, left), t, pitch, left)
        b += B.row
        t += pitch


def _argument_types(scalar: Any) -> tuple[Any, Any]:
    fused = types.NamedTuple((types.intp,) * 4 + (MATRIX, scalar, scalar), Fused)
    task = types.NamedTuple((types.intp,) * 3 + (MATRIX,) * 3 + (types.intp, fused), Product)
    return scalar, task


product_address = shared(product, _argument_types)
