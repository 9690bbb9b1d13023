"""The arithmetic: three formulations of the same sums, and the functions they are built from."""

from fastlinear.kernels.threads import load_tbb

load_tbb()

from fastlinear.kernels.formulation import (  # noqa: E402
    FORMULATIONS,
    BoundPair,
    Passes,
    formulation,
)

__all__ = ["FORMULATIONS", "BoundPair", "Passes", "formulation"]
