"""Compiled kernels on disk, safe to share between versions, processes and machines.

Numba's own cache notices edits in a function's own file only, and indexes all variants of a
function in one file that concurrent writers overwrite. Here every compiled function has a file of
its own, whose name is a digest of all that its machine code depends on: the sources of this
package, the versions of what compiles it, the compiler's settings, the CPU, the function and the
argument types. Nothing is ever looked up that could be stale. A file carries a checksum, is written
aside and moved into place at once, and is ignored if damaged.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config, types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

PACKAGE = Path(__file__).parent

# Settings of Numba that change the code it generates.
_SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "ENABLE_AVX",
    "BOUNDSCHECK",
    "LLVM_PASS_TIMINGS",
)


class DiskCache(NullCache):
    """The disk cache of one compiled function, in the form Numba's dispatcher expects."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @property
    def cache_path(self) -> str | None:
        """The folder in use, or None."""
        folder = cache_folder()
        return None if folder is None else str(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compile result for a signature, or None."""
        path = self._path(sig, target_context.codegen())
        if path is None:
            return None
        payload = _read(path)
        if payload is None:
            announce()
            return None
        # Not target_context.refresh(), as Numba's own cache does: it imports all that a compiler
        # needs, half a second, where machine code needs the memory functions it was linked with.
        rtsys.initialize(target_context)
        result = CompileResult._rebuild(target_context, *payload)
        # A function among the arguments comes out of the file as a copy; callers ask for their own.
        result.fndesc.argtypes = _argument_types(sig)
        return result._replace(signature=result.signature.replace(args=_argument_types(sig)))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compile result; a failure to write costs a warning, once."""
        path = self._path(sig, data.codegen)
        if path is not None and not data.library.has_dynamic_globals:
            _write(path, dumps(data._reduce()))

    def _path(self, sig: Any, codegen: Any) -> Path | None:
        """Return the file for a signature, or None where the function can't be named for good."""
        folder = cache_folder()
        name = _name(self._function)
        arguments = [_type_name(t) for t in _argument_types(sig)]
        if folder is None or name is None or None in arguments:
            return None
        key = repr((_build(), codegen.magic_tuple(), name, arguments))
        return folder / f"{self._function.__name__}-{_digest(key.encode())[:32]}.kernel"


@functools.cache
def announce() -> None:
    """Say once for each process, on stderr, that kernels are being compiled."""
    if not os.environ.get("FASTLINEAR_QUIET"):
        print(
            "fastlinear: compiling kernels, once for this machine and version (FASTLINEAR_QUIET=1 "
            "silences this)",
            file=sys.stderr,
        )


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder of compiled kernels, or None, with a warning, where none is writable.

    NUMBA_CACHE_DIR if set, else beside the sources, else in the user's own cache folder.
    """
    if config.CACHE_DIR:
        candidates = [Path(config.CACHE_DIR) / "fastlinear"]
    else:
        candidates = [PACKAGE / "__pycache__"]
        with contextlib.suppress(RuntimeError):  # no home folder
            candidates.append(_user_cache() / "fastlinear")
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    _warn(f"no writable folder for compiled kernels among {', '.join(map(str, candidates))}")
    return None


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@functools.cache
def _build() -> tuple[Any, ...]:
    """Return what all machine code depends on: sources, versions and the compiler's settings."""
    sources = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        sources.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        sources.update(path.read_bytes() + b"\0")
    versions = (platform.python_version(), numba.__version__, llvmlite.__version__, np.__version__)
    settings = tuple((name, getattr(config, name, None)) for name in _SETTINGS)
    return sources.hexdigest(), versions, settings


def _name(function: Any) -> str | None:
    """Return a name that says what a function computes, closure included; None for foreign ones."""
    if not function.__module__.startswith("fastlinear.kernels."):
        return None
    names = [f"{function.__module__}.{function.__qualname__}"]
    for cell in function.__closure__ or ():
        value = cell.cell_contents
        part = _name(value.py_func) if hasattr(value, "py_func") else None
        if part is None:
            return None
        names.append(part)
    return "|".join(names)


def _argument_types(sig: Any) -> tuple[Any, ...]:
    """Return the argument types of a signature, or of what is but their tuple."""
    return sig if isinstance(sig, tuple) else tuple(sig.args)


def _type_name(t: Any) -> str | None:
    """Return a name for a type that is the same in every process, or None."""
    if isinstance(t, types.Dispatcher):
        return _name(t.dispatcher.py_func)
    name = str(t)
    return None if " at 0x" in name else name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> Any:
    """Return the payload of a cache file, or None if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, body = data[:64], data[64:]
    if _digest(body).encode() != checksum:
        return None
    return pickle.loads(body)


def _write(path: Path, body: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(_digest(body).encode() + body)
                file.close()
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise
    except OSError as error:
        _warn(f"cannot store compiled kernels in {path.parent}: {error}")


@functools.cache
def _warn_once() -> None:
    """Mark that the warning has been given; the first call returns, the others never happen."""


def _warn(reason: str) -> None:
    if _warn_once.cache_info().currsize == 0:
        _warn_once()
        warnings.warn(f"{reason}; every process compiles anew", RuntimeWarning, stacklevel=2)
