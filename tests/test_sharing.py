"""How threads share products: cells and blocks take every term of every sum once, in order."""

from __future__ import annotations

import numpy as np
import pytest
from shapes import DTYPES, around, blank, shapes
from steps import (
    ACTIVATIONS,
    LOOPS,
    TILED,
    assert_same_bits,
    in_turn,
    problem,
    step,
    step_in_turn,
)

import fastlinear as fl
from fastlinear.kernels import loops, sizes, tiled
from fastlinear.kernels.block_sharing import terms_of
from fastlinear.kernels.cells import cell
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import view
from fastlinear.kernels.packing import plain
from fastlinear.kernels.sharing import no_sum

BLOCK = sizes.BLOCK
FEW_LONG_SUMS = [
    *[(S, M, N) for S in (2 * BLOCK + 1, 9 * BLOCK) for M, N in [(3, 5), (33, 8), (1, 64)]],
    (1, 2 * BLOCK, 500),
    (1, 4 * BLOCK - 1, 200),
    (1, 400, 2 * BLOCK),
    (3, 4 * BLOCK, 200),
    (5, 200, 4 * BLOCK - 1),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1000, 900), (300, 140, 64), (64, 1300, 27), (4100, 20, 30), (1500, 900, 1)]
)
def test_thread_invariance(dtype, shape):
    S, _, N = shape
    X, W, b, dA = problem(*shape, dtype)
    least = 2 * sizes.SHARE_WORK
    shorter, larger = min(S, N), max(X.nbytes, W.nbytes)
    assert (shorter + sizes.NEAR_READING_ROWS) * larger >= least  # it is shared
    before = fl.get_num_threads()
    try:
        fl.set_num_threads(1)
        expected = step(TILED, X, W, b, dA, ACTIVATIONS["gelu"])
        for threads in range(2, before + 1):
            fl.set_num_threads(threads)
            assert_same_bits(step(TILED, X, W, b, dA, ACTIVATIONS["gelu"]), expected)
    finally:
        fl.set_num_threads(before)


def test_cells_cover_a_product_once():
    for threads in range(1, 17):
        for I, J, lanes in [(24, 392, 8), (392, 24, 16), (7, 3, 16), (1, 70, 8), (100, 100, 4)]:
            for K in (1, 9, 700):
                taken = np.zeros((I, J), int)
                for t in range(threads):
                    i, j, rows, columns = cell(t, threads, I, J, K, lanes)
                    taken[i : i + rows, j : j + columns] += 1
                assert np.all(taken == 1), (threads, I, J, K, lanes)


def test_blocks_cover_a_sum_once_and_in_order():
    for threads in (*range(1, 17), 40):
        for K in {k for n in range(1, 40) for k in around(n * BLOCK // 2) if k > 0}:
            ends = [terms_of(t, threads, K) for t in range(threads)]
            taken = [k for first, beyond in ends for k in range(first, beyond)]
            assert taken == list(range(K)), (threads, K)
            assert ends[0][1] >= min(K, BLOCK)
            assert all(first % BLOCK == 0 for first, beyond in ends if first < beyond)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_blocks_of_few_long_sums(dtype, name):
    """One row against long weights, or the gradients of a small layer."""
    for S, M, N in FEW_LONG_SUMS:
        X, W, b, dA = problem(S, M, N, dtype)
        shared = False
        for weights in (W, np.asfortranarray(W), W[::-1]):
            expected = step(LOOPS, X, weights, b, dA, ACTIVATIONS[name])
            for threads in (2, 3, 5, 40):
                computed, blocks = step_in_turn(X, weights, b, dA, ACTIVATIONS[name], threads)
                assert_same_bits(computed, expected)
                shared |= blocks
        assert shared, (S, M, N)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_every_shape_in_shares(dtype, name):
    for S, M, N in shapes(dtype):
        X, W, b, dA = problem(S, M, N, dtype)
        expected = step(LOOPS, X, W, b, dA, ACTIVATIONS[name])
        for threads in (1, 2, 3):
            computed, _ = step_in_turn(X, W, b, dA, ACTIVATIONS[name], threads)
            assert_same_bits(computed, expected)
            W = np.asarray(W, order="C" if W.flags.f_contiguous else "F")


@compiled(any_layout=True)
def weight_gradient_in_turn(dY, X, dW, threads):
    """Compute the shares of dW; return whether they are blocks."""
    one, (S, M), N = X.dtype.type(1), X.shape, dY.shape[1]
    task = tiled.weight_sum(S, N, M, view(dY), view(X), view(dW), plain(one))
    return in_turn(one, (task, no_sum(one), no_sum(one)), threads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_sums_than_scratch_holds_are_shared_by_cells(dtype):
    """Also for as many threads as there are blocks."""
    N = 40
    most = sizes.SUMS_BYTES // (N * N * np.dtype(dtype).itemsize)
    for blocks in (most, most + 1):
        X, _, _, dY = problem((blocks - 1) * BLOCK + 1, N, N, dtype)
        expected, dW = blank(N, N, dtype=dtype), blank(N, N, dtype=dtype)
        loops.linear_backward_weight(dY, X, expected)
        assert weight_gradient_in_turn(dY, X, dW, blocks) == (blocks == most)
        assert_same_bits({"dW": dW}, {"dW": expected})


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_strided_both_ways_are_shared_by_cells(dtype):
    X, _, _, dY = problem(3 * BLOCK, 5, 3, dtype)
    expected, dW = blank(3, 5, dtype=dtype), blank(6, 10, dtype=dtype)[::2, ::2]
    loops.linear_backward_weight(dY, X, expected)
    assert not weight_gradient_in_turn(dY, X, dW, 3)
    assert_same_bits({"dW": dW}, {"dW": expected})


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_that_underflow_keep_their_sign(dtype):
    """Also where there are more threads than blocks."""
    tiny = np.finfo(dtype).tiny
    X, dY = np.full((4 * BLOCK, 5), tiny, dtype), np.full((4 * BLOCK, 3), -tiny, dtype)
    for threads in (2, 40):
        dW = blank(3, 5, dtype=dtype)
        assert weight_gradient_in_turn(dY, X, dW, threads)
        assert np.all(dW == 0)
        assert np.all(np.signbit(dW))
