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
block is copied to scratch where that pays), 4th over rows of A that are formed together, 3rd over
chunks of the block, 2nd down the rows, 1st along the strip, and the tile's own loop over the sum.
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
    row_tile,
    steps,
    store,
    width,
    with_rows,
)

BLOCK = sizes.BLOCK
TALL, LOW, ONE = sizes.ROWS
FORMED_ROWS = sizes.FORMED_ROWS
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

    Scratch: at most a strip of B, a few rows of partial sums and FORMED_ROWS rows of A, whatever
    the shape.
    """
    I, J, K, A, B, C, bias, fused = task
    if I == 0 or J == 0:
        return
    item = itemsize(one)
    direct = B.col == item or J == 1
    form_a, form_b = fused.formed == FORM_A, fused.formed == FORM_B
    if direct:
        copied = form_b or (I > STREAM_ROWS and K * J * item > RESIDENT_BYTES)
    else:
        copied = I > TRANSPOSED_ROWS or B.row != item
    streamed = direct and not copied and I <= STREAM_ROWS and K * J * item > RESIDENT_BYTES
    span = STREAM_BYTES // I // STRIP_BYTES * STRIP_BYTES if streamed else STRIP_BYTES
    pitch = (min(span, J * item) // VECTOR_BYTES + 1) * VECTOR_BYTES
    partial = I * pitch if streamed else TALL * pitch if fused.h != 0 else 0
    strip = min(K, BLOCK) * pitch if copied else 0
    formed = FORMED_ROWS * (min(K, BLOCK) * item + VECTOR_BYTES) if form_a else 0
    plan = Plan(span // item, STREAM_STEPS if streamed else BLOCK, direct, copied)
    P = Matrix(0, pitch, item)
    if partial + strip + formed == 0:
        strips(one, task, plan, P, P, P)
    else:
        scratch = np.empty(VECTOR_BYTES + partial + strip + formed, np.uint8)
        P = Matrix((address_of(scratch) // VECTOR_BYTES + 1) * VECTOR_BYTES, pitch, item)
        strips(
            one, task, plan, P, moved(P, 0, partial // item), moved(P, 0, (partial + strip) // item)
        )
        scratch[0] = 0  # alive until here: Numba frees an array after its last mention


class Plan(NamedTuple):
    """How a product reads B."""

    span: int
    """Columns of a strip."""
    chunk: int
    """Terms that one pass over a strip takes."""
    direct: bool
    """Whether B's columns are adjacent."""
    copied: bool
    """Whether strips of B are copied to scratch."""


@compiled(internal=True)
def strips(one, task, plan, P, T, F):
    """Walk the strips of B (6th loop) and the blocks of the sum (5th); P, T and F are scratch."""
    I, J, K, A, B, C, bias, fused = task
    span, chunk, direct, copied = plan
    item = itemsize(one)
    tile = row_tile(one, VECTORS, VECTOR_BYTES, False, False)
    turned = row_tile(one, 2, TRANSPOSED_VECTOR_BYTES, False, True)
    for j in range(0, J, span):
        columns = min(span, J - j)
        Cj = moved(C, 0, j)
        for k in range(0, max(K, 1), BLOCK):
            terms = min(BLOCK, K - k)
            last = k + BLOCK >= K
            end = bias + j * item if last and bias != 0 else 0
            h = fused.h if last else 0
            Ak, Bk, Vkj = moved(A, 0, k), moved(B, k, j), moved(fused.V, k, j)
            if fused.formed == FORM_B:
                call(fused.hadamard, (one, terms, columns, Bk, Vkj, T, fused.p, fused.q))
            elif copied and direct:
                copy_strip(tile, item, terms, columns, Bk, T)
            elif copied:
                copy_strip(turned, item, terms, columns, Bk, T)
            if copied:
                Bk = T
            rows = FORMED_ROWS if fused.formed == FORM_A else max(I, 1)
            for i in range(0, I, rows):
                Aik = moved(Ak, i, 0)
                height = min(rows, I - i)
                if fused.formed == FORM_A:
                    Aik = form(one, item, height, terms, Aik, moved(fused.V, i, k), F, fused)
                Cij, Vij = moved(Cj, i, 0), moved(fused.V, i, j)
                if direct or copied:
                    block_product(
                        tile, one, height, columns, terms, Aik, Bk, P, chunk, Cij, k > 0, end,
                        h, fused, Vij,
                    )  # fmt: skip
                else:
                    block_product(
                        turned, one, height, columns, terms, Aik, Bk, P, chunk, Cij, k > 0, end,
                        h, fused, Vij,
                    )  # fmt: skip


@compiled(internal=True)
def form(one, item, I, K, A, V, F, fused):
    """Write I x K elements of dZ = dA o h'(V) to F, adjacent the way A's are; return them."""
    if A.col == item:
        F = Matrix(F.data, K * item + VECTOR_BYTES, item)
        call(fused.hadamard, (one, I, K, A, V, F, fused.p, fused.q))
        return F
    F = Matrix(F.data, I * item, item)
    call(fused.hadamard, (one, K, I, transposed(A), transposed(V), F, fused.p, fused.q))
    return transposed(F)


@compiled(internal=True)
def block_product(tile, one, I, J, K, A, B, P, chunk, C, accumulate, bias, h, fused, V):
    """Add one block of the sum for a strip: chunks of the block (3rd loop), down the rows (2nd).

    Between chunks the partial sums rest in P; the last one adds them to C, or writes C if this is
    the first block, and applies bias and activation if it is the last.
    """
    for k in range(0, max(K, 1), chunk):
        Ak, Bk = moved(A, 0, k), moved(B, k, 0)
        terms = min(chunk, K - k)
        resume, finish = k > 0, k + chunk >= K
        i = 0
        while i < I:
            Ai, Ci = moved(Ak, i, 0), moved(C, i, 0)
            Pi = moved(P, i, 0) if chunk < BLOCK else P
            Oi = Pi if h != 0 or not finish else Ci
            step = Step(terms, resume, finish, accumulate, bias)
            if I - i >= TALL:
                rows = TALL
                row_of_tiles(with_rows(tile, TALL), J, Ai, Bk, Pi, Ci, Oi, step)
            elif I - i >= LOW:
                rows = LOW
                row_of_tiles(with_rows(tile, LOW), J, Ai, Bk, Pi, Ci, Oi, step)
            else:
                rows = ONE
                row_of_tiles(with_rows(tile, ONE), J, Ai, Bk, Pi, Ci, Oi, step)
            if h != 0 and finish:
                call(h, (one, rows, J, Pi, Ci, fused.p, fused.q))
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


@compiled(internal=True)
def row_of_tiles(tile, J, A, B, P, C, O, step):
    """Go along the strip (1st loop): whole tiles, then one that is narrowed and masked."""
    n = width(tile)
    main = J - J % n
    for j in range(0, main, n):
        tile_product(tile, n, j, A, B, P, C, O, step)
    left = J - main
    if left * 2 > n:
        tile_product(narrowed(tile, 0), left, main, A, B, P, C, O, step)
    elif left * 4 > n:
        tile_product(narrowed(tile, 1), left, main, A, B, P, C, O, step)
    elif left > 0:
        tile_product(narrowed(tile, 2), left, main, A, B, P, C, O, step)


@compiled(internal=True)
def tile_product(tile, left, j, A, B, P, C, O, step):
    """Sum one tile, the ``left`` columns from j on: the innermost loop, over the terms."""
    n = steps(tile)
    a, b = A.data, B.data + j * B.col
    offset = j * C.col
    if step.resume:
        tile = load(tile, P.data + offset, P.row, left)
    main = step.terms - step.terms % n
    for _ in range(0, main, n):
        tile = rank_update(tile, load_operand(tile, b, B.row, B.col, left), a, A.row, A.col)
        a += n * A.col
        b += n * B.row
    for _ in range(main, step.terms):
        tile = rank_update(tile, gather_operand(tile, b, B.col, left), a, A.row, A.col)
        a += A.col
        b += B.row
    if step.finish:
        if step.accumulate:
            tile = add(tile, load(tile, C.data + offset, C.row, left))
        if step.bias != 0:
            tile = add(tile, load(with_rows(tile, 1), step.bias + offset, 0, left))
    store(tile, O.data + offset, O.row, left)


@compiled(internal=True)
def copy_strip(tile, item, K, J, B, T):
    """Copy K x J elements of B to T, whose columns are adjacent."""
    n = width(tile)
    main = J - J % n
    for j in range(0, main, n):
        copy_panel(tile, item, K, moved(B, 0, j), moved(T, 0, j), n)
    left = J - main
    Bj, Tj = moved(B, 0, main), moved(T, 0, main)
    if left * 2 > n:
        copy_panel(narrowed(tile, 0), item, K, Bj, Tj, left)
    elif left * 4 > n:
        copy_panel(narrowed(tile, 1), item, K, Bj, Tj, left)
    elif left > 0:
        copy_panel(narrowed(tile, 2), item, K, Bj, Tj, left)


@compiled(internal=True)
def copy_panel(tile, item, K, B, T, left):
    """Copy K rows of one tile's width: rows at once where they or their columns are adjacent."""
    n = steps(tile)
    main = K - K % n if n == 1 or B.row == item else 0
    b, t = B.data, T.data
    for _ in range(0, main, n):
        store(load_operand(tile, b, B.row, B.col, left), t, T.row, left)
        b += n * B.row
        t += n * T.row
    for _ in range(main, K):
        store(gather_operand(tile, b, B.col, left), t, T.row, left)
        b += B.row
        t += T.row


def _argument_types(scalar: Any) -> tuple[Any, Any]:
    fused = types.NamedTuple((types.intp,) * 4 + (MATRIX, scalar, scalar), Fused)
    task = types.NamedTuple((types.intp,) * 3 + (MATRIX,) * 3 + (types.intp, fused), Product)
    return scalar, task


product_address = shared(product, _argument_types)
