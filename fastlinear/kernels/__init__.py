"""The arithmetic: three formulations of the same sums, and the functions they are built from.

The way down, from a layer to a register:

- `formulation`: `loops`, `tiled` or `blas` behind one set of methods; `passes`, what a layer calls,
  `bound` to its arrays and its activation
- `sharing` (threads: `cells` of the result each, or `block_sharing`), `orientation` (which way
  round), `plan` (how operands are read) and `product` (the loops around the tile), which all choose
  by `sizes`
- one block of a sum: `adjacent` hands it to `blocks`, or `slender` for few columns; `streamed`,
  `distant` and `distant_row` take a few rows, `abreast` few sums
- `packing`: what goes to scratch first; `scratch` and `memory`: where from, and how it is addressed
- the register tile: `shape`, `tile`, `rank_update`, `along`; its LLVM code in `vectors`; `fma`
- h and h': the pairs in `activations`, made of `vecmath`, over arrays by `elementwise`
- losses and optimisers: `reductions`, `updates`, shared among threads by `ranges`
- networks in nopython code: `network`, `network_gradients`, on arrays of `borrowed`; `interpreted`

and what makes Numba do it: `jit` (the one decorator), `pipeline`, `interleaving` and `vector_width`
(how LLVM sees the loops), `by_address` and `fragments` (what gets machine code of its own), `cache`
(on disk), `lent` (arrays from Python), `threads`, `garbage`, `alignment`, `apart`.
"""

from fastlinear.kernels.garbage import uncollected

with uncollected():
    from fastlinear.kernels.threads import load_tbb

    load_tbb()  # before Numba looks for it

    from fastlinear.kernels.bound import BoundPair, Held, refuse
    from fastlinear.kernels.formulation import (
        FORMULATIONS,
        Backward,
        Forward,
        Hadamard,
        Map,
        formulation,
    )

__all__ = [
    "FORMULATIONS",
    "Backward",
    "BoundPair",
    "Forward",
    "Hadamard",
    "Held",
    "Map",
    "formulation",
    "refuse",
]
