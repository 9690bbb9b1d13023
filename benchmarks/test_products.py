"""Y, dW, db and dX: each formulation, and the libraries that are installed."""

import pytest
from cases import cases

CASES = [
    case
    for dtype in ("float32", "float64")
    for what in ("Y", "dW", "db", "dX")
    for case in cases(what, dtype)
]


@pytest.mark.benchmark(max_time=0.2, min_rounds=5)
@pytest.mark.parametrize("contestant", ["tiled", "loops", "blas", "torch", "jax"])
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.quantity}-{case.label}-{case.dtype}"
)
def test_product(run, case, contestant):
    run(case, contestant)
