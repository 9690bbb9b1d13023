"""Functions that are compiled once for a process and called by address from everywhere.

Linking a large function into each of its callers would compile it anew for each: seconds, where a
call by address costs nanoseconds. The address changes from process to process, so compiled code,
which may come from a disk cache, finds it in a slot that has a symbol of its own. An empty slot is
filled by compiling the function, or loading it from the cache, at the first call; where that fails,
the caller raises instead of jumping to nowhere.
"""

from __future__ import annotations

import ctypes
import traceback
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import from_dtype, types
from numba.core import cgutils, config
from numba.extending import intrinsic

from fastlinear.kernels.fragments import standalone

_fillers: dict[Any, list[Any]] = {types.float32: [], types.float64: []}


def compile_all(dtype: Any) -> None:
    """Compile all of these functions for a dtype, or load them from the cache."""
    for fill in _fillers[from_dtype(np.dtype(dtype))]:
        if fill() == 0:
            raise RuntimeError("a kernel could not be compiled; the reason is printed above")


def native_address(function: Any, *argument_types: Any) -> int:
    """Return the address of a compiled function's body for these argument types, for `call`."""
    with standalone():
        function.compile(argument_types)
    result = function.overloads[argument_types]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def by_address(function: Any, argument_types: Any, *, lazy: bool = False) -> Any:
    """Return an intrinsic that gives the address of ``function`` for the dtype of its argument.

    Parameters
    ----------
    function : dispatcher
        Compiled, returning None.
    argument_types : callable
        Gives the argument types for a float dtype.
    lazy : bool
        Compile at the first call, which may be inside a parallel loop, and not when a caller is
        compiled: for what few programs call. See `compile_all`.
    """
    if config.DISABLE_JIT:
        return None  # nothing has an address, and nobody asks for one
    slots = {}
    for dtype in (types.float32, types.float64):
        symbol = f"{function.py_func.__module__}.{function.py_func.__name__}.{dtype}"
        slots[dtype] = (symbol, *_register(symbol, function, argument_types(dtype)))
        _fillers[dtype].append(slots[dtype][-1])

    @intrinsic
    def address(typingctx, like):
        symbol, slot, _ = slots[like]
        if slot.value == 0 and not lazy:
            slot.value = native_address(function, *argument_types(like))

        def codegen(context, builder, signature, args):
            intp = context.get_value_type(types.intp)
            filler = ir.FunctionType(intp, [])
            variable = _global(builder.module, intp, symbol)
            function = cgutils.get_or_insert_function(builder.module, filler, symbol + ".fill")
            found = cgutils.alloca_once_value(builder, builder.load(variable))
            empty = builder.icmp_signed("==", builder.load(found), intp(0))
            with cgutils.if_unlikely(builder, empty):
                address = builder.call(function, [])
                failed = builder.icmp_signed("==", address, intp(0))
                with cgutils.if_unlikely(builder, failed):
                    message = f"{symbol} could not be compiled; the reason is printed above"
                    context.call_conv.return_user_exc(builder, RuntimeError, (message,))
                builder.store(address, found)
            return builder.load(found)

        return types.intp(like), codegen

    return address


def _global(module: Any, kind: Any, symbol: str) -> Any:
    """Return the module's declaration of an external variable."""
    return module.globals.get(symbol) or ir.GlobalVariable(module, kind, symbol)


def _register(symbol: str, function: Any, argument_types: Any) -> tuple[Any, Any]:
    """Give a slot and its filler their symbols; both must live as long as the process.

    The filler returns 0 where it fails: an exception that left it would leave its result undefined.
    """
    slot = ctypes.c_ssize_t(0)

    @ctypes.CFUNCTYPE(ctypes.c_ssize_t)
    def fill() -> int:
        try:
            if slot.value == 0:
                slot.value = native_address(function, *argument_types)
        except BaseException:
            traceback.print_exc()
        return slot.value

    binding.add_symbol(symbol, ctypes.addressof(slot))
    binding.add_symbol(symbol + ".fill", ctypes.cast(fill, ctypes.c_void_p).value)
    return slot, fill
