"""``fastlinear warmup`` in real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

TRAIN = """
import numpy as np, fastlinear as fl
net = fl.MLP([6, 5, 3], {activation!r}, rng=0)
loss = fl.CrossEntropyLoss()
loss.forward(net.forward(np.ones((4, 6), np.float32)), np.array([0, 1, 2, 0]))
net.backward(loss.backward())
fl.AdamW(net).step()
net.predict(np.ones((1, 6), np.float32), out=np.empty((1, 3), np.float32))
"""

THRESHOLD = """
import numpy as np, fastlinear as fl
layer = fl.Threshold(0.5, 2.0)
layer.backward(layer.forward(np.ones((2, 3), np.float32)))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")

    def run(*arguments, status=0, **environment):
        # Less optimised, it takes a fifth less time; what is compiled is the same.
        settings = {"NUMBA_CACHE_DIR": str(folder), "COLUMNS": "200", "NUMBA_OPT": "1"}
        environment = {**settings, **environment}
        process = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "FASTLINEAR_QUIET"} | environment,
            timeout=300,
        )
        assert process.returncode == status, process.stderr
        return process

    return run


def warmup(run, *arguments, **options):
    return run("-m", "fastlinear", "warmup", *arguments, **options)


def test_afterwards_nothing_compiles(run):
    # In one test: in another, another process might compile everything anew.
    activations = "--activation", "relu", "--activation", "threshold"  # which has no defaults
    first = warmup(run, "--dtype", "float32", *activations)
    assert int(re.match(r"(\d+) new kernels in ", first.stdout)[1]) > 10
    again = warmup(run, "--dtype", "float32", *activations)
    assert again.stdout.startswith("0 new kernels in ")
    assert "compiling" not in again.stderr
    assert run("-c", TRAIN.format(activation="relu")).stderr == ""
    assert run("-c", THRESHOLD).stderr == ""
    assert "compiling" in run("-c", TRAIN.format(activation="silu")).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dtype", "int8"), "--dtype: expected one of float32, float64, got 'int8'"),
        (("--activation", "rleu"), "--activation: expected one of "),
    ],
)
def test_unknown_names(run, arguments, message):
    assert message in warmup(run, *arguments, status=2).stderr


def test_no_folder(run):
    result = warmup(run, status=1, NUMBA_CACHE_DIR=os.devnull)
    assert "no writable folder" in result.stderr
