"""``fastlinear predict``: apply a network saved by ``fastlinear train``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fastlinear.cli.options import output_file, writing


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL.safetensors")],
    data: Annotated[str, typer.Argument(metavar="FILE.npz|FILE.csv|digits")],
    output: Annotated[
        str,
        typer.Option(
            metavar="FILE.csv|FILE.npz|-",
            help="Where to write: a column or an array called prediction; -: CSV to stdout.",
        ),
    ] = "-",
) -> None:
    """Apply a network that train has saved.

    Writes a prediction for each sample: a label, or a value in the target's unit. Reads array X
    of FILE.npz, or the columns of FILE.csv: those named as in training if both have a header
    (others are ignored), else by position (a target column, where the model was trained with
    one, may be there or not).
    """
    path = None if output == "-" else output_file("--output", output, (".csv", ".npz"))

    from fastlinear.cli.modelfile import load_model
    from fastlinear.cli.sources import load_features

    net, encoding = load_model(Path(model))
    samples = load_features(data, encoding.choose)
    inputs = encoding.encode_inputs(samples.X, net.dtype)
    predictions = encoding.decode(net.predict(inputs))
    write(predictions, path)
    if path is not None:
        typer.echo(f"wrote {len(predictions)} predictions to {path}", err=True)


def write(predictions: Any, path: Path | None) -> None:
    """Write one prediction for each sample, in their order."""
    import numpy as np

    if path is None:
        return write_csv(predictions, sys.stdout)
    with writing(path):
        if path.suffix.lower() == ".npz":
            return np.savez(path, prediction=predictions)
        with path.open("w", encoding="utf-8", newline="") as file:
            return write_csv(predictions, file)


def write_csv(predictions: Any, file: Any) -> None:
    """Write a column under the header "prediction"; numbers with the digits that give them back."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["prediction"])
    writer.writerows([value] for value in predictions.tolist())
