"""How a product reads its operands: chosen by shape and memory layout.

Each size has its reason in `sizes`. No choice changes a bit of the result.
"""

from __future__ import annotations

from typing import NamedTuple

from fastlinear.kernels import sizes
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import up_to
from fastlinear.kernels.packing import FORM_A, FORM_B, FORWARD, are_lanes_crowded, are_rows_brought
from fastlinear.kernels.tile import LINE_BYTES

ABREAST, ABREAST_ROWS = sizes.ABREAST, sizes.ABREAST_ROWS
ABREAST_BYTES, ABREAST_TERMS = sizes.ABREAST_BYTES, sizes.ABREAST_TERMS
BLOCK, (TALL, _, LOW, _) = sizes.BLOCK, sizes.ROWS
COPIED_BYTES = sizes.COPIED_BYTES
FAR_BYTES, FAR_ROWS, FORMED_BLOCKS = sizes.FAR_BYTES, sizes.FAR_ROWS, sizes.FORMED_BLOCKS
IN_PLACE_TERMS, PANEL_BYTES = sizes.IN_PLACE_TERMS, sizes.VECTORS * sizes.VECTOR_BYTES
LED_BYTES, LED_ROWS = sizes.LED_BYTES, sizes.LED_ROWS
LONG_FINISHED_BYTES, LONG_STRIP_BYTES = sizes.LONG_FINISHED_BYTES, sizes.LONG_STRIP_BYTES
FAR_RESULT_BYTES, L2_BYTES = sizes.FAR_RESULT_BYTES, sizes.L2_BYTES
HALVED_ROWS, PARTED_BYTES, PARTED_ROWS = sizes.HALVED_ROWS, sizes.PARTED_BYTES, sizes.PARTED_ROWS
PAGED_BYTES, PAGED_ROWS = sizes.PAGED_BYTES, sizes.PAGED_ROWS
PASSED_BYTES, RESIDENT_BYTES = sizes.PASSED_BYTES, sizes.RESIDENT_BYTES
ROWS_OF_A_BYTES = sizes.ROWS_OF_A_BYTES
SETTLED_BYTES, SETTLED_ROWS = sizes.SETTLED_BYTES, sizes.SETTLED_ROWS
STRADDLED_BYTES, STRADDLED_ROWS = sizes.STRADDLED_BYTES, sizes.STRADDLED_ROWS
MORE_STREAM_STEPS, PAIRED_ROWS = sizes.MORE_STREAM_STEPS, sizes.PAIRED_ROWS
STREAM_BYTES, STREAM_ROWS, STREAM_STEPS = sizes.STREAM_BYTES, sizes.STREAM_ROWS, sizes.STREAM_STEPS
STRIP_AREA, STRIP_BYTES = sizes.STRIP_AREA, sizes.STRIP_BYTES
DISTANT_ROWS, STRIPS_OF_ROWS = sizes.DISTANT_ROWS, sizes.STRIPS_OF_ROWS
VECTOR_BYTES = sizes.VECTOR_BYTES


class Plan(NamedTuple):
    """How a product reads its operands."""

    rows: int
    """Rows of A that are taken together."""
    columns: int
    """Columns of B that are taken together: the rows of A are brought once for all of them."""
    span: int
    """Columns of a strip of B."""
    chunk: int
    """Terms that one pass over a strip takes; fewer than a block's are copied at a time, too."""
    direct: bool
    """Whether B's columns are adjacent."""
    copied: int
    """Columns of B, one strip or some, copied to scratch at a time, in panels of a tile's width;
    0 where B is read as it stands."""
    bring_a: bool
    """Whether rows of A come to scratch: to be formed, or because they or terms lie far apart."""
    block: int
    """Terms of the sum that are taken together: one block, or several, abreast or in turns."""
    far: bool
    """Whether B is larger than what caches keep of it, and so comes from memory."""
    abreast: bool
    """Whether a few sums take two blocks at once, see `abreast`."""
    past: bool
    """Whether the result goes to memory past the caches."""


@compiled
def planned(item, I, J, K, A, B, C, formed):
    """Return the plan for C (I, J) = A B of K terms, ``item`` bytes an element.

    ``formed`` tells which operand is formed on its way, see `packing.Fused`.
    """
    direct = B.col == item or J == 1
    far = K * J * item > FAR_BYTES
    bring_a = formed == FORM_A or are_rows_brought(item, I, J, K, A)
    if direct and are_sums_few(item, I, J, K, B) and formed != FORM_B and not bring_a:
        both = ABREAST * BLOCK
        return Plan(
            rows=I,
            columns=J,
            span=J,
            chunk=both,
            direct=True,
            copied=0,
            bring_a=False,
            block=both,
            far=far,
            abreast=True,
            past=False,
        )
    terms = min(K, BLOCK) if I > STREAM_ROWS else K
    resident = terms * J * item <= resident_bytes(I)
    if direct:
        in_place = resident and is_read_in_place(item, I, J, min(K, BLOCK), B)
        few = FAR_ROWS if far else STREAM_ROWS
        copies = formed == FORM_B or (few < I and not in_place)
    else:
        copies = I > DISTANT_ROWS or B.row != item or A.col != item
    in_registers = not direct and not copies
    apart = K * J * item > ABREAST_BYTES or are_lanes_crowded(B)
    block = BLOCK
    if in_registers and apart and I == 1 and K >= ABREAST_TERMS:
        # from end to end, as memory lies, unless A's row must be formed in scratch
        block = FORMED_BLOCKS * BLOCK if formed == FORM_A else K
    span, chunk = strip(item, I, J, K, B, formed, copies, resident)
    together = max(1, COPIED_BYTES // span) if direct and formed != FORM_B else 1
    copied = together * span // item if copies else 0
    rows, columns = I, max(span // item, copied)
    if bring_a:
        rows = min(I, ROWS_OF_A_BYTES // item // TALL * TALL)
        columns = STRIPS_OF_ROWS * span // item
    return Plan(
        rows=rows,
        columns=columns,
        span=span // item,
        chunk=chunk,
        direct=direct,
        copied=copied,
        bring_a=bring_a,
        block=block,
        far=far,
        abreast=False,
        past=is_result_far(item, I, J, K, formed) and are_lines_whole(C),
    )


@compiled
def are_sums_few(item, I, J, K, B):
    """Return whether there are so few sums, each of so many terms, that two blocks go abreast.

    One column of some rows is turned round; one row does so where lanes lie apart, too.
    """
    few = J * item <= VECTOR_BYTES and I <= ABREAST_ROWS and I != TALL and K >= ABREAST * BLOCK
    return few and (I == 1 or (J > 1 and B.col == item))


@compiled
def strip(item, I, J, K, B, formed, copies, resident):
    """Return how many bytes wide a strip of B is, and how many terms one pass over it takes."""
    direct, far = B.col == item or J == 1, K * J * item > FAR_BYTES
    if direct and not copies and not resident:
        steps = STREAM_STEPS if I < PAIRED_ROWS else MORE_STREAM_STEPS
        return STREAM_BYTES // I // STRIP_BYTES * STRIP_BYTES, steps
    most = PARTED_ROWS if not far else 0 if are_lanes_crowded(B) else HALVED_ROWS
    if copies and not direct and most >= I and 2 * K * STRIP_BYTES > PARTED_BYTES:
        return PANEL_BYTES, parted_terms(item, I, J)
    if copies and not resident and are_rows_paged(item, I, J, B) and formed != FORM_B:
        return PAGED_BYTES, STRIP_AREA // PAGED_BYTES
    area = STRIP_AREA // max(1, min(K, BLOCK)) // PANEL_BYTES * PANEL_BYTES
    whole = formed != FORWARD or J * item <= min(area, LONG_FINISHED_BYTES)
    longest = LONG_STRIP_BYTES if whole and I * J * item > L2_BYTES else STRIP_BYTES
    return min(longest, area if copies else max(area, STRIP_BYTES)), BLOCK


@compiled
def are_rows_paged(item, I, J, B):
    """Return whether a copy of B reads a page of each row, since its rows crowd sets of a cache."""
    wide = B.col == item and J * item >= PAGED_BYTES
    return wide and B.row % (PAGED_BYTES // 2) == 0 and I <= PAGED_ROWS


@compiled
def parted_terms(item, I, J):
    """Return how many terms of a B are transposed at a time, for the few rows that then use it."""
    panel = min(PANEL_BYTES, up_to(J * item, VECTOR_BYTES))
    nbytes = PARTED_BYTES // 2 if I <= HALVED_ROWS else PARTED_BYTES
    line = LINE_BYTES // item
    return min(BLOCK, nbytes // panel // line * line)


@compiled
def resident_bytes(I):
    """Return how large a B stays in the L2 cache while I rows go by."""
    if I <= STREAM_ROWS:
        return PASSED_BYTES if I > LOW else PASSED_BYTES // 2
    return RESIDENT_BYTES if I <= SETTLED_ROWS else SETTLED_BYTES


@compiled
def leading_columns(item, I, J, K, B, C, formed):
    """Return how many columns are left to themselves, so that the others begin at a cache line.

    0 where no vector of B straddles two, where all do whatever the beginning, and where it costs
    more than it saves. Of a result that goes past the caches its own columns.
    """
    if is_result_far(item, I, J, K, formed):
        whole = C.row % LINE_BYTES == 0 and C.data % item == 0
        return -C.data % LINE_BYTES // item if whole else 0
    lead = -B.data % LINE_BYTES // item
    whole = B.col == item and B.row % LINE_BYTES == 0 and B.data % item == 0
    few = I <= STREAM_ROWS
    wide = J * item >= (LED_BYTES if few else 2 * LED_BYTES)
    if lead == 0 or not whole or formed == FORM_B or not wide or I >= LED_ROWS:
        return 0
    nbytes = (K if few else min(K, BLOCK)) * J * item
    return lead if STRADDLED_BYTES < nbytes <= PASSED_BYTES else 0


@compiled
def is_read_in_place(item, I, J, terms, B):
    """Return whether copying a B that is in the L2 cache would cost more than it saves."""
    if are_lines_whole(B):
        return I * terms <= 2 * IN_PLACE_TERMS
    spread = abs(B.row) >= 2 * min(J * item, STRIP_BYTES)  # over so many more pages
    rows = STRADDLED_ROWS // 2 if spread else STRADDLED_ROWS
    straddling = rows <= I and terms * J * item > STRADDLED_BYTES
    return I * terms <= IN_PLACE_TERMS and not straddling


@compiled
def is_result_far(item, I, J, K, formed):
    """Return whether the sums are more than caches keep, each of one block, and not h's to take."""
    return I * J * item >= FAR_RESULT_BYTES and I > STREAM_ROWS and K <= BLOCK and formed != FORWARD


@compiled
def are_lines_whole(B):
    """Return whether each row of B, and so each of its panels, begins at a cache line."""
    return B.data % LINE_BYTES == 0 and B.row % LINE_BYTES == 0
