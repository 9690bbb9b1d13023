"""Turn what `compare.py` measured into pictures and the README's table of results.

::

    python benchmarks/compare.py --threads 1 --json results.json
    python benchmarks/report.py results.json --plot docs/benchmarks.png --readme README.md

Contestants took turns there, so a ratio is one of the same moment of the machine. The table goes
between the README's markers, wins and losses alike; without ``--readme`` it is printed. Ratios are
times of the other divided by times of ours: below 1, ours is slower.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

from fastlinear.profile.cases import PRODUCTS, STREAMS

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
OURS = "tiled"
LAYER, C_ORDER = "tiled F", "numpy, C"
"""Ours with weights in a layer's memory order; NumPy against ours with weights in C order."""
ORDER = ("Y", "dW", "db", "dX", "step", "predict", "activation", "activation step")
OTHERS = ("numpy", C_ORDER, "torch", "jax", "onnxruntime", "copy")


class Row(NamedTuple):
    """One case: what it is, our numbers, and how many times longer the others take."""

    quantity: str
    label: str
    dtype: str
    seconds: float
    peak: float
    """FMA peak in GFLOP/s, in turns with the others."""
    share: float
    """Ours of it."""
    rates: dict[str, float]
    """GFLOP/s of everyone; GB/s of what is nothing but reading and writing."""
    ratios: dict[str, float]

    @property
    def shape(self) -> str:
        """Return the label without an activation."""
        return self.label.split()[0]

    @property
    def title(self) -> str:
        """Return the quantity, with the activation where there is one."""
        return " ".join([self.quantity, *self.label.split()[1:]])


def rows(results: dict[str, Any]) -> list[Row]:
    """Return the cases in the order of the products."""
    found = [row(case) for case in results["rows"]]
    return sorted(found, key=lambda row: (row.dtype, ORDER.index(row.quantity)))


def row(case: dict[str, Any]) -> Row:
    """Return a case with ours as a layer runs it."""
    ours = LAYER if LAYER in case["ratio"] else OURS
    ratios = dict(case["ratio"][ours])
    if ours == LAYER and "numpy" in ratios:
        ratios[C_ORDER] = case["ratio"][OURS]["numpy"]
    work = case["bytes"] if case["quantity"] in STREAMS else case["flops"]
    seconds = {**case["seconds"], OURS: case["seconds"][ours]}
    return Row(
        case["quantity"],
        case["label"],
        case["dtype"],
        seconds[OURS],
        case["peak"] / 1e9,
        case["share_of_peak"][ours],
        {name: work / taken / 1e9 for name, taken in seconds.items() if name != LAYER},
        ratios,
    )


def machine(results: dict[str, Any]) -> str:
    """Say where and with what the numbers were measured."""
    facts = results["facts"]
    shown = [value for name, value in facts if name == "CPU"]
    shown += [f"{name} {value}" for name, value in facts if name in ("numpy", "numba")]
    # Without their threads: that is what the pools had before they were set.
    shown += sorted({value.rpartition(", ")[0] for name, value in facts if name == "BLAS"})
    threads = results["rows"][0]["threads"]
    return f"{'; '.join(shown)}; {threads} thread{'s'[: threads > 1]}"


# ---- the table -----------------------------------------------------------------------------------


def table(results: dict[str, Any], found: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table in Markdown, one section for each dtype and quantity."""
    yield f"Measured on: {machine(results)}."
    yield ""
    yield f"To reproduce: `{results['command']}`, then"
    yield "`python benchmarks/report.py FILE --readme README.md`."
    yield ""
    yield (
        "The last columns: how many times longer the others take (**bold**: they are faster), all "
        "taking turns, so that they meet the same moments of the machine; a neighbour on it slows "
        "down some lines as a whole. `mean` is the geometric mean. *of peak*: of the FMA peak that "
        "took its turns too. Ours have the weights as a layer keeps them; *numpy, C*: where ours "
        "are in C order. Calls repeat with the same arrays. *copy* moves as many bytes, and "
        "computes nothing."
    )
    for dtype, quantity in dict.fromkeys((r.dtype, r.quantity) for r in found):
        section = [r for r in found if (r.dtype, r.quantity) == (dtype, quantity)]
        others = [name for name in OTHERS if any(name in r.ratios for r in section)]
        streams = quantity in STREAMS
        own = ["shape", "time", *(["GB/s"] if streams else ["GFLOP/s", "of peak"])]
        yield ""
        heading, folded = f"**{quantity}, {dtype}**", quantity not in PRODUCTS
        yield f"<details><summary>{quantity}, {dtype}</summary>" if folded else heading
        yield ""
        yield f"| {' | '.join([*own, *others])} |"
        yield f"|---{'|--:' * (len(own) + len(others) - 1)}|"
        for r in section:
            cells = [r.label, duration(r.seconds), f"{r.rates[OURS]:.3g}"]
            cells += [] if streams else [f"{r.share:.0%}"]
            cells += [ratio(r.ratios.get(name), name) for name in others]
            yield f"| {' | '.join(cells)} |"
        if len(section) > 1:
            means = [ratio(mean(r.ratios.get(name) for r in section), name) for name in others]
            yield f"| {' | '.join(['mean', *[''] * (len(own) - 1), *means])} |"
        if folded:
            yield ""
            yield "</details>"


def ratio(value: float | None, name: str) -> str:
    if value is None:
        return ""
    return f"**{value:.2f}**" if value < 1 and name != "copy" else f"{value:.2f}"


def mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return geometric_mean(present) if present else None


def duration(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def put(readme: Path, lines: Iterable[str]) -> None:
    """Replace what stands between the markers of the README."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{readme}: expected the markers {BEGIN} and {END} once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    body = "\n".join(lines)
    readme.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


# ---- the pictures --------------------------------------------------------------------------------

MARKS = {  # onnxruntime has none: it only predicts
    "tiled": "o",
    "numpy": "s",
    "torch": "^",
    "jax": "D",
    "copy": "|",
}


def plot(results: dict[str, Any], found: Sequence[Row], path: Path, dtype: str) -> None:
    """Draw GFLOP/s of everyone for each product and shape; the axis ends at the FMA peak."""
    chosen = [r for r in found if r.dtype == dtype and r.quantity in ("Y", "dW", "dX", "step")]
    usual = {r.quantity: r.title for r in reversed(chosen)}  # its first activation
    panels = [[r for r in chosen if r.title == title] for title in reversed(usual.values())]
    if not panels:
        sys.exit(f"no products of {dtype} among the results")
    peak = max(r.peak for r in chosen)
    title = f"{machine(results)}; {dtype}; right edge: FMA peak {peak:.0f} GFLOP/s"
    draw([panels], path, title, "GFLOP/s", peak)


def plot_activations(results: dict[str, Any], found: Sequence[Row], path: Path, dtype: str) -> None:
    """Draw GB/s of everyone for each activation and shape, forward above forward and backward."""
    chosen = [r for r in found if r.dtype == dtype and r.quantity.startswith("activation")]
    if not chosen:
        sys.exit(f"no activations of {dtype} among the results")
    lines = [
        [
            [r for r in chosen if r.title == title]
            for title in dict.fromkeys(r.title for r in chosen if r.quantity == quantity)
        ]
        for quantity in dict.fromkeys(r.quantity for r in chosen)
    ]
    top = 1.05 * max(rate for r in chosen for rate in r.rates.values())
    draw(lines, path, f"{machine(results)}; {dtype}", "GB/s", top)


def draw(
    lines: Sequence[Sequence[Sequence[Row]]], path: Path, title: str, unit: str, end: float
) -> None:
    """Draw lines of panels, a row for each shape and a mark for each contestant."""
    from matplotlib.figure import Figure

    from fastlinear.profile.plots import marker_style

    labels = list(dict.fromkeys(r.shape for line in lines for panel in line for r in panel))[::-1]
    columns = max(map(len, lines))
    size = (2 + 2.6 * columns, 1.4 + (0.6 + 0.27 * len(labels)) * len(lines))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=8, wrap=True, parse_math=False)
    grid = figure.subplots(len(lines), columns, sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for line, row_of_axes in zip(lines, grid, strict=True):
        row_of_axes[0].set_ylabel("S x N" if labels[0].count("x") == 1 else "S x M x N")
        for panel, axes in zip(line, row_of_axes, strict=False):
            for name, marker in MARKS.items():
                points = [(r.rates[name], labels.index(r.shape)) for r in panel if name in r.rates]
                if points:
                    handles[name] = axes.plot(
                        *zip(*points, strict=True), marker, clip_on=False, **marker_style(name)
                    )[0]
            axes.set(title=panel[0].title, xlim=(0, end))
            axes.set_yticks(range(len(labels)), labels)
            axes.grid(alpha=0.3)
    for axes in grid[-1]:
        axes.set_xlabel(unit)
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the JSON that compare.py wrote")
    file = {"type": Path, "metavar": "FILE.png|FILE.svg"}
    parser.add_argument("--plot", help="draw the products", **file)
    parser.add_argument("--plot-activations", help="draw the activations", **file)
    parser.add_argument("--dtype", default="float32", help="of the pictures")
    parser.add_argument("--readme", type=Path, help="put the table between its markers")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    found = rows(results)
    if options.plot:
        plot(results, found, options.plot, options.dtype)
    if options.plot_activations:
        plot_activations(results, found, options.plot_activations, options.dtype)
    if options.readme:
        put(options.readme, table(results, found))
    else:
        print("\n".join(table(results, found)))


if __name__ == "__main__":
    main()
