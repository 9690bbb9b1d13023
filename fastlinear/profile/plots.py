"""The profiler's pictures: a roofline, and rates against sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator

from fastlinear.profile.measure import Machine, Measurement

# Told apart by colour-blind readers (Okabe and Ito), and in print by their dashes and lightness.
COLOURS = {
    "tiled": "#0072B2",
    "loops": "#D55E00",
    "blas": "#000000",
    "numpy": "#000000",
    "torch": "#009E73",
    "jax": "#CC79A7",
    "onnxruntime": "#56B4E9",
}
DASHES = {"tiled": "-", "loops": ":", "blas": "--", "numpy": "--", "torch": "-.", "jax": "-."}
MARKERS = {"Y": "o", "dW": "s", "dX": "^", "db": "v", "predict": "P", "step": "D"}


def roofline(path: Path, found: Sequence[Measurement], machine: Machine, title: str) -> None:
    """Draw a dot for each product and contestant under the machine's roofs, both axes logarithmic.

    The suffix of ``path`` (.png, .svg) sets the format.
    """
    dots = [m for m in found if m.case.flops]
    figure, axes = _figure(title)
    peak = machine.peaks[dots[0].case.dtype] / 1e9
    left = min(0.1, *(m.case.intensity / 2 for m in dots))
    right = max(200.0, *(m.case.intensity * 2 for m in dots))
    bottom = min(1.0, *(m.flops / 2e9 for m in dots))
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, 2 * peak))
    axes.plot([left, right], [peak, peak], color="0.35", linewidth=1.2)
    axes.annotate(f"FMA peak {peak:.0f} GFLOP/s", (right, peak), (-4, 4), ha="right", **_note())
    for level in machine.levels:
        slope = level.bytes_per_second / 1e9
        axes.plot([left, peak / slope], [left * slope, peak], color="0.6", linewidth=0.9, zorder=1)
        # The name stands where its line enters the picture.
        x = max(left, bottom / slope) * 1.15
        axes.annotate(
            f"{level.name} {slope:.0f} GB/s",
            (x, x * slope),
            (2, 3),
            rotation=45,
            transform_rotates_text=True,
            rotation_mode="anchor",
            **_note(),
        )
    for m in dots:
        axes.plot(
            m.case.intensity,
            m.flops / 1e9,
            MARKERS[m.case.quantity],
            color=COLOURS.get(m.contestant, "0.5"),
            markersize=6,
            markerfacecolor="none" if m.contestant in ("blas", "numpy") else None,
            alpha=0.85,
        )
    axes.set_xlabel("arithmetic intensity (FLOP / byte of least traffic)")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major", alpha=0.25)
    _plain_numbers(axes)
    products = dict.fromkeys(m.case.quantity for m in dots)
    handles = [
        Line2D([], [], marker=MARKERS[q], color="0.3", linestyle="", label=q) for q in products
    ]
    handles += [
        Line2D([], [], marker="o", color=COLOURS.get(name, "0.5"), linestyle="", label=name)
        for name in dict.fromkeys(m.contestant for m in dots)
    ]
    for handle in handles:
        if handle.get_label() in ("blas", "numpy"):
            handle.set_markerfacecolor("none")
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    figure.savefig(path)


def sweep(path: Path, found: Sequence[Measurement], machine: Machine, title: str) -> None:
    """Draw GFLOP/s per core against size, a panel for squares and one for a single sample.

    The top of the axis is the FMA peak of one core.
    """
    figure = Figure(figsize=(9, 4.2), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    peak = machine.peaks[found[0].case.dtype] / 1e9 / machine.threads
    kinds = {"S = M = N": True, "S = 8, M = N": False}
    for axes, (name, square) in zip(figure.subplots(1, 2, sharey=True), kinds.items(), strict=True):
        panel = [m for m in found if (m.case.S == m.case.N) == square]
        for contestant in dict.fromkeys(m.contestant for m in panel):
            line = sorted((m.case.N, m.flops) for m in panel if m.contestant == contestant)
            axes.plot(
                [size for size, _ in line],
                [rate / 1e9 / machine.threads for _, rate in line],
                DASHES.get(contestant, "-"),
                color=COLOURS.get(contestant, "0.5"),
                marker="o",
                markersize=3,
                label=contestant,
            )
        axes.set(xscale="log", ylim=(0, peak), title=name, xlabel="N")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(MultipleLocator(10 if peak < 80 else 20))
        axes.grid(alpha=0.25)
    first = figure.axes[0]
    first.set_ylabel(f"Y = X Wᵀ: GFLOP/s per core (top: FMA peak, {peak:.0f})")
    first.legend(loc="upper left", frameon=False)
    figure.savefig(path)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    return figure, figure.subplots()


def _note() -> dict[str, Any]:
    """Return the style of the notes along the roofs."""
    return {"textcoords": "offset points", "fontsize": 8, "color": "0.35"}


def _plain_numbers(axes: Axes) -> None:
    """Write 0.1, 1, 10 instead of powers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
