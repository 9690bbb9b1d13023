"""What tests of several files are run with."""

from __future__ import annotations

import os

import pytest

# Two threads at least, on a machine with one core too; children inherit it.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

import fastlinear as fl

# These compile most of the package in processes of their own, a minute each.
LONGEST = {
    "test_instruction_sets_agree",
    "test_afterwards_nothing_compiles",
    "test_a_second_process_compiles_nothing",
}


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.name not in LONGEST)


@pytest.fixture(params=[1, 2])
def threads(request):
    """Take one thread, which has all of the work, and two, each of which has a part of it."""
    before = fl.get_num_threads()
    fl.set_num_threads(request.param)
    yield
    fl.set_num_threads(before)
