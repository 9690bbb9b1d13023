"""What ``fastlinear check`` compares: each result of `tiled` with that of `loops`, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import fastlinear as fl
from fastlinear import kernels
from fastlinear.cli.gradients import ACTIVATIONS
from fastlinear.kernels.sizes import BLOCK

SHAPES = (
    (0, 3, 2),  # no samples
    (1, 1, 1),
    (1, 64, 64),  # one sample
    (3, 5, 7),  # smaller than any tile
    (17, 31, 33),  # one more or less than a power of two
    (65, 129, 3),
    (221, 97, 41),  # divided by no tile
    (2, BLOCK + 1, 5),  # a block of the sum and one term more, over m,
    (2 * BLOCK + 3, 4, 6),  # over s,
    (5, 6, 2 * BLOCK + 1),  # over n
    (192, 160, 256),  # enough work for threads
)
"""Samples, input features and output features (S, M, N), each awkward in its own way."""

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
}
"""How an input may lie in memory: each returns an array equal to its argument."""

SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 88.0, -88.0, 1e-6, -1e-6)
"""Inputs of activations besides random ones; 1e-40 is subnormal in float32."""


DTYPES = (np.float32, np.float64)


class Product(NamedTuple):
    """A kernel call with the shapes of what it writes."""

    label: str
    run: Callable[..., None]
    """``run(f, X, W, b, dY, *outputs)`` under formulation ``f``."""
    outputs: Callable[[int, int, int], tuple[tuple[int, ...], ...]]


PRODUCTS = (
    Product(
        "Y = X W^T + b  (2)",
        lambda f, X, W, b, dY, Y: f.linear_forward(X, W, b, Y),
        lambda S, M, N: ((S, N),),
    ),
    Product(
        "Y = X W^T  (2)",
        lambda f, X, W, b, dY, Y: f.linear_forward(X, W, None, Y),
        lambda S, M, N: ((S, N),),
    ),
    Product(
        "dW = dY^T X  (4)",
        lambda f, X, W, b, dY, dW: f.linear_backward_weight(dY, X, dW),
        lambda S, M, N: ((N, M),),
    ),
    Product(
        "db = sum dY  (9)",
        lambda f, X, W, b, dY, db: f.linear_backward_bias(dY, db),
        lambda S, M, N: ((N,),),
    ),
    Product(
        "dX = dY W  (14)",
        lambda f, X, W, b, dY, dX: f.linear_backward_input(dY, W, dX),
        lambda S, M, N: ((S, M),),
    ),
)

FUSED = ("relu", "tanh", "gelu")
"""h' from the input or the output, from the output alone, and from the input alone."""


def fused(name: str) -> Product:
    """Return forward and backward of a Linear layer with an activation, in one."""
    act = ACTIVATIONS[name]()

    def run(f: Any, X: Any, W: Any, b: Any, dY: Any, A: Any, dX: Any, dW: Any, db: Any) -> None:
        kept = None if act.from_output else np.empty_like(A)  # what it holds is f's own affair
        f.forward(X, W, b, act, kept, A)
        f.backward(dY, A if kept is None else kept, act, X, W, dX, dW, db)

    return Product(
        f"{name}(X W^T + b), and back",
        run,
        lambda S, M, N: ((S, N), (S, M), (N, M), (N,)),
    )


@dataclass
class Comparison:
    """Results of one kind: how many arrays were compared, and where the first difference was."""

    label: str
    count: int = 0
    differing: int = 0
    first: str = ""

    def add(self, where: str, tiled: Any, loops: Any) -> None:
        """Compare two arrays: the same bits, or NaN in both."""
        bits = f"u{tiled.itemsize}"
        same = (tiled.view(bits) == loops.view(bits)) | (np.isnan(tiled) & np.isnan(loops))
        self.count += 1
        if not same.all():
            self.differing += 1
            index = tuple(int(i) for i in np.argwhere(~same)[0])
            self.first = self.first or (
                f"{where}: {np.count_nonzero(~same)} of {same.size} elements, at {index} "
                f"{tiled[index]} instead of {loops[index]}"
            )


def cases() -> Iterator[tuple[str, Callable[[], Comparison]]]:
    """Yield label and comparison of every kernel."""
    for case in (*PRODUCTS, *map(fused, FUSED)):
        yield case.label, partial(compare_products, case)
    for name, make in ACTIVATIONS.items():
        yield f"{name}  (17), (18)", partial(compare_activation, name, make())


def compare_products(case: Product) -> Comparison:
    """Compare for every shape, dtype, layout of the inputs, and with one thread and all."""
    comparison = Comparison(case.label)
    rng = np.random.default_rng(0)
    for (S, M, N), dtype in product(SHAPES, DTYPES):
        X, W, dY = (rng.standard_normal(shape).astype(dtype) for shape in ((S, M), (N, M), (S, N)))
        b = rng.standard_normal(N).astype(dtype)
        shapes = case.outputs(S, M, N)
        expected = [np.zeros(shape, dtype) for shape in shapes]
        case.run(kernels.formulation("loops"), X, W, b, dY, *expected)
        for first, second in product(LAYOUTS, LAYOUTS):
            inputs = LAYOUTS[first](X), LAYOUTS[second](W), b, LAYOUTS[first](dY)
            where = f"(S, M, N) = {(S, M, N)}, {np.dtype(dtype)}, layouts {first} and {second}"
            for threads, outputs in tiled_results(case.run, inputs, shapes, dtype):
                for got, wanted in zip(outputs, expected, strict=True):
                    comparison.add(f"{where}, {threads} thread(s)", got, wanted)
    return comparison


def compare_activation(name: str, act: Any) -> Comparison:
    """Compare h and h' on random and special values."""
    comparison = Comparison(name)
    rng = np.random.default_rng(0)
    for shape, dtype in product(((0, 3), (1, 17), (37, 29), (300, 70)), DTYPES):
        X = (4 * rng.standard_normal(shape)).astype(dtype)
        X.flat[: len(SPECIAL)] = np.array(SPECIAL)[: X.size].astype(dtype)
        dY = rng.standard_normal(shape).astype(dtype)

        def run(f: Any, X: Any, dY: Any, Y: Any, dX: Any) -> None:
            f.activation_forward(act, X, Y)
            f.activation_backward(act, dY, Y if act.from_output else X, dX)

        expected = [np.zeros(shape, dtype), np.zeros(shape, dtype)]
        run(kernels.formulation("loops"), X, dY, *expected)
        for layout, arrange in LAYOUTS.items():
            where = f"{shape}, {np.dtype(dtype)}, layout {layout}"
            inputs = arrange(X), arrange(dY)
            for threads, outputs in tiled_results(run, inputs, (shape, shape), dtype):
                for got, wanted in zip(outputs, expected, strict=True):
                    comparison.add(f"{where}, {threads} thread(s)", got, wanted)
    return comparison


def tiled_results(
    run: Callable[..., None], inputs: Any, shapes: Any, dtype: Any
) -> Iterator[tuple[int, list[Any]]]:
    """Yield what `tiled` writes with one thread and with all; what it forgets to write is NaN."""
    all_threads = fl.get_num_threads()
    try:
        for threads in sorted({1, all_threads}):
            fl.set_num_threads(threads)
            outputs = [np.full(shape, np.nan, dtype) for shape in shapes]
            run(kernels.formulation("tiled"), *inputs, *outputs)
            yield threads, outputs
    finally:
        fl.set_num_threads(all_threads)
