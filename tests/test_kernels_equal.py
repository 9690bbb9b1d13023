"""`tiled` computes the bits of `loops`: every shape, layout, dtype and number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from bits import same
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapes import DTYPES, around, blank, edges, layouts, shapes, uniform
from steps import ACTIVATIONS, LOOPS, TILED, assert_same_bits, problem, step

from fastlinear.kernels import loops, sizes, tiled
from fastlinear.kernels.alignment import aligned_copy
from fastlinear.kernels.tile import LINE_BYTES


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_shape(dtype):
    for S, M, N in shapes(dtype):
        X, W, b, dA = problem(S, M, N, dtype)
        for act in ACTIVATIONS.values():
            assert_same_bits(step(TILED, X, W, b, dA, act), step(LOOPS, X, W, b, dA, act))
            W = np.asfortranarray(W)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize(
    "shape",
    [
        (2, 1, 1),
        (1, 5, 7),
        (9, 1, 7),
        (9, 5, 1),
        (3, 5, 7),
        (21, 35, 70),
        (40, 70, 130),
        (300, 40, 9),
        (70, 5, 1),
        (70, 1, 9),
        (1, 70, 9),
    ],
)
def test_every_layout(dtype, act, shape):
    X, W, b, dA = problem(*shape, dtype)
    expected = step(LOOPS, X, W, b, dA, act)
    for name in ("C", "F", "strided", "negative", "stray"):
        for changed in range(3):
            arrays = [X, W, dA]
            arrays[changed] = layouts(arrays[changed])[name]
            x, w, da = arrays
            assert_same_bits(step(TILED, x, w, b, da, act), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_begin_at_a_cache_line(dtype):
    """More rows of A read them in place than read others."""
    most = min(sizes.IN_PLACE_TERMS, 2**15) // 256
    for S, N in [(s, n) for s in (most + 1, 2 * most, 2 * most + 1) for n in (16, 17, 48)]:
        X, W, b, dA = problem(S, 256, N, dtype)
        W = aligned_copy(W)
        for act in (None, ACTIVATIONS["relu"]):
            assert_same_bits(step(TILED, X, W, b, dA, act), step(LOOPS, X, W, b, dA, act))


def inside_a_line(array, offset):
    """Return a copy that begins so many elements behind the beginning of a cache line."""
    at_line = aligned_copy(np.zeros(array.size + offset, dtype=array.dtype))
    at_line[offset:] = array.ravel()
    return at_line[offset:].reshape(array.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [1, 4, 7])
def test_rows_that_begin_inside_a_cache_line(dtype, offset):
    """A few rows of A take the columns before the line by themselves; many copy B."""
    for S in (1, 3, sizes.STREAM_ROWS + 1, 63, 64):
        for M, N in ((256, 60), (128, 130), (260, 60)):
            X, W, b, dA = problem(S, M, N, dtype)
            W, dA = inside_a_line(W, offset), inside_a_line(dA, offset)
            for act in (None, ACTIVATIONS["gelu"]):
                assert_same_bits(step(TILED, X, W, b, dA, act), step(LOOPS, X, W, b, dA, act))
                assert_same_bits(
                    step(TILED, dA, W.T, None, X, act), step(LOOPS, dA, W.T, None, X, act)
                )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_a_page_apart(dtype):
    """They are copied to scratch where there are enough of them and B is wide enough."""
    least = sizes.REPAID_BYTES // np.dtype(dtype).itemsize
    for S, M, N in [
        *[(s, 19, least) for s in (*around(sizes.REPAID_ROWS)[2:], sizes.ROWS_OF_A_BYTES // 4 + 1)],
        *[(70, 11, n) for n in (least - 1, least + 1)],
        *[(70, m, least) for m in (1, 2, 8, sizes.BLOCK + 1)],
    ]:
        X, W, b, dA = problem(S, M, N, dtype)
        apart = [blank(S, n + 4096, dtype=dtype)[:, :n] for n in (M, N)]
        apart[0][:], apart[1][:] = X, dA
        for act in (None, ACTIVATIONS["relu"]):
            expected = step(LOOPS, X, W, b, dA, act)
            assert_same_bits(step(TILED, apart[0], W, b, apart[1], act), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_formed_once_and_where_they_are_read(dtype, threads):
    """The gradient dZ: on the stack, on the heap, and too large to be formed beforehand."""
    columns, item = 67, np.dtype(dtype).itemsize
    for limit in (sizes.STACK_BYTES, sizes.FORMED_BYTES):
        for S in around(limit // item // columns):
            X, W, b, dA = problem(S, 1, columns, dtype)
            expected = step(LOOPS, X, W, b, dA, ACTIVATIONS["gelu"])
            assert_same_bits(step(TILED, X, W, b, dA, ACTIVATIONS["gelu"]), expected)


FAR = [(rows, 1051, 3001) for rows in (sizes.FAR_ROWS, sizes.FAR_ROWS + 1)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_invariance(dtype):
    X, W, b, dA = problem(45, 700, 90, dtype)
    whole = step(TILED, X, W, b, dA, ACTIVATIONS["gelu"])
    for first, last in [(0, 1), (3, 4), (44, 45), (7, 13), (11, 43)]:
        rows = slice(first, last)
        alone = step(TILED, X[rows], W, b, dA[rows], ACTIVATIONS["gelu"])
        for name in ("A", "dX"):
            assert same(alone[name], whole[name][rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", ["none", "relu"])
@pytest.mark.parametrize(
    "shape", [(1, 523, 517), (1, 1031, 700), (2, 1031, 700), (1, 2051, 1613), *FAR]
)
def test_weights_beyond_a_cache(dtype, act, shape, threads):
    """Few rows: weights read where they stand, or copied where they come from memory."""
    X, W, b, dA = problem(*shape, dtype)
    expected = step(LOOPS, X, W, b, dA, ACTIVATIONS[act])
    for weight in (W, np.asfortranarray(W)):
        assert_same_bits(step(TILED, X, weight, b, dA, ACTIVATIONS[act]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_beyond_a_cache(dtype, threads):
    """They go to memory past the caches, the columns before a cache line by themselves."""
    line, S = LINE_BYTES // np.dtype(dtype).itemsize, 50
    for terms in (0, 3):
        N = 2 * sizes.FAR_RESULT_BYTES // (S * LINE_BYTES) // 4 * 4 * line + 7 * line
        X, W, b, _ = problem(S, terms, N, dtype)
        expected = blank(S, N, dtype=dtype)
        loops.linear_forward(X, W, b, expected)
        for offset in (0, 1, 4):
            memory = blank(S * N + 2 * line, dtype=dtype)
            start = -memory.ctypes.data % LINE_BYTES // memory.itemsize + offset
            Y = memory[start : start + S * N].reshape(S, N)
            for weight in (W, np.asfortranarray(W)):
                Y[...] = np.nan
                tiled.linear_forward(X, weight, b, Y)
                assert same(Y, expected)
                assert np.isnan(memory[:start]).all()
                assert np.isnan(memory[start + S * N :]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, sizes.DISTANT_ROWS + 1])
def test_lanes_a_page_apart(dtype, rows):
    """One row takes blocks of them in turns, or some at once where it is formed; more by lines."""
    pitch = sizes.CROWDING_BYTES // np.dtype(dtype).itemsize
    lanes = sizes.VECTOR_BYTES // np.dtype(dtype).itemsize
    part = sizes.FORMED_BLOCKS * sizes.BLOCK
    for terms in (*around(sizes.BLOCK)[2:], *around(2 * sizes.BLOCK)[2:5], part, part + 7):
        for columns in around(lanes)[1:]:
            lines = blank(columns, -(-terms // pitch) * pitch, dtype=dtype)[:, :terms]
            X, W, b, dA = problem(rows, terms, columns, dtype)
            lines[:] = W
            expected = step(LOOPS, X, W, b, dA, None)
            assert_same_bits(step(TILED, X, lines, b, dA, None), expected)
            X, W, b, dA = problem(rows, columns, terms, dtype)
            lines[:] = W.T
            expected = step(LOOPS, X, W, b, dA, ACTIVATIONS["relu"])
            assert_same_bits(step(TILED, X, lines.T, b, dA, ACTIVATIONS["relu"]), expected)


SIZES = st.one_of(st.integers(0, 140), st.sampled_from(edges()))


@settings(max_examples=200, deadline=None)
@given(
    S=SIZES,
    M=SIZES,
    N=SIZES,
    dtype=st.sampled_from(DTYPES),
    layout=st.tuples(*[st.sampled_from(["C", "F", "strided", "negative", "stray"])] * 3),
    act=st.sampled_from(list(ACTIVATIONS)),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_problems(S, M, N, dtype, layout, act, bias, seed):
    assume(S * M * N < 2**23)  # the plain loops take 10 ms for that many terms
    X, W, b, dA = problem(S, M, N, dtype, seed)
    b = b if bias else None
    x, w, da = (layouts(a)[name] for a, name in zip((X, W, dA), layout, strict=True))
    expected = step(LOOPS, X, W, b, dA, ACTIVATIONS[act])
    assert_same_bits(step(TILED, x, w, b, da, ACTIVATIONS[act]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_outputs(dtype):
    """Outputs of any strides are filled, and nothing between their elements is touched."""
    S, M, N = 21, 35, 70
    X, W, b, dA = problem(S, M, N, dtype)
    expected = step(LOOPS, X, W, b, dA, ACTIVATIONS["relu"])
    room = {n: blank(2 * v.shape[0], *(3 * k for k in v.shape[1:]), dtype=dtype)
            for n, v in expected.items()}  # fmt: skip
    out = {n: v[::2, ::3] if v.ndim == 2 else v[::2] for n, v in room.items()}
    TILED.forward(X, W, b, ACTIVATIONS["relu"], None, out["A"])
    TILED.backward(dA, expected["A"], ACTIVATIONS["relu"], X, W, out["dX"], out["dW"], out["db"])
    assert_same_bits(out, expected)
    for name, whole in room.items():
        assert np.isnan(whole).sum() == whole.size - expected[name].size


@pytest.mark.parametrize("dtype", DTYPES)
def test_last_columns_end_where_they_should(dtype):
    """Of any number of columns the last is written, and nothing behind it or between rows."""
    tall, _, low, _ = sizes.ROWS
    widest = max(sizes.WIDTHS) * sizes.VECTOR_BYTES // np.dtype(dtype).itemsize
    # One row against lanes apart goes another way from TURN_TERMS on; many rows are turned round.
    few = [(1, 5), (1, 20), (low, 5), (tall, 5)]
    for S, M, most in [*((S, M, widest) for S, M in few), (300, 40, 9)]:
        for N in range(1, most + 2):
            X, W, b, _ = problem(S, M, N, dtype)
            A, dX = blank(S, N, dtype=dtype), blank(S, N, dtype=dtype)
            loops.linear_forward(X, W, b, A)
            loops.linear_backward_input(X, W.T, dX)
            for order in "CF":
                Y, Z = blank(S + 1, N + 9, dtype=dtype), blank(S + 1, N + 9, dtype=dtype)
                tiled.linear_forward(X, np.asarray(W, order=order), b, Y[:S, :N])
                tiled.linear_backward_input(X, np.asarray(W.T, order=order), Z[:S, :N])
                for room, expected in ((Y, A), (Z, dX)):
                    assert same(room[:S, :N], expected), (S, N, order)
                    assert np.isnan(room).sum() == room.size - expected.size, (S, N, order)


@pytest.mark.parametrize("dtype", DTYPES)
def test_element_wise_rows_of_any_length(dtype):
    """Rows with gaps between them, apart and in place: `blas` computes h in place."""
    act = ACTIVATIONS["gelu"]
    for columns in (*around(sizes.VECTOR_BYTES // np.dtype(dtype).itemsize), 53):
        room = [blank(5, 100, dtype=dtype) for _ in range(5)]
        X, dY, Y, dX, apart = (array[:, :columns] for array in room)
        X[:], dY[:] = (uniform(np.random.default_rng(s), *X.shape, dtype=dtype) for s in (1, 2))
        LOOPS.activation_forward(act, X, apart)
        TILED.activation_forward(act, X, Y)
        assert_same_bits({"apart": Y}, {"apart": apart})
        Y[:] = X
        TILED.activation_forward(act, Y, Y)
        assert_same_bits({"in place": Y}, {"in place": apart})
        LOOPS.activation_backward(act, dY, X, apart)
        TILED.activation_backward(act, dY, X, dX)
        assert_same_bits({"backward": dX}, {"backward": apart})
        TILED.activation_backward(act, dY, X, dY)
        assert_same_bits({"backward in place": dY}, {"backward in place": apart})
        assert all(np.isnan(array[:, columns:]).all() for array in room)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_propagate(dtype):
    X, W, b, dA = problem(20, 600, 70, dtype)
    X[3, 17], X[5, 599], W[11, 520], dA[7, 3] = np.nan, np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        assert_same_bits(step(TILED, X, W, b, dA, None), step(LOOPS, X, W, b, dA, None))


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_called_directly(dtype):
    """The four functions of `tiled` by themselves, b None included."""
    empty = [(2, 0, 3), (0, 4, 3), (3, 4, 0), (200, 200, 0), (200, 0, 200)]
    some = [(3, 5, 7), (40, 70, 130), *empty]
    for (S, M, N), order in [(shape, order) for shape in some for order in "CF"]:
        X, W, b, dY = problem(S, M, N, dtype)
        X, dY = np.asarray(X, order=order), np.asarray(dY, order=order)
        for bias in (b, None):
            computed, expected = blank(S, N, dtype=dtype), blank(S, N, dtype=dtype)
            tiled.linear_forward(X, W, bias, computed)
            loops.linear_forward(X, W, bias, expected)
            assert same(computed, expected)
        for name, arguments, shape in [
            ("linear_backward_weight", (dY, X), (N, M)),
            ("linear_backward_bias", (dY,), (N,)),
            ("linear_backward_input", (dY, W), (S, M)),
        ]:
            computed, expected = blank(*shape, dtype=dtype), blank(*shape, dtype=dtype)
            getattr(tiled, name)(*arguments, computed)
            getattr(loops, name)(*arguments, expected)
            assert same(computed, expected)
