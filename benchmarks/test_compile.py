"""How long the first call of a process takes, with an empty and with a full disk cache."""

import pytest

from fastlinear.profile.cases import Case
from fastlinear.profile.compiletime import first_and_later

CASES = [
    Case("Y", 8, 64, 64),
    Case("predict", 8, 64, 64, activation="relu"),
    Case("step", 8, 64, 64, activation="gelu"),
    pytest.param(Case("activation", 8, 64, 64, activation="gelu"), marks=pytest.mark.quick),
]


@pytest.fixture(params=["compiled", "loaded"])
def cache_state(request):
    return request.param


@pytest.mark.parametrize("formulation", ["tiled", "loops"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.quantity}-{case.activation}")
def test_first_call(benchmark, tmp_path, case, formulation, cache_state):
    """Report the first call's own seconds, without starting Python and importing, as extra_info."""
    if cache_state == "loaded":
        first_and_later(case, formulation, str(tmp_path))
    benchmark.group = f"first call of {case.quantity}, {cache_state}"
    first, later = benchmark.pedantic(
        first_and_later, (case, formulation, str(tmp_path)), rounds=1, iterations=1
    )
    benchmark.extra_info.update(
        case._asdict(),
        contestant=formulation,
        threads=1,
        first_call_seconds=first,
        later_call_seconds=later,
    )
    assert first > later
