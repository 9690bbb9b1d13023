"""The learning curves of a training, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastlinear.cli.fit import Epoch

# Told apart by colour-blind readers (Okabe and Ito), and by their dashes in print.
STYLES = {
    "training": {"color": "#0072B2", "linestyle": "-"},
    "held out": {"color": "#D55E00", "linestyle": "--"},
}


def plot_curves(path: Path, epochs: Sequence[Epoch], title: str, *, classes: bool) -> None:
    """Draw loss and quality over the epochs; the suffix of `path` (.png, .svg) sets the format."""
    figure = Figure(figsize=(9, 4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    percent = 100 if classes else 1
    for part, style in STYLES.items():
        scores = [e.training if part == "training" else e.held_out for e in epochs]
        numbers = [e.number for e in epochs]
        marker = {"marker": "o", "markersize": 3}
        left.plot(numbers, [s.loss for s in scores], label=part, **style, **marker)
        right.plot(numbers, [percent * s.quality for s in scores], label=part, **style, **marker)
    if all(min(e.training.loss, e.held_out.loss) > 0 for e in epochs):
        left.set_yscale("log")
    name(
        left,
        "loss: cross-entropy (nats)" if classes else "loss: mean squared error (target variances)",
    )
    name(right, "accuracy (%)" if classes else "R² (no unit)")
    figure.savefig(path)


def name(axes: Axes, quantity: str) -> None:
    """Label one panel."""
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
