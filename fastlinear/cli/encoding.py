"""What stands between a user's data and the network: standardised inputs, coded targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlinear.cli.data import Data
from fastlinear.cli.errors import CommandError
from fastlinear.cli.table import Choice, Columns

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Encoding:
    """How samples become the network's input, and its output an answer.

    A feature x enters as (x - mean) / scale, computed in float64 and rounded once to the
    network's dtype. It is kept as it is, not folded into the first layer's weights: that would
    round every weight again, and `predict` would no longer compute what was trained.

    Attributes
    ----------
    mean, scale : float64 array (M,)
        Mean and standard deviation of each feature over the training part; the scale of a
        constant feature is 1.
    classes : array (C,) or None
        The label of each class in sorted order; None for a regression.
    target_mean, target_scale : float
        Mean and standard deviation of a regression's target (0 and 1 for classes).
    features, target, position
        As in `Data`, to find the same columns in the next file.
    """

    mean: Floats
    scale: Floats
    classes: npt.NDArray[Any] | None
    target_mean: float = 0.0
    target_scale: float = 1.0
    features: tuple[str, ...] | None = None
    target: str | None = None
    position: int | None = None

    @classmethod
    def of(cls, data: Data, classes: npt.NDArray[Any] | None) -> Encoding:
        """Take the statistics of `data`, the training part."""
        mean, scale = moments(data.X)
        center, spread = moments(data.y) if classes is None else (0.0, 1.0)
        if not np.isfinite([*mean, *scale, center, spread]).all():
            raise CommandError("the values are too large: their variance overflows float64")
        return cls(
            mean=mean,
            scale=scale,
            classes=classes,
            target_mean=float(center),
            target_scale=float(spread),
            features=data.features,
            target=data.target,
            position=data.position,
        )

    @property
    def outputs(self) -> int:
        """The number of values the network puts out."""
        return 1 if self.classes is None else len(self.classes)

    def encode_inputs(self, X: Floats, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the network's input (S, M) for features X (S, M)."""
        if X.shape[1] != len(self.mean):
            raise CommandError(
                f"the data have {X.shape[1]} features, the model expects {len(self.mean)}"
            )
        with np.errstate(over="ignore"):
            inputs = ((X - self.mean) / self.scale).astype(dtype)
        bad = np.argwhere(~np.isfinite(inputs))
        if len(bad):
            row, column = bad[0]
            raise CommandError(
                f"sample {row + 1}, feature {column + 1}: {X[row, column]} is too far from the "
                f"training data for {np.dtype(dtype)}"
            )
        return inputs

    def encode_targets(self, y: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return class numbers (S,) for labels, standardised values (S, 1) for real targets."""
        if self.classes is not None:
            return np.searchsorted(self.classes, y)
        values: npt.NDArray[Any] = ((y - self.target_mean) / self.target_scale).astype(dtype)
        return values[:, None]

    def decode(self, outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return labels, or values in the target's own unit, for the network's output (S, C)."""
        if self.classes is not None:
            labels: npt.NDArray[Any] = self.classes[outputs.argmax(axis=1)]
            return labels
        values: Floats = outputs[:, 0].astype(np.float64) * self.target_scale + self.target_mean
        return values

    def choose(self, columns: Columns) -> Choice:
        """Choose the feature columns of a table: by name if both have names, else by position."""
        if self.features is not None and columns.names is not None:
            absent = [name for name in self.features if name not in columns.names]
            if absent:
                raise CommandError(f"{columns.path}: no column {', '.join(absent)}")
            return [columns.names.index(name) for name in self.features], None
        indices = list(range(columns.count))
        if self.position is not None and columns.count == len(self.mean) + 1:
            del indices[self.position]
        if len(indices) != len(self.mean):
            raise CommandError(
                f"{columns.path}: {columns.count} columns, the model expects {len(self.mean)}"
            )
        return indices, None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which `from_json` makes an equal encoding."""
        # Python prints a float64 with the digits that give the same bits back.
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Encoding:
        """Inverse of `to_json`; any exception means that `plain` did not come from it."""
        fields = dict(plain)
        for name in ("mean", "scale"):
            fields[name] = np.array(fields[name], np.float64)
        if fields["classes"] is not None:
            fields["classes"] = np.array(fields["classes"])
        if fields["features"] is not None:
            fields["features"] = tuple(fields["features"])
        return cls(**fields)


def moments(values: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Return mean and standard deviation along axis 0; the value and 1 where all values agree."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values.mean(axis=0), values.std(axis=0)
    # Rounding may have moved the mean off the one value, and the deviation off zero.
    constant = values.max(axis=0) == values.min(axis=0)
    return np.where(constant, values[0], mean), np.where(constant, 1.0, deviation)
