"""Which way round a product is computed: C = A B, or C^T = B^T A^T, the same sums.

Tiles lay their vectors along the columns of C. Where C has but a few, most lanes would idle, and
the product is turned round: its result goes to scratch, a few long rows, and from there to C.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastlinear.kernels.blocks import activate
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import (
    MATRIX,
    Matrix,
    call,
    itemsize,
    moved,
    row_of,
    transposed,
)
from fastlinear.kernels.packing import (
    FORM_A,
    FORM_B,
    FORWARD,
    PLAIN,
    Fused,
    are_rows_brought,
    fused_type,
)
from fastlinear.kernels.plan import leading_columns
from fastlinear.kernels.product import Product, product
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.shared import shared
from fastlinear.kernels.sizes import (
    BRINGING,
    COPYING,
    FMA_CYCLES,
    NARROW_ROWS,
    ROWS,
    STACK_BYTES,
    TRANSPOSING,
    TURNED_VECTORS,
    TURNING,
    VECTOR_BYTES,
    VECTORS,
)

TALL, LOW, _ = ROWS


def _argument_types(scalar: Any) -> tuple[Any, Any]:
    matrices = (types.intp,) * 3 + (MATRIX,) * 3
    return scalar, types.NamedTuple((*matrices, types.intp, fused_type(scalar)), Product)


product_address = shared(product, _argument_types)


@compiled(internal=True)
def run_product(one, task):
    """Compute a product, serially, the way round that fills more lanes."""
    item, I, J = itemsize(one), task.I, task.J
    if is_narrow(item, task):
        call(narrow_address(one), (one, task))
        return
    lead = leading_columns(item, I, J, task.K, task.B, task.fused.formed)
    if lead > 0:
        call(product_address(one), (one, part(item, task, 0, 0, I, lead)))
        task = part(item, task, 0, lead, I, J - lead)
    call(product_address(one), (one, task))


@compiled
def is_narrow(item, task):
    """Return whether C has so few columns that turning the product round pays for the copy."""
    I, J = task.I, task.J
    lanes = VECTOR_BYTES // item
    transposing = task.A.row != item
    if lanes > I or not may_turn(item, task) or (transposing and TURNED_VECTORS * lanes < J):
        return False
    straight, turned = 10 * cycles(I, J, lanes), 10 * cycles(J, I, lanes)
    if are_rows_brought(item, I, J, task.K, task.A):
        straight += BRINGING * I
    if transposing:
        turned += TRANSPOSING * I
    if are_rows_brought(item, J, I, task.K, transposed(task.B)):
        turned += BRINGING * J
    return task.K * (straight - turned) > COPYING * I * J + TURNING


@compiled(internal=True)
def cycles(I, J, lanes):
    """Return the cycles that the tiles of an I x J product take for a term of the sum.

    An fma for each vector, idle lanes included, and no tile less than an fma's latency.
    """
    vectors = (J + lanes - 1) // lanes
    tiles = vectors // VECTORS + (vectors % VECTORS + 1) // 2
    low = (I % TALL + LOW - 1) // LOW
    return I // TALL * TALL * vectors + low * max(LOW * vectors, FMA_CYCLES * tiles)


@compiled(internal=True)
def narrow_product(one, task):
    """Compute C^T = B^T A^T for some rows of C at a time, then end them: bias, h and h'."""
    item, J = itemsize(one), task.J
    pitch = NARROW_ROWS * item
    nbytes = VECTOR_BYTES + 2 * J * pitch
    scratch = borrow_bytes(nbytes, STACK_BYTES)
    T = (scratch // VECTOR_BYTES + 1) * VECTOR_BYTES
    for i in range(0, task.I, NARROW_ROWS):
        piece = part(item, task, i, 0, min(NARROW_ROWS, task.I - i), J)
        f, t = piece.fused, turned(piece)
        formed = PLAIN if f.formed == FORWARD else t.fused.formed
        sums = Fused(0, 0, f.hadamard, formed, t.fused.V, f.p, f.q)
        result = Matrix(T, pitch, item)
        call(product_address(one), (one, Product(t.I, t.J, t.K, t.A, t.B, result, 0, sums)))
        Z = Matrix(T + J * pitch, J * item, item) if f.h != 0 else piece.C
        copy_turned(one, piece.I, J, result, piece.bias, Z)
        activate(one, piece.I, J, Z, piece.C, f.V, f.h, f)
    return_bytes(scratch, nbytes, STACK_BYTES)


narrow_address = shared(narrow_product, _argument_types, lazy=True)


@compiled(internal=True)
def copy_turned(one, I, J, T, bias, Z):
    """Z_ij = T_ji + b_j, where ``bias`` is the address of b, or 0."""
    for j in range(J):
        t = row_of(one, T, j, I)
        if bias != 0:
            b = row_of(one, Matrix(bias, 0, 0), 0, J)[j]
            for i in range(I):
                row_of(one, moved(Z, i, j), 0, 1)[0] = t[i] + b
        else:
            for i in range(I):
                row_of(one, moved(Z, i, j), 0, 1)[0] = t[i]


@compiled(internal=True)
def may_turn(item, task):
    """Return whether an operand that is to be formed has adjacent columns both ways round."""
    formed = task.fused.formed
    return formed != FORM_A or task.A.row == item


@compiled
def turned(task):
    """Return C^T = B^T A^T, the same sums with rows and columns exchanged."""
    f = task.fused
    formed = FORM_B if f.formed == FORM_A else FORM_A if f.formed == FORM_B else f.formed
    fused = Fused(f.h, f.both, f.hadamard, formed, transposed(f.V), f.p, f.q)
    A, B, C = transposed(task.B), transposed(task.A), transposed(task.C)
    return Product(task.J, task.I, task.K, A, B, C, 0, fused)


@compiled(internal=True)
def part(item, task, i, j, rows, columns):
    """Return the product of rows i.. of A and columns j.. of B."""
    f = task.fused
    v_i = i if f.formed == FORM_A or f.formed == FORWARD else 0
    v_j = j if f.formed == FORM_B or f.formed == FORWARD else 0
    fused = Fused(f.h, f.both, f.hadamard, f.formed, moved(f.V, v_i, v_j), f.p, f.q)
    A, B, C = moved(task.A, i, 0), moved(task.B, 0, j), moved(task.C, i, j)
    bias = task.bias + j * item if task.bias != 0 else 0
    return Product(rows, columns, task.K, A, B, C, bias, fused)
