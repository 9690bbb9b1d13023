"""What the compiler made of a kernel: its innermost loops, read from the machine code's listing.

Reads x86-64 in the notation that LLVM prints (AT&T: sources first, destination last).
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype

from fastlinear.kernels.abreast import abreast_product
from fastlinear.kernels.blocks import low_product, tall_product
from fastlinear.kernels.by_address import compile_all
from fastlinear.kernels.distant import DISTANT_KERNELS
from fastlinear.kernels.distant_row import distant_row_product
from fastlinear.kernels.elementwise import kernel_types
from fastlinear.kernels.product import product
from fastlinear.kernels.slender import slender_product
from fastlinear.kernels.streamed import streamed_product

READABLE = platform.machine().lower() in ("x86_64", "amd64")
"""Whether this machine's code is of the kind that can be read here."""

_FUNCTION = re.compile(r"([\w.$]+):$")
_LABEL = re.compile(r"(\.L[\w.$]+):")
_JUMP = re.compile(r"j\w+\s+(\.L[\w.$]+)$")
_VECTOR = re.compile(r"%([xyz])mm\d+")
_MEMORY = re.compile(r"\(([^)]*)\)")
_FMA = re.compile(r"vfn?m(?:add|sub)(\d+)")
_OPERAND = re.compile(r"(?:[^,()\s]|\([^)]*\))+")
_WIDTHS = {"x": 16, "y": 32, "z": 64}


class Loop(NamedTuple):
    """An innermost loop."""

    function: str
    """The Python function it was compiled from, others inlined."""
    lines: tuple[str, ...]
    """Its instructions; labels inside end with a colon."""
    frame: tuple[str, ...]
    """The registers through which the function reaches its stack."""

    @property
    def fma(self) -> Counter[int]:
        """How many packed fused multiply-adds there are for each width in bytes; 0 for scalar."""
        return Counter(_width(line) for line in self.lines if _FMA.match(line))

    @property
    def sums(self) -> int:
        """How many vectors of sums the multiply-adds extend: chains, each adding to the one before.

        An fma adds to its destination, its first or its second operand, as its name says.
        """
        chains, running = 0, set[str]()
        for line in self.lines:
            *operands, target = _OPERAND.findall(line.partition(" ")[2]) or [""]
            if form := _FMA.match(line):
                addend = {"231": target, "213": operands[0], "132": operands[1]}[form[1]]
                chains += addend not in running
                running.discard(addend)
                running.add(target)
            elif line.startswith("vmova") and operands[0] in running:
                running.add(target)
            else:
                running.discard(target)
        return chains

    @property
    def steps(self) -> float:
        """How many terms each of the sums gains each time round."""
        return self.fma.total() / self.sums

    @property
    def packed(self) -> Counter[int]:
        """How many instructions on packed floats there are for each width in bytes."""
        widths = (_width(line) for line in self.lines if line.startswith("v"))
        return Counter(width for width in widths if width)

    @property
    def loads(self) -> int:
        """Instructions that read memory, the stack aside."""
        return sum(_reads(line) for line in self.lines if line not in self.stack)

    @property
    def stores(self) -> int:
        """Instructions that write memory, the stack aside."""
        return sum(_writes(line) for line in self.lines if line not in self.stack)

    @property
    def stored(self) -> int:
        """Bytes of the widest vector that it writes to memory, the stack aside; 0 for none."""
        writing = (line for line in self.lines if _writes(line) and line not in self.stack)
        # Also as integers, which numbers are after their signs were set by logic.
        vectors = (line for line in writing if not re.match(r"v?movs[sd]\b", line))
        return max(map(_register_bytes, vectors), default=0)

    @property
    def past_caches(self) -> int:
        """Those of them that bypass the caches, whole vectors only."""
        hints = [line for line in self.lines if line.startswith(("vmovnt", "movnt"))]
        return sum(_register_bytes(line) > 0 for line in hints)

    @property
    def fetches(self) -> int:
        """Cache lines that it asks for ahead."""
        return sum(line.startswith("prefetch") for line in self.lines)

    @property
    def calls(self) -> int:
        """Calls of other functions."""
        return sum(line.startswith("call") for line in self.lines)

    @property
    def stack(self) -> tuple[str, ...]:
        """Instructions that touch the stack: whatever found no register."""
        return tuple(line for line in self.lines if self._base(line) in self.frame)

    @property
    def spills(self) -> tuple[str, ...]:
        """Those of them that move vectors."""
        return tuple(line for line in self.stack if _VECTOR.search(line))

    def _base(self, line: str) -> str:
        """Return the base register of the memory operand, or nothing."""
        operand = _MEMORY.search(line)
        return operand[1].partition(",")[0] if operand else ""


def _width(line: str) -> int:
    """Return the bytes of the widest register of a packed float instruction; 0 for any other."""
    return _register_bytes(line) if re.match(r"\w*p[sd]\b", line) else 0


def _register_bytes(line: str) -> int:
    """Return the bytes of the widest vector register that an instruction names; 0 for none."""
    return max((_WIDTHS[name] for name in _VECTOR.findall(line)), default=0)


def _writes(line: str) -> bool:
    """Return whether the last operand, the destination, is in memory; masks in braces aside."""
    destination = re.sub(r"\s*\{[^}]*\}", "", line).endswith(")")
    return destination and not line.startswith(("cmp", "test", "prefetch", "call", "jmp"))


def _reads(line: str) -> bool:
    """Return whether an instruction reads memory; one that changes it in place does both."""
    if not _MEMORY.search(line) or line.startswith(("lea", "prefetch")):
        return False
    moves = line.startswith(("mov", "vmov"))
    return not (moves and _writes(line))


def listing(function: Any, argument_types: Any) -> str:
    """Return the machine code of a compiled function as text.

    It is written anew from LLVM's optimised form of the function, which the disk cache keeps beside
    the machine code, for callers to link.
    """
    function.compile(argument_types)
    library = function.overloads[argument_types].library
    module = library._get_module_for_linking().clone()  # writing it out changes it
    return str(library.codegen._tm.emit_assembly(module))


class Kernels(NamedTuple):
    """Compiled functions that compute a product together."""

    use: str
    """What they are for."""
    functions: tuple[Any, ...]


KERNELS = {
    "product": Kernels(
        "the product",
        (
            product,
            slender_product,
            tall_product,
            low_product,
            *DISTANT_KERNELS,
            distant_row_product,
        ),
    ),
    "streamed": Kernels("one row against streamed lanes", (streamed_product,)),
    "abreast": Kernels("few sums of many terms", (abreast_product,)),
}
"""What computes a product: the first in general."""


def product_code(name: str, dtype: str) -> list[Loop]:
    """Return the innermost loops of one of KERNELS for a dtype: the sums, and the copying."""
    return [loop for kernel in KERNELS[name].functions for loop in shared_code(kernel, dtype)]


def shared_code(kernel: Any, dtype: str) -> list[Loop]:
    """Return the innermost loops of a kernel that is called by address, for a dtype."""
    compile_all(dtype)
    scalar = from_dtype(np.dtype(dtype))
    signature = next(key for key in kernel.overloads if key[0] == scalar)
    return list(innermost_loops(listing(kernel, signature)))


def elementwise_loops(kernel: Any, matrices: int, dtype: str) -> list[Loop]:
    """Return the innermost loops of an element-wise kernel of so many matrices, for a dtype."""
    scalar = from_dtype(np.dtype(dtype))
    return list(innermost_loops(listing(kernel, kernel_types(scalar, matrices))))


def innermost_loops(text: str) -> Iterator[Loop]:
    """Yield all loops of a listing that contain no other."""
    for name, lines in _functions(text):
        frame = ("%rsp", "%rbp") if "movq %rsp, %rbp" in lines else ("%rsp",)
        blocks = _blocks(lines)
        loops = _natural_loops(blocks)
        for body in loops.values():
            if len(body & loops.keys()) == 1:
                inside = [line for i in sorted(body) for line in blocks[i]]
                yield Loop(_python_name(name), tuple(inside), frame)


def _blocks(lines: list[str]) -> list[list[str]]:
    """Divide a function into basic blocks: they begin at labels and end with jumps."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if _LABEL.match(line) and blocks[-1]:
            blocks.append([])
        blocks[-1].append(line)
        if line.startswith(("j", "ret", "ud2")):
            blocks.append([])
    return [block for block in blocks if block]


def _natural_loops(blocks: list[list[str]]) -> dict[int, set[int]]:
    """Return the blocks of each loop by its header: the block through which all ways into it lead.

    An edge closes a loop where its source can't be reached but through its target.
    """
    index = {m[1]: i for i, block in enumerate(blocks) if (m := _LABEL.match(block[0]))}
    before: list[set[int]] = [set() for _ in blocks]
    edges = []
    for i, block in enumerate(blocks):
        jump = _JUMP.match(block[-1])
        if jump and jump[1] in index:
            edges.append((i, index[jump[1]]))
        if not block[-1].startswith(("jmp", "ret", "ud2")) and i + 1 < len(blocks):
            edges.append((i, i + 1))
    for source, target in edges:
        before[target].add(source)
    loops: dict[int, set[int]] = {}
    for source, header in edges:
        body, reached = {header}, [source]
        while reached:
            block_index = reached.pop()
            if block_index not in body:
                body.add(block_index)
                reached += before[block_index]
        if all(i == header or (i != 0 and before[i]) for i in body):  # no way in but the header
            loops.setdefault(header, set()).update(body)
    return loops


def _functions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the symbol and the instructions and labels of each function."""
    symbol, lines = "", list[str]()
    for raw in text.splitlines():
        line = " ".join(raw.split())
        if (match := _FUNCTION.match(line)) and not line.startswith("."):
            yield symbol, lines
            symbol, lines = match[1], []
        if not line.startswith((".", "#")) or _LABEL.match(line):
            lines.append(line)
    yield symbol, lines


def _python_name(symbol: str) -> str:
    """Return the name of the Python function in a symbol as Numba mangles them."""
    name, rest = symbol, symbol.partition("_ZN")[2]
    while length := re.match(r"\d+", rest):
        end = length.end() + int(length[0])
        name, rest = rest[length.end() : end], rest[end:]
    return name
