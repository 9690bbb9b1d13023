"""One training, described so that it can be repeated under each formulation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

import fastlinear as fl
from fastlinear.cli.data import Data
from fastlinear.cli.encoding import Encoding
from fastlinear.cli.errors import CommandError
from fastlinear.cli.fit import Epoch, Samples, fit

HELD_OUT = 0.2
"""Part of the samples that is kept from training, to judge it."""


@dataclass(frozen=True)
class Settings:
    """What the user may choose; the names are those of the options."""

    hidden: tuple[int, ...]
    activation: str
    optimizer: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    dtype: str


@dataclass(frozen=True)
class Problem:
    """Data made ready for a network."""

    encoding: Encoding
    training: Samples
    held_out: Samples

    @classmethod
    def prepare(cls, data: Data, task: str, settings: Settings) -> Problem:
        """Split at random (in each class alike), take statistics of the training part, encode."""
        from sklearn.model_selection import train_test_split

        data = data if task == "auto" else for_task(data, task)
        classes = None if find_task(data.y) == "regression" else np.unique(data.y)
        check_size(data.y, classes)
        parts = train_test_split(
            np.arange(len(data.X)),
            test_size=HELD_OUT,
            random_state=settings.seed,
            stratify=None if classes is None else data.y,
        )
        training, held_out = (replace(data, X=data.X[part], y=data.y[part]) for part in parts)
        encoding = Encoding.of(training, classes)
        encoded = (
            Samples(
                encoding.encode_inputs(part.X, settings.dtype),
                encoding.encode_targets(part.y, settings.dtype),
            )
            for part in (training, held_out)
        )
        return cls(encoding, *encoded)


def find_task(y: Any) -> str:
    """Return "regression" for a real-valued target, else "classification"."""
    return "regression" if y.dtype.kind == "f" else "classification"


def for_task(data: Data, task: str) -> Data:
    """Return `data` with a target of the kind that `task` needs."""
    y = data.y
    if task == find_task(y):
        return data
    if task == "regression":
        if y.dtype.kind not in "iu":
            raise CommandError("a regression needs a numeric target, not text or booleans")
        return replace(data, y=y.astype(np.float64))
    if not (y == np.rint(y)).all() or (np.abs(y) > 2**53).any():
        raise CommandError("a classification needs labels: the target holds fractions")
    return replace(data, y=y.astype(np.int64))


def check_size(y: Any, classes: Any) -> None:
    """Raise unless the target varies and both parts get samples of it."""
    held_out = math.ceil(HELD_OUT * len(y))
    if classes is None:
        if (y == y[0]).all():
            raise CommandError(f"the target is {y[0]} in all samples: nothing to learn")
        if held_out < 2:
            raise CommandError(f"{len(y)} samples, a regression needs at least 6")
        return
    if len(classes) == 1:
        raise CommandError(
            f"all {len(y)} samples are of class '{classes[0]}': nothing to tell apart"
        )
    labels, counts = np.unique(y, return_counts=True)
    if counts.min() < 2:
        raise CommandError(
            f"class '{labels[counts.argmin()]}' has 1 sample, at least 2 are needed to hold one "
            f"out ({len(classes)} classes; for a numeric quantity use --task regression)"
        )
    if held_out < len(classes):
        raise CommandError(
            f"{len(y)} samples of {len(classes)} classes: too few to hold out one of each, "
            f"expected at least {round((len(classes) - 1) / HELD_OUT) + 1}"
        )


@dataclass
class Run:
    """A problem under one formulation: the network, and its epochs so far."""

    problem: Problem
    settings: Settings
    formulation: str
    epochs: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.net = self.build()

    def build(self) -> Any:
        """Return a new network, the same for the same seed."""
        encoding, chosen = self.problem.encoding, self.settings
        return fl.MLP(
            [len(encoding.mean), *chosen.hidden, encoding.outputs],
            activation=chosen.activation,
            dtype=np.dtype(chosen.dtype),
            rng=chosen.seed,
            formulation=self.formulation,
        )

    def warm_up(self) -> None:
        """Compile everything that `train` runs, on another network and few samples."""
        training, size = self.problem.training, self.settings.batch_size
        few = size + len(training.X) % size  # a full batch and one like the last
        sample = Samples(training.X[:few], training.y[:few])
        for _ in self._fit(self.build(), sample, training, epochs=1):
            pass

    def train(self) -> Iterator[Epoch]:
        """Train the network, yielding each epoch."""
        chosen, problem = self.settings, self.problem
        for epoch in self._fit(self.net, problem.training, problem.held_out, chosen.epochs):
            self.epochs.append(epoch)
            if not math.isfinite(epoch.training.loss):
                raise CommandError(
                    f"the loss is {epoch.training.loss} after epoch {epoch.number}: "
                    f"try a smaller --lr than {chosen.lr:g}",
                    status=1,
                )
            yield epoch

    def _fit(self, net: Any, training: Samples, held_out: Samples, epochs: int) -> Iterator[Epoch]:
        chosen = self.settings
        loss = fl.CrossEntropyLoss() if self.classes else fl.MSELoss()
        return fit(
            net,
            loss,
            make_optimizer(chosen.optimizer, net, chosen.lr),
            training,
            held_out,
            epochs=epochs,
            batch_size=chosen.batch_size,
            seed=chosen.seed,
        )

    @property
    def classes(self) -> bool:
        """Whether classes are learned, not a real value."""
        return self.problem.encoding.classes is not None

    def show(self, quality: float) -> str:
        """Return an accuracy in per cent, or an R^2, as text."""
        return f"{100 * quality:.2f} %" if self.classes else f"{quality:.4f}"

    @property
    def seconds(self) -> float:
        """Median training time of an epoch."""
        return median(epoch.seconds for epoch in self.epochs)

    def weights(self) -> dict[str, bytes]:
        """Return every bit of the network's parameters."""
        return {name: array.tobytes() for name, array in self.net.state_dict().items()}


def make_optimizer(name: str, net: Any, lr: float) -> Any:
    """Return the optimiser called `name`; SGD with momentum 0.9."""
    if name == "sgd":
        return fl.SGD(net, lr, momentum=0.9)
    return {"adam": fl.Adam, "adamw": fl.AdamW}[name](net, lr)


def largest_difference(run: Run, other: Run) -> float:
    """Return the largest absolute difference between the parameters of two networks."""
    mine, theirs = run.net.state_dict(), other.net.state_dict()
    return max(float(np.abs(mine[name] - theirs[name]).max()) for name in mine)
