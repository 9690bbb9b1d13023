"""A layer's forward and backward pass, and its prediction, activation included."""

import pytest
from cases import cases

CASES = [
    case
    for dtype in ("float32", "float64")
    for what in ("step", "predict")
    for case in cases(what, dtype)
]
CONTESTANTS = ["tiled", "loops", "blas", "numpy", "torch", "jax", "onnxruntime"]


@pytest.mark.benchmark(max_time=0.2, min_rounds=5)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.quantity}-{case.label}-{case.dtype}"
)
def test_step(run, case, contestant):
    run(case, contestant)
