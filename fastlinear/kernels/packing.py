"""Bringing operands to scratch (packing): copied, transposed, or formed from dA and h'(V).

What is brought lies without gaps in the order in which the register tile reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from fastlinear.kernels import sizes
from fastlinear.kernels.along import along
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import MATRIX, Matrix, call, itemsize, moved, transposed
from fastlinear.kernels.rank_update import FIRST, gather_operand, load_operand
from fastlinear.kernels.shape import row_shape, steps
from fastlinear.kernels.tile import store

APART_BYTES, COPIED_TERMS = sizes.APART_BYTES, sizes.COPIED_TERMS
GATHERED_BYTES, GATHERED_TERMS = sizes.GATHERED_BYTES, sizes.GATHERED_TERMS
GROUP_BYTES, NEAR_BYTES = sizes.GROUP_BYTES, sizes.NEAR_BYTES
REPAID_BYTES, REPAID_ROWS = sizes.REPAID_BYTES, sizes.REPAID_ROWS
ROWS_APART_BYTES = sizes.ROWS_APART_BYTES
SHORT_BYTES, STREAM_ROWS = sizes.SHORT_BYTES, sizes.STREAM_ROWS
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES
TRANSPOSED_VECTOR_BYTES = sizes.TRANSPOSED_VECTOR_BYTES

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


def fused_type(scalar: Any) -> Any:
    """Return the Numba type of a Fused for a dtype."""
    return types.NamedTuple((types.intp,) * 4 + (MATRIX, scalar, scalar), Fused)


@compiled(internal=True)
def copy_strips(one, direct, n, K, J, B, V, T, fused):
    """Write K x J elements of B, or of dZ = B o h'(V), to panels of n columns from T on."""
    item = itemsize(one)
    if fused.formed == FORM_B:
        form_strip(one, n, K, J, B, V, T, fused)
    elif direct:
        copy_strip(row_shape(one, VECTORS, VECTOR_BYTES, False), item, K, J, B, T, n)
    else:
        copy_strip(row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, True), item, K, J, B, T, n)


@compiled(internal=True)
def copy_strip(shape, item, K, J, B, T, n):
    """Copy K x J elements of B to panels of n columns, each of them without gaps, from T on.

    n is a multiple of the shape's width, or at least J.
    """
    pitch = n * item
    group = COPIED_TERMS if steps(shape) == 1 else max(K, 1)  # transposing reads along the terms
    for k in range(0, K, group):
        part = item, min(group, K - k), moved(B, k, 0), T + k * pitch, K * pitch, n
        along(shape, J, copy_columns, part)


@compiled(internal=True, inline=True)
def copy_columns(shape, left, j, rest):
    """Copy K rows of the ``left`` columns from j on; panels of n lie ``panel`` bytes apart."""
    item, K, B, T, panel, n = rest
    copy_panel(shape, item, K, moved(B, 0, j), T + j // n * panel + j % n * item, n * item, left)


@compiled(internal=True)
def copy_panel(shape, item, K, B, t, pitch, left):
    """Copy K rows of one tile's width: rows at once where they or their columns are adjacent."""
    n = steps(shape)
    main = K - K % n if n == 1 or B.row == item else 0
    b = B.data
    for _ in range(0, main, n):
        store(load_operand(shape, b, FIRST, B.col, left), t, pitch, left)
        b += n * B.row
        t += n * pitch
    for _ in range(main, K):
        store(gather_operand(shape, b, B.col, left), t, pitch, left)
        b += B.row
        t += pitch


@compiled(internal=True)
def form_strip(one, n, K, J, dA, V, T, fused):
    """Write K x J elements of dZ = dA o h'(V) to panels of n columns from T on."""
    item = itemsize(one)
    for j in range(0, J, n):
        panel = Matrix(T + j * K * item, n * item, item)
        piece = moved(dA, 0, j), moved(V, 0, j), panel
        call(fused.hadamard, (one, K, min(n, J - j), *piece, fused.p, fused.q))


@compiled
def are_rows_brought(item, I, J, K, A):
    """Return whether A's rows come to scratch because they, or their terms, lie too far apart."""
    if A.col == item:
        return A.row >= ROWS_APART_BYTES and I >= REPAID_ROWS and J * item >= REPAID_BYTES
    return A.row == item and A.col > APART_BYTES and K * A.col > NEAR_BYTES and I > STREAM_ROWS


@compiled(internal=True)
def row_pitch(item, K):
    """Return bytes from one row of A in scratch to the next: none between short rows.

    Longer ones take an odd number of vectors: any power of two would send the rows of a tile to the
    same few sets of the L1 cache.
    """
    nbytes = K * item
    return nbytes if nbytes < SHORT_BYTES else (nbytes // VECTOR_BYTES + 1 | 1) * VECTOR_BYTES


@compiled(internal=True)
def bring_rows(one, I, K, A, V, F, fused):
    """Write I x K elements of A, or of dZ = A o h'(V) if that is to be formed, to F; return them.

    Where A's rows are adjacent in memory instead of its columns, some terms at a time come to a
    small scratch and are transposed from there, for the tile to read along rows.
    """
    item = itemsize(one)
    pitch = row_pitch(item, K)
    rows = Matrix(F, pitch, item)
    plain = row_shape(one, VECTORS, VECTOR_BYTES, False)
    if A.col == item and fused.formed != FORM_A:
        copy_strip(plain, item, I, K, A, F, pitch // item)
        return rows
    if A.col == item or (K == 1 and A.row != item):
        call(fused.hadamard, (one, I, K, A, V, rows, fused.p, fused.q))
        return rows
    across = row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, True)
    short = I * item < SHORT_BYTES
    piece = Matrix(F + I * pitch, I * item if short else GATHERED_BYTES, item)
    group = GROUP_BYTES // item
    for i in range(0, I, group):
        height = min(group, I - i)
        for k in range(0, K, GATHERED_TERMS):
            terms = min(GATHERED_TERMS, K - k)
            Ak, Vk = transposed(moved(A, i, k)), transposed(moved(V, i, k))
            if fused.formed == FORM_A:
                call(fused.hadamard, (one, terms, height, Ak, Vk, piece, fused.p, fused.q))
            else:
                copy_strip(plain, item, terms, height, Ak, piece.data, piece.row // item)
            if K <= GATHERED_TERMS and height == I:  # all that there is
                return transposed(piece)
            t = moved(rows, i, k).data
            copy_strip(across, item, height, terms, transposed(piece), t, pitch // item)
    return rows
