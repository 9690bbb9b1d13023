"""Activations by themselves, forward and forward with backward, beside a plain copy."""

import pytest
from cases import cases

CASES = [case for dtype in ("float32", "float64") for case in cases("activations", dtype)]
CONTESTANTS = ["tiled", "loops", "numpy", "torch", "jax", "copy"]


@pytest.mark.benchmark(max_time=0.2, min_rounds=5)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.quantity}-{case.label}-{case.dtype}"
)
def test_activation(run, case, contestant):
    run(case, contestant)
