"""Every case of the table of ``cases.py``, for each formulation and each library installed."""

from itertools import product

import pytest
from cases import TABLE, cases

from fastlinear.profile.cases import DTYPES, STREAMS

PRODUCTS = ("tiled", "loops", "blas", "torch", "jax")
CONTESTANTS = {
    "Y": PRODUCTS,
    "dW": PRODUCTS,
    "dX": PRODUCTS,
    "db": PRODUCTS,
    "step": ("tiled", "loops", "blas", "numpy", "torch", "jax", "onnxruntime"),
    "predict": ("tiled", "loops", "blas", "numpy", "torch", "jax", "onnxruntime"),
    "activations": ("tiled", "loops", "numpy", "torch", "jax", "copy"),
}


def parameters():
    """Yield case and contestant; quick are the smallest, and the largest where arrays rotate."""
    for what, dtype in product(TABLE, DTYPES):
        found = list(cases(what, dtype))
        smallest, *_, largest = sorted(found, key=lambda case: case.bytes)
        quick = [smallest, largest] if largest.quantity in STREAMS else [smallest]
        for case, name in product(found, CONTESTANTS[what]):
            label = f"{case.quantity}-{case.label}-{case.dtype}-{name}"
            marks = [pytest.mark.quick] if case in quick else []
            yield pytest.param(case, name, id=label, marks=marks)


@pytest.mark.benchmark(max_time=0.2, min_rounds=5)
@pytest.mark.parametrize(("case", "contestant"), list(parameters()))
def test_contestant(run, case, contestant):
    run(case, contestant)
