"""``fastlinear profile``: what each formulation of each sum costs here, and why."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastlinear.cli.errors import CommandError
from fastlinear.cli.options import (
    layer_sizes,
    one_of,
    output_file,
    use_threads,
    whole_numbers,
    writing,
)
from fastlinear.profile.cases import DTYPES, Case, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from fastlinear.profile.contestants import Contestant
    from fastlinear.profile.measure import Machine, Measurement

SHAPES: tuple[Shape, ...] = (
    (1, 512, 512),
    (32, 128, 128),
    (64, 784, 128),
    (37, 211, 53),
    (512, 512, 512),
)
"""A sample, a small batch of small layers, an input layer, sizes no tile divides, and a square."""

BATCH = 128
"""Samples, unless --batch says otherwise."""

SWEEP = (16, 32, 64, 128, 256, 384, 512, 768, 1024)
PEERS = ("torch", "jax")
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


def option(text: str, metavar: str | None = None, **more: Any) -> Any:
    """Return an option with its help."""
    return typer.Option(help=text, metavar=metavar, **more)


def profile(
    shape: Annotated[
        list[str] | None, option("Measure this shape, S samples, M to N features.", "S,M,N")
    ] = None,
    model: Annotated[str | None, option("Measure the layers of a network.", "FILE")] = None,
    layers: Annotated[str | None, option("The same for sizes such as 784,256,10.")] = None,
    batch: Annotated[
        int | None, option(f"Samples, with --model or --layers [default: {BATCH}].", min=1)
    ] = None,
    activation: Annotated[str, option("In activation and step.")] = "relu",
    peers: Annotated[str | None, option("Add libraries, if installed.", ",".join(PEERS))] = None,
    dtype: Annotated[str, option("Of all numbers.", "|".join(DTYPES))] = "float32",
    threads: Annotated[
        int | None, option("Threads of everyone [default: all cores].", min=1)
    ] = None,
    repeat: Annotated[int, option("Rounds in which all take their turns.", min=3)] = 7,
    json: Annotated[str | None, option("Write all numbers.", "FILE.json")] = None,
    csv: Annotated[str | None, option("Write all numbers.", "FILE.csv")] = None,
    roofline: Annotated[str | None, option("Draw the roofline.", "FILE.png|FILE.svg")] = None,
    sweep: Annotated[
        str | None, option("Draw rates against sizes instead of a table.", "FILE.png|FILE.svg")
    ] = None,
) -> None:
    """Measure the sums of a layer in every formulation, against this machine's two roofs.

    Contestants take turns, on as many threads each; tiled and loops find the weights in a layer's
    memory order, blas in NumPy's. The FMA peak and the bandwidth of caches and memory are measured
    in the same run. "of roof" is relative to the bandwidth of the level that holds the arrays, and
    above 100 % where part of them stayed in a faster one. "x blas": how many times as fast as blas.
    "error": the largest, in units of the bound that is proven for the order of every sum; of
    activation and step that of their result, with 4 ULP for the activation.
    """
    one_of("--dtype", dtype, DTYPES)
    wanted = [name.strip() for name in peers.split(",")] if peers else []
    for name in wanted:
        one_of("--peers", name, PEERS)
    pictures = (".png", ".svg")
    drawings = {
        "roofline": output_file("--roofline", roofline, pictures),
        "sweep": output_file("--sweep", sweep, pictures),
    }
    files = {
        "json": output_file("--json", json, (".json",)),
        "csv": output_file("--csv", csv, (".csv",)),
    }
    if batch is not None and model is None and layers is None:
        raise CommandError("--batch goes with --model or --layers")
    shapes = chosen_shapes(shape, model, layers, batch or BATCH)
    if sweep is not None and (shape or model or layers):
        raise CommandError("--sweep has shapes of its own: expected no --shape, --model, --layers")

    from rich.console import Console
    from threadpoolctl import threadpool_limits

    from fastlinear.layers.activation import NAMES

    if any(drawings.values()):
        import fastlinear.profile.plots  # noqa: F401  what it needs is missed before, not after

    one_of("--activation", activation, NAMES)
    count = use_threads(threads)
    console = Console(highlight=False, markup=False)
    with threadpool_limits(count):
        others = load_peers(wanted, count)
        if drawings["sweep"] is None:
            cases = table_cases(shapes, dtype, None if activation == "identity" else activation)
        else:
            cases = sweep_cases(dtype)
        machine, found, complete = run(console, cases, others, dtype, count, repeat)
    if not found:
        raise CommandError("interrupted before anything was measured", status=130)
    with threadpool_limits(count):  # again: while Numba compiled, it loaded SciPy's BLAS too
        header = [*host_facts(), *versions(wanted), *machine_facts(machine)]
    for name, value in header:
        console.print(f"{name:<17}{value}", soft_wrap=True)
    if drawings["sweep"] is None:
        print_tables(console, machine, found)
        print_absence(console, cases)
    save(files, header, [m.row(machine) for m in found])
    draw(drawings, found, machine, header)
    for path in filter(None, (*files.values(), *drawings.values())):
        console.print(f"wrote {path}", soft_wrap=True)
    if not complete:
        raise CommandError("interrupted: measured until then", status=130)


# ---- what to measure -----------------------------------------------------------------------------


def chosen_shapes(
    shapes: list[str] | None, model: str | None, layers: str | None, batch: int
) -> list[Shape]:
    """Return the shapes asked for in one of the three ways, or the usual ones."""
    if sum(given is not None for given in (shapes or None, model, layers)) > 1:
        raise CommandError("expected one of --shape, --model and --layers")
    if shapes:
        return list(dict.fromkeys(parse_shape(text) for text in shapes))
    if layers is not None:
        sizes = layer_sizes("--layers", layers)
        if len(sizes) < 2:
            raise CommandError(f"--layers: expected at least two sizes, got '{layers}'")
        pairs = list(pairwise(sizes))
    elif model is not None:
        pairs = model_sizes(model)
    else:
        return list(SHAPES)
    return list(dict.fromkeys((batch, M, N) for M, N in pairs))


def parse_shape(text: str) -> Shape:
    """Return "64,784,128" as a tuple."""
    sizes = whole_numbers(text)
    if len(sizes) != 3:
        raise CommandError(
            f"--shape: expected S,M,N, positive whole numbers such as 64,784,128, got '{text}'"
        )
    return sizes[0], sizes[1], sizes[2]


def model_sizes(path: str) -> list[tuple[int, int]]:
    """Return M and N of each Linear layer of a saved network."""
    import fastlinear as fl
    from fastlinear.cli.data import first_line

    try:
        net = fl.load(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"--model: {first_line(error)}") from None
    shapes = [array.shape[::-1] for name, array in net.params.items() if name.endswith("weight")]
    if not shapes:
        raise CommandError(f"--model: {path}: a network without a Linear layer")
    return shapes


def table_cases(shapes: Iterable[Shape], dtype: str, activation: str | None) -> list[Case]:
    """Return every quantity at every shape, quantity by quantity."""
    cases = [
        Case(product, *shape, dtype) for product in ("Y", "dW", "db", "dX") for shape in shapes
    ]
    if activation is not None:
        cases += [Case("activation", *shape, dtype, activation) for shape in shapes]
    return cases + [Case("step", *shape, dtype, activation) for shape in shapes]


def sweep_cases(dtype: str) -> list[Case]:
    """Return Y for squares, and for few samples."""
    squares = [Case("Y", n, n, n, dtype) for n in SWEEP]
    return squares + [Case("Y", 8, n, n, dtype) for n in SWEEP]


# ---- measuring -----------------------------------------------------------------------------------


def load_peers(names: list[str], threads: int) -> list[Contestant]:
    """Return the peers of these names that are installed; say which are not."""
    from fastlinear.profile.environment import environment
    from fastlinear.profile.peers import peer

    if names:
        variables = environment(threads)  # read when a peer is imported
        del variables["NUMBA_NUM_THREADS"]  # which has its threads already
        os.environ.update(variables)
    found = {name: peer(name, threads) for name in names}
    if missing := [name for name, contestant in found.items() if contestant is None]:
        typer.echo(f"--peers: not installed: {', '.join(missing)}", err=True)
    return [contestant for contestant in found.values() if contestant is not None]


def run(
    console: Console,
    cases: list[Case],
    peers: list[Contestant],
    dtype: str,
    threads: int,
    repeat: int,
) -> tuple[Machine, list[Measurement], bool]:
    """Measure machine and cases with a progress bar; Ctrl-C ends it with what is there."""
    from rich.progress import Progress

    from fastlinear.profile.contestants import ORDERS, Kernels, takes_too_long
    from fastlinear.profile.interrupt import postponed
    from fastlinear.profile.measure import Machine, measure

    everyone = [*(Kernels(*formulation) for formulation in ORDERS.items()), *peers]
    found: list[Measurement] = []
    hidden = not console.is_terminal
    progress = Progress(console=console, transient=True, disable=hidden)
    with progress, postponed() as check_interrupt:
        bar = progress.add_task("peak and bandwidth", total=len(cases))
        machine = Machine.measured([dtype], threads)
        try:
            for case in cases:
                progress.update(bar, description=f"{case.quantity} {case.label}")
                contestants = [c for c in everyone if not takes_too_long(c.name, case)]
                (measured,) = measure(
                    [case], contestants, threads=threads, repeat=repeat, between=check_interrupt
                )
                found += measured
                progress.advance(bar)
        except KeyboardInterrupt:
            return machine, found, False
    return machine, found, True


# ---- reporting -----------------------------------------------------------------------------------


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
