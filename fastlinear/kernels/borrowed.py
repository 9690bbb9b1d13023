"""Arrays without reference counts, for functions that run in a user's inner loops.

Numba counts the references to each array with locked instructions. Where threads share arrays, as
they share a network's weights, each would wait for the others at every call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import extending, typeof, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import models, register_model

from fastlinear.kernels.jit import intrinsic_or
from fastlinear.kernels.memory import MATRIX, Matrix


class Plane(NamedTuple):
    """A 2-D array without its owner; a 1-D array is a plane of one row."""

    rows: int
    columns: int
    at: Matrix


class Layer(NamedTuple):
    """What one stage takes at run time; W and b have no elements where there are none."""

    W: Plane
    b: Plane
    p: Any
    q: Any


PAIR = "params: expected p and q, two numbers, as the third array of a layer"
PLANE = types.NamedTuple((types.intp, types.intp, MATRIX), Plane)


# ---- planes of arrays -------------------------------------------------------------------------


def python_plane(array: Any) -> Plane:
    """Return what `plane` does where nothing compiles; there the array stands for its matrix."""
    rows, columns = (1, *array.shape)[-2:]
    return Plane(rows, columns, array)


@intrinsic_or(python_plane)
def plane(typingctx, array):
    """Return the plane of a 1-D or 2-D array."""
    if not (isinstance(array, types.Array) and array.ndim in (1, 2)):
        raise TypingError(f"expected an array of one or two dimensions, got {array}")
    return PLANE(array), _plane_of(array, 0)


def _python_matrix(array: Any) -> Plane:
    _require_array("x", typeof(array), typeof(array).dtype, 2)
    return python_plane(array)


@intrinsic_or(_python_matrix)
def matrix(typingctx, x):
    """Return the plane of a 2-D array."""
    _require_array("x", x, x.dtype, 2)
    return PLANE(x), _plane_of(x, 0)


@intrinsic_or(lambda arrays: tuple(map(python_plane, arrays)))
def planes_of(typingctx, arrays):
    """Return the planes of a tuple of arrays."""
    _require_tuple("kept and grads", arrays)
    result = types.UniTuple(PLANE, len(arrays))

    def codegen(context, builder, signature, args):
        values = zip(arrays, cgutils.unpack_tuple(builder, args[0]), strict=True)
        planes = [_plane(context, builder, *both) for both in values]
        return context.make_tuple(builder, result, planes)

    return result(arrays), codegen


def _python_output(x: Any, out: Any) -> Plane:
    if out is None:
        return Plane(0, 0, None)  # type: ignore[arg-type]  # nobody reads it
    _require_array("out", typeof(out), typeof(x).dtype, x.ndim, writeable=True)
    return python_plane(out)


@intrinsic_or(_python_output)
def output_plane(typingctx, x, out):
    """Return the plane of ``out``, a writeable array of the dtype of ``x``; zeros if it is None."""
    if isinstance(out, types.NoneType | types.Omitted):
        return PLANE(x, out), lambda context, *_: context.get_constant_null(PLANE)
    _require_array("out", out, x.dtype, x.ndim, writeable=True)
    return PLANE(x, out), _plane_of(out, 1)


def _python_layers(params: Any, one: Any, indices: tuple[int, ...]) -> tuple[Layer, ...]:
    _require_params(typeof(params), typeof(one), len(indices))
    arrays = zip(params[::3], params[1::3], params[2::3], strict=True)
    return tuple(Layer(python_plane(W), python_plane(b), *pq) for W, b, pq in arrays)


@intrinsic_or(_python_layers)
def layers_of(typingctx, params, one, indices):
    """Return ``params`` as a tuple of `Layer`, one for each of ``indices``, in ``one``'s dtype.

    ``params`` is flat, because Numba takes no nested tuple into a ``prange``: W, b and the array of
    p and q, layer by layer.
    """
    _require_params(params, one, len(indices))
    layer = types.NamedTuple((PLANE, PLANE, one, one), Layer)
    result = types.UniTuple(layer, len(params) // 3)

    def codegen(context, builder, signature, args):
        arrays = cgutils.unpack_tuple(builder, args[0])
        layers = []
        for i in range(0, len(params), 3):
            planes = [
                _plane(context, builder, *both)
                for both in zip(params[i : i + 2], arrays[i : i + 2], strict=True)
            ]
            pq = context.make_array(params[i + 2])(context, builder, arrays[i + 2])
            layers.append(context.make_tuple(builder, layer, planes + _pair(context, builder, pq)))
        return context.make_tuple(builder, result, layers)

    return result(params, one, indices), codegen


def _plane_of(array: Any, index: int) -> Any:
    """Return the generator of code for the plane of an argument."""
    return lambda context, builder, _, args: _plane(context, builder, array, args[index])


def _plane(context: Any, builder: Any, array: Any, value: Any) -> Any:
    held = context.make_array(array)(context, builder, value)
    intp = context.get_value_type(types.intp)
    shape = [intp(1), *cgutils.unpack_tuple(builder, held.shape)][-2:]
    row, col = [intp(0), *cgutils.unpack_tuple(builder, held.strides)][-2:]
    single = builder.icmp_signed("==", shape[1], intp(1))
    col = builder.select(single, held.itemsize, col)  # as `memory.view` does
    data = builder.ptrtoint(held.data, intp)
    at = context.make_tuple(builder, MATRIX, [data, row, col])
    return context.make_tuple(builder, PLANE, [*shape, at])


def _pair(context: Any, builder: Any, pq: Any) -> list[Any]:
    """Return p and q; the compiled code raises where they are not there."""
    two = pq.nitems.type(2)
    with cgutils.if_unlikely(builder, builder.icmp_signed("<", pq.nitems, two)):
        context.call_conv.return_user_exc(builder, ValueError, (PAIR,))
    return [builder.load(builder.gep(pq.data, [two.type(i)])) for i in (0, 1)]


# ---- arrays that are handed through -----------------------------------------------------------


class Unowned(types.Type):
    """The type of an array whose references are not counted: its caller keeps it alive."""

    def __init__(self, array: Any) -> None:
        self.array = array
        super().__init__(f"Unowned({array})")


@register_model(Unowned)
class UnownedModel(models.PrimitiveModel):
    """What the array consists of."""

    def __init__(self, dmm: Any, fe_type: Unowned) -> None:
        super().__init__(dmm, fe_type, dmm.lookup(fe_type.array).get_value_type())


@extending.intrinsic
def unowned(typingctx, array):
    """Return an argument without counting the reference; None if it is None.

    A function that mentions its arrays in its first lines only counts none: LLVM sees both ends.
    """
    if isinstance(array, types.NoneType | types.Omitted):
        return types.none(array), lambda context, *_: context.get_dummy_value()
    return Unowned(array)(array), lambda context, builder, signature, args: args[0]


@extending.intrinsic
def owned(typingctx, unowned, otherwise):
    """Return the array with a reference that counts, to be returned; ``otherwise`` for a None."""
    given = isinstance(unowned, Unowned)
    result = unowned.array if given else otherwise

    def codegen(context, builder, signature, args):
        value = args[0] if given else args[1]
        context.nrt.incref(builder, result, value)
        return value

    return result(unowned, otherwise), codegen


# ---- types, checked where they are compiled -----------------------------------------------------


@intrinsic_or(lambda *arrays: _require_gradients(*map(typeof, arrays)))
def require_gradients(typingctx, params, kept, dy, grads, dx):
    """Compile only where the arrays that `network_gradients` takes have the right types."""
    _require_gradients(params, kept, dy, grads, dx)
    return types.none(params, kept, dy, grads, dx), lambda context, *_: context.get_dummy_value()


def _require_tuple(name: str, t: Any) -> None:
    if not isinstance(t, types.BaseTuple):
        raise TypingError(f"{name}: expected a tuple of arrays, got {t}")


def _require_gradients(params: Any, kept: Any, dy: Any, grads: Any, dx: Any) -> None:
    for name, arrays in (("params", params), ("kept", kept), ("grads", grads)):
        _require_tuple(name, arrays)
    if len(params) == 0 or not isinstance(params[0], types.Array):
        raise TypingError(f"params: expected W, b and (p, q) for each layer, got {params}")
    scalar, count = params[0].dtype, len(params) // 3
    _require_array("dy", dy, scalar, 2)
    if not isinstance(dx, types.NoneType | types.Omitted):
        _require_array("dx", dx, scalar, 2, writeable=True)
    for name, arrays in (("kept", kept), ("grads", grads)):
        if len(arrays) != 2 * count:
            raise TypingError(f"{name}: expected {2 * count} arrays, got {arrays}")
    for array in kept:
        _require_array("kept", array, scalar, 2)
    for i, array in enumerate(grads):
        _require_array(f"grads[{i}]", array, scalar, 2 - i % 2, writeable=True)


def _require_params(params: Any, scalar: Any, count: int) -> None:
    _require_tuple("params", params)
    if not isinstance(scalar, types.Float):
        raise TypingError(f"x: expected float32 or float64, got {scalar}")
    if not all(isinstance(t, types.Array) and t.dtype == scalar for t in params):
        raise TypingError(f"x: expected {params[0].dtype}, the dtype of params, got {scalar}")
    if len(params) != 3 * count or any(t.ndim != 2 - (i % 3 > 0) for i, t in enumerate(params)):
        raise TypingError(f"params: expected W, b and (p, q) for {count} layers, got {params}")
    if any(t.ndim == 1 and t.layout != "C" for t in params):
        raise TypingError(f"params: expected contiguous biases, got {params}")


def _require_array(name: str, t: Any, scalar: Any, ndim: int, *, writeable: bool = False) -> None:
    fits = isinstance(t, types.Array) and (t.dtype, t.ndim) == (scalar, ndim)
    if not fits or (writeable and not t.mutable):
        purpose = " to write" if writeable else ""
        raise TypingError(f"{name}: expected a {ndim}-D array of {scalar}{purpose}, got {t}")
