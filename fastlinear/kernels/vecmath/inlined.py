"""The decorator of scalar functions that loops are vectorised over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastlinear.kernels.jit import compiled


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a scalar function that becomes part of whatever calls it.

    LLVM inlines by size, and a loop around a call that stayed a call is not vectorised: the long
    polynomials of float64 would decide by their degree.
    """
    return compiled(function, inline=True)
