"""Models as files: a network, with the encoding of its data in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastlinear as fl
from fastlinear.cli.data import first_line
from fastlinear.cli.encoding import Encoding
from fastlinear.cli.errors import CommandError
from fastlinear.cli.options import writing

KEY = "fastlinear.data"
"""Key of the metadata that holds the encoding as JSON."""


def save_model(net: Any, encoding: Encoding, path: Path) -> None:
    """Write a network and its encoding to a safetensors file, which `fastlinear.load` reads too."""
    from safetensors import SafetensorError

    with writing(path):
        try:
            net.save(path, metadata={KEY: json.dumps(encoding.to_json())})
        except SafetensorError as error:  # safetensors' name for an OSError
            raise OSError(first_line(error)) from None


def load_model(path: Path) -> tuple[Any, Encoding]:
    """Return what `save_model` wrote."""
    try:
        net, metadata = fl.load(path), fl.read_metadata(path)
    except (OSError, ValueError) as error:
        raise CommandError(first_line(error)) from None
    if KEY not in metadata:
        raise CommandError(
            f"{path}: a network without the encoding of its data, expected one saved by "
            "fastlinear train --save; use it from Python with fastlinear.load"
        )
    try:
        return net, Encoding.from_json(json.loads(metadata[KEY]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(f"{path}: damaged ({KEY}: {first_line(error)})") from None
