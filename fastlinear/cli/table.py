"""Reading ``.csv`` files: each complaint names the line and the column it is about."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlinear.cli.data import Data, first_line
from fastlinear.cli.errors import CommandError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Cells, in lower case, that stand for a value that is not there."""


@dataclass(frozen=True)
class Columns:
    """The columns of one file: their number, and their names where it has a header."""

    path: Path
    count: int
    names: tuple[str, ...] | None

    def title(self, index: int) -> str:
        """Return what to call a column in a message."""
        return f"column {index + 1}" if self.names is None else f"column '{self.names[index]}'"


Choice = tuple[list[int], int | None]
"""The indices of the feature columns, and of the target (None: not wanted)."""


def all_but_target(columns: Columns, target: str | None) -> Choice:
    """Choose the column `target` (default: the last), and every other column as a feature."""
    if columns.count < 2:
        raise CommandError(
            f"{columns.path}: 1 column, expected features and a target separated by commas"
        )
    index = columns.count - 1 if target is None else find(columns, target)
    return [i for i in range(columns.count) if i != index], index


def find(columns: Columns, target: str) -> int:
    """Return the index of a column given by name or by its number from 1."""
    if columns.names is not None and target in columns.names:
        return columns.names.index(target)
    if target.isdecimal() and 1 <= int(target) <= columns.count:
        return int(target) - 1
    known = f"1 to {columns.count}"
    if columns.names is not None:
        known = f"{', '.join(columns.names)} or {known}"
    raise CommandError(f"{columns.path}: no column '{target}', expected one of {known}")


def read_csv(path: Path, choose: Callable[[Columns], Choice]) -> Data:
    """Read a comma-separated file, in one pass and 8 bytes for each number.

    The first row is a header when none of its cells is a number. Blank lines are skipped.

    Parameters
    ----------
    path : Path
        UTF-8 text, with or without a byte order mark.
    choose : callable
        Given the `Columns`, returns which are features and which is the target.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return parse(path, rows(path, file), choose)
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not UTF-8 text ({first_line(error)})") from None
    except (OSError, csv.Error) as error:
        raise CommandError(f"{path}: not a readable .csv file ({first_line(error)})") from None


def rows(path: Path, file: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row; all rows have as many cells as the first."""
    reader = csv.reader(file, strict=True, skipinitialspace=True)
    expected = first = 0
    for cells in reader:
        if not cells:
            continue
        if not expected:
            expected, first = len(cells), reader.line_num
        if len(cells) != expected:
            raise CommandError(
                f"{path}: line {reader.line_num} has {len(cells)} columns, expected {expected} "
                f"as in line {first}"
            )
        yield reader.line_num, cells


def parse(
    path: Path, lines: Iterator[tuple[int, list[str]]], choose: Callable[[Columns], Choice]
) -> Data:
    """Turn rows of cells into `Data`."""
    number, cells = next(lines, (0, []))
    if not cells:
        raise CommandError(f"{path}: the file is empty")
    has_header = not any(is_number(cell) for cell in cells)
    columns = Columns(path, len(cells), header(path, cells) if has_header else None)
    features, target = choose(columns)
    values, labels, numbers = array("d"), list[str](), array("q")
    if has_header:
        number, cells = next(lines, (0, []))
    while cells:
        values.extend(floats(columns, number, cells, features))
        numbers.append(number)
        if target is not None:
            labels.append(cells[target].strip())
        number, cells = next(lines, (0, []))
    if not numbers:
        raise CommandError(f"{path}: a header, but no rows of data")
    names = columns.names
    return Data(
        X=np.frombuffer(values).reshape(len(numbers), len(features)),
        y=None if target is None else parse_target(columns, target, labels, numbers),
        features=None if names is None else tuple(names[i] for i in features),
        target=None if names is None or target is None else names[target],
        position=target,
    )


def header(path: Path, cells: list[str]) -> tuple[str, ...]:
    """Return the column names, which must be there and differ."""
    names = tuple(cell.strip() for cell in cells)
    for i, name in enumerate(names):
        if not name:
            raise CommandError(f"{path}: column {i + 1} has no name in the header")
        if name in names[:i]:
            raise CommandError(
                f"{path}: columns {names.index(name) + 1} and {i + 1} are both named '{name}'"
            )
    return names


def floats(columns: Columns, line: int, cells: list[str], features: list[int]) -> list[float]:
    """Return the features of one row, all finite."""
    try:
        numbers = [float(cells[i]) for i in features]
        # A sum is finite only if its terms are, and float() takes 1_000 for a number.
        if math.isfinite(sum(numbers)) and not any("_" in cell for cell in cells):
            return numbers
    except ValueError:
        pass
    return [feature(columns, line, cells[i], i) for i in features]


def feature(columns: Columns, line: int, cell: str, index: int) -> float:
    """Return one cell as a finite number."""
    where = f"{columns.path}: line {line}, {columns.title(index)}"
    if cell.strip().lower() in MISSING:
        raise CommandError(f"{where}: the value is missing ('{cell}')")
    if not is_number(cell):
        raise CommandError(f"{where}: '{cell}' is not a number; features must be numeric")
    if not math.isfinite(float(cell)):
        raise CommandError(f"{where}: '{cell}' is not finite")
    return float(cell)


def parse_target(
    columns: Columns, index: int, cells: list[str], lines: array[int]
) -> npt.NDArray[Any]:
    """Return the target: int64 if all cells are whole numbers, float64 if numbers, else strings.

    Digits that an integer would not give back (007, or more than 64 bits) stay strings.
    """
    where = f"{columns.path}: line {{}}, {columns.title(index)}: {{}}"
    numeric = all(is_number(cell) for cell in cells if cell.lower() not in MISSING)
    for line, cell in zip(lines, cells, strict=True):
        if not cell or (numeric and cell.lower() in MISSING):
            raise CommandError(where.format(line, f"the target is missing ('{cell}')"))
        if numeric and not math.isfinite(float(cell)):
            raise CommandError(where.format(line, f"'{cell}' is not finite"))
    if all(is_int64(cell) for cell in cells):
        return np.array([int(cell) for cell in cells], np.int64)
    if numeric and not all(cell.isdecimal() for cell in cells):
        return np.array([float(cell) for cell in cells], np.float64)
    return np.array(cells, np.str_)


def is_number(cell: str) -> bool:
    """Whether a cell is a number as a table writes it (so not 1_000)."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def is_int64(cell: str) -> bool:
    """Whether a cell is an integer of 64 bits, written as Python prints it."""
    # The length spares int() a cell of thousands of digits, which it refuses.
    return (
        len(cell) <= 20
        and cell.removeprefix("-").isdecimal()
        and str(int(cell)) == cell
        and -(2**63) <= int(cell) < 2**63
    )
