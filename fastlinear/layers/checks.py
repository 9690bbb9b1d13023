"""What layers check before any kernel runs: every message names what was expected and what came.

Nothing is cast silently and nothing is written before its checks have passed. The first lines of
`array` and `matrix` are the fast path of their callers; all that explains a mistake comes after
them. `Linear` and the activations come here only where their own fast paths do not serve.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlinear.kernels.apart import are_apart

Array = NDArray[Any]
Shape = tuple[int, ...]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# Work that `shares_memory` may spend on awkward strides before an overlap is simply assumed.
OVERLAP_WORK = 1000


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as float32 or float64; raise for any other."""
    for kind in FLOATS:
        with suppress(TypeError):
            if dtype is not None and np.dtype(dtype) == kind:  # NumPy takes None for float64
                return kind
    raise TypeError(f"dtype: expected float32 or float64, got {dtype!r}")


def positive_integer(name: str, value: Any) -> int:
    """Return ``value`` as an int of at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name}: expected at least 1, got {number}")
    return number


def number(name: str, value: Any) -> float:
    """Return a real number as a float; no string, and NaN is none."""
    try:
        if isinstance(value, str | bytes | complex):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name}: expected a number that a float holds, got {value!r}") from None
    if number != number:
        raise ValueError(f"{name}: expected a number, got NaN")
    return number


def truth(name: str, value: Any) -> bool:
    """Return ``value`` as True or False, which 1 and 0 are too."""
    if isinstance(value, str | bytes | np.ndarray) or value not in (True, False):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def one_of(name: str, value: Any, choices: Iterable[str], hint: str = "") -> str:
    """Return ``value`` if it is among ``choices``; otherwise list them."""
    valid = sorted(choices)
    if value not in valid:
        raise ValueError(f"{name}: expected one of {', '.join(valid)}{hint}; got {value!r}")
    return str(value)


def array(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """Return ``value`` as a plain ndarray of ``dtype`` (None: float32 or float64); never a cast."""
    if type(value) is np.ndarray:
        kind = value.dtype
        if kind is dtype or (dtype is None and (kind is FLOATS[0] or kind is FLOATS[1])):
            return value
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(value).__name__}")
    if dtype is None and value.dtype not in FLOATS:
        raise TypeError(
            f"{name}: expected float32 or float64, got {value.dtype}: "
            f"cast it with .astype(np.float32)"
        )
    if dtype is not None and value.dtype != dtype:
        other = f", or build with dtype=np.{value.dtype}" if value.dtype in FLOATS else ""
        raise TypeError(
            f"{name}: expected {dtype}, got {value.dtype}: cast it with .astype(np.{dtype}){other}"
        )
    return np.asarray(value)


def unmasked(name: str, value: Any) -> Array:
    """Return ``value`` as an array of any dtype; what is masked would come to light."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}")
    return np.asarray(value)


def as_rows(array: Array) -> Array:
    """View ``array`` as (rows, last axis): a copy only where its strides leave no other way."""
    if array.ndim == 2:
        return array
    if array.ndim == 0:
        return array.reshape(1, 1)
    return array.reshape(prod(array.shape[:-1]), array.shape[-1])


def matrix(X: Array, dtype: np.dtype[Any], features: int) -> Array:
    """Return ``X`` of shape (..., features) as a matrix of rows."""
    if type(X) is np.ndarray and X.dtype is dtype and X.ndim == 2 and X.shape[1] == features:
        return X
    return as_rows(last_axis("X", array("X", X, dtype), features))


def last_axis(name: str, array: Array, length: int) -> Array:
    """Return ``array`` if its shape is (..., length)."""
    if array.ndim == 0 or array.shape[-1] != length:
        raise ValueError(f"{name}: expected shape (..., {length}), got {array.shape}")
    return array


def same_shape(name: str, array: Array, shape: Shape, reason: str) -> Array:
    """Return ``array`` if its shape is ``shape``."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape} ({reason}), got {array.shape}")
    return array


def output(
    out: Array | None, shape: Shape, dtype: np.dtype[Any], inputs: Sequence[Array | None]
) -> Array:
    """Return the C-contiguous array a kernel may fill.

    That is ``out`` itself, or a new array where ``out`` is None or not C-contiguous; `deliver`
    brings the latter home. Raises where ``out`` has another shape or dtype, cannot be written, or
    shares memory with one of ``inputs``.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not (type(out) is np.ndarray and out.dtype is dtype and out.shape == shape):
        out = same_shape("out", array("out", out, dtype), shape, "that of the result")
    flags = out.flags
    if not flags.writeable:
        raise ValueError("out: expected a writeable array, got a read-only one")
    if not are_apart(out, inputs) and any(overlap(out, x) for x in inputs if x is not None):
        raise ValueError(
            "out: overlaps an array that the computation reads; give it its own memory"
        )
    if flags.c_contiguous:
        return out
    if overlaps_itself(out):
        raise ValueError(f"out: expected elements apart in memory, got strides {out.strides}")
    return np.empty(shape, dtype)


def outputs(
    out: Array | None, shape: Shape, dtype: np.dtype[Any], inputs: Sequence[Array | None]
) -> Iterator[Array]:
    """Yield `output`, then a new array: a pass refuses an ``out`` that surrounds what it reads.

    That shares no element with an input, but a pass compares only where arrays begin and end.
    """
    yield output(out, shape, dtype, inputs)
    yield np.empty(shape, dtype)


def overlaps_itself(array: Array) -> bool:
    """Return whether two elements of an array share memory, as those of a broadcast one do."""
    axes = [(abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
    reach = array.itemsize
    for stride, length in sorted(axes):
        if stride < reach:
            break  # two may: look at each
        reach += stride * (length - 1)
    else:
        return False
    starts = np.zeros(1, np.int64)
    for stride, length in axes:
        starts = np.add.outer(starts, stride * np.arange(length)).reshape(-1)
    return bool(array.size and np.diff(np.sort(starts)).min() < array.itemsize)


def wanted(input_grad: bool, out: Array | None) -> None:
    """Raise where ``out`` waits for a dX that ``input_grad=False`` skips."""
    if out is not None and not input_grad:
        raise ValueError("out: expected None with input_grad=False, which computes no dX")


def deliver(result: Array, out: Array | None) -> Array:
    """Return ``result``, through ``out`` where the caller gave one."""
    if out is None or out is result:
        return result
    out[...] = result
    return out


def overlap(a: Array, b: Array) -> bool:
    """Tell whether two arrays share an element (assumed where deciding takes too long)."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=OVERLAP_WORK)  # type: ignore[arg-type]  # any int
    except np.exceptions.TooHardError:
        return True
