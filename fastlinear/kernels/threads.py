"""Threads: the threading layer that survives forks and concurrent callers, and how many to use."""

from __future__ import annotations

import ctypes
import sys
from importlib import metadata
from pathlib import Path

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typed_passes import _reload_parfors
from numba.extending import intrinsic
from numba.np.ufunc.parallel import _launch_threads

__all__ = ["get_num_threads", "load_tbb", "set_num_threads", "thread_count"]

_LIBRARY = {"linux": "libtbb.so.12", "win32": "tbb12.dll"}


def get_num_threads() -> int:
    """Return how many threads kernels called from this Python thread may use."""
    return int(numba.get_num_threads())


def set_num_threads(k: int) -> None:
    """Let kernels called from this Python thread use k threads; no result depends on it.

    Raises
    ------
    ValueError
        Unless 1 <= k <= the number at start: the cores, or the variable NUMBA_NUM_THREADS.
    """
    numba.set_num_threads(k)


def load_tbb() -> bool:
    """Load the pip-installed TBB library by full path, before Numba looks for it by name.

    pip puts the library into the environment's own lib folder, where the dynamic loader does not
    look. Once it is in the process under its soname, Numba's own search finds it.

    Returns
    -------
    bool
        Whether the library was found and loaded.
    """
    library = _tbb_library()
    if library is None:
        return False
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _tbb_library() -> Path | None:
    """Return where the library lies: pip's usual place, or what the package's record says."""
    name = _LIBRARY.get(sys.platform)
    if name is None:
        return None
    usual = Path(sys.prefix, "lib", name)
    if usual.exists():  # the record takes 4 ms to read
        return usual
    try:
        files = metadata.files("tbb") or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())).resolve() for file in files if file.name == name), None)


@intrinsic
def thread_count(typingctx):
    """Return `get_num_threads()` in compiled code.

    Numba's own goes through a pointer of this process, which can't be cached on disk; this one asks
    the threading layer by symbol, as Numba's parallel loops do.
    """
    _launch_threads()  # registers the symbol

    def codegen(context, builder, signature, args):
        # So it does in a process that finds the code in a cache, as for a parallel loop.
        context.active_code_library._reload_init.add(_reload_parfors)
        function = ir.FunctionType(context.get_value_type(types.intp), [])
        symbol = cgutils.get_or_insert_function(builder.module, function, "get_num_threads")
        return builder.call(symbol, [])

    return types.intp(), codegen
