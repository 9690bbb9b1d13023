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
from fastlinear.kernels.shape import in_steps, row_shape, run_shape, steps
from fastlinear.kernels.tile import LINE_BYTES, load, store

APART_BYTES, COPIED_TERMS = sizes.APART_BYTES, sizes.COPIED_TERMS
CROWDING_BYTES, DISTANT_BYTES = sizes.CROWDING_BYTES, sizes.DISTANT_BYTES
DISTANT_VECTORS, DISTANT_VECTOR_BYTES = sizes.DISTANT_VECTORS, sizes.DISTANT_VECTOR_BYTES
GATHERED_BYTES, GATHERED_TERMS = sizes.GATHERED_BYTES, sizes.GATHERED_TERMS
GROUP_BYTES, NEAR_BYTES = sizes.GROUP_BYTES, sizes.NEAR_BYTES
REPAID_BYTES, REPAID_ROWS = sizes.REPAID_BYTES, sizes.REPAID_ROWS
READ_ONCE_BYTES, READ_ONCE_TERMS = sizes.READ_ONCE_BYTES, sizes.READ_ONCE_TERMS
ROWS_APART_BYTES = sizes.ROWS_APART_BYTES
SHORT_BYTES, STREAM_ROWS = sizes.SHORT_BYTES, sizes.STREAM_ROWS
TALL, _, LOW, _ = sizes.ROWS
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES
TRANSPOSED_VECTOR_BYTES = sizes.TRANSPOSED_VECTOR_BYTES

PLAIN, FORWARD, FORM_A, FORM_B = range(4)


class Fused(NamedTuple):
    """The activation's part of a product; kernels are addresses, 0 where there is none.

    With ``formed`` = FORWARD, ``h`` turns the finished sums Z into C = h(Z), or ``both`` does and
    writes h'(Z) to V, which has the shape of C. With FORM_A or FORM_B that operand is dA and
    becomes dZ = dA o h'(V) on its way into the product, by ``hadamard``; V has the operand's shape.
    """

    h: int
    both: int
    hadamard: int
    formed: int
    V: Matrix
    p: Any
    q: Any


def fused_type(scalar: Any) -> Any:
    """Return the Numba type of a Fused for a dtype."""
    return types.NamedTuple((types.intp,) * 4 + (MATRIX, scalar, scalar), Fused)


@compiled(internal=True)
def plain(one):
    """Return the absence of an activation."""
    return Fused(0, 0, 0, PLAIN, Matrix(0, 0, 0), one, one)


@compiled(internal=True)
def copy_strips(one, direct, n, K, J, B, V, T, fused):
    """Write K x J elements of B, or of dZ = B o h'(V), to panels of n columns from T on."""
    item = itemsize(one)
    if fused.formed == FORM_B:
        form_strip(one, n, K, J, B, V, T, fused)
    elif direct:
        copy_strip(row_shape(one, VECTORS, VECTOR_BYTES, False), item, K, J, B, T, n)
    elif are_lanes_crowded(B) and J * item >= LINE_BYTES:
        # 16 bytes at a time, each line would come to the L1 cache four times: dX of (16, 4096,
        # 4096) took 13.6 ms so, and 9.2 by lines. Where no lanes crowd it: 0.97 to 1.04.
        lines = in_steps(row_shape(one, DISTANT_VECTORS, DISTANT_VECTOR_BYTES, True), DISTANT_BYTES)
        copy_strip(lines, item, K, J, B, T, n)
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
        call(fused.hadamard, (one, K, min(n, J - j), *piece, fused.p, fused.q, False))


@compiled
def are_lanes_crowded(B):
    """Return whether lanes lie so far apart that those of two tiles crowd a set of the L1 cache."""
    return B.col % CROWDING_BYTES == 0


@compiled
def are_rows_brought(item, I, J, K, A):
    """Return whether A's rows come to scratch because they, or their terms, lie too far apart."""
    if A.col == item:
        return A.row >= ROWS_APART_BYTES and I >= REPAID_ROWS and J * item >= REPAID_BYTES
    apart = A.row == item and A.col > APART_BYTES and K * A.col > NEAR_BYTES
    return apart and I > STREAM_ROWS and (J * item > READ_ONCE_BYTES or K > READ_ONCE_TERMS)


@compiled(internal=True)
def row_pitch(item, n):
    """Return bytes from one row, or panel, of A of n elements in scratch to the next.

    None between short ones. Longer ones take an odd number of vectors: any power of two would send
    the rows of a tile, or the panels of a term, to the same few sets of the L1 cache.
    """
    nbytes = n * item
    return nbytes if nbytes < SHORT_BYTES else (nbytes // VECTOR_BYTES + 1 | 1) * VECTOR_BYTES


@compiled(internal=True)
def panels_of_rows(I):
    """Return how many panels of TALL rows I rows take."""
    return (I + TALL - 1) // TALL


@compiled(internal=True)
def are_rows_whole(item, K, A):
    """Return whether rows of A are brought each as a whole, and not term by term in panels."""
    return A.col == item or (K == 1 and A.row != item)


@compiled(internal=True)
def brought_bytes(item, I, K, A):
    """Return the bytes of scratch that `bring_rows` takes."""
    if are_rows_whole(item, K, A):
        return I * row_pitch(item, K)
    return panels_of_rows(I) * row_pitch(item, TALL * K) + GATHERED_TERMS * GATHERED_BYTES


@compiled(internal=True)
def bring_rows(one, I, K, A, V, F, fused):
    """Write I x K elements of A, or of dZ = A o h'(V) if that is to be formed, to F.

    Returns where they lie, and the bytes from one panel, the rows of a tall tile, to the next.
    """
    item = itemsize(one)
    if not are_rows_whole(item, K, A):
        return bring_panels(one, I, K, A, V, F, fused)
    rows = Matrix(F, row_pitch(item, K), item)
    if fused.formed == FORM_A:
        call(fused.hadamard, (one, I, K, A, V, rows, fused.p, fused.q, False))
    else:
        plain = row_shape(one, VECTORS, VECTOR_BYTES, False)
        copy_strip(plain, item, I, K, A, F, rows.row // item)
    return rows, TALL * rows.row


@compiled(internal=True)
def bring_panels(one, I, K, A, V, F, fused):
    """Do the same where A's rows are adjacent: panels of TALL rows, term by term without gaps.

    What is to be formed goes, some rows and terms at a time, through a small scratch behind them.
    """
    item = itemsize(one)
    panel, group = row_pitch(item, TALL * K), GROUP_BYTES // item // TALL * TALL
    formed = Matrix(F + panels_of_rows(I) * panel, GATHERED_BYTES, item)
    for i in range(0, I, group):
        height = min(group, I - i)
        for k in range(0, K, GATHERED_TERMS):
            terms = min(GATHERED_TERMS, K - k)
            Aik, Vik = moved(A, i, k), moved(V, i, k)
            if fused.formed == FORM_A:
                operands = transposed(Aik), transposed(Vik), formed
                call(fused.hadamard, (one, terms, height, *operands, fused.p, fused.q, False))
                Aik = transposed(formed)
            copy_panels(one, height, terms, Aik, F + i // TALL * panel + k * TALL * item, panel)
    return Matrix(F, item, TALL * item), panel


@compiled(internal=True)
def copy_panels(one, I, K, A, F, panel):
    """Copy I x K elements of A, whose rows are adjacent, to panels of TALL rows from F on.

    Term by term, because panel by panel each term would take a cache line for TALL elements of it.
    """
    item = itemsize(one)
    tall, low = I - I % TALL, I - I % LOW
    for k in range(K):
        a, f = A.data + k * A.col, F + k * TALL * item
        for _ in range(0, tall, TALL):
            copy_run(run_shape(one, TALL), a, f)
            a += TALL * item
            f += panel
        for _ in range(tall, low, LOW):
            copy_run(run_shape(one, LOW), a, f)
            a += LOW * item
            f += LOW * item
        if low < I:
            copy_run(run_shape(one, 1), a, f)


@compiled(internal=True, inline=True)
def copy_run(shape, a, f):
    """Copy as many adjacent elements as the shape has."""
    store(load(shape, a, 0, 0), f, 0, 0)
