"""A scalar function of the user's, compiled into the form h(x, p, q) that the kernels take."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator
from functools import cache
from inspect import getsourcelines
from os.path import abspath
from types import FunctionType
from typing import Any

from numba import typeof, types
from numba.core import config
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from fastlinear.kernels.vecmath.inlined import inlined

Function = Callable[[Any], Any]
REAL = (types.Float, types.Integer, types.Boolean)

# How Numba says where it is: in a traceback of its own, or in passing.
_PLACES = (
    r'File "(?P<file>.+?)", line (?P<line>\d+)',
    r"Raised from (?P<file>.+) \((?P<line>\d+)\)",
)
# What it says before the reason and after it.
_PREFACE = re.compile(r"(Failed in nopython mode pipeline \(step: [^)]*\)\s*)+")
_AFTERMATH = re.compile(
    r"\nThere are \d+ candidate|\nReturn of: |\nFile \"|\nDuring: |\. Raised from "
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def is_function(function: Any) -> bool:
    """Return whether h can be made of it: a Python function, a compiled one or one Numba knows."""
    if isinstance(function, FunctionType | Dispatcher) or config.DISABLE_JIT:
        return callable(function)
    context = cpu_target.typing_context
    context.refresh()  # or it would not know `math.tanh`
    try:
        return callable(function) and context.resolve_value_type(function) is not None
    except ValueError:  # as Numba says it
        return False


@cache
def scalar(function: Function) -> Any:
    """Return h(x, p, q) = function(x), compiled, its result cast to the dtype of x.

    The same function gives the same h, so whatever is made of h is made once.

    Raises
    ------
    ValueError
        Where it does not compile for float32 or float64, showing the line at fault.
    """
    inner = function if isinstance(function, Dispatcher) else inlined(_plain(function))

    @inlined
    def h(x, p, q):  # type: ignore[no-untyped-def]
        return type(x)(inner(x))

    for dtype in (types.float32, types.float64):
        if isinstance(inner, Dispatcher):  # not under NUMBA_DISABLE_JIT
            _require_real(function, _result(function, inner, dtype), dtype)
            h.compile((dtype, dtype, dtype))
    return h


@cache
def composed(outer: Any, inner: Any) -> Any:
    """Return h(x, p, q) = outer(inner(x)), both of that form."""

    @inlined
    def h(x, p, q):  # type: ignore[no-untyped-def]
        return outer(inner(x, p, q), p, q)

    return h


def full_name(function: Function) -> str:
    """Return module and name of a function, which a second definition of it shares."""
    return f"{getattr(function, '__module__', None)}.{name_of(function)}"


def name_of(function: Function) -> str:
    """Return the name of a function."""
    return str(getattr(function, "__qualname__", None) or getattr(function, "__name__", function))


def same_definition(one: Function, other: Function) -> bool:
    """Return whether two functions stand for one another under a name.

    One does for a newer one of its name: a notebook's cell that is run again, edited or not. All
    lambdas share a name, so their code has to be the same.
    """
    name = full_name(one)
    if name != full_name(other):
        return False
    return "<lambda>" not in name or _code_of(one) == _code_of(other)


def _code_of(function: Function) -> tuple[Any, ...]:
    """Return what a function computes, with the values of the variables it encloses."""
    python = getattr(function, "py_func", function)
    cells = [repr(cell.cell_contents) for cell in getattr(python, "__closure__", None) or ()]
    code = getattr(python, "__code__", None)
    return *(getattr(code, name, None) for name in ("co_code", "co_consts", "co_names")), cells


def _plain(function: Function) -> Function:
    """Return a Python function: the one given, or one that calls, say, `math.tanh`."""
    return function if isinstance(function, FunctionType) else lambda x: function(x)


def _result(function: Function, inner: Dispatcher, dtype: Any) -> Any:
    """Compile for a dtype and return the type of the result."""
    try:
        return typeof(inner).get_call_type(cpu_target.typing_context, (dtype,), {}).return_type
    except Exception as error:  # Numba raises of every kind
        reason = f"{name_of(function)} does not compile for {dtype}: {_reason(error)}"
        raise ValueError(reason + _place(function, error)) from None


def _require_real(function: Function, result: Any, dtype: Any) -> None:
    if not isinstance(types.unliteral(result), REAL):
        reason = f"{name_of(function)} returns {result} for {dtype}, expected a real number"
        raise ValueError(reason + _place(function))


# ---- Numba's errors, without its internals -------------------------------------------------------


def _reason(error: Exception) -> str:
    """Return what is wrong: what stands before candidates, places and passes."""
    text = _PREFACE.sub("", _COLOUR.sub("", str(error)))
    return " ".join(_AFTERMATH.split(text, maxsplit=1)[0].split())


def _place(function: Function, error: Exception | None = None) -> str:
    """Return the line at fault in the form of a traceback, or nothing where no source is known."""
    for file, number in _places(function, error):
        line = linecache.getline(file, number).strip()
        if line:
            return f'\n  File "{file}", line {number}\n    {line}'
    return ""


def _places(function: Function, error: Exception | None) -> Iterator[tuple[str, int]]:
    """Yield where the fault may be, the most exact place first."""
    code = getattr(getattr(function, "py_func", function), "__code__", None)
    if code is None:  # it is no Python function
        return
    text = _COLOUR.sub("", str(error)).partition("\nDuring: ")[0]
    for pattern in _PLACES:
        for found in re.finditer(pattern, text):
            yield abspath(found["file"]), int(found["line"])
    location = getattr(error, "loc", None)
    if location is not None:
        yield location.filename, location.line
    if isinstance(error, AttributeError):  # of a module, and Numba forgot where
        lines, first = getsourcelines(code)
        mentioned = [i for i, line in enumerate(lines, first) if f".{error.name}" in line]
        yield from ((code.co_filename, i) for i in mentioned)
    yield code.co_filename, code.co_firstlineno
