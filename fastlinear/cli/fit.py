"""Training a network: the loop, and how well the network does after each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import fastlinear as fl


class Samples(NamedTuple):
    """Inputs (S, M) and what the loss compares the network's outputs with, (S,) or (S, 1)."""

    X: Any
    y: Any


class Score(NamedTuple):
    """Mean loss, and the accuracy (classes) or the coefficient of determination R^2 (values)."""

    loss: float
    quality: float


class Epoch(NamedTuple):
    """What one pass over the training part cost, and where it led."""

    number: int
    seconds: float
    training: Score
    held_out: Score


def fit(
    net: Any,
    loss: Any,
    optimizer: Any,
    training: Samples,
    held_out: Samples,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> Iterator[Epoch]:
    """Train `net`, epoch by epoch: each value asked of the iterator is one more epoch.

    Each epoch goes once through the training samples, in a new random order given by `seed`.
    Only the training is timed, not the scores.
    """
    rng = np.random.default_rng(seed)
    for number in range(1, epochs + 1):
        order = rng.permutation(len(training.X))
        start = perf_counter()
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            loss(net(training.X[batch]), training.y[batch])
            net.backward(loss.backward(), input_grad=False)
            optimizer.step()
        seconds = perf_counter() - start
        yield Epoch(number, seconds, score(net, loss, training), score(net, loss, held_out))


def score(net: Any, loss: Any, samples: Samples) -> Score:
    """Return mean loss and quality of the network's predictions."""
    outputs = net.predict(samples.X)
    mean_loss = float(loss(outputs, samples.y))
    if isinstance(loss, fl.CrossEntropyLoss):
        return Score(mean_loss, float(np.mean(outputs.argmax(axis=1) == samples.y)))
    variance = float(np.var(samples.y, dtype=np.float64))
    return Score(mean_loss, 1 - mean_loss / variance if variance else float("nan"))
