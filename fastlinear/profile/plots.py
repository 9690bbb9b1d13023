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

# Told apart by colour-blind readers (Okabe and Ito), and in print by dashes and fills.
COLOURS = {
    "tiled": "#0072B2",
    "loops": "#D55E00",
    "blas": "#000000",
    "numpy": "#000000",
    "torch": "#009E73",
    "jax": "#CC79A7",
    "onnxruntime": "#56B4E9",
}
DASHES = {"tiled": "-", "loops": ":", "blas": "--", "torch": "-.", "jax": (0, (6, 1, 1, 1, 1, 1))}
FILLS = {"tiled": "full", "loops": "bottom", "torch": "left", "jax": "right"}
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
    axes.annotate(
        f"FMA peak {peak:.0f} GFLOP/s",
        (right, peak),
        (-4, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    roofs = []
    for level, dash in zip(machine.levels, ("-", "--", "-.", ":"), strict=False):
        slope = level.bytes_per_second / 1e9
        line: dict[str, Any] = {"color": "0.55", "linewidth": 1, "linestyle": dash, "zorder": 1}
        axes.plot([left, peak / slope], [left * slope, peak], **line)
        roofs.append(Line2D([], [], label=f"{level.name} {slope:.0f} GB/s", **line))
    for m in dots:
        axes.plot(
            m.case.intensity,
            m.flops / 1e9,
            MARKERS[m.case.quantity],
            **marker_style(m.contestant),
        )
    axes.set_xlabel("arithmetic intensity (FLOP / byte of least traffic)")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major", alpha=0.25)
    _plain_numbers(axes)
    quantities = dict.fromkeys(m.case.quantity for m in dots)
    handles = [_heading("bandwidth"), *roofs, _heading("sum")]
    handles += [
        Line2D([], [], marker=MARKERS[q], color="0.3", linestyle="", label=q) for q in quantities
    ]
    names = dict.fromkeys(m.contestant for m in dots)
    handles += [_heading("computed by")]
    handles += [Line2D([], [], marker="h", label=n, **marker_style(n)) for n in names]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    figure.savefig(path)


def sweep(path: Path, found: Sequence[Measurement], machine: Machine, title: str) -> None:
    """Draw GFLOP/s per core against size, a panel for squares and one for few samples.

    The top of the axis is the FMA peak of one core.
    """
    figure = Figure(figsize=(9, 4.2), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    peak = machine.peaks[found[0].case.dtype] / 1e9 / machine.threads
    kinds = {"Y = X Wᵀ, S = M = N": True, "Y = X Wᵀ, S = 8, M = N": False}
    for axes, (name, square) in zip(figure.subplots(1, 2, sharey=True), kinds.items(), strict=True):
        panel = [m for m in found if (m.case.S == m.case.N) == square]
        for contestant in dict.fromkeys(m.contestant for m in panel):
            line = sorted((m.case.N, m.flops) for m in panel if m.contestant == contestant)
            axes.plot(
                [size for size, _ in line],
                [rate / 1e9 / machine.threads for _, rate in line],
                linestyle=DASHES.get(contestant, "-"),
                color=COLOURS.get(contestant, "0.5"),
                marker="o",
                markersize=3,
                clip_on=False,  # the top of the axis is the peak
                label=contestant,
            )
        axes.set(ylim=(0, peak), title=name, xlabel="N")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(MultipleLocator(10 if peak < 80 else 20))
        axes.grid(alpha=0.25)
    first = figure.axes[0]
    first.set_ylabel(f"GFLOP/s per core (top: FMA peak {peak:.0f})")
    handles = first.get_lines()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path)


def _heading(text: str) -> Line2D:
    """Return a line of a legend that is nothing but text."""
    return Line2D([], [], linestyle="", label=f"{text}:")


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    return figure, figure.subplots()


def marker_style(contestant: str) -> dict[str, Any]:
    """Return colour and fill of a contestant's dots; BLAS's are empty, for they lie over ours."""
    return {
        "color": COLOURS.get(contestant, "0.5"),
        "fillstyle": FILLS.get(contestant, "none"),
        "markerfacecoloralt": "white",
        "linestyle": "",
        "markersize": 6,
    }


def _plain_numbers(axes: Axes) -> None:
    """Write 0.1, 1, 10 instead of powers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
