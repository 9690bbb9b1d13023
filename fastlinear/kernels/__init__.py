"""The arithmetic: three formulations of the same sums, and the functions they are built from."""

from fastlinear.kernels.garbage import uncollected

with uncollected():
    from fastlinear.kernels.threads import load_tbb

    load_tbb()  # before Numba looks for it

    from fastlinear.kernels.formulation import (
        FORMULATIONS,
        Backward,
        BoundPair,
        Forward,
        formulation,
    )

__all__ = ["FORMULATIONS", "Backward", "BoundPair", "Forward", "formulation"]
