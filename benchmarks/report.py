"""Turn the benchmark suite's JSON into a picture and the README's table of results.

::

    pytest benchmarks --benchmark-only --benchmark-json=results.json
    python benchmarks/report.py results.json --plot docs/benchmarks.png --readme README.md

The table goes between the README's markers, wins and losses alike; without ``--readme`` it is
printed. Ratios are times of the other divided by times of ours: below 1, ours is slower.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
OURS = "tiled"
ORDER = ("Y", "dW", "db", "dX", "step", "predict", "activation", "activation step")
OTHERS = ("blas", "numpy", "torch", "jax", "onnxruntime", "copy", "loops")


class Row(NamedTuple):
    """One case: what it is, our numbers, and how many times longer the others take."""

    quantity: str
    label: str
    dtype: str
    seconds: float
    gflops: float
    gbytes: float
    peak: float
    share: float
    rates: dict[str, float]
    """GFLOP/s of everyone."""
    ratios: dict[str, float]


def rows(results: dict[str, Any]) -> list[Row]:
    """Gather the results of each case in which ours took part, in the order of the products."""
    groups: dict[str, dict[str, Any]] = {}
    for result in results["benchmarks"]:
        info = result["extra_info"]
        if "share_of_peak" in info:
            groups.setdefault(result["group"], {})[info["contestant"]] = result
    return sorted(
        (row(group) for group in groups.values() if OURS in group),
        key=lambda row: (row.dtype, ORDER.index(row.quantity)),
    )


def row(group: dict[str, Any]) -> Row:
    info = group[OURS]["extra_info"]
    seconds = {name: result["stats"]["median"] for name, result in group.items()}
    quantity, rest = info["quantity"], group[OURS]["group"].removeprefix(info["quantity"])
    return Row(
        quantity,
        rest.removesuffix(info["dtype"]).strip(),
        info["dtype"],
        seconds[OURS],
        info["gflops"],
        info["gbytes_per_second"],
        info["peak_gflops"],
        info["share_of_peak"],
        {name: result["extra_info"]["gflops"] for name, result in group.items()},
        {name: seconds[name] / seconds[OURS] for name in OTHERS if name in seconds},
    )


def machine(results: dict[str, Any]) -> str:
    """Say where, with what and how the numbers were measured."""
    facts = results["machine_info"]["fastlinear"]
    shown = [value for name, value in facts if name == "CPU"]
    shown += [f"{name} {value}" for name, value in facts if name in ("numpy", "numba")]
    # Without their threads: that is what the pools had before they were set.
    shown += sorted({value.rpartition(", ")[0] for name, value in facts if name == "BLAS"})
    threads = results["benchmarks"][0]["extra_info"].get("threads", 1)
    return f"{'; '.join(shown)}; {threads} thread{'s'[: threads > 1]}"


# ---- the table -----------------------------------------------------------------------------------


def table(results: dict[str, Any], found: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table in Markdown, one section for each dtype and quantity."""
    yield f"Measured on: {machine(results)}."
    yield ""
    yield "To reproduce: `pytest benchmarks --benchmark-only --benchmark-json=results.json`, then"
    yield "`python benchmarks/report.py results.json --readme README.md`."
    yield ""
    yield (
        "The last columns: how many times longer the others take (**bold**: they are faster). "
        "`mean` is the geometric mean."
    )
    for dtype, quantity in dict.fromkeys((r.dtype, r.quantity) for r in found):
        section = [r for r in found if (r.dtype, r.quantity) == (dtype, quantity)]
        others = [name for name in OTHERS if any(name in r.ratios for r in section)]
        computes = any(r.gflops for r in section)
        titles = ["shape", "time", *(["GFLOP/s", "of peak"] if computes else ["GB/s"]), *others]
        yield ""
        yield f"**{quantity}, {dtype}**"
        yield ""
        yield f"| {' | '.join(titles)} |"
        yield f"|---{'|--:' * (len(titles) - 1)}|"
        for r in section:
            rate = [f"{r.gflops:.3g}", f"{r.share:.0%}"] if computes else [f"{r.gbytes:.3g}"]
            ratios = [ratio(r.ratios.get(name)) for name in others]
            yield f"| {' | '.join([r.label, duration(r.seconds), *rate, *ratios])} |"
        if len(section) > 1:
            means = [ratio(mean(r.ratios.get(name) for r in section)) for name in others]
            blanks = [""] * (len(titles) - 1 - len(others))
            yield f"| {' | '.join(['mean', *blanks, *means])} |"


def ratio(value: float | None) -> str:
    if value is None:
        return ""
    return f"**{value:.2f}**" if value < 1 else f"{value:.2f}"


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


# ---- the picture ---------------------------------------------------------------------------------


def plot(results: dict[str, Any], found: Sequence[Row], path: Path, dtype: str) -> None:
    """Draw the rate of everyone for each product and shape; the axis ends at the FMA peak."""
    from matplotlib.figure import Figure

    from fastlinear.profile.plots import COLOURS

    markers = {"tiled": "o", "blas": "s", "numpy": "x", "torch": "^", "jax": "D"}
    chosen = [r for r in found if r.dtype == dtype and r.quantity in ("Y", "dW", "dX", "step")]
    panels = list(dict.fromkeys(r.quantity for r in chosen))
    if not panels:
        sys.exit(f"no products of {dtype} among the results")
    peak = max(r.peak for r in chosen)
    labels = list(dict.fromkeys(r.label.split()[0] for r in chosen))[::-1]
    size = (2 + 2.6 * len(panels), 2 + 0.27 * len(labels))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    figure.suptitle(f"{machine(results)}; {dtype}", fontsize=8, wrap=True, parse_math=False)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axes, quantity in zip(all_axes, panels, strict=True):
        usual = next((r.label.split()[1:] for r in chosen if r.quantity == quantity), [])
        lines = [r for r in chosen if r.quantity == quantity and r.label.split()[1:] == usual]
        for name, marker in markers.items():
            points = [
                (r.rates[name], labels.index(r.label.split()[0])) for r in lines if name in r.rates
            ]
            if points:
                handles[name] = axes.plot(
                    *zip(*points, strict=True),
                    marker,
                    color=COLOURS[name],
                    markersize=5,
                    clip_on=False,
                    markerfacecolor=COLOURS[name] if name == OURS else "none",
                )[0]
        axes.set(title=" ".join([quantity, *usual]), xlim=(0, peak), xlabel="GFLOP/s")
        axes.set_yticks(range(len(labels)), labels)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("S x M x N")
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False
    )
    figure.text(0.995, 0.005, f"right edge: FMA peak {peak:.0f}", ha="right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the JSON that pytest-benchmark wrote")
    parser.add_argument("--plot", type=Path, metavar="FILE.png|FILE.svg")
    parser.add_argument("--dtype", default="float32", help="of the picture")
    parser.add_argument("--readme", type=Path, help="put the table between its markers")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    found = rows(results)
    if not found:
        sys.exit(f"{options.results}: no results of the formulation {OURS}")
    if options.plot:
        plot(results, found, options.plot, options.dtype)
    if options.readme:
        put(options.readme, table(results, found))
    else:
        print("\n".join(table(results, found)))


if __name__ == "__main__":
    main()
