"""What tests of several files are run with."""

from __future__ import annotations

import pytest

import fastlinear as fl


@pytest.fixture(params=[1, 2])
def threads(request):
    """Take one thread, which has all of the work, and two, each of which has a part of it."""
    before = fl.get_num_threads()
    fl.set_num_threads(min(request.param, before))
    yield
    fl.set_num_threads(before)
