"""Where samples come from: the digits of scikit-learn, or a file of the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastlinear.cli.archive import read_npz
from fastlinear.cli.data import Data
from fastlinear.cli.errors import CommandError
from fastlinear.cli.table import Choice, Columns, all_but_target, read_csv

SUFFIXES = (".npz", ".csv")


def load_training(source: str, target: str | None) -> Data:
    """Load samples with their target.

    Parameters
    ----------
    source : str
        ``"digits"``, a ``.npz`` file (arrays ``X`` and ``y``) or a ``.csv`` file.
    target : str or None
        Which array (default ``y``) or which column (default the last; a name or a number from 1)
        is the target.
    """
    if source == "digits":
        if target is not None:
            raise CommandError("digits: the target is given, expected no --target")
        return load_digits()
    path = data_file(source)
    if path.suffix.lower() == ".npz":
        return read_npz(path, "y" if target is None else target)
    return read_csv(path, lambda columns: all_but_target(columns, target))


def load_features(source: str, choose: Callable[[Columns], Choice]) -> Data:
    """Load samples alone; `choose` picks the columns of a ``.csv`` file (see `read_csv`)."""
    if source == "digits":
        return Data(load_digits().X, None)
    path = data_file(source)
    return read_npz(path, None) if path.suffix.lower() == ".npz" else read_csv(path, choose)


def data_file(source: str) -> Path:
    """Return the path of an existing data file of a known kind."""
    path = Path(source)
    if path.suffix.lower() not in SUFFIXES:
        raise CommandError(
            f"{source}: expected 'digits' or a file ending in {' or '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise CommandError(f"{source}: {'not a file' if path.exists() else 'no such file'}")
    return path


def load_digits() -> Data:
    """Return scikit-learn's 1797 handwritten digits of 8 x 8 pixels."""
    from sklearn import datasets

    X, y = datasets.load_digits(return_X_y=True)
    return Data(X, y, target="digit")
