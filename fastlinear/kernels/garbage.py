"""Python's garbage collector, kept from looking through Numba's many objects again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave garbage until afterwards.

    Looking for some takes 5 to 10 % of the time to compile a kernel and 30 ms of an import.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
