"""Kernels touch no memory beyond their arrays: each lies between two pages that may not be touched.

A child process computes every shape, since touching them ends it.
"""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest
from shapes import DTYPES, shapes

PAGE = mmap.PAGESIZE


@pytest.mark.skipif(sys.platform != "linux", reason="pages are forbidden by Linux's mprotect")
@pytest.mark.parametrize("dtype", [dtype.__name__ for dtype in DTYPES])
@pytest.mark.parametrize("place", ["first", "last"])
def test_no_shape_leaves_its_arrays(dtype, place):
    command = [sys.executable, "-W", "error", __file__, dtype, place]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, f"at {child.stdout.splitlines()[-1:]}: {child.stderr}"


class Fenced:
    """Arrays whose ``first`` or ``last`` element lies beside a forbidden page."""

    def __init__(self, place):
        self.place, self.maps = place, []
        self.protect = ctypes.CDLL(None, use_errno=True).mprotect
        self.protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

    def __call__(self, array, order="C"):
        array = np.asarray(array, order=order)
        pages = -(-array.nbytes // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        room = np.frombuffer(memory, np.uint8)
        self.maps.append((memory, room))
        for page in (0, pages + 1):
            assert self.protect(room.ctypes.data + page * PAGE, PAGE, 0) == 0
        start = PAGE if self.place == "first" else (pages + 1) * PAGE - array.nbytes
        copy = np.ndarray(array.shape, array.dtype, room, start, array.strides)
        copy[...] = array
        return copy

    def open(self):
        """Let the maps go, their pages allowed again."""
        for memory, room in self.maps:
            self.protect(room.ctypes.data, len(memory), mmap.PROT_READ | mmap.PROT_WRITE)
        self.maps.clear()


def compute(dtype, place):
    """Compute all sums of every shape, with weights in both orders."""
    import fastlinear as fl
    from fastlinear.kernels import formulation

    tiled, rng, fenced = formulation("tiled"), np.random.default_rng(0), Fenced(place)
    for S, M, N in shapes(dtype):
        print(S, M, N, flush=True)
        X, dY, Y, dX = (
            fenced(rng.random(s).astype(dtype)) for s in ((S, M), (S, N), (S, N), (S, M))
        )
        b, db = (fenced(rng.random(N).astype(dtype)) for _ in range(2))
        for order in "CF":
            W, dW = (fenced(rng.random((N, M)).astype(dtype), order) for _ in range(2))
            for act in (None, fl.ReLU()):
                tiled.forward(X, W, b, act, None, Y)
                tiled.backward(dY, Y, act, X, W, dX, dW, db)
        fenced.open()


if __name__ == "__main__":
    compute(getattr(np, sys.argv[1]), sys.argv[2])
