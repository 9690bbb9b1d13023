"""What the machine has, and every size the kernels choose for it, each with its reason."""

from __future__ import annotations

import platform

from numba.core.registry import cpu_target

CPU_FEATURES = cpu_target.target_context.codegen()._get_host_cpu_features().split(",")
"""What the CPU that is compiled for can do, in LLVM's words: "+avx2" and the like."""

CPU_NAME = cpu_target.target_context.codegen()._get_host_cpu_name()
"""LLVM's name of that CPU."""


def _core_name() -> str:
    """Return the name of the core, which that of a virtual machine's CPU need not be."""
    amd = CPU_NAME.startswith("znver")
    return "sapphirerapids" if "+avx512fp16" in CPU_FEATURES and not amd else CPU_NAME


CORE_NAME = _core_name()
"""LLVM's name of the core, for which it orders instructions. Sapphire Rapids and its successors are
told by what came with them: one was met under the name of Rocket Lake, as which one row against
lanes that lie apart took 1.05 times as long, and loops laid vectors down on the stack."""


def _vector_registers() -> tuple[int, int]:
    """Return the bytes of one vector register and how many there are, for the CPU compiled for."""
    if "+avx512f" in CPU_FEATURES:
        return 64, 32
    if "+avx" in CPU_FEATURES:
        return 32, 16
    if platform.machine().lower() in ("arm64", "aarch64"):
        return 16, 32
    return 16, 16  # SSE2, and a guess that is right or harmless elsewhere


VECTOR_BYTES = _vector_registers()[0]
"""Bytes of a vector register."""

REGISTERS = _vector_registers()[1]
"""How many of them there are."""

HALF_RATE = CORE_NAME == "znver4"
"""Whether 64-byte vectors are computed by halves: one fma in a cycle, not two."""

FMA_UNITS = 1 if HALF_RATE else 2
"""Vectors that a core multiplies and adds in a cycle."""


def _l2_bytes() -> int:
    """Return the size of one core's L2 cache, as far as its name tells it."""
    if CORE_NAME == "sapphirerapids":
        return 2**21
    return 2**20 if VECTOR_BYTES == 64 else 2**19


L2_BYTES = _l2_bytes()
"""The L2 cache of one core: 2 MiB from Sapphire Rapids on, otherwise 1 MiB and more beside 64-byte
vectors (Skylake-SP, Zen 4), 512 KiB on Zen 1 to 3. Some desktop cores have half of that."""

BLOCK = 512
"""Terms in one block of every sum. Part of the numerical contract: the same for every dtype and
machine, never tuned per machine. 512 rows of a 1 KiB wide strip of B are half of a 1 MiB L2, and
512 steps are enough to hide reading and writing the register tile once."""

INTERLEAVED = 4
"""Vectors that a loop over h or h' takes at once. On Zen 3 tanh takes 13 cycles for each; 15 with 2
at once, 19 with 1, exact GELU 20, 22 and 27. In float64 some values are spilled, and it still pays:
SiLU 19 cycles, 23 with 2 and 31 with 1."""

LONG_BYTES = 2048
"""Rows from which such a loop begins with a run that lets the result's vectors lie whole in cache
lines; NumPy's arrays mostly begin 16 bytes into one. On Zen 3, ReLU of 64 x 64 took 0.64 us, and
takes 0.55, tanh and SiLU of any size 0.94 to 0.98 of the time. X may straddle: 1.01."""

ROWS = (6, 4, 2, 1)
"""Heights of the register tile (MR), tallest first. 6 rows of the widest tile leave a quarter of
the registers for the operand and the broadcast; 12 x 2 made LLVM spill, 8 x 3 was no faster. The
lower ones are for what is left over, in a kernel of their own: with all of them in one, loops
reload an address from the stack. Four rows in one pass take half of what two by two read of B: on
Emerald Rapids, Y of (4, 512, 512) took 25 us, and takes 19.6, dW of (146, 4, 721) 17.5 and 10."""

PAIRED_ROWS = 2 * ROWS[0]
"""Rows of two tall tiles, which go together where they are one vector wide, as fewer rows go in two
that overlap: see `slender`."""

ROWS_OF_A_BYTES = 4096
"""Rows of A that are brought to scratch together, where they have to be formed from dA and h'(V) or
their terms lie far apart, as the bytes of one term for all of them: 2 MiB for a block, a core's
share of the L3 cache. Those whose terms lie far apart go to panels, the rows of a tall tile term by
term: transposed to rows instead, dW of (32, 1024, 1024) took 780 us, and takes 745."""

STRIPS_OF_ROWS = 16
"""Strips of B for which these rows are brought once. For each strip anew, dW of 2048 features in
float64 spent 18 % of its time bringing them, with 8 strips 4 %."""

GROUP_BYTES = 512
"""Rows that are brought to panels at a time, as the bytes of one term, less what does not fill a
panel: runs of eight cache lines. Runs of 1 or 4 KiB made no difference that could be measured."""

NEAR_BYTES = 32 * 1024
"""Terms that all lie within so many bytes are read where they are: no two of them crowd a set of
the L1 cache. Brought, dW of (37, 211, 53) into Fortran order took 10.8 us, and takes 10.2. Others
are brought where they lie further apart than APART_BYTES."""

GATHERED_TERMS = 64
"""Terms of a group of rows that are formed, if they are to be, before they go to panels: with
64-byte vectors 36 KiB."""

GATHERED_BYTES = GROUP_BYTES + VECTOR_BYTES
"""Bytes from one of these terms to the next: a power of two would crowd a few sets of the L1."""

SHORT_BYTES = 256
"""Rows shorter than this lie in scratch without gaps: h and h' take them as one long row, where one
by one they would be computed without vectors. At (1000, 54, 7), backward with ReLU took 44 us, and
takes 33."""

FINISHED_BYTES = 1536
"""Finished sums in scratch that h takes at once, or a few rows more: six rows of 256 bytes. After
each row of tiles, of few columns, forward at (1000, 54, 7) took 48 us with GELU, and takes 39; with
tanh at (1000, 54, 24) 44, and takes 39. With a third more (4096, 256, 64) took 1.04 of the time."""

STRIP_BYTES = 1024
"""Width of the strip of B that is taken at a time (NC), or less where it is copied and a block of
it would take more than STRIP_AREA."""

LONG_STRIP_BYTES = 16 * 1024
"""The same where the result is larger than the L2 cache and terms are so few that a block of it
takes no more than STRIP_AREA: rows of the result are written in longer runs, which come in whole
lines without being read first. On Granite Rapids, dW of (1, 4096, 4096) took 10.7 ms, and takes
5.6, of (8, 1024, 1024) 346 us, and takes 248; with 4 KiB 1.05 to 1.2 times as long where lines are
straddled, with 64 KiB no less. A smaller result wants B in the L1 cache: 1.08 times as long at
(164, 17, 1063). Not measured with 32-byte vectors."""

LONG_FINISHED_BYTES = 4096
"""Rows up to which that is so where h takes finished ones from scratch: whole rows, which should
stay in the L1 cache until then. ReLU of (16384, 16, 1024) takes 0.6 of the time, GELU 0.52, (3000,
20, 300) 0.91 and 0.99; wider rows, and parts of them, up to 1.1 times as long."""

STREAM_STEPS = 8
"""Rows of B that one pass over a strip takes when B is read where it stands: enough to make the
partial sums' way through the cache cheap, few enough streams for the prefetcher."""

MORE_STREAM_STEPS = 32 if VECTOR_BYTES == 64 else STREAM_STEPS
"""The same for PAIRED_ROWS and more, which pay more for their partial sums than they wait for B. On
Granite Rapids, dX of (16, 3000, 3000) takes 0.93 of the time, of (16, 1024, 1024) 0.93, of (12,
4096, 4096) 0.95; with 16 steps 0.94 to 0.97; of 8 rows 0.94 to 1.05, of 9 0.96 to 1.1. Not measured
with 32-byte vectors."""

STREAM_VECTORS = 4
"""Vectors of a tile of one row that is streamed: with so many rows of B, 32 fma on their way. With
8 vectors and 4 rows, (1, 3000, 3000) took 1.35 times as long on Zen 3, (1, 4096, 4096) 1.1; with 2
vectors and 8 rows 1.05. On Zen 4, with 16 rows, (1, 512, 512) took 18.5 us, and takes 16.6."""

DISTANT_VECTOR_BYTES = 64 if VECTOR_BYTES == 64 and FMA_UNITS == 2 else min(VECTOR_BYTES, 32)
"""Vector width of a tile that transposes what it loads of a B whose lanes lie apart. Two 16-byte
loads fill a 32-byte register, two of 32 bytes a 64-byte one, without a shuffle of whole vectors;
but for those each element takes a shuffle more, and Zen 4 shuffles them by halves. On Emerald
Rapids, Y of (1, 512, 512) in C order takes 0.9 to 0.96 of the time with 64 bytes, most where
another thread takes half of the core, of (1, 1024, 1024) 0.82 to 0.93."""

DISTANT_VECTORS = 1 if DISTANT_VECTOR_BYTES == 64 else 2
"""Vectors of a tile of two such rows and more."""

DISTANT_BYTES = 64 if DISTANT_VECTOR_BYTES == 64 else 16
"""Bytes of each lane that it takes at once: a cache line, so that it is asked for but once. With 16
registers more than 16 bytes of 16 lanes would be spilled."""

DISTANT_ROWS = 16 if DISTANT_VECTOR_BYTES == 64 else 2
"""Up to this many rows of A, B is transposed in registers on its way into the product; above, once
into scratch. By 16 bytes at once, dX of (4, 4096, 4096) took 9.0 ms in registers and 6.6 by
scratch, (2, 512, 512) 26 and 50 us; by lines, see `distant`: 17 rows and more, some of whose sums
lie in memory meanwhile, took 0.8 to 1.07 of the time of scratch on Granite Rapids."""

NARROW_ROWS = 256
"""Rows that a product with few columns computes together when it is turned round: long enough for
the widest tile. With more columns than these it is not turned round, so that scratch has a limit:
512 KiB, 1 MiB with an activation in float64."""

NARROW_BYTES = 16 * 1024
"""Scratch for sums up to which they may be a multiple of that: it rests in the L1 cache, another
such beside it. dW of (12, 2, 3140) took 10.7 us, and takes 8.6."""

FMA_CYCLES = 4
"""Cycles from an fma to the next one of its chain; 4 on most cores of today, on some 5."""

FAR_BYTES = 12 * 2**20
"""A B larger than this comes from memory rather than a cache."""

ABREAST = 2
"""Blocks of the sum that go side by side, or in turns, where there is one row and lanes lie apart;
the figures are in `distant_row`; and where there are few sums, see `abreast`."""

ABREAST_HEIGHTS = (4, 2, 1)
"""Heights of a tile of such sums, one vector wide: with two blocks, 4 rows are the 8 chains that
two units with an fma's latency of 4 cycles need."""

ABREAST_ROWS = 2 * ROWS[0] - 1
"""Rows of such sums, but for just one tall tile of them: from two of those on, and of one, the
tall tile's own chains are enough."""

CROWDING_BYTES = 4096
"""Lanes a multiple of this apart, 16 of two tiles, would crowd one set of the L1 cache: it keeps 8
lines."""

FORMED_BLOCKS = 8
"""Blocks that go one after another, or abreast, where A is one row that is formed in scratch: 16
KiB of it in float32."""

BRINGING = 3
"""Tenths of a cycle for an element of A that is brought to panels because its rows are adjacent.
With the next three and the cycles of the tiles it decides which way round a product is computed: dW
of (128, 784, 10) took 47 us, and 25 turned round. Fitted on Emerald Rapids to 250 shapes in both
dtypes, each timed both ways round: 0.7 % longer than with the better way for each of them. Not
measured with 32-byte vectors."""

TRANSPOSING = 3
"""Tenths of a cycle for an element of A that, turned round, is transposed into strips of B."""

COPYING = 4
"""Tenths of a cycle for an element of the result that, turned round, is copied from scratch."""

TURNING = 1000
"""Tenths of a cycle for turning round at all: a call and its scratch."""

SHARE_WORK = 7 * 2**19
"""Multiply-adds that repay a thread of its own, times the bytes of an element: some 11 us of work
for one core. A launch costs 3 us on Zen 4, and 10 in a virtual machine of two Granite Rapids cores:
with half of it there, two threads took 1.3 times as long as one at (4, 512, 512) and (64, 128,
128)."""

READING_ROWS = 8
"""What a thread pays for reading a column of B, in rows of the product, and a row of A, in columns.
Without it dX of (1, 512, 512) was not shared: 23 us, where two threads take 15; without the rows of
A, two threads divided dX of (4096, 256, 64) by columns and took 1.3 times as long."""

WRITING = 8
"""What writing an element of the result counts, in multiply-adds. With two threads on Granite
Rapids, backward of (1, 2048, 256) took 178 us by one of them, and takes 85, of (1, 700, 700) 184
and 112; Y of (1000, 2, 500) 77 and 40."""

CUT_VECTORS = 8
"""So many vectors of a row of the result, beyond a thread's own part of it, are written as well, as
far as it is decided how to divide it: Y of (300, 4, 700), which two threads took 41 us for by
columns, takes them 25 by rows, and one 28."""

OVERRUN_BYTES = 1024
"""What prefetchers bring of a row of A or B beyond a thread's own part of it, where the L2 caches
of all threads hold most of it; otherwise a quarter of that counts, of rows so short that lines and
pages are common to both threads. With two threads on Granite Rapids, Y of (1, 1257, 986), 5 MB, in
a layer's memory order took 119 us by columns, and takes 74 by blocks, of (1, 1024, 2048) 160 and
165."""

ADDING = 16
"""What adding an element of a block's sum to those before costs, in multiply-adds: half a cycle,
from another core's cache."""

SUMS_BYTES = 2**22
"""Scratch for the sums of blocks that wait to be added; where there are more, threads take cells of
the result. 64 x 64 sums of float32 have 131000 terms then, or 262000 with two threads."""

READ_NEAR_BYTES = L2_BYTES * 3 // 4
"""A B up to this size stays in the L2 cache of one core."""

NEAR_READING_ROWS = 2
"""What reading a column of such a B counts where it is decided whether to share a product at all.
On Granite Rapids Y of (1, 512, 512) took 15 us with two threads, and takes 9.5 with one; that of
(1, 700, 700), whose B is larger, takes 24 with two, and 34 with one."""

SHARED_ELEMENTS = 2**16
"""Elements from which an element-wise kernel is shared among threads, for the same reason. At so
many, two threads take GELU from 42 to 31 us, the sigmoid from 27 to 29, ReLU from 8 to 10."""

CHUNK_ELEMENTS = 2**14
"""Elements of a loss or an update that a thread takes at a time: enough chunks for an even load."""

GRAIN = 64
"""Elements to which the shares of a single long row are rounded: each begins at a cache line, and
no two threads write to the same one."""

NETWORK_ROW_BYTES = 16 * 1024
"""What rests between two layers when a whole network runs as one function: rows go through together
up to this size, so that it stays in the L1 cache. One row may take more."""

NETWORK_STACK_BYTES = 256 * 1024
"""Scratch up to this size is taken from the stack, some 21800 float32 features in the widest layer
(three buffers); beyond, from the heap. Threads have stacks of 512 KiB and more."""


STACK_BYTES = 64 * 1024
"""Other scratch up to this size is taken from the stack too: allocating takes 0.04 us, four times
in a training step."""

FORMED_BYTES = 16 * 2**20
"""dZ up to this size is formed once for dW, db and dX, by all threads; a larger one each time it is
read, so that scratch has a limit. Of a training step, once saves 10 % at (8, 64, 64), 18 at (1024,
256, 1024), and with two threads half."""

CROWDED_BLOCKS = 1 if DISTANT_VECTOR_BYTES == 64 else ABREAST
"""Blocks of the sum that go together where one row's lanes crowd the L1 cache: one with 64-byte
vectors, whose lanes are 16. On Emerald Rapids, with two that fetched what comes next, (1, 2048,
2048) took 1.28 ms, and takes 0.93; without fetching 1.05 times as long as one by one."""

BLOCKS_IN_TURNS = REGISTERS == 16
"""Whether two blocks of a sum of one row against lanes that lie apart take turns, a cache line of
terms each, because the vectors of two at once would be spilled: at (1, 4096, 4096) 5.1 ms on Zen 3,
3.3 with one. What takes turns, and the figures, are in `distant_row`."""

TURN_VECTORS = 2 if REGISTERS == 32 and DISTANT_VECTOR_BYTES < 64 else 1
"""Vectors of each of two tiles of such a row that take turns, where lanes do not crowd."""

TURN_BYTES = max(16, DISTANT_VECTOR_BYTES // 2)
"""Bytes of each lane that these take at once. A whole line of 64-byte vectors would be spilled
where two tiles take turns, and take 1.15 to 1.3 times as long."""

LAST_VECTORS = 4 * TURN_VECTORS if REGISTERS == 32 else 2
"""Width of a tile of which a half, a quarter or an eighth takes the last lanes of such a row."""

TURN_TERMS = 16 if REGISTERS == 32 else BLOCK + 1
"""Terms from which they do. With 16 registers and one block, 16 lanes at once are faster."""

ABREAST_TERMS = BLOCK + 1 if BLOCKS_IN_TURNS else ABREAST * BLOCK
"""Terms from which blocks do: of more than one, or of two whole ones where they go abreast."""

ABREAST_BYTES = FAR_BYTES if BLOCKS_IN_TURNS else 0
"""In turns only where B is larger than this, or lanes crowd; otherwise 16 lanes at once are faster,
block by block: 105 us at (1, 1000, 1000), for 116."""

FETCHED_TILES = 2 if REGISTERS == 32 and DISTANT_VECTOR_BYTES < 64 else 0
"""How many tiles ahead such a product fetches B: its rows of memory are short runs far apart, which
no prefetcher follows. On Zen 4, at (1, 4096, 4096), 64 MiB, it took 4.5 ms without, and takes 2.7.
On Zen 3 it took half as long again as without."""

EARLY_BYTES = 512 if DISTANT_VECTOR_BYTES == 64 else 0
"""How far ahead a product asks for a far B that is transposed in registers, along each lane: 16
runs of memory are too many for the prefetchers. On Granite Rapids, Y of (1, 4096, 4096) in C order
took 2.67 ms, and takes 2.49, of (1, 10000, 3000) 5.8 and 5.0, of (8, 4096, 4096) 4.6 and 4.0; with
half or twice of that 1.02. At 16 MiB it makes no difference, in the L2 cache 1.07 times as long;
where B is transposed to scratch 1.05. Not measured with 32-byte vectors."""


BYPASS_BYTES = L2_BYTES * 3 // 4 if L2_BYTES == 2**21 else FAR_BYTES
"""A result of h or h' larger than this goes to memory past the caches, which would read what is
about to be overwritten. On Zen 3, 4096 x 4096 take ReLU 0.55 of the time, tanh 0.88, GELU 0.9,
their derivatives' products 0.73 to 0.97. Where L3 is a mesh, about as far as memory, all that L2
cannot hold goes there: on Emerald Rapids 1024 x 1024 take ReLU 0.72 of the time, GELU 0.87, and
with the backward pass, which may read the result back, 2048 x 1024 take 0.8, tanh 0.83."""

FAR_RESULT_BYTES = 2**25
"""So does a product's result from this size on, of one block of terms: more than a core's share of
the L3 cache. On Granite Rapids, dW of (1, 4096, 4096) took 5.4 ms, and takes 3.0, of (8, 4096,
4096) 6.6 and 3.5, of (64, 4096, 4096) 15.9 and 13.8. Half as large, 0.65 of the time where the
result was not in the L3 cache, 1.1 times as long where it was, and would be for who reads it. Not
measured with 32-byte vectors."""

BYPASS_ROW_BYTES = 32 * 1024
"""Rows shorter than this do not: they begin and end in lines that also go through the caches, which
costs 0.4 us a row. On Granite Rapids, ReLU of 2^21 elements in rows of 2 KiB, with gaps between
them, took 2.8 ms, and takes 0.9, GELU 3.1 and 0.9; in rows of 64 KiB, which go past, 0.65 and 0.85.
Without gaps all rows are one."""

AHEAD_BYTES = 4096
"""How far ahead the operands of such a result are fetched to L1: a page, since prefetchers stop at
its end, and the loops are too long for a core to look beyond it by itself. On Emerald Rapids
4096 x 4096 take GELU and ELU 0.7 of the time, sigmoid 0.68, tanh 0.74, ReLU 1.0; with half a page
sigmoid 0.69, tanh 0.79; to L2 0.72 and 0.78, ReLU 0.92."""

STRIP_AREA = min(L2_BYTES, 2**20) // 2
"""Scratch for a strip of B, which stays in the L2 cache. With twice that on Zen 3, two products at
(128, 784, 128) were 4 % slower, and dX of 4096 x 256 x 64, whose strips are short, no faster."""

RESIDENT_BYTES = L2_BYTES // 2
"""A B up to this size is read where it stands without more ado by more than STREAM_ROWS rows: it is
in the L2 cache. The terms of one block count, which stay there meanwhile: with 1 MiB of L2, dW of
(4096, 256, 64) took 1.35 ms copied, and takes 1.22; with 512 KiB, 2.8 in place, and 1.85; with 2
MiB, dX of (24, 512, 512) took 110 us, and takes 76."""

SETTLED_BYTES = min(RESIDENT_BYTES, 2**19)
"""RESIDENT_BYTES for more than SETTLED_ROWS rows: rows of A and of the result push a larger one out
of the cache, whose sets a strip of it fills unevenly. On Emerald Rapids, Y of (256, 512, 512) took
1.47 ms in place, and takes 1.39, of (2048, 512, 512) 11.9 and 11.0; copied, 512 KiB took 1.02 times
as long, and half of that 1.02 to 1.04."""

SETTLED_ROWS = 128
"""The copy takes 1.2 times as long as reading in place at (48, 512, 512), 1.12 at (64, 512, 512),
0.97 at (128, 512, 512) and 1.01 at (128, 480, 480)."""

PASSED_BYTES = min(L2_BYTES, 2**20)
"""RESIDENT_BYTES for fewer rows, 3 to STREAM_ROWS, and all terms: few passes over it, each of them
long. At (16, 256, 256): 21 us; 26 when it was streamed. With twice that, and 2 MiB of L2, (8, 700,
700) took 121 us, and takes 99. Half of it for one row or two."""

PARTED_ROWS = 128 if VECTOR_BYTES == 64 else 0
"""Up to this many rows of A, a B whose lanes lie apart is transposed a panel and PARTED_BYTES at a
time: those stay in the L1 cache, where the few tiles that take them would wait for more. On Emerald
Rapids, dX of (12, 512, 512) took 103 us, and takes 83; 32 to 128 rows take 0.87 to 1 of the time,
256 took 1 to 1.08. Not measured with 32-byte vectors."""

PARTED_BYTES = 32 * 1024
"""Size of such a part. A narrower panel has more terms of it, since each part has its beginning and
its end: with as many as the widest panel, four columns and 2630 terms took 1.15 times as long. A
whole strip that takes no more than half of it, 16 terms, is no part: four terms and 2630 columns
took 1.45 times as long by panels; with 32 terms (8, 30, 700) took 1.1 times as long."""

HALVED_ROWS = 24 if VECTOR_BYTES == 64 else 0
"""Up to this many rows it is half of that: dX of six rows took 0.75 of the time, and 0.82 with all,
when so few went by scratch. More rows of a B from memory want its longer runs: dX of (64, 4096,
4096) took 1.16. So do fewer where lanes crowd the L1 cache: on Granite Rapids, dX of (16, 4096,
4096) took 9.2 ms by parts, and takes 8.2."""

IN_PLACE_TERMS = 2**60 if VECTOR_BYTES == 64 else 24 * 1024
"""Where rows of A times the terms of a block are more than this, even a resident B is copied: where
a panel is a single cache line wide, lines a power of two apart crowd the same few sets of the L1
cache. On Zen 3, dX of (4096, 256, 64) took 1.6 ms in place, and takes 1.4, Y of (64, 784, 128) 170
us, and takes 143; for less the copy would cost more: 7.1 us at (64, 64, 64), for 6.6. Where rows of
B begin at a cache line, as a layer's weights do, a panel straddles none, and twice as much is read
in place: predict at (64, 784, 128) took 142 us copied, and takes 135. Panels of 64-byte vectors are
four lines wide, and crowd nothing."""

STRADDLED_ROWS = (128 if HALF_RATE else 64) if VECTOR_BYTES == 64 else 2**60
"""Rows of A from which a resident B is copied where its rows begin inside a cache line: every
64-byte vector would straddle two, and where they come from L2, two units wait for them. On Emerald
Rapids, dW of (256, 512, 512) took 1090 us in place, and takes 890, of (4096, 256, 64) 1.40 ms, and
takes 1.23. For fewer rows the copy costs more: dW of (374, 60, 60) 24.7 us, and 29.1 copied. Zen 4
has half as many units, and takes 1.22 ms for dW of (4096, 256, 64) in place, 1.35 copied. Half as
many rows where those of B are twice as long as what a strip reads of them, and more: dW of (2551,
52, 781) took 2.6 ms, and takes 2.1, of (423, 60, 1205) 0.85 of the time; with a quarter, 16, up to
1.1."""

STRADDLED_BYTES = 48 * 1024
"""A block of B that is not more than this is in the L1 cache, from which straddling costs little:
(100, 100, 100) takes 16.5 us in place, and 17.5 copied."""

LED_ROWS = 64 if VECTOR_BYTES == 64 else 0
"""Fewer rows of A than this take the columns before a cache line by themselves, where every row of
a B in the L2 cache begins as far inside one: what NumPy allocates mostly begins 16 bytes behind it.
On Emerald Rapids, dX of (1, 256, 256) took 5.3 us, and takes 3.6, of (4, 512, 512) 59, and takes
39, of (32, 512, 512) 143, and takes 115. More rows repay the copy: dW of (256, 512, 512) takes 1.00
ms, and 1.04 so. Not measured on Zen 4."""

LED_BYTES = 512
"""Width of B that repays it; for more than STREAM_ROWS rows twice that."""

STREAM_ROWS = 16 if VECTOR_BYTES == 64 else 12
"""Up to this many rows of A, B is read where it stands, a few rows at a time: copying it would cost
as much as the product. On Zen 3, 16 rows against 1024 x 1024 took 600 us so, and take 515."""

FAR_ROWS = STREAM_ROWS if VECTOR_BYTES == 64 else 8
"""The same where B comes from memory, which copying reads in longer runs: 12 rows against 2048 x
2048 took 2.1 ms on Zen 3, and take 1.7. Not measured with 64-byte vectors."""

STREAM_BYTES = (16 if HALF_RATE else 64) * 1024
"""Partial sums of such a product that are under way together: the longer the runs of B, the better
memory and its prefetchers keep up. On Zen 3, half of L1 took 18.9 ms at (1, 10000, 10000) and 6.4
at (6, 4096, 4096), where all of it, and some of L2, takes 15.0 and 5.0; on Granite Rapids, a third
of it 3.7 ms there, where this takes 3.1, and (4, 3000, 3000) 0.88 of the time. Zen 4 has less L1,
and keeps what was measured."""

COPIED_BYTES = STRIP_BYTES if VECTOR_BYTES == 64 else 4096
"""Width of the strips of B that are copied at once: in runs of a page, at whose end prefetchers
stop. 64 MiB are copied in 3.1 ms so on Zen 3, and in 5.2 in runs of 512 bytes; dX of (64, 4096,
4096) takes 0.93 of the time, of (16, 4096, 4096) 0.79. Not measured with 64-byte vectors. Instead,
the first row of tiles could keep what it reads of B, 32 terms a pass: 0.93 to 1.03 of the time up
to 4 MiB, 1.05 to 1.3 beyond, and not worth its code. Prefetching the next strip meanwhile: 1.03;
1.0 to 1.15 on Emerald Rapids, a line a step."""

FETCHED = HALF_RATE
"""Whether one row of A asks for the next rows of a far B while it takes these. On Zen 4, at (1,
4096, 4096), 2.5 ms became 2.2; at 8 MiB, in the L3 cache, it would cost 16 %. On Emerald Rapids it
made 4.08 of 3.76 ms. On Zen 3 it made 3.2 of 2.65 ms, and asking further along the same rows 1.02
to 1.3 of the time."""

APART_BYTES = GROUP_BYTES if VECTOR_BYTES == 64 else 64
"""Terms of A that lie further apart are brought: each takes a cache line of its own, and together
they take the L1 cache. A tile of 32-byte vectors asks for the next one four times as soon as one of
64 bytes: brought, dW of (128, 784, 128) takes 281 us for 318 there."""

READ_ONCE_BYTES = 512 if VECTOR_BYTES == 64 else 0
"""But not for a result so narrow, two tiles or one: A is then read twice or once, and few terms of
it stay in the caches. On Granite Rapids, dW of (12, 16, 2880) took 20 us, and takes 12, of (24, 64,
784) 41 and 22, of (6, 12, 1440) 5.4 and 4.0; of (96, 256, 1440) it would take as long. Not measured
with 32-byte vectors."""

READ_ONCE_TERMS = 256
"""So many are few. Not brought, dW of (200, 64, 4096) takes 0.97 of the time, of (512, 64, 4096) it
would take 1.35 times as long."""

ROWS_APART_BYTES = 2**60 if VECTOR_BYTES == 64 else 4096
"""Rows of A, their terms adjacent, that lie a page or more apart are copied: those of a tile crowd
one set of the L1 cache, and the pages of all of them the TLB. On Zen 3, dX of (2048, 2048, 2048)
took 233 ms in place, and takes 209. Not measured with 64-byte vectors."""

REPAID_ROWS = 64
"""Rows of A that repay such a copy: 5 % less time for Y of (64, 4096, 4096)."""

REPAID_BYTES = 2048
"""Width of B that repays it, for as many times a row of A is read. Of 256 columns it made no
difference that could be measured."""

PAGED_BYTES = 4096
"""The same where rows of B lie a multiple of half of that apart, and fewer terms at a time: strips
of that width and 128 terms, whose sums rest meanwhile. What prefetchers bring beyond a shorter run
is in the few sets of a cache that the next rows need, and gone when the next strip asks for it. On
Granite Rapids, dX of (20, 4096, 4096) takes 0.81 of the time, of (32, 1024, 1024) 0.83, of (64,
4096, 4096) 0.91, of (128, 4096, 4096) 0.98; with runs of 2 KiB 0.9 to 0.94, of 8 KiB 0.94. Other
rows take 1.02 to 1.03."""

PAGED_ROWS = 128 if VECTOR_BYTES == 64 else 0
"""Rows of A up to which it pays; 200 took 1.03. With 32-byte vectors all strips come in pages."""

COPIED_TERMS = BLOCK if VECTOR_BYTES == 64 else 8
"""Terms of B that are copied at a time, all panels of a strip: where a panel is a single cache line
wide, long columns of it would have no prefetcher, and lines a power of two apart crowd the same few
sets of the cache. On Zen 3, Y of (64, 4096, 4096) takes 28.7 ms; 33.6 one panel after another."""

VECTORS = 4 if REGISTERS == 32 else 2
"""Width of the tallest register tile in vectors, and of a panel of B: 6 x 4 accumulators of 32
registers, 6 x 2 of 16."""

WIDTHS = (4, 4, 4, 4) if REGISTERS == 32 else (2, 2, 4, 8)
"""Vectors of the tiles of each height in ROWS. Two units with an fma's latency of 4 cycles need 8
chains to be busy; 2 x 2 and 1 x 2 accumulators left them idle half and three quarters of the time.
Zen 4 takes one 64-byte fma in a cycle, and 4 chains do."""

WHOLE_EDGE = 0 if REGISTERS == 32 else 4
"""Vectors up to which a tile takes the last columns whole, masked, if they fill more than half of
it; a wider one takes them by halves and a quarter. Those waste fewer lanes, some 15 % of the time
with a tail of 36 to 45 columns on Zen 4; but with 16 registers half a tile takes an fma's latency,
two thirds of a whole one's time: dW of (374, 60, 60) took 40 us, and takes 37. Masks for 8 vectors
are spilled."""

CUTS = (4, 3) if REGISTERS == 32 else ()
"""Quarters of its width of which a tile of four vectors takes the last columns whole, only its last
vector masked (one row's upper half, and in one cut). By two tiles they would take longer, by a
second one's beginning and end. On Emerald Rapids, dW of (374, 60, 60) took 24.9 us, and takes 20, Y
of (120, 512, 37) 81, and takes 63. Two quarters and one are what WHOLE_EDGE leaves in any case."""

MASKED_STORES = VECTOR_BYTES == 64
"""Whether the last lanes of a row are stored with a mask, which AVX-512 does at full speed. AVX
takes 12 cycles for each on Zen 3, and 4 by halves: Y and dX of (1000, 54, 7) took 17.7 and 16.7 us
with masks, and take 14.3 and 13.7. Other instruction sets have no masks."""

TRANSPOSED_VECTOR_BYTES = min(VECTOR_BYTES, 32)
"""Vector width while transposing: two 16-byte loads fill a 32-byte register without a shuffle of
whole vectors, which costs a 64-byte one an extra step for every element."""
