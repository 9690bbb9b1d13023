"""Shapes, layouts and dtypes that the kernel tests share."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastlinear.kernels import sizes
from fastlinear.kernels.tile import LINE_BYTES

DTYPES = (np.float32, np.float64)


def around(size: int) -> tuple[int, ...]:
    """Return the sizes at which a tile or block of ``size`` can go wrong."""
    return tuple(sorted({0, 1, size - 1, size, size + 1, 2 * size + 1}))


def tile_width(dtype: type) -> int:
    """Columns of the widest register tile."""
    return sizes.VECTORS * sizes.VECTOR_BYTES // np.dtype(dtype).itemsize


def shapes(dtype: type) -> list[tuple[int, int, int]]:
    """Return (S, M, N) that straddle every tile and block size, one axis at a time."""
    width = tile_width(dtype)
    strip = sizes.STRIP_BYTES // np.dtype(dtype).itemsize
    height, block = sizes.ROWS[0], sizes.BLOCK
    awkward = [(s, 19, 21) for s in around(height) + around(sizes.STREAM_ROWS)]
    awkward += [(5, m, 9) for m in around(block) + around(width) + around(16)]
    awkward += [(3, 18, n) for n in around(width) + around(strip) + around(width // 4)]
    awkward += [(23, m, 11) for m in around(width)] + [(s, 7, 5) for s in around(block)]
    awkward += [(9, 6, n) for n in around(block)]
    short = sizes.SHORT_BYTES // np.dtype(dtype).itemsize
    awkward += [(70, 35, n) for n in around(short) + around(width // 4)]
    awkward += [(70, 530, 141), (150, 1030, 300), (37, 211, 53), (1, 530, 520), (4, 260, 130)]
    awkward += [(s, 256, 9) for s in around(min(sizes.IN_PLACE_TERMS, 2**15) // 256)]
    awkward += [(s, 300, 50) for s in around(min(sizes.STRADDLED_ROWS, 128))]
    awkward += [(s, 520, 120) for s in around(min(sizes.STRADDLED_ROWS, 128) // 2)]
    parted = (*around(sizes.HALVED_ROWS), *around(sizes.PARTED_ROWS))
    awkward += [(s, 140, 30) for s in parted if s > 0]
    awkward += [(s, 520, 300) for s in around(sizes.SETTLED_ROWS)[1:]]
    awkward += [(1, k, 70) for k in around(16)]
    awkward += [(1, 37, n) for lanes in (4, 8, 16, 32) for n in around(lanes)]
    for k in around(sizes.ABREAST * block):
        awkward += [(1, k, 9), (1, 20, k), (70, k, 1)]
    found = awkward + narrow(dtype) + few(dtype) + slender(dtype) + distant(dtype)
    return sorted({*found, *brought(dtype), *wide(dtype)})


def edges() -> list[int]:
    """Return sizes beside every number that decides which way a product goes."""
    numbers = (*(2**k for k in range(11)), 6, 12, 24, 96, 300, sizes.BLOCK + 64, 2 * sizes.BLOCK)
    return sorted({n + d for n in numbers for d in (-1, 0, 1) if n + d > 0})


def narrow(dtype: type) -> list[tuple[int, int, int]]:
    """Return shapes with an axis so short that products are turned round, and others near them."""
    lanes = sizes.VECTOR_BYTES // np.dtype(dtype).itemsize
    few = sorted({1, lanes // 4, lanes // 4 + 1, lanes // 2, lanes // 2 + 1})
    found = [(s, 33, n) for s in (lanes - 1, lanes, 2 * lanes, 70) for n in few]
    found += [(40, m, 70) for m in few] + [(n, 70, 40) for n in few]
    found += [(s, 20, 2) for s in around(sizes.NARROW_ROWS)] + [(40, k, 2) for k in around(16)]
    pieces = sizes.NARROW_BYTES // (3 * np.dtype(dtype).itemsize) + 7
    found += [(pieces, 40, 3), (300, 600, 17), (8, 530, 2 * lanes + 3)]
    return [*found, (100, 200, lanes // 2 + 2), (100, 200, 2 * lanes - 2)]


def few(dtype: type) -> list[tuple[int, int, int]]:
    """Return shapes with few sums of so many terms that blocks go abreast: dW, db, and Y."""
    lanes = sizes.VECTOR_BYTES // np.dtype(dtype).itemsize
    both = sizes.ABREAST * sizes.BLOCK
    terms = [*around(both)[2:], both - sizes.BLOCK + 1, both + sizes.BLOCK + 1]
    found = [(k, m, 3) for k in terms for m in (1, lanes - 1, lanes, lanes + 1)]
    most = range(1, sizes.ABREAST_ROWS + 2)
    found += [(both + 70, 5, n) for n in most]
    return [*found, *((s, both + 70, n) for s in most for n in (1, 4))]


def slender(dtype: type) -> list[tuple[int, int, int]]:
    """Return shapes with columns of one vector, of which two tiles go together: Y and dX."""
    lanes = sizes.VECTOR_BYTES // np.dtype(dtype).itemsize
    pairs = (sizes.PAIRED_ROWS, 2 * sizes.PAIRED_ROWS)
    rows = [n + d for n in pairs for d in (-8, -7, -5, -4, -3, -1, 0, 1, 3, 9)]
    columns = (lanes // 2, lanes - 1, lanes, lanes + 1)
    found = [(s, m, n) for s in rows for m in (20, sizes.BLOCK + 30) for n in columns]
    found += [(s, m, 20) for s in rows for m in columns] + [(s, 140, lanes) for s in rows]
    # Where B is streamed, partial sums of all rows rest in scratch.
    return [*found, (sizes.PAIRED_ROWS + 7, sizes.PASSED_BYTES // sizes.VECTOR_BYTES + 5, lanes)]


def distant(dtype: type) -> list[tuple[int, int, int]]:
    """Return shapes of few rows, whose Y or dX transposes the weights in registers on their way."""
    item = np.dtype(dtype).itemsize
    lanes, line = sizes.DISTANT_VECTOR_BYTES // item, LINE_BYTES // item
    columns = (*around(lanes)[1:], lanes // 2, lanes // 2 + 1)
    terms = (*around(line)[1:], line + line // 2 + 1)
    found = [(s, line + 3, n) for s in range(1, sizes.DISTANT_ROWS + 2) for n in columns]
    found += [(s, m, lanes + 1) for s in range(1, sizes.DISTANT_ROWS + 2) for m in terms]
    found += [(s, sizes.BLOCK + line + 1, n) for s in (2, 3, 5, 8, 12, 16) for n in columns[1:]]
    # Lanes a power of two apart crowd the L1 cache, and go otherwise.
    far = sizes.CROWDING_BYTES // item
    return found + [(1, k, n) for k in (far, 2 * far) for n in (lanes - 1, 2 * lanes + 3)]


def brought(dtype: type) -> list[tuple[int, int, int]]:
    """Return shapes whose dW brings rows of dY^T to scratch: N rows, S terms, M columns."""
    item = np.dtype(dtype).itemsize
    tall = sizes.ROWS[0]
    group, rows = (n // item // tall * tall for n in (sizes.GROUP_BYTES, sizes.ROWS_OF_A_BYTES))
    strips = sizes.STRIPS_OF_ROWS * sizes.STRIP_BYTES // item
    narrow = sizes.READ_ONCE_BYTES // item
    found = [(s, m, group + 1) for s in around(sizes.GATHERED_TERMS) for m in (20, narrow + 7)]
    found += [(s, m, 300) for s in around(sizes.READ_ONCE_TERMS)[3:] for m in (narrow, narrow + 1)]
    # A last block of few terms, where there are more rows than come at a time.
    found += [(sizes.BLOCK + s, 200, group + 1) for s in around(sizes.GATHERED_TERMS)]
    found += [(70, 20, n) for n in (*range(group - 1, group + tall + 1), *around(rows))]
    found += [(70, narrow + 7, n) for n in (*range(group, group + tall + 1), rows - 1, rows + 1)]
    return [*found, (66, strips + 3, group + 2), (600, 300, 2 * group + 5)]


def wide(dtype: type) -> list[tuple[int, int, int]]:
    """Return shapes whose B goes by long strips: some at once, streamed, or of few terms."""
    item = np.dtype(dtype).itemsize
    long = sizes.LONG_STRIP_BYTES // item + 1
    rows = sizes.L2_BYTES // (long * item) + 1  # of a result that L2 cannot hold
    found = [(20, 300, n) for n in around(sizes.COPIED_BYTES // item)]
    page = sizes.PAGED_BYTES // item
    found += [(17, page, 600), (37, page + page // 2, 520)]
    finished = sizes.LONG_FINISHED_BYTES // item
    found += [(sizes.L2_BYTES // (n * item) + 1, 3, n) for n in (finished - 1, finished + 1)]
    found += [(rows, 3, long), (rows, long, 3), (3, long, rows), (40, long, rows)]
    return found + [(s, 280, sizes.STREAM_BYTES // s // item + 5) for s in (1, 6)]


def uniform(rng: np.random.Generator, *shape: int, dtype: type) -> np.ndarray:
    """Draw from (-1, 1): enough mantissa bits set that any other order of a sum shows."""
    return rng.uniform(-1, 1, shape).astype(dtype)


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same matrix in every memory layout a user may hand over."""
    rows, columns = array.shape
    wide = np.full((2 * rows, 3 * columns), np.nan, array.dtype)
    wide[::2, ::3] = array
    flipped = np.ascontiguousarray(array[::-1, ::-1])
    return {
        "C": np.ascontiguousarray(array),
        "F": np.asfortranarray(array),
        "strided": wide[::2, ::3],
        "negative": flipped[::-1, ::-1],
        "stray": stray(array),
    }


def stray(array: np.ndarray) -> np.ndarray:
    """Return a copy in C order, but for strides of axes of length 1, which NumPy leaves to chance.

    ``v[:, None]`` has 0, a slice of one column what the columns of its array have.
    """
    copy = np.array(array, order="C")
    far = 7 * copy.itemsize
    strides = [far if n == 1 else s for n, s in zip(copy.shape, copy.strides, strict=True)]
    return as_strided(copy, strides=strides)


def blank(*shape: int, dtype: type) -> np.ndarray:
    """Return an output that shows every element left unwritten."""
    return np.full(shape, np.nan, dtype)
