"""What ``fastlinear profile`` measured: as tables, in files, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlinear.cli.options import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from fastlinear.profile.cases import Case
    from fastlinear.profile.measure import Machine, Measurement

COLUMNS = (
    "FLOP/\nbyte",
    "bound\nby",
    "time",
    "±",
    "rate",
    "of\npeak",
    "of\nroof",
    "x\nblas",
    "error",
)
FACTS = (
    "fastlinear",
    "CPU",
    "CPU features",
    "threads",
    "threading layer",
    "BLAS",
    "python",
    "numpy",
    "numba",
)


def host_facts() -> list[tuple[str, str]]:
    """Return what runs here, as `fastlinear info` prints it."""
    from fastlinear.cli.info import facts

    return [(name, value) for name, value in facts() if name in FACTS]


def versions(packages: Iterable[str]) -> list[tuple[str, str]]:
    """Return the versions of the peers."""
    from fastlinear.cli.info import version

    return [(name, version(name)) for name in packages]


def machine_facts(machine: Machine) -> list[tuple[str, str]]:
    """Return what was measured of the machine."""
    peaks = (f"{dtype} {peak / 1e9:.1f} GFLOP/s" for dtype, peak in machine.peaks.items())
    roofs = (f"{level.name} {level.bytes_per_second / 1e9:.0f} GB/s" for level in machine.levels)
    return [("FMA peak", ", ".join(peaks)), ("bandwidth", ", ".join(roofs))]


def print_tables(console: Console, machine: Machine, found: Sequence[Measurement]) -> None:
    """Print a table for each quantity, each shape over the lines of its contestants."""
    from rich import box
    from rich.table import Table

    for quantity in dict.fromkeys(m.case.quantity for m in found):
        chosen = [m for m in found if m.case.quantity == quantity]
        name = f"{quantity} {chosen[0].case.activation or ''}".strip()
        table = Table(
            title=f"{name}, {chosen[0].case.dtype}, {threads_text(machine)}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=0,  # to fit 80 columns
        )
        titles = COLUMNS if any(m.error is not None for m in chosen) else COLUMNS[:-1]
        table.add_column("S,N" if chosen[0].case.elementwise else "S,M,N", no_wrap=True)
        for title in titles:
            table.add_column(title, justify="right", no_wrap=True)
        for case in dict.fromkeys(m.case for m in chosen):
            table.add_row(*shape_cells(case, machine))
            for m in chosen:
                if m.case == case:
                    table.add_row(f"  {m.contestant}", *cells(m, machine)[: len(titles)])
        console.print(table)
        console.print()


def shape_cells(case: Case, machine: Machine) -> list[str]:
    """Return the line of a shape: as --shape takes it, and what is the same for all contestants."""
    sizes = (case.S, case.N) if case.elementwise else (case.S, case.M, case.N)
    intensity = f"{case.intensity:.3g}" if case.flops else ""
    return [",".join(map(str, sizes)), intensity, machine.bound(case)]


def cells(m: Measurement, machine: Machine) -> list[str]:
    """Return the line of a contestant."""
    row = m.row(machine)
    computes = row["bound_by"] == "FMA"
    return [
        *("", ""),
        time_text(m.seconds),
        f"{row['spread']:.1%}",
        f"{row['gflops']:.1f} GF/s" if computes else f"{row['gbytes_per_second']:.1f} GB/s",
        f"{row['share_of_fma_peak']:.0%}" if m.case.flops else "",
        f"{row['share_of_bandwidth']:.0%}",
        "" if m.ratio is None else f"{m.ratio:.2f}",
        "" if m.error is None else f"{m.error:.3f}",
    ]


def print_absence(console: Console, cases: Iterable[Case]) -> None:
    """Say where the plain loops were left out."""
    from fastlinear.profile.contestants import LOOPS_WORK, takes_too_long

    if any(takes_too_long("loops", case) for case in cases):
        console.print(f"loops are left out above {LOOPS_WORK:,} multiply-adds: seconds a call")


def time_text(seconds: float) -> str:
    """Return a time with four digits and its unit."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.4g} us"
    return f"{seconds * 1e3:.4g} ms" if seconds < 1 else f"{seconds:.4g} s"


def threads_text(machine: Machine) -> str:
    """Return the number of threads in words."""
    return f"{machine.threads} thread{'s'[: machine.threads > 1]}"


def save(
    files: dict[str, Path | None], header: list[tuple[str, str]], rows: list[dict[str, Any]]
) -> None:
    """Write the numbers to the files asked for."""
    import csv
    import json

    if path := files["json"]:
        with writing(path):
            machine: dict[str, str] = {}
            for name, value in header:  # there may be several BLAS
                machine[name] = f"{machine[name]}; {value}" if name in machine else value
            report = {"machine": machine, "results": rows}
            path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if path := files["csv"]:
        with writing(path), path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def draw(
    drawings: dict[str, Path | None],
    found: list[Measurement],
    machine: Machine,
    header: list[tuple[str, str]],
) -> None:
    """Draw the pictures asked for."""
    if not any(drawings.values()):
        return
    from fastlinear.profile import plots

    cpu = dict(header)["CPU"]
    title = f"{cpu}\n{found[0].case.dtype}, {threads_text(machine)}"
    if path := drawings["roofline"]:
        with writing(path):
            plots.roofline(path, found, machine, title)
    if path := drawings["sweep"]:
        with writing(path):
            plots.sweep(path, found, machine, title)
