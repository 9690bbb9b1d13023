"""Whether an output lies apart from what a kernel reads, told from NumPy's own structures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlinear.kernels.apart import AT_ONCE, are_apart
from fastlinear.layers import checks


@st.composite
def views(draw):
    """Draw a view of one buffer: up to four axes, strided, backwards, without elements."""
    view = BUFFER
    for axis in range(view.ndim):
        start, stop = sorted(
            draw(st.lists(st.integers(0, view.shape[axis]), min_size=2, max_size=2))
        )
        step = draw(st.sampled_from([1, 2, -1, -3]))
        index = slice(start, stop)
        view = view[(slice(None),) * axis + (index,)][
            (slice(None),) * axis + (slice(None, None, step),)
        ]
    axes = draw(st.permutations(range(view.ndim)))
    view = view.transpose(axes)
    return view[0] if draw(st.booleans()) and view.shape[0] > 0 else view


BUFFER = np.zeros((3, 4, 5, 6))


@settings(deadline=None)  # the first call compiles
@given(views(), st.lists(views() | st.none(), max_size=2 * AT_ONCE + 1))
def test_views_of_one_buffer(out, others):
    expected = not any(np.may_share_memory(out, other) for other in others if other is not None)
    assert are_apart(out, others) == expected


@pytest.mark.parametrize("place", range(2 * AT_ONCE + 1))
def test_each_array_counts(place):
    out, others = np.zeros((2, 3)), [np.zeros((2, 3)) for _ in range(2 * AT_ONCE + 1)]
    assert are_apart(out, others)
    others[place] = out[1:, ::-1]
    assert not are_apart(out, others)


def test_neighbours_of_short_elements_may_be_written():
    buffer = np.zeros(12, np.float32)
    before, out = buffer[:6].reshape(2, 3), buffer[6:].reshape(2, 3)
    assert are_apart(out, [out[:0], None])
    assert checks.output(out, (2, 3), out.dtype, (before,)) is out


def test_a_number_of_arrays_without_axes():
    a, b = np.zeros(2)[0:1].reshape(()), np.zeros(())
    assert are_apart(a, [b])
    assert not are_apart(a, [a])
