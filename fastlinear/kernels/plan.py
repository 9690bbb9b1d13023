"""How a product reads its operands: chosen by shape and memory layout.

Each size has its reason in `sizes`. No choice changes a bit of the result.
"""

from __future__ import annotations

from typing import NamedTuple

from fastlinear.kernels import sizes
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.packing import FORM_A, FORM_B, are_rows_brought

ABREAST, BLOCK, (_, LOW, _) = sizes.ABREAST, sizes.BLOCK, sizes.ROWS
CROWDING_BYTES, END_TO_END_BYTES = sizes.CROWDING_BYTES, sizes.END_TO_END_BYTES
FETCHED_BYTES, FORMED_BLOCKS = sizes.FETCHED_BYTES, sizes.FORMED_BLOCKS
GATHERED_TERMS, GROUP_BYTES = sizes.GATHERED_TERMS, sizes.GROUP_BYTES
IN_PLACE_TERMS, PANEL_BYTES = sizes.IN_PLACE_TERMS, sizes.VECTORS * sizes.VECTOR_BYTES
RESIDENT_BYTES, ROWS_OF_A_BYTES = sizes.RESIDENT_BYTES, sizes.ROWS_OF_A_BYTES
STREAM_BYTES, STREAM_ROWS = sizes.STREAM_BYTES, sizes.STREAM_ROWS
ROW_STEPS, STREAM_STEPS = sizes.ROW_STEPS, sizes.STREAM_STEPS
STRIP_AREA, STRIP_BYTES = sizes.STRIP_AREA, sizes.STRIP_BYTES
STRIPS_OF_ROWS, TRANSPOSED_ROWS = sizes.STRIPS_OF_ROWS, sizes.TRANSPOSED_ROWS


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
    """Whether rows of A come to scratch: to be formed, or because they or terms lie far apart."""
    block: int
    """Terms of the sum that are taken together: one block, or several, abreast or end to end."""
    fetch: bool
    """Whether B is larger than what caches keep of it, so that asking for it early pays."""


@compiled
def planned(item, I, J, K, A, B, formed):
    """Return the plan for C (I, J) = A B of K terms, ``item`` bytes an element.

    ``formed`` tells which operand is formed on its way, see `packing.Fused`.
    """
    direct = B.col == item or J == 1
    terms = min(K, BLOCK) if I > STREAM_ROWS else K
    resident = terms * J * item <= (
        RESIDENT_BYTES if I <= LOW or I > STREAM_ROWS else 2 * RESIDENT_BYTES
    )
    if direct:
        in_place = resident and I * min(K, BLOCK) <= IN_PLACE_TERMS
        copied = formed == FORM_B or (I > STREAM_ROWS and not in_place)
    else:
        copied = I > TRANSPOSED_ROWS or B.row != item
    streamed = direct and not copied and not resident
    in_registers = not direct and not copied
    apart = K * J * item > END_TO_END_BYTES or B.col % CROWDING_BYTES == 0
    abreast = in_registers and apart and I == 1 and K >= ABREAST * BLOCK and A.col == item
    block = BLOCK
    if abreast:  # from end to end, as memory lies, unless A's row must be formed in scratch
        block = FORMED_BLOCKS * BLOCK if formed == FORM_A else K
    span = STREAM_BYTES // I // STRIP_BYTES * STRIP_BYTES if streamed else STRIP_BYTES
    if copied:
        span = min(span, STRIP_AREA // max(1, min(K, BLOCK)) // PANEL_BYTES * PANEL_BYTES)
    bring_a = formed == FORM_A or are_rows_brought(item, I, J, K, A)
    rows, columns = I, span // item
    if bring_a:
        rows = min(I, (ROWS_OF_A_BYTES if K > GATHERED_TERMS else GROUP_BYTES) // item)
        columns *= STRIPS_OF_ROWS
    steps = ROW_STEPS if I == 1 else STREAM_STEPS
    chunk = steps if streamed else BLOCK
    fetch = K * J * item > FETCHED_BYTES
    return Plan(rows, columns, span // item, chunk, direct, copied, bring_a, block, fetch)
