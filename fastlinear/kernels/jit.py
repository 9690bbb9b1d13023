"""The one decorator of every compiled function: compiler flags, layouts and the disk cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import extending, njit, types
from numba.core import config, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.np.numpy_support import as_dtype

from fastlinear.kernels.cache import DiskCache
from fastlinear.kernels.fragments import deeper, is_fragment
from fastlinear.kernels.garbage import uncollected
from fastlinear.kernels.lent import Lent
from fastlinear.kernels.pipeline import INTERLEAVED_PIPELINE, PLAIN_PIPELINE

# Flags, the same for every kernel:
#   error_model="numpy"  division follows IEEE; the Python model puts a zero check before every
#                        division, which stops vectorisation.
#   nogil=True           other Python threads run while a kernel does.
#   fastmath             absent on purpose: NaN and infinity propagate, no sum is reordered, and a
#                        multiply and an add are fused only where the source says `fma`.
FLAGS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
# Only `prange` runs in parallel: left to itself, Numba also launches threads for np.ones(1).
PRANGE_ONLY = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}
# No wrapper for Python callers or C callbacks: for functions that only compiled code calls.
NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(
    function: Callable[..., Any] | None = None,
    *,
    parallel: bool = False,
    any_layout: bool = False,
    internal: bool = False,
    inline: bool = False,
    interleaved: bool = False,
) -> Any:
    """Compile ``function`` in nopython mode, lazily for each signature, and cache it on disk.

    Parameters
    ----------
    function : callable
        Given when used as plain ``@compiled``.
    parallel : bool
        Run ``prange`` loops on Numba's threads.
    any_layout : bool
        Compile one body for C, Fortran and strided arrays alike instead of one for each: for
        kernels that read strides at run time, where the layout in the type would buy nothing.
    internal : bool
        Called from compiled code or by address only: no wrapper for Python callers is built.
    inline : bool
        Make it part of whatever calls it. LLVM inlines by size, and a loop around a call that
        stayed a call is not vectorised.
    interleaved : bool
        Take several vectors at once through its loops: see `interleaving`.

    Under NUMBA_DISABLE_JIT it stays a Python function, whose scalars follow IEEE without a word.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:
            return np.errstate(all="ignore")(function)
        options = {**FLAGS, **(NO_WRAPPERS if internal else {}), "forceinline": inline}
        # Numba asks for it twice, and finding it takes a sixth of this package's import.
        function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        options["pipeline_class"] = INTERLEAVED_PIPELINE if interleaved else PLAIN_PIPELINE
        dispatcher = njit(parallel=PRANGE_ONLY if parallel else False, **options)(function)
        dispatcher.__class__ = StridedKernel if any_layout else Kernel
        dispatcher._cache = DiskCache(function)
        return dispatcher

    return decorate if function is None else decorate(function)


def intrinsic_or(python: Callable[..., Any]) -> Any:
    """Return Numba's decorator for code generators, with ``python`` instead where nothing compiles.

    ``python`` computes the same bits on NumPy's scalars, slowly.
    """
    return (lambda generator: python) if config.DISABLE_JIT else extending.intrinsic


class Kernel(CPUDispatcher):
    """A dispatcher that knows whether it is being compiled for itself or as part of another."""

    def compile(self, sig: Any) -> Any:
        """Compile or load the body for a signature; return its entry point."""
        args, return_type = sigutils.normalize_signature(sig)
        with global_compiler_lock, deeper() as depth:
            if depth > 1:
                return self._compile_part(args, return_type)
            if self._is_part(args):
                del self.overloads[args]  # its callers keep what they need of it
            with uncollected():
                return super().compile(sig)

    def _compile_part(self, args: Any, return_type: Any) -> Any:
        """Compile the body as part of a caller's.

        Numba would set up timers that answer to every call of LLVM, those of all callers as well.
        """
        if args not in self.overloads:
            self.add_overload(self._compiler.compile(args, return_type))
        return self.overloads[args].entry_point

    def _is_part(self, args: Any) -> bool:
        """Return whether the body for these types is a part of others only."""
        return args in self.overloads and is_fragment(self.overloads[args])

    def add_overload(self, result: Any) -> None:
        """Keep a compile result, from Python's callers too where it has an entry point."""
        if is_fragment(result):
            self.overloads[tuple(result.signature.args)] = result
        else:
            super().add_overload(result)


class StridedKernel(Kernel):
    """A kernel whose array arguments are all typed with the general, strided layout."""

    def entry(self, *args: Any) -> Callable[..., Any]:
        """Return the body for these types, to be called without a look at what is passed.

        Finding out the types takes 0.2 us a call, a quarter of the forward pass of one small
        sample. Whoever calls the body knows them: it would take another dtype for what it was
        compiled for.
        """
        entry_point: Callable[..., Any] = super().compile(args)
        return entry_point

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Return how nopython code calls it: there, what is read-only stays so.

        Numba hands it on as nothing else, and it freezes all arrays that are globals.
        """
        args = tuple(map(_strided, self._compiler.fold_argument_types(args, kws)[1]))
        super().compile(args)
        return super().get_call_template(args, {})

    def compile(self, sig: Any) -> Any:
        """Compile or load the body for arrays of any layout that Python lends; all are writeable.

        Lending them takes a third off the time of a call.
        """
        args, _ = sigutils.normalize_signature(sig)
        if args in self.overloads and not self._is_part(args):
            return self.overloads[args].entry_point  # as nopython code calls it
        lent = tuple(map(_lent, args))
        entry_point = super().compile(lent)
        if lent != args and not self._is_part(lent):
            # From now on the C dispatcher finds this body for the layouts that came as well.
            self._insert([t._code for t in args], entry_point, False)
            # A type that dies would give its code to another.
            self.__dict__.setdefault("_types_seen", []).append(args)
        return entry_point


def _strided(t: Any) -> Any:
    return t.copy(layout="A") if isinstance(t, types.Array) else t


def _lent(t: Any) -> Any:
    return Lent(as_dtype(t.dtype), t.ndim) if isinstance(t, types.Array) else t
