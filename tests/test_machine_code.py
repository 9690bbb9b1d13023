"""The machine code of the inner loops, without a clock: full vectors, fma, nothing spilled."""

import re

import numpy as np
import pytest
from llvmlite import binding
from numba import from_dtype, types
from shapes import DTYPES

from fastlinear.kernels import elementwise, sizes
from fastlinear.kernels.activations import PAIRS
from fastlinear.kernels.distant import DISTANT_KERNELS
from fastlinear.kernels.tile import LINE_BYTES
from fastlinear.profile import assembly, peak
from fastlinear.profile.assembly import innermost_loops

pytestmark = [
    pytest.mark.skipif(not assembly.READABLE, reason="the listing of x86-64 only can be read"),
    pytest.mark.skipif(
        not binding.get_host_cpu_features().get("fma"), reason="this CPU has no fma instruction"
    ),
]
NAMES = [dtype.__name__ for dtype in DTYPES]


@pytest.fixture(scope="module", params=NAMES)
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def code(dtype):
    """All innermost loops of the product: Y, dW, db and dX are the same code."""
    return assembly.product_code("product", dtype)


@pytest.fixture(scope="module")
def loops(code):
    """Those that multiply and add; all of them belong to a tile."""
    return [loop for loop in code if loop.fma]


WIDTHS = {sizes.VECTOR_BYTES, sizes.TRANSPOSED_VECTOR_BYTES}


def test_every_loop_multiplies_and_adds_whole_vectors(loops):
    for loop in loops:
        assert len(loop.fma) == 1, loop.lines
        assert set(loop.fma) <= WIDTHS, loop.lines
    assert {width for loop in loops for width in loop.fma} == WIDTHS


UNROLLED_TURNS = 0 if sizes.BLOCKS_IN_TURNS else 2 * sizes.TURN_VECTORS * LINE_BYTES // 4
"""Multiply-adds of two tiles in turns, a cache line of float32 terms each, where they are unrolled.

LLVM reads far ahead in so long a loop, and lays some vectors down meanwhile. As a loop over groups
of terms it lays down none, and takes 1.3 times as long.
"""


CROWDED = 12 * LINE_BYTES // 4
"""Multiply-adds of twelve rows with a cache line of transposed float32: from so many rows on, some
of its 16 vectors are laid down, and it takes 0.8 to 0.9 of the time of transposing to scratch."""


def test_no_loop_moves_a_vector_to_or_from_the_stack_or_writes_memory(loops):
    for loop in loops:
        most = loop.fma.total() // 4 if loop.fma.total() == UNROLLED_TURNS else 0
        if loop.fma.total() >= CROWDED:
            most = loop.fma.total() // 16
        assert len(loop.spills) <= most, loop.lines
        assert not loop.stores, loop.lines
        assert not loop.calls, loop.lines


def test_every_sum_is_part_of_a_kernel_that_is_called_by_address(loops):
    """A function called by symbol runs as it was first compiled, in whatever library: 25 % slower.

    So it was in the process that had compiled it, and not where it came from the disk cache.
    """
    kernels = {"slender_product", "tall_product", "low_product"}
    kernels |= {"distant_row_product", *(kernel.__name__ for kernel in DISTANT_KERNELS)}
    assert {loop.function for loop in loops} == kernels


def test_no_loop_multiplies_without_adding(code):
    """A loop that lost its fma would not be among ``loops``."""
    assert [line for loop in code for line in loop.lines if re.match(r"v?mul[ps][sd]", line)] == []


def test_copying_moves_no_vector_to_or_from_the_stack(code):
    copying = [loop for loop in code if not loop.fma and not loop.calls]
    assert {max(loop.packed, default=0) for loop in copying} >= WIDTHS  # 0: a single column
    for loop in copying:
        assert not loop.spills, loop.lines


def sums_in_registers(kernel, dtype):
    """Return the loops of a kernel that multiply and add, whole vectors, and spill none."""
    loops = [loop for loop in assembly.product_code(kernel, dtype) if loop.fma]
    for loop in loops:
        assert set(loop.fma) == {sizes.VECTOR_BYTES}, loop.lines
        assert not loop.spills, loop.lines
        assert not loop.calls, loop.lines
    return loops


def test_one_row_against_streamed_lanes(dtype):
    """All sums of a tile stay in registers during a pass, which is unrolled where they are many."""
    loops = sums_in_registers("streamed", dtype)
    sums = sizes.STREAM_VECTORS
    if sizes.REGISTERS == 32:
        assert max(loop.fma[sizes.VECTOR_BYTES] for loop in loops) >= sizes.STREAM_STEPS * sums
    else:
        assert (sums, 0) in {(loop.sums, loop.stores) for loop in loops}


def test_few_sums_of_two_blocks_abreast(dtype):
    """Each term loads a vector for each block and a number for each sum, all in registers."""
    loops = sums_in_registers("abreast", dtype)
    assert not any(loop.stores for loop in loops)
    for rows in sizes.ABREAST_HEIGHTS:
        sums = sizes.ABREAST * rows
        loads = sizes.ABREAST + sums
        assert (sums, loads) in {(loop.sums, loop.loads / loop.steps) for loop in loops}


@pytest.mark.parametrize(("rows", "vectors"), [*zip(sizes.ROWS, sizes.WIDTHS, strict=True)])
def test_whole_tiles_load_each_operand_once_and_stay_in_registers(loops, rows, vectors):
    """Each step of a tile reads a vector for each column of vectors and a number for each row.

    Eight vectors in four panels have more addresses than there are registers: one may be reloaded.
    """
    reloaded = 1 if vectors > 2 * sizes.VECTORS else 0
    of_this_size = [
        loop
        for loop in loops
        if set(loop.fma) == {sizes.VECTOR_BYTES} and loop.sums == rows * vectors
    ]
    assert of_this_size
    loads = {loop.loads / loop.steps for loop in of_this_size if len(loop.stack) <= reloaded}
    assert rows + vectors in loads


def test_two_tall_tiles_of_one_vector_share_what_they_load(loops):
    found = [loop for loop in loops if loop.sums == sizes.PAIRED_ROWS and loop.steps == 1]
    assert sizes.PAIRED_ROWS + 1 in {loop.loads for loop in found if not loop.stack}


@pytest.mark.parametrize("derivative", [False, True], ids=["h", "h'"])
@pytest.mark.parametrize("name", PAIRS)
def test_activations_are_vectorised(name, derivative, dtype):
    """Several vectors at a time, past the caches too, and one. One puts nothing aside on the stack.

    What is put there lies whole in cache lines, whatever the process's stack: moves are aligned.
    Several may have more values than there are registers: GELU, a sixth of whose instructions then
    move vectors to the stack and back, still takes 20 cycles a vector for 27.
    """
    if derivative:
        kernel, matrices = elementwise.hadamard_kernel(PAIRS[name].h_prime), 3
    else:
        kernel, matrices = elementwise.map_kernel(PAIRS[name].h), 2
    found = assembly.elementwise_loops(kernel, matrices, dtype)
    widest = [loop for loop in found if loop.stored == sizes.VECTOR_BYTES]
    for loop in widest:
        assert loop.function == "kernel"
        assert (loop.calls, loop.fma[0]) == (0, 0), loop.lines
    assert sizes.INTERLEAVED in {loop.stores for loop in widest if not loop.past_caches}
    far = [loop for loop in widest if loop.past_caches == loop.stores]
    assert sizes.INTERLEAVED in {loop.stores for loop in far}
    operand_lines = sizes.INTERLEAVED * sizes.VECTOR_BYTES // LINE_BYTES
    assert {loop.fetches for loop in far} == {(matrices - 1) * operand_lines}
    put_aside = [[line for line in loop.spills if line.endswith(")")] for loop in widest]
    assert [] in put_aside
    assert not [line for lines in put_aside for line in lines if re.match("vmov(up|dqu)", line)]


def test_the_peak_is_measured_on_nothing_but_fma(dtype):
    text = assembly.listing(peak.chains, (from_dtype(np.dtype(dtype))[::1], types.intp))
    found = [loop for loop in innermost_loops(text) if loop.fma]
    assert found
    for loop in found:
        count = loop.fma[sizes.VECTOR_BYTES]
        assert count == sum(loop.fma.values())
        assert count % peak.CHAINS == 0
        assert loop.loads == loop.stores == 0
        assert len(loop.lines) <= count + 4  # counting, comparing, jumping


# ---- the reader itself, on listings with what it is to find --------------------------------------

GOOD = """
_ZN10fastlinear7kernels7product12tile_productB3v25B70abcExxx:
	.cfi_startproc
	testq	%rdx, %rdx
	je	.LBB1_3
.LBB1_2:
	vmovups	(%rsi), %ymm0
	vfmadd231ps	(%rdi){1to8}, %ymm0, %ymm1
	vbroadcastss	(%rdi,%rax), %ymm3
	vfmadd231ps	%ymm0, %ymm3, %ymm2
	addq	$4, %rdi
	decq	%rdx
	jne	.LBB1_2
.LBB1_3:
	vmovups	%ymm1, (%rcx)
	retq
"""


def read(text):
    (loop,) = innermost_loops(text)
    return loop


def test_reads_a_clean_loop():
    loop = read(GOOD)
    assert loop.function == "tile_product"
    assert (dict(loop.fma), loop.sums, loop.steps) == ({32: 2}, 2, 1)
    assert (loop.loads, loop.stores, loop.stack, loop.calls) == (3, 0, (), 0)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("vmovups	%ymm4, 32(%rsp)", {"spills": 1, "stack": 1}),
        ("vmovups	32(%rsp), %ymm4", {"spills": 1, "stack": 1}),
        ("movq	8(%rsp), %rax", {"stack": 1}),
        ("addq	$1, 8(%rsp)", {"stack": 1}),
        ("vmovups	%zmm4, (%rcx) {%k1}", {"stores": 1}),
        ("leaq	8(%rsp), %rax", {"stack": 1}),
        ("addq	$1, 8(%rcx)", {"loads": 4, "stores": 1}),
        ("callq	*%rax", {"calls": 1}),
        ("cmpq	%rax, (%rcx)", {"loads": 4}),
        ("vfmadd231ss	%xmm0, %xmm1, %xmm2", {"fma": {32: 2, 0: 1}}),
        ("vfmadd231ps	%xmm0, %xmm1, %xmm2", {"fma": {32: 2, 16: 1}}),
    ],
)
def test_reads_a_loop_that_went_wrong(line, change):
    loop = read(GOOD.replace("	decq	%rdx", f"	{line}\n	decq	%rdx"))
    counts = {"loads": 3, "stores": 0, "spills": 0, "stack": 0, "calls": 0, **change}
    counts.pop("fma", None)
    assert dict(loop.fma) == change.get("fma", {32: 2})
    for name, expected in counts.items():
        value = getattr(loop, name)
        assert (value if isinstance(value, int) else len(value)) == expected, name


def test_a_frame_pointer_reaches_the_stack_too():
    text = GOOD.replace("	testq", "	movq	%rsp, %rbp\n	testq").replace(
        "(%rdi,%rax)", "(%rbp,%rax)"
    )
    assert len(read(text).spills) == 1
    assert not read(text.replace("	movq	%rsp, %rbp\n", "")).spills


def test_outer_loops_are_left_out():
    text = GOOD.replace("	retq", "	decq	%r8\n	jne	.LBB1_1\n	retq")
    assert read(text.replace("	testq", ".LBB1_1:\n	testq")) == read(GOOD)


def test_a_jump_back_is_no_loop_if_there_is_another_way_in():
    """LLVM lays out blocks as it likes: one that stands earlier need not come earlier."""
    text = GOOD.replace("jne	.LBB1_2", "jmp	.LBB1_3").replace(
        "	retq", "	retq\n.LBB1_4:\n	jmp	.LBB1_2"
    )
    text = text.replace("je	.LBB1_3", "je	.LBB1_4")
    assert not list(innermost_loops(text))


def test_a_loop_may_have_branches_and_a_latch_that_stands_elsewhere():
    latch = (
        ".LBB1_5:\n	addq	$4, %rdi\n	decq	%rdx\n	jne	.LBB1_2\n	jmp	.LBB1_3\n"
    )
    text = GOOD.replace(
        "	addq	$4, %rdi\n	decq	%rdx\n	jne	.LBB1_2", "	jmp	.LBB1_5"
    )
    loop = read(text + latch)
    assert (dict(loop.fma), loop.loads) == ({32: 2}, 3)
    assert "decq %rdx" in loop.lines
    assert "retq" not in loop.lines
