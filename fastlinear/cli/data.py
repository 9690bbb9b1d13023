"""What every reader of data returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Data:
    """Samples with what a file says about them.

    Attributes
    ----------
    X : float64 array (S, M)
        One row for each sample; finite.
    y : array (S,) or None
        The target: integers, booleans or strings, or finite float64. None where it was not asked
        for.
    features : tuple of str, or None
        The names of the M columns, where the file gives names.
    target : str or None
        The name of the target, where it has one.
    position : int or None
        The index of the target among the columns of a table.
    """

    X: npt.NDArray[np.float64]
    y: Any
    features: tuple[str, ...] | None = None
    target: str | None = None
    position: int | None = None


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type where it has none."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
