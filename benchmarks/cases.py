"""The one table of what is compared: by ``compare.py`` and by the pytest-benchmark suite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from fastlinear.profile.cases import Case

Shape = tuple[int, int, int]

# (S, M, N): squares, a small network's layers, one sample, tall, wide, and sizes no tile divides.
SHAPES: tuple[Shape, ...] = (
    (1, 64, 64),
    (8, 64, 64),
    (32, 128, 128),
    (128, 784, 128),
    (256, 512, 512),
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (64, 4096, 4096),
    (4096, 256, 64),
    (1, 512, 512),
    (1, 4096, 4096),
    (37, 211, 53),
    (1000, 54, 7),
    (3, 5, 7),
)
PREDICT_SHAPES: tuple[Shape, ...] = ((1, 64, 64), (1, 512, 512), (8, 256, 256), (64, 784, 128))
# An activation's arrays are (S, N).
ACTIVATION_SHAPES: tuple[Shape, ...] = tuple(
    (s, 1, n) for s, n in ((64, 64), (128, 256), (512, 512), (1024, 1024), (2048, 1024))
)
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "elu", "silu", "softplus")
STEP_ACTIVATIONS = ("relu", "tanh", "gelu")

# For each thing to compare: quantities, shapes, activations.
TABLE: dict[str, tuple[tuple[str, ...], tuple[Shape, ...], tuple[str | None, ...]]] = {
    "Y": (("Y",), SHAPES, (None,)),
    "dW": (("dW",), SHAPES, (None,)),
    "dX": (("dX",), SHAPES, (None,)),
    "db": (("db",), SHAPES, (None,)),
    "step": (("step",), SHAPES, STEP_ACTIVATIONS),
    "predict": (("predict",), PREDICT_SHAPES, ("relu",)),
    "activations": (("activation", "activation step"), ACTIVATION_SHAPES, ACTIVATIONS),
}


def cases(
    what: str,
    dtype: str,
    shapes: Iterable[Shape] | None = None,
    activations: Iterable[str] | None = None,
) -> Iterator[Case]:
    """Yield the cases of one line of the table, with other shapes or activations if given."""
    quantities, usual_shapes, usual_activations = TABLE[what]
    if activations is not None and usual_activations != (None,):
        usual_activations = tuple(activations)
    for quantity in quantities:
        for activation in usual_activations:
            for shape in usual_shapes if shapes is None else shapes:
                yield Case(quantity, *shape, dtype, activation)


def random_shapes(count: int, seed: int, work: int = 2**28) -> list[Shape]:
    """Draw shapes, each size from 1 to 4096 evenly on a log scale, of at most ``work`` S M N."""
    rng = np.random.default_rng(seed)
    shapes: list[Shape] = []
    while len(shapes) < count:
        S, M, N = (math.floor(size) for size in np.exp2(rng.uniform(0, 12, 3)))
        if work >= S * M * N:
            shapes.append((S, M, N))
    return shapes
