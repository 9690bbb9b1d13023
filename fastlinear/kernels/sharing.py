"""Dividing products among threads: by cells of C, or by whole blocks of the sums.

See `cells` and `block_sharing`. Which way is decided by what each thread then reads and computes;
no bit of a result depends on it.
"""

from __future__ import annotations

from typing import Any

from numba import prange, types

from fastlinear.kernels.block_sharing import add_blocks, run_blocks, sums_bytes
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.cells import cell
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, call, itemsize, loader, placed
from fastlinear.kernels.orientation import part, product_types, run_product, upright
from fastlinear.kernels.packing import plain
from fastlinear.kernels.product import Product
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.sizes import (
    NEAR_READING_ROWS,
    READ_NEAR_BYTES,
    READING_ROWS,
    SHARE_WORK,
    STACK_BYTES,
    VECTOR_BYTES,
    WRITING,
)
from fastlinear.kernels.threads import thread_count

TASKS = 3
"""Products that threads take together, one after another: dW, db and dX of a backward pass."""


def tasks_type(scalar: Any) -> Any:
    """Return the type of so many Products of a dtype."""
    return types.UniTuple(product_types(scalar)[1], TASKS)


load_tasks = loader(tasks_type)


@compiled(internal=True)
def threads_for(item, I, J, K):
    """Return how many threads to use for a product.

    By its multiply-adds, the reading of the larger operand and the writing of C.
    """
    longer, shorter = max(I, J), min(I, J)
    larger = longer * K * item
    reading = READING_ROWS if larger > READ_NEAR_BYTES else NEAR_READING_ROWS
    work = (shorter + reading) * larger + WRITING * I * J * item
    return max(1, min(thread_count(), work // SHARE_WORK))


@compiled(internal=True)
def run_shared(one, task):
    """Compute a product, on as many threads as it repays."""
    threads = threads_for(itemsize(one), task.I, task.J, task.K)
    if threads == 1:
        run_share(one, task, 0, 1, 0)
    else:
        call(together_address(one), (one, (task, no_sum(one), no_sum(one)), threads))


@compiled(internal=True)
def no_sum(one):
    """Return a product of no elements."""
    none = Matrix(0, 0, 0)
    return Product(0, 0, 0, none, none, none, 0, plain(one))


@compiled(parallel=True, internal=True)
def together(one, tasks, threads):
    """Compute products in one parallel launch, each of them shared by all threads.

    What they are comes to memory: Numba takes no nested tuple into a ``prange``.
    """
    nbytes = scratch_bytes(one, tasks, threads)
    scratch, place = borrow_bytes(nbytes, STACK_BYTES), placed(tasks)
    for t in prange(threads):
        run_shares(one, load_tasks(one, place), t, threads, scratch)
    end_shares(one, tasks, threads, scratch)
    return_bytes(scratch, nbytes, STACK_BYTES)


together_address = by_address(
    together, lambda scalar: (scalar, tasks_type(scalar), types.intp), lazy=True
)


@compiled(internal=True)
def scratch_bytes(one, tasks, threads):
    """Return the bytes of scratch that threads need for several products."""
    nbytes = 0
    for task in tasks:
        nbytes += sums_bytes(one, task, threads)
    return nbytes


@compiled(internal=True)
def run_shares(one, tasks, t, threads, scratch):
    """Compute share t of each of several products."""
    for task in tasks:
        nbytes = sums_bytes(one, task, threads)
        if task.I > 0:
            run_share(one, task, t, threads, scratch if nbytes > 0 else 0)
        scratch += nbytes


@compiled(internal=True)
def end_shares(one, tasks, threads, scratch):
    """End several products when all shares are there."""
    for task in tasks:
        nbytes = sums_bytes(one, task, threads)
        if nbytes > 0:
            add_blocks(one, task, threads, scratch)
        scratch += nbytes


@compiled(internal=True)
def run_share(one, task, t, threads, sums):
    """Compute share t of a product: some blocks of the sum, if there is scratch for ``sums``.

    Otherwise a cell of C, whose columns must be adjacent for `product`: a C that is strided both
    ways, or to whose adjacent rows a bias or h is still to come, is taken column by column.
    """
    item = itemsize(one)
    task = upright(item, task)
    if sums != 0:
        run_blocks(one, task, t, threads, sums)
        return
    if threads == 1 and (task.C.col == item or task.J == 1):
        run_product(one, task)
        return
    i, j, rows, columns = cell(t, threads, task.I, task.J, task.K, VECTOR_BYTES // item)
    if task.C.col == item or columns == 1:
        run_product(one, part(item, task, i, j, rows, columns))
    else:
        for c in range(j, j + columns):
            run_product(one, part(item, task, i, c, rows, 1))
