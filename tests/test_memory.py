"""No kernel reads memory that has been given back: the C library overwrites it here."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, fastlinear as fl
from fastlinear.kernels import loops, tiled
from bits import same
from shapes import DTYPES, blank, uniform
from test_kernels_equal import ACTIVATIONS, LOOPS, TILED, assert_same_bits, step
rng = np.random.default_rng(0)
for dtype in DTYPES:
    for S, M, N in [(512, 3, 512), (1, 700, 300), (9, 20, 30), (300, 64, 2), (600, 200, 141)]:
        X, W, dY = (uniform(rng, *s, dtype=dtype) for s in ((S, M), (N, M), (S, N)))
        b = uniform(rng, 2 * N, dtype=dtype)[::2]
        found = []
        for f in tiled, loops:
            Y, dX = blank(S, N, dtype=dtype), blank(S, M, dtype=dtype)
            dW, db = blank(N, M, dtype=dtype), blank(N, dtype=dtype)
            f.linear_forward(X, W, b, Y)
            f.linear_backward_weight(dY, X, dW)
            f.linear_backward_bias(dY, db)
            f.linear_backward_input(dY, W, dX)
            found.append({"Y": Y, "dW": dW, "db": db, "dX": dX})
        assert_same_bits(*found)
        for act in ACTIVATIONS.values():
            for weight in W, np.asfortranarray(W):
                assert_same_bits(*(step(f, X, weight, b, dY, act) for f in (TILED, LOOPS)))
        net = fl.Sequential(fl.Linear(M, N, activation="gelu", dtype=dtype, rng=0))
        forward, backward, params, grads = net.jit_backward()
        y, kept = forward(params, X)
        backward(params, kept, dY, grads)
        net.forward(X), net.backward(dY)
        assert same(y, net.predict(X))
        assert same(grads[0], net.grads["0.weight"])
        assert same(grads[1], net.grads["0.bias"])
"""


def test_memory_that_was_given_back_is_not_read():
    environment = {**os.environ, "MALLOC_PERTURB_": "165", "FASTLINEAR_QUIET": "1"}
    command = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__)]
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert process.returncode == 0, process.stderr
