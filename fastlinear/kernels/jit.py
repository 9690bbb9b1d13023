"""The one decorator of every compiled function: compiler flags, layouts and the disk cache."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import extending, njit, types
from numba.core import config, sigutils
from numba.core.registry import CPUDispatcher

from fastlinear.kernels.cache import DiskCache
from fastlinear.kernels.interleaving import Interleaving

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
        if interleaved:
            options["pipeline_class"] = Interleaving
        dispatcher = njit(parallel=PRANGE_ONLY if parallel else False, **options)(function)
        dispatcher.__class__ = StridedKernel if any_layout else Kernel
        dispatcher._cache = _OutermostCache(DiskCache(function))
        return dispatcher

    return decorate if function is None else decorate(function)


def intrinsic(python: Callable[..., Any]) -> Any:
    """Return Numba's decorator for code generators, with ``python`` instead where nothing compiles.

    ``python`` computes the same bits on NumPy's scalars, slowly.
    """
    return (lambda generator: python) if config.DISABLE_JIT else extending.intrinsic


class _Depth(threading.local):
    """How many compilations are under way in this thread, each as part of the one before."""

    value = 0


_depth = _Depth()


@contextmanager
def standalone() -> Iterator[None]:
    """Compile what is compiled inside for itself, even while a caller is being compiled."""
    before, _depth.value = _depth.value, 0
    try:
        yield
    finally:
        _depth.value = before


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave garbage until afterwards: 5 to 10 % of the time to compile went to looking for some."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Kernel(CPUDispatcher):
    """A dispatcher that knows whether it is being compiled for itself or as part of another."""

    def compile(self, sig: Any) -> Any:
        """Compile or load the body for a signature; return its entry point."""
        _depth.value += 1
        try:
            with _uncollected():
                return super().compile(sig)
        finally:
            _depth.value -= 1


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
        """Compile or load the body for the strided form of a signature, all arrays writeable."""
        args, _ = sigutils.normalize_signature(sig)
        if args in self.overloads:  # as nopython code calls it, some of them read-only
            return self.overloads[args].entry_point
        strided = tuple(_strided(t, readonly=False) for t in args)
        entry_point = super().compile(strided)
        if strided != args:
            # From now on the C dispatcher finds this body for the layouts that came as well.
            self._insert([t._code for t in args], entry_point, False)
            # A type that dies would give its code to another.
            self.__dict__.setdefault("_types_seen", []).append(args)
        return entry_point


def _strided(t: Any, **changed: bool) -> Any:
    return t.copy(layout="A", **changed) if isinstance(t, types.Array) else t


class _OutermostCache:
    """A disk cache that is left alone while a caller is compiled: the caller's file has it all."""

    def __init__(self, cache: DiskCache) -> None:
        self._cache = cache

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        return self._cache.load_overload(sig, target_context) if _depth.value == 1 else None

    def save_overload(self, sig: Any, data: Any) -> None:
        if _depth.value == 1:
            self._cache.save_overload(sig, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)
