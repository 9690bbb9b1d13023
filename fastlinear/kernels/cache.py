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
    "LLVM_REFPRUNE_PASS",
    "LLVM_REFPRUNE_FLAGS",
    "DEBUGINFO_DEFAULT",
    "DEBUG_NRT",
    "EXTEND_VARIABLE_LIFETIMES",
)


def _sources() -> str:
    """Return a digest of all modules whose code may become part of a kernel."""
    sources = hashlib.sha256()
    for folder, folders, files in os.walk(PACKAGE):
        folders[:] = sorted(set(folders) - {"__pycache__"})  # which may hold a thousand kernels
        for file in sorted(name for name in files if name.endswith(".py")):
            path = Path(folder, file)
            sources.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
            sources.update(path.read_bytes() + b"\0")
    return sources.hexdigest()


# Now, while they are imported: an upgrade under a running process must not give its name to what
# the process compiles from the old ones.
_SOURCES = _sources()


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
        name = self._file_name(sig, target_context.codegen())
        if name is None:
            return None
        payload = _read(name)
        if payload is None:
            if cache_folder() is not None:
                announce()
            return None
        # Not target_context.refresh(), as Numba's own cache does: it imports all that a compiler
        # needs, half a second, where machine code needs the memory functions it was linked with.
        rtsys.initialize(target_context)
        result = CompileResult._rebuild(target_context, *payload)
        # Numba forgets what starts the threads; a caller that is compiled now must not.
        result.library._reload_init.update(result.reload_init)
        # A function among the arguments comes out of the file as a copy; callers ask for their own.
        result.fndesc.argtypes = _argument_types(sig)
        return result._replace(signature=result.signature.replace(args=_argument_types(sig)))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compile result; a failure to write costs a warning, once."""
        name, folder = self._file_name(sig, data.codegen), cache_folder()
        if name is not None and folder is not None and not data.library.has_dynamic_globals:
            _write(folder / name, dumps(data._reduce()))

    def _file_name(self, sig: Any, codegen: Any) -> str | None:
        """Return the file's name for a signature; None where the function has no lasting name."""
        name = _name(self._function)
        arguments = [_type_name(t) for t in _argument_types(sig)]
        if name is None or None in arguments:
            return None
        key = repr((_build(), codegen.magic_tuple(), name, arguments))
        return f"{self._function.__name__}-{_digest(key.encode())[:32]}.kernel"


@functools.cache
def announce() -> None:
    """Say once for each process, on stderr, that kernels are being compiled."""
    if not os.environ.get("FASTLINEAR_QUIET"):
        print(
            "fastlinear: compiling kernels, once for this machine and version (FASTLINEAR_QUIET=1 "
            "silences this)",
            file=sys.stderr,
        )


def _folders() -> list[Path]:
    """Return where compiled kernels may lie: NUMBA_CACHE_DIR if set, else two folders.

    They are the one beside the sources and the one in the user's own cache folder.
    """
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR) / "fastlinear"]
    folders = [PACKAGE / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # no home folder
        folders.append(_user_cache() / "fastlinear")
    return folders


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder that takes new kernels, or None, with a warning, where none is writable."""
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    _warn(f"no writable folder for compiled kernels among {', '.join(map(str, _folders()))}")
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
    versions = (platform.python_version(), numba.__version__, llvmlite.__version__, np.__version__)
    settings = tuple((name, getattr(config, name, None)) for name in _SETTINGS)
    return _SOURCES, versions, settings


def _name(function: Any) -> str | None:
    """Return a name that says what a function computes, closure included; None for foreign ones."""
    if not function.__module__.startswith("fastlinear.kernels."):
        return None
    names = [f"{function.__module__}.{function.__qualname__}"]
    for cell in function.__closure__ or ():
        part = _value_name(cell.cell_contents)
        if part is None:
            return None
        names.append(part)
    return "|".join(names)


def _value_name(value: Any) -> str | None:
    """Return a name for what a closure holds: a compiled function, or integers; None for others."""
    if all(isinstance(item, int) for item in (value if isinstance(value, tuple) else (value,))):
        return str(value)
    return _name(value.py_func) if hasattr(value, "py_func") else None


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


def _read(name: str) -> Any:
    """Return the payload of a cache file, or None if it is missing or damaged everywhere."""
    for folder in _folders():
        try:
            data = (folder / name).read_bytes()
        except OSError:
            continue
        checksum, body = data[:64], data[64:]
        if _digest(body).encode() == checksum:
            return pickle.loads(body)
    return None


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
