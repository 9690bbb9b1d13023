"""Every h and h' as a picture of small multiples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from fastlinear.cli.gradients import ACTIVATIONS

COLUMNS = 4
# An even number of points, so that none falls on a kink.
X = np.linspace(-7, 7, 2000)
HEIGHT = (-3, 7)
JUMP = 0.1
"""Neighbouring values that differ by more are not joined: no h or h' here is half as steep."""

# Told apart by colour-blind readers (Okabe and Ito), and by their dashes in print.
STYLES: dict[str, dict[str, Any]] = {
    "h(x)": {"color": "#0072B2", "linestyle": "-", "linewidth": 1.8},
    "h'(x)": {"color": "#D55E00", "linestyle": "--", "linewidth": 1.4},
}


def plot_activations(path: Path) -> None:
    """Draw all activations on one scale; the suffix of `path` (.png, .svg) sets the format."""
    rows = -(-(len(ACTIVATIONS) + 1) // COLUMNS)  # the first place is the legend's
    figure = Figure(figsize=(10, 2.05 * rows), dpi=150, layout="constrained")
    figure.suptitle("The activations h and their derivatives h', on one scale")
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True)
    legend, *places = grid.flat
    for axes, (name, make) in zip(places, ACTIVATIONS.items(), strict=False):
        draw(axes, name, make())
    for axes in (legend, *places[len(ACTIVATIONS) :]):
        axes.set_axis_off()
    legend.legend(*places[0].get_legend_handles_labels(), loc="center", fontsize=12, frameon=False)
    places[0].tick_params(labelleft=True)
    for axes in (places[0], *grid[1:, 0]):
        axes.set_ylabel("h, h'")
    for axes in grid[-1]:
        axes.set_xlabel("x")
    figure.savefig(path)


def draw(axes: Axes, name: str, activation: Any) -> None:
    """Draw one activation, computed by its own kernels."""
    values = activation(X), activation.backward(np.ones_like(X))
    for (label, style), y in zip(STYLES.items(), values, strict=True):
        axes.plot(X, broken(y), label=label, **style)
    arguments = ", ".join(f"{k}={v:g}" for k, v in activation.parameters.items())
    axes.set_title(f"{name}({arguments})" if arguments else name, fontsize=8, family="monospace")
    axes.set(xlim=(X[0], X[-1]), ylim=HEIGHT, aspect="equal")
    axes.xaxis.set_major_locator(MultipleLocator(2))
    axes.yaxis.set_major_locator(MultipleLocator(2))
    axes.grid(alpha=0.3)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.axvline(0, color="black", linewidth=0.6)


def broken(y: Any) -> Any:
    """Return y with a gap wherever it jumps."""
    return np.where(np.abs(np.diff(y, append=y[-1])) > JUMP, np.nan, y)
