"""Which way round a product is computed: C = A B, or C^T = B^T A^T, the same sums.

Tiles lay their vectors along the columns of C. Where C has but a few, most lanes would idle, and
where A's rows are adjacent, bringing A to panels may cost more than the tiles. Then the product is
turned round: its result goes to scratch, some rows of C at a time, and from there to C.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastlinear.kernels.along import along
from fastlinear.kernels.blocks import activate
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import (
    MATRIX,
    Matrix,
    at,
    call,
    itemsize,
    moved,
    row_of,
    transposed,
    up_to,
)
from fastlinear.kernels.packing import (
    FORM_A,
    FORM_B,
    FORWARD,
    PLAIN,
    Fused,
    are_rows_brought,
    copy_panel,
    fused_type,
)
from fastlinear.kernels.plan import are_sums_few, leading_columns
from fastlinear.kernels.product import Product, product
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.shape import row_shape
from fastlinear.kernels.sizes import (
    ABREAST,
    ABREAST_HEIGHTS,
    BRINGING,
    COPYING,
    FMA_CYCLES,
    FMA_UNITS,
    NARROW_BYTES,
    NARROW_ROWS,
    ROWS,
    STACK_BYTES,
    TRANSPOSED_VECTOR_BYTES,
    TRANSPOSING,
    TURNING,
    VECTOR_BYTES,
    WIDTHS,
)

TALL, MIDDLE, LOW, _ = ROWS
WIDE, MIDDLE_WIDE, LOW_WIDE, _ = WIDTHS


def product_types(scalar: Any) -> tuple[Any, Any]:
    """Return the types of a dtype's 1 and a Product."""
    matrices = (types.intp,) * 3 + (MATRIX,) * 3
    return scalar, types.NamedTuple((*matrices, types.intp, fused_type(scalar)), Product)


product_address = by_address(product, product_types)


@compiled(internal=True)
def run_product(one, task):
    """Compute a product, serially, the way round that fills more lanes."""
    item, I, J = itemsize(one), task.I, task.J
    if is_narrow(item, task):
        call(narrow_address(one), (one, task))
        return
    lead = leading_columns(item, I, J, task.K, task.B, task.C, task.fused.formed)
    if lead > 0:
        call(product_address(one), (one, part(item, task, 0, 0, I, lead)))
        task = part(item, task, 0, lead, I, J - lead)
    call(product_address(one), (one, task))


@compiled
def is_narrow(item, task):
    """Return whether C has so few columns that turning the product round pays for the copy.

    Never if they are more than the rows that go together, so that scratch has a limit.
    """
    I, J = task.I, task.J
    if J == 0 or min(I, NARROW_ROWS) < J or not may_turn(item, task):
        return False
    straight = cycles(item, I, J, task.K, task.B)
    turned = cycles(item, J, I, task.K, transposed(task.A))
    if are_rows_brought(item, I, J, task.K, task.A):
        straight += BRINGING * I
    if task.A.row != item:
        turned += TRANSPOSING * I
    if are_rows_brought(item, J, I, task.K, transposed(task.B)):
        rows = narrow_rows(item, I, J)  # for which these are brought anew each time
        turned += BRINGING * J * ((I + rows - 1) // rows)
    return task.K * (straight - turned) > COPYING * I * J + TURNING


@compiled(internal=True)
def cycles(item, I, J, K, B):
    """Return the tenths of a cycle that the tiles of an I x J product take for one of K terms.

    An fma for each vector, idle lanes included, and no tile less than an fma's latency. Two that go
    together, see `slender`, were measured at 84 tenths; this makes 80 of both.
    """
    if are_sums_few(item, I, J, K, B):
        high, low, _ = ABREAST_HEIGHTS
        waiting = 10 * FMA_CYCLES // ABREAST
        whole = max(high * 10 // FMA_UNITS, waiting)
        return I // high * whole + (I % high + low - 1) // low * waiting
    vectors = up_to(J * item, VECTOR_BYTES) // VECTOR_BYTES
    left = I % TALL
    middle, low = left // MIDDLE, (left % MIDDLE + LOW - 1) // LOW
    return (
        I // TALL * row_cycles(TALL, WIDE, vectors)
        + middle * row_cycles(MIDDLE, MIDDLE_WIDE, vectors)
        + low * row_cycles(LOW, LOW_WIDE, vectors)
    )


@compiled(internal=True)
def row_cycles(height, width, vectors):
    """Return those of a row of tiles ``height`` rows high and up to ``width`` vectors wide."""
    tile = max(height * width * 10 // FMA_UNITS, 10 * FMA_CYCLES)
    rest = vectors % width
    last = max(height * rest * 10 // FMA_UNITS, 10 * FMA_CYCLES) if rest > 0 else 0
    return vectors // width * tile + last


@compiled
def narrow_rows(item, I, J):
    """Return how many of the I rows of C go together: NARROW_ROWS, or more as long as they fit."""
    return min(I, max(1, NARROW_BYTES // (J * item) // NARROW_ROWS) * NARROW_ROWS)


@compiled(internal=True)
def narrow_product(one, task):
    """Compute C^T = B^T A^T for some rows of C at a time, then end them: bias, h and h'."""
    item, J = itemsize(one), task.J
    rows = narrow_rows(item, task.I, J)
    pitch = up_to(rows * item, VECTOR_BYTES)
    nbytes = VECTOR_BYTES + (2 if task.fused.h != 0 else 1) * J * pitch
    scratch = borrow_bytes(nbytes, STACK_BYTES)
    T = (scratch // VECTOR_BYTES + 1) * VECTOR_BYTES
    for i in range(0, task.I, rows):
        piece = part(item, task, i, 0, min(rows, task.I - i), J)
        f, t = piece.fused, turned(piece)
        formed = PLAIN if f.formed == FORWARD else t.fused.formed
        sums = Fused(0, 0, f.hadamard, formed, t.fused.V, f.p, f.q)
        result = Matrix(T, pitch, item)
        call(product_address(one), (one, Product(t.I, t.J, t.K, t.A, t.B, result, 0, sums)))
        if piece.bias != 0:
            add_to_rows(one, J, piece.I, result, piece.bias)
        Z = Matrix(T + J * pitch, J * item, item) if f.h != 0 else piece.C
        copy_turned(one, piece.I, J, result, Z)
        activate(one, piece.I, J, Z, piece.C, f.V, f.h, f)
    return_bytes(scratch, nbytes, STACK_BYTES)


narrow_address = by_address(narrow_product, product_types, lazy=True)


@compiled(internal=True)
def add_to_rows(one, I, J, T, bias):
    """Add b_i to each element of row i, where ``bias`` is the address of b."""
    b = row_of(one, Matrix(bias, 0, 0), 0, I)
    for i in range(I):
        t, b_i = row_of(one, T, i, J), b[i]
        for j in range(J):
            t[j] += b_i


@compiled(internal=True)
def copy_turned(one, I, J, T, Z):
    """Z = T^T, I x J."""
    rest = itemsize(one), I, transposed(T), Z
    along(row_shape(one, 2, TRANSPOSED_VECTOR_BYTES, True), J, copy_turned_columns, rest)


@compiled(internal=True, inline=True)
def copy_turned_columns(shape, left, j, rest):
    """Copy the ``left`` columns from j on."""
    item, I, A, Z = rest
    copy_panel(shape, item, I, moved(A, 0, j), Z.data + j * item, Z.row, left)


@compiled(internal=True)
def may_turn(item, task):
    """Return whether an operand that is to be formed has adjacent columns both ways round."""
    formed = task.fused.formed
    return formed != FORM_A or task.A.row == item


@compiled
def turned(task):
    """Return C^T = B^T A^T, the same sums with rows and columns exchanged; the bias is not added.

    What ends rows of C (the bias, h and h') is the caller's to apply: see `narrow_product`.
    """
    f = task.fused
    formed = FORM_B if f.formed == FORM_A else FORM_A if f.formed == FORM_B else f.formed
    fused = Fused(f.h, f.both, f.hadamard, formed, transposed(f.V), f.p, f.q)
    A, B, C = transposed(task.B), transposed(task.A), transposed(task.C)
    return Product(task.J, task.I, task.K, A, B, C, 0, fused)


@compiled(internal=True)
def upright(item, task):
    """Return a product, or the same turned round if only the rows of its C are adjacent.

    Not where a bias or h, which take rows of C, is to come.
    """
    plain_end = task.bias == 0 and task.fused.formed != FORWARD
    fits = task.C.row == item and plain_end and may_turn(item, task)
    return turned(task) if task.C.col != item and task.J > 1 and fits else task


@compiled(internal=True)
def of_terms(task, k, K, C):
    """Return the product of K terms from k on, without what ends its sums: they go to ``C``."""
    f = task.fused
    v_i, v_j = (k if f.formed == FORM_B else 0), (k if f.formed == FORM_A else 0)
    formed = PLAIN if f.formed == FORWARD else f.formed
    fused = Fused(0, 0, f.hadamard, formed, moved(f.V, v_i, v_j), f.p, f.q)
    return Product(task.I, task.J, K, moved(task.A, 0, k), moved(task.B, k, 0), C, 0, fused)


@compiled
def part(item, task, i, j, rows, columns):
    """Return the product of rows i.. of A and columns j.. of B."""
    f = task.fused
    v_i = i if f.formed == FORM_A or f.formed == FORWARD else 0
    v_j = j if f.formed == FORM_B or f.formed == FORWARD else 0
    fused = Fused(f.h, f.both, f.hadamard, f.formed, moved(f.V, v_i, v_j), f.p, f.q)
    A, B, C = moved(task.A, i, 0), moved(task.B, 0, j), moved(task.C, i, j)
    return Product(rows, columns, task.K, A, B, C, at(task.bias, j * item), fused)
