"""What the tiled kernels choose for a shape, in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastlinear.kernels import sizes
from fastlinear.kernels.distant_row import is_single_row
from fastlinear.kernels.memory import Matrix
from fastlinear.kernels.orientation import is_narrow, narrow_rows, part, turned
from fastlinear.kernels.packing import PLAIN, Fused, are_lanes_crowded
from fastlinear.kernels.plan import Plan, leading_columns, planned
from fastlinear.kernels.product import Product
from fastlinear.kernels.slender import rows_in_pairs
from fastlinear.profile.cases import Case

NUMPY_START = 16
"""Bytes into a cache line where NumPy's arrays most often begin; a layer's own begin at one."""


def is_turned(case: Case) -> bool:
    """Return whether C^T is computed, because the columns of C lie apart in memory."""
    task = product_of(case)
    return bool(task.C.col != np.dtype(case.dtype).itemsize and task.J > 1)


def oriented(case: Case) -> Product:
    """Return the product of a case with adjacent columns."""
    task = product_of(case)
    return turned(task) if is_turned(case) else task


def chosen(case: Case) -> tuple[Product, Plan]:
    """Return the product of a case the way round it is computed, and its plan."""
    item, task = np.dtype(case.dtype).itemsize, oriented(case)
    if is_narrow(item, task):
        task = turned(task)
    else:
        lead = led(case)
        task = part(item, task, 0, lead, task.I, task.J - lead)
    return task, planned(item, task.I, task.J, task.K, task.A, task.B, task.C, PLAIN)


def led(case: Case) -> int:
    """Return how many columns of B go by themselves, before the others."""
    item, task = np.dtype(case.dtype).itemsize, oriented(case)
    if is_narrow(item, task):
        return 0
    return int(leading_columns(item, task.I, task.J, task.K, task.B, task.C, PLAIN))


def kernel_of(case: Case) -> str:
    """Return which of `assembly.KERNELS` computes a case."""
    task, plan = chosen(case)
    if plan.abreast:
        return "abreast"
    is_streamed = task.I == 1 and plan.chunk < sizes.BLOCK and not plan.copied
    return "streamed" if is_streamed else "product"


def choices(case: Case) -> Iterator[str]:
    """Yield what is chosen for a sum on one thread, in a layer's memory order, line by line."""
    item = np.dtype(case.dtype).itemsize
    task, form = oriented(case), "C = A B"
    if is_turned(case):
        form = "C^T = B^T A^T, whose columns are adjacent in memory"
    yield f"Computed as {form}: {task.I} x {task.J} sums of {task.K} terms."
    if is_narrow(item, task):
        yield (
            f"Turned round, {narrow_rows(item, task.I, task.J)} rows at a time, the result copied "
            f"from scratch: faster with {task.J} columns."
        )
    if lead := led(case):
        yield f"The first {lead} columns go first: the others begin at a cache line."
    task, plan = chosen(case)
    yield tiles(plan, task, item)
    if are_tiles_paired(plan, task, item):
        rows = min(task.I, sizes.PAIRED_ROWS)
        yield f"Two tiles go together, {rows} rows: there is one vector of columns."
    yield f"A is {how_a_is_read(plan)}."
    yield f"B is {how_b_is_read(plan, task, item)}."
    if plan.far and is_asked_for_early(plan, task):
        yield "B is larger than caches keep: what comes next of it is asked for early."
    if plan.past:
        yield "The result is larger than caches keep: it goes to memory past them."


def tiles(plan: Plan, task: Product, item: int) -> str:
    """Return which tiles compute the sums, of elements of so many bytes."""
    shapes = [*zip(sizes.ROWS, sizes.WIDTHS, strict=True)]
    if plan.abreast:
        shapes = [(rows, 1) for rows in sizes.ABREAST_HEIGHTS]
    elif is_transposed_on_its_way(plan):
        lanes = sizes.DISTANT_VECTOR_BYTES // item
        size = f"{task.I} x {sizes.DISTANT_VECTORS * lanes}"
        return f"Tiles of {size} (vectors of {lanes}): all rows; masked ones for the last columns."
    lanes = sizes.VECTOR_BYTES // item
    tall, *low = (f"{rows} x {vectors * lanes}" for rows, vectors in shapes)
    return (
        f"Tiles of {tall} (vectors of {lanes}), {', '.join(low)} for the last rows; narrowed "
        "or masked ones for the last columns."
    )


def are_tiles_paired(plan: Plan, task: Product, item: int) -> bool:
    """Return whether two tiles go together."""
    adjacent = not (plan.abreast or is_transposed_on_its_way(plan))
    return adjacent and rows_in_pairs(item, task.I, task.J, plan.bring_a) > 0


def is_transposed_on_its_way(plan: Plan) -> bool:
    """Return whether tiles transpose what they load of B."""
    return not (plan.direct or plan.copied)


def is_asked_for_early(plan: Plan, task: Product) -> bool:
    """Return whether tiles ask for what comes next of a B from memory."""
    if is_transposed_on_its_way(plan):
        return sizes.EARLY_BYTES > 0 or (sizes.FETCHED_TILES > 0 and task.I == 1)
    return sizes.FETCHED and task.I == 1 and not plan.copied


def how_a_is_read(plan: Plan) -> str:
    """Return how A comes to the tile."""
    if plan.bring_a:
        return f"brought to scratch {plan.rows} rows at a time: they or its terms lie far apart"
    return "read where it stands"


def how_b_is_read(plan: Plan, task: Product, item: int) -> str:
    """Return how B comes to the tile."""
    if plan.copied:
        how = "copied" if plan.direct else "transposed"
        return f"{how} to scratch, {plan.copied} columns and {plan.chunk} terms at a time"
    if is_transposed_on_its_way(plan):
        way = "transposed in registers on its way"
        if not is_single_row(task.I, min(task.K, plan.block), task.B):
            return way
        if not are_lanes_crowded(task.B):
            return f"{way}, two tiles in turns"
        if sizes.CROWDED_BLOCKS == 1:
            return f"{way}, one tile after another: lanes crowd the cache"
        order = "in turns" if sizes.BLOCKS_IN_TURNS else "abreast"
        return f"{way}, {sizes.ABREAST} of the sum's blocks {order}: lanes crowd the cache"
    if plan.chunk < sizes.BLOCK:
        return (
            f"read where it stands, {plan.chunk} terms of {plan.span} columns at a time; "
            "partial sums rest in scratch"
        )
    if plan.abreast:
        return f"read where it stands, {sizes.ABREAST} of the sum's blocks abreast"
    return "read where it stands: it fits the L2 cache, or only few rows pass over it"


def product_of(case: Case) -> Product:
    """Return the product of a case: X and Y are NumPy's, by rows; W by columns, a layer's own."""
    S, M, N, item = case.S, case.M, case.N, np.dtype(case.dtype).itemsize
    X, Y = Matrix(NUMPY_START, M * item, item), Matrix(NUMPY_START, N * item, item)
    W, b = Matrix(0, item, N * item), Matrix(0, 0, item)
    W_T, Y_T = Matrix(0, W.col, W.row), Matrix(NUMPY_START, Y.col, Y.row)
    I, J, K, A, B, C = {
        "Y": (S, N, M, X, W_T, Y),
        "dW": (N, M, S, Y_T, X, W),
        "db": (1, N, S, Matrix(0, 0, 0), Y, b),
        "dX": (S, M, N, Y, W, X),
    }[case.quantity]
    zero = np.dtype(case.dtype).type(0)
    return Product(I, J, K, A, B, C, 0, Fused(0, 0, 0, PLAIN, Matrix(0, 0, 0), zero, zero))
