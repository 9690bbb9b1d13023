"""Reading ``.npz`` archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlinear.cli.data import Data, first_line
from fastlinear.cli.errors import CommandError

UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise for damaged, encrypted or foreign files."""


def read_npz(path: Path, target: str | None) -> Data:
    """Read array ``X`` and, unless `target` is None, the array of that name."""
    wanted = ["X"] if target is None else ["X", target]
    try:
        with path.open("rb") as file:
            arrays = read_members(path, np.load(file, allow_pickle=False), wanted)
    except UNREADABLE as error:
        raise CommandError(f"{path}: not a readable .npz archive ({first_line(error)})") from None
    X = samples(path, arrays["X"])
    return Data(X, None if target is None else npz_target(path, target, arrays[target], len(X)))


def read_members(path: Path, archive: Any, wanted: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the names `wanted`, all of which must be there."""
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise CommandError(f"{path}: a single array, expected an archive (numpy.savez)")
    missing = [name for name in wanted if name not in archive.files]
    if missing:
        found = ", ".join(archive.files) or "nothing"
        raise CommandError(f"{path}: no array {' and '.join(missing)}; it holds {found}")
    return {name: read_member(path, archive, name) for name in wanted}


def read_member(path: Path, archive: Any, name: str) -> npt.NDArray[Any]:
    """Return one array of an archive; arrays of Python objects are refused, never unpickled."""
    try:
        array: npt.NDArray[Any] = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise CommandError(
            f"{path}: array {name} holds Python objects, expected numbers"
            + (" or strings" if name != "X" else "")
        ) from None
    return array


def samples(path: Path, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return X as finite float64 of shape (S, M), axes after the first flattened."""
    if X.dtype.kind not in "biuf":
        raise CommandError(f"{path}: X has dtype {X.dtype}, expected real numbers")
    if X.ndim < 2 or X.size == 0:
        raise CommandError(f"{path}: X has shape {X.shape}, expected (samples, features)")
    X = X.reshape(len(X), -1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        row, column = bad[0]
        raise CommandError(
            f"{path}: X[{row}, {column}] is {X[row, column]}: a missing or infinite value "
            f"({len(bad)} in all)"
        )
    return X


def npz_target(path: Path, name: str, y: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return a target of shape (S,): integers, booleans, strings or finite float64."""
    if y.shape not in ((count,), (count, 1)):
        raise CommandError(
            f"{path}: {name} has shape {y.shape}, expected ({count},) for the {count} rows of X"
        )
    y = y.reshape(count)
    if y.dtype.kind in "bU":
        return y
    if y.dtype.kind == "S":
        try:
            return np.char.decode(y, "utf-8")
        except UnicodeDecodeError:
            raise CommandError(f"{path}: {name} holds bytes that are not UTF-8 text") from None
    if y.dtype.kind in "iu":
        if y.dtype.kind == "u" and y.max() > np.iinfo(np.int64).max:
            raise CommandError(f"{path}: {name} holds {y.max()}, too large for int64")
        return y.astype(np.int64)
    if y.dtype.kind != "f":
        raise CommandError(f"{path}: {name} has dtype {y.dtype}, expected numbers or strings")
    bad = np.flatnonzero(~np.isfinite(y))
    if len(bad):
        raise CommandError(
            f"{path}: {name}[{bad[0]}] is {y[bad[0]]}: a missing or infinite value "
            f"({len(bad)} in all)"
        )
    return y.astype(np.float64)
