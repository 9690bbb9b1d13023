"""One training step of a formulation, whole or as the shares of threads, one after another."""

from __future__ import annotations

import numpy as np
from bits import same_elements
from shapes import blank, uniform

import fastlinear as fl
from fastlinear.kernels import Held, formulation, passes, sharing
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import address_of, alive

TILED, LOOPS = formulation("tiled"), formulation("loops")
ACTIVATIONS = {
    "none": None,
    "relu": fl.ReLU(),  # keeps its output
    "gelu": fl.GELU(),  # keeps a derivative
}


def step(f, X, W, b, dA, act):
    """Return A, dX, dW and db of one forward and backward pass of a formulation."""
    (S, M), N, dtype = X.shape, W.shape[0], X.dtype
    A = blank(S, N, dtype=dtype)
    V = None if act is None or act.from_output else blank(S, N, dtype=dtype)
    f.forward(X, W, b, act, V, A)
    dX, dW, db = blank(S, M, dtype=dtype), blank(N, M, dtype=dtype), blank(N, dtype=dtype)
    if W.flags.f_contiguous:
        dW = np.asfortranarray(dW)
    kept = None if act is None else A if act.from_output else V
    f.backward(dA, kept, act, X, W, dX, dW, db)
    return {"A": A, "dX": dX, "dW": dW, "db": db}


@compiled(internal=True)
def in_turn(one, tasks, threads):
    """Compute the shares of products one after another, the last one first.

    Returns whether any of them are blocks of a sum.
    """
    nbytes = sharing.scratch_bytes(one, tasks, threads)
    scratch = np.empty(nbytes, np.uint8)
    for t in range(threads - 1, -1, -1):
        sharing.run_shares(one, tasks, t, threads, address_of(scratch))
    sharing.end_shares(one, tasks, threads, address_of(scratch))
    alive(scratch)
    return nbytes > 0


@compiled(any_layout=True)
def output_in_turn(held, X, V, A, threads):
    """Compute the shares of a forward pass."""
    one = X.dtype.type(1)
    task = passes.output_sum(X, V, A, passes.load_layer(one, address_of(held)))
    return in_turn(one, (task, sharing.no_sum(one), sharing.no_sum(one)), threads)


@compiled(any_layout=True)
def gradients_in_turn(held, dA, V, X, dX, threads):
    """Compute the shares of a backward pass, dZ formed where it is read."""
    one = dA.dtype.type(1)
    layer = passes.load_layer(one, address_of(held))
    return in_turn(one, passes.gradient_sums(one, dA, V, 0, X, dX, layer), threads)


def step_in_turn(X, W, b, dA, act, threads):
    """Return what `step` of the tiled formulation does, and whether any shares were blocks.

    The gradient dZ is taken for too large to be formed once.
    """
    results = {k: np.full_like(v, np.nan) for k, v in step(TILED, X, W, b, dA, act).items()}
    A, nothing = results["A"], np.empty((0, 0), X.dtype)
    V = nothing if act is None or act.from_output else blank(*dA.shape, dtype=dA.dtype)
    held = Held(W, b, results["dW"], results["db"])
    blocks = output_in_turn(*TILED.hold_forward(held, act).args, X, V, A, threads)
    kept = V if act is None or not act.from_output else A
    args = TILED.hold_backward(held, act).args
    return results, blocks | gradients_in_turn(*args, dA, kept, X, results["dX"], threads)


def assert_same_bits(computed, expected):
    for name, value in expected.items():
        good = same_elements(computed[name], value)
        assert np.all(good), f"{name} differs in {np.sum(~good)} of {good.size} elements"


def problem(S, M, N, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [uniform(rng, *s, dtype=dtype) for s in ((S, M), (N, M), (N,), (S, N))]
