"""Options of several commands, and checks of values before anything is computed or written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from fastlinear import kernels
from fastlinear.cli.errors import CommandError

DIGITS = 12
"""More than any size has."""

FORMULATIONS = tuple(kernels.FORMULATIONS)


def option(text: str, metavar: str | None = None, **more: Any) -> Any:
    """Return an option with its help."""
    return typer.Option(help=text, metavar=metavar, **more)


def choice(text: str, values: Iterable[str]) -> Any:
    """Return an option that takes one of `values`."""
    return option(text, "|".join(values))


def one_of(option: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`."""
    valid = list(choices)
    if value not in valid:
        raise CommandError(f"{option}: expected one of {', '.join(valid)}, got '{value}'")
    return value


def whole_numbers(value: str) -> tuple[int, ...]:
    """Return "64,64" as (64, 64), and () where there is anything but positive whole numbers."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and len(part) <= DIGITS and int(part) > 0 for part in parts):
        return ()
    return tuple(map(int, parts))


def layer_sizes(option: str, value: str) -> tuple[int, ...]:
    """Return "64,64" as (64, 64), and "none" as ()."""
    if value == "none":
        return ()
    sizes = whole_numbers(value)
    if not sizes:
        raise CommandError(
            f"{option}: expected positive whole numbers such as 64,64 or 'none', got '{value}'"
        )
    return sizes


def output_file(option: str, value: str | None, suffixes: tuple[str, ...]) -> Path | None:
    """Return the path of a file to write, whose suffix is known and whose folder is there."""
    if value is None:
        return None
    path = Path(value)
    if path.suffix.lower() not in suffixes:
        raise CommandError(f"{option}: expected a name ending in {' or '.join(suffixes)}: {value}")
    if path.is_dir() or not path.parent.is_dir():
        what = "that is a folder" if path.is_dir() else f"no folder {path.parent}"
        raise CommandError(f"{option}: cannot write {value}: {what}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandError(f"{option}: cannot write {value}: permission denied")
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report a file that cannot be written after all, such as on a full disk."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"cannot write {path}: {reason}", status=1) from None


def use_threads(count: int | None) -> int:
    """Set the number of threads (None: leave it) and return it."""
    import fastlinear as fl

    if count is not None:
        try:
            fl.set_num_threads(count)
        except ValueError as error:
            raise CommandError(f"--threads: {error}") from None
    return fl.get_num_threads()
