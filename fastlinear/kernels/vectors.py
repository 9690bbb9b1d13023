"""LLVM code for the vectors of a tile: loads and stores, masks, shuffles and transposing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils

from fastlinear.kernels.shape import LANE_GROUP
from fastlinear.kernels.sizes import DISTANT_VECTOR_BYTES, MASKED_STORES, VECTORS

if TYPE_CHECKING:
    from fastlinear.kernels.shape import Tile

I32 = ir.IntType(32)
READ, TO_L1, TO_L2, DATA = 0, 3, 2, 1  # arguments of llvm.prefetch


def pointer_to(builder: Any, target: ir.Type, address: Any) -> Any:
    """Return an address as a pointer to a type."""
    return builder.inttoptr(address, ir.PointerType(target))


def vectors_in_memory(builder: Any, tile: Tile, address: Any, stride: Any) -> Any:
    """Yield each vector's index in the tile and its address in memory."""
    for r in range(tile.rows):
        for v in range(tile.vectors):
            offset = address.type(v * tile.lanes * tile.itemsize)
            yield r * tile.vectors + v, builder.add(address, offset)
        if r + 1 < tile.rows:
            address = builder.add(address, stride)


def vectors_in_panels(builder: Any, tile: Tile, address: Any, panels: Any) -> Any:
    """Yield the index and the address of each vector of a row of B, which lies in panels."""
    for v in range(tile.vectors):
        panel = builder.add(address, builder.extract_value(panels, v // VECTORS))
        offset = address.type(v % VECTORS * tile.lanes * tile.itemsize)
        yield v, builder.add(panel, offset)


def is_masked(tile: Tile, i: int) -> bool:
    """Return whether lanes of vector ``i`` may not exist."""
    return i % tile.vectors >= tile.vectors - tile.masked


def _mask(builder: Any, tile: Tile, i: int, left: Any) -> Any:
    """Return the mask of the lanes of vector ``i`` that exist.

    Read from a table: LLVM would repeat a comparison at every use, and keep its operands for that.
    """
    bits = ir.IntType(8 * tile.itemsize)
    lanes, whole = ir.VectorType(bits, tile.lanes), left.type(tile.lanes)
    count = _existing(builder, tile, i, left)
    table = _mask_table(builder.module, bits, tile.lanes)
    start = builder.gep(table, [left.type(0), builder.sub(whole, count)], inbounds=True)
    mask = builder.load(builder.bitcast(start, lanes.as_pointer()))
    mask.align = tile.itemsize
    return builder.icmp_signed("<", mask, ir.Constant(lanes, None))


def _existing(builder: Any, tile: Tile, i: int, left: Any) -> Any:
    """Return how many lanes of vector ``i`` exist."""
    whole = left.type(tile.lanes)
    count = builder.sub(left, left.type(i % tile.vectors * tile.lanes))
    for limit, beyond in ((whole, ">"), (left.type(0), "<")):
        count = builder.select(builder.icmp_signed(beyond, count, limit), limit, count)
    return count


def _mask_table(module: Any, bits: ir.IntType, lanes: int) -> Any:
    """Return a constant of the module: ``lanes`` integers of -1, then as many of 0."""
    name = f"fastlinear.mask.{bits}.{lanes}"
    if name not in module.globals:
        kind = ir.ArrayType(bits, 2 * lanes)
        table = ir.GlobalVariable(module, kind, name)
        table.initializer = ir.Constant(kind, [-1] * lanes + [0] * lanes)
        table.global_constant, table.linkage = True, "private"
    return module.globals[name]


def load_vector(builder: Any, tile: Tile, i: int, address: Any, left: Any) -> Any:
    """Return vector ``i`` of a tile, read from memory; lanes that do not exist are zero."""
    pointer = pointer_to(builder, tile.vector, address)
    if not is_masked(tile, i):
        value = builder.load(pointer)
        value.align = tile.itemsize
        return value
    mask = _mask(builder, tile, i, left)
    signature = ir.FunctionType(tile.vector, [pointer.type, I32, mask.type, tile.vector])
    name = f"llvm.masked.load.v{tile.lanes}f{tile.dtype.bitwidth}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    zeros = ir.Constant(tile.vector, None)
    return builder.call(function, [pointer, I32(tile.itemsize), mask, zeros])


def store_vector(builder: Any, tile: Tile, address: Any, value: Any) -> None:
    """Write a vector, or a part of one, to memory."""
    builder.store(value, pointer_to(builder, value.type, address)).align = tile.itemsize


def store_vector_past_caches(builder: Any, tile: Tile, address: Any, value: Any) -> None:
    """Write a whole vector to an address that is a multiple of its size, past the caches."""
    written = builder.store(value, pointer_to(builder, value.type, address))
    written.align = tile.lanes * tile.itemsize
    written.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))


def store_part(
    builder: Any, tile: Tile, i: int, addresses: Sequence[Any], left: Any, values: Sequence[Any]
) -> None:
    """Write the lanes that exist of vector ``i`` of each row, at that row's address."""
    if MASKED_STORES:
        mask = _mask(builder, tile, i, left)
        for address, value in zip(addresses, values, strict=True):
            _store_masked(builder, tile, address, value, mask)
        return
    count = _existing(builder, tile, i, left)
    for lanes in (tile.lanes >> halvings for halvings in range(tile.lanes.bit_length())):
        # The lanes before these are in memory already: as many as the higher bits of count say.
        written = builder.and_(count, count.type(-2 * lanes))
        offset = builder.mul(written, count.type(tile.itemsize))
        before, halves = builder.block, [_halves(builder, value, lanes) for value in values]
        exist = builder.icmp_unsigned("!=", builder.and_(count, count.type(lanes)), count.type(0))
        with builder.if_then(exist):
            for address, (low, _) in zip(addresses, halves, strict=True):
                store_vector(builder, tile, builder.add(address, offset), low)
            inside = builder.block
        values = []
        for low, high in halves:
            rest = builder.phi(low.type)
            rest.add_incoming(low, before)
            rest.add_incoming(high, inside)
            values.append(rest)


def _store_masked(builder: Any, tile: Tile, address: Any, value: Any, mask: Any) -> None:
    pointer = pointer_to(builder, tile.vector, address)
    signature = ir.FunctionType(ir.VoidType(), [tile.vector, pointer.type, I32, mask.type])
    name = f"llvm.masked.store.v{tile.lanes}f{tile.dtype.bitwidth}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    builder.call(function, [value, pointer, I32(tile.itemsize), mask])


def _halves(builder: Any, value: Any, lanes: int) -> tuple[Any, Any]:
    """Return the first ``lanes`` lanes of a vector and the others; all of it twice if none."""
    if value.type.count == lanes:
        return value, value
    low, high = list(range(lanes)), list(range(lanes, 2 * lanes))
    return _shuffle(builder, value, value, low), _shuffle(builder, value, value, high)


def splat(builder: Any, vector: ir.Type, scalar: Any) -> Any:
    """Return a vector whose lanes all hold the scalar."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, scalar, I32(0))
    return _shuffle(builder, one, undefined, [0] * vector.count)


def fma(builder: Any, tile: Tile, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once."""
    signature = ir.FunctionType(tile.vector, [tile.vector] * 3)
    name = f"llvm.fma.v{tile.lanes}f{tile.dtype.bitwidth}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [a, b, c])


def _shuffle(builder: Any, a: Any, b: Any, picks: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(picks)), picks))


def lane_addresses(
    builder: Any, tile: Tile, address: Any, lane_stride: Any, left: Any
) -> list[Any]:
    """Return where each lane of a row begins; masked lanes repeat the last existing one.

    LLVM sees no connection between every fourth one and the row: it would keep an address for each
    lane, on the stack. From one in four, x86 reaches the others by multiples of the stride: 0.97 to
    0.99 of the time to transpose to scratch on Emerald Rapids. With tiles of 32-byte vectors it
    would spill some of those.
    """
    integer = lane_stride.type
    last = builder.sub(left, integer(1))
    apart = DISTANT_VECTOR_BYTES == 64
    addresses, start = [], address
    for lane in range(tile.vectors * tile.lanes):
        if is_masked(tile, lane // tile.lanes):
            beyond = builder.icmp_signed(">", integer(lane), last)
            index = builder.select(beyond, last, integer(lane))
            addresses.append(builder.add(address, builder.mul(lane_stride, index)))
            continue
        if apart and lane % 4 == 0 and lane > 0:
            start = hidden(builder, builder.add(address, builder.mul(lane_stride, integer(lane))))
        from_start = integer(lane % 4 if apart else lane)
        addresses.append(builder.add(start, builder.mul(lane_stride, from_start)))
    return addresses


def hidden(builder: Any, value: Any) -> Any:
    """Return an integer of which LLVM knows nothing, whatever it was."""
    signature = ir.FunctionType(value.type, [value.type])
    return builder.asm(signature, "", "=r,0", [value], side_effect=False)


def prefetch(builder: Any, addresses: list[Any], cache: int = TO_L2) -> None:
    """Ask for cache lines to come to that cache; an address where no memory is does no harm."""
    pointer = ir.PointerType()
    signature = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    for address in addresses:
        line = builder.inttoptr(address, pointer)
        builder.call(function, [line, I32(READ), I32(cache), I32(DATA)])


def load_transposed(
    builder: Any, tile: Tile, address: Any, lane_stride: Any, left: Any
) -> list[Any]:
    """Return ``steps`` rows of vectors from lanes that lie apart."""
    addresses = lane_addresses(builder, tile, address, lane_stride, left)
    piece = min(tile.steps, max(LANE_GROUP // tile.itemsize, tile.lanes // 2))
    return [
        row
        for first in range(0, tile.steps, piece)
        for row in _transposed_piece(builder, tile, addresses, first, piece)
    ]


def _transposed_piece(
    builder: Any, tile: Tile, addresses: list[Any], first: int, terms: int
) -> list[Any]:
    """Return ``terms`` rows of vectors, at most those of which two lanes fill a register.

    They are loaded so that 16-byte group g of register e holds those of lane g * size + e, of which
    a group takes ``size``; where lanes have two groups each, these are sorted first. Transposing
    size x size elements inside each group then leaves row k of all lanes, in order, in register k.
    """
    size, loaded = LANE_GROUP // tile.itemsize, ir.VectorType(tile.scalar, terms)
    offset = addresses[0].type(first * tile.itemsize)
    rows: list[list[Any]] = [[] for _ in range(terms)]
    for v in range(tile.vectors):
        registers = []
        for e in range(size):
            parts = []
            for lane in range(e, tile.lanes, size):
                address = builder.add(addresses[v * tile.lanes + lane], offset)
                part = builder.load(pointer_to(builder, loaded, address))
                part.align = tile.itemsize
                parts.append(part)
            registers.append(_sorted_groups(builder, parts, tile.lanes, size))
        for half, groups in enumerate(zip(*registers, strict=True)):
            for k, row in enumerate(_transpose_groups(builder, list(groups), size)):
                rows[half * size + k].append(row)
    return [vector for row in rows for vector in row]


def _sorted_groups(builder: Any, parts: list[Any], lanes: int, size: int) -> list[Any]:
    """Return the register of the lanes' first groups, and the one of their second, if any."""
    count = lanes // parts[0].type.count
    registers = [_concatenate(builder, parts[i : i + count]) for i in range(0, len(parts), count)]
    return (
        registers
        if len(registers) == 1
        else _unzipped(builder, registers[0], registers[1], size, lanes)
    )


def _transpose_groups(builder: Any, registers: list[Any], size: int) -> list[Any]:
    """Transpose size x size elements inside each 16-byte group of the registers.

    log2(size) rounds that take the even and the odd elements of two registers. Intel's cores have
    two units for these shuffles of 32 bytes of float32, and one for those that interleave.
    """
    for _ in range(size.bit_length() - 1):
        pairs = zip(registers[::2], registers[1::2], strict=True)
        even, odd = zip(*(_unzipped(builder, a, b, 1, size) for a, b in pairs), strict=True)
        registers = [*even, *odd]
    return registers


def _unzipped(builder: Any, a: Any, b: Any, run: int, within: int) -> list[Any]:
    """Return the even, and the odd, runs of ``run`` elements of two registers.

    Of every ``within`` elements of a they come before those of b.
    """
    lanes = a.type.count
    picks = [
        [
            start + register + begin + i
            for start in range(0, lanes, within)
            for register in (0, lanes)
            for begin in range(odd, within, 2 * run)
            for i in range(run)
        ]
        for odd in (0, run)
    ]
    return [_shuffle(builder, a, b, some) for some in picks]


def _concatenate(builder: Any, parts: list[Any]) -> Any:
    while len(parts) > 1:
        picks = list(range(2 * parts[0].type.count))
        parts = [
            _shuffle(builder, a, b, picks) for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]
