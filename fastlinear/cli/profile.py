"""``fastlinear profile``: what each formulation of each sum costs here, and why."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import typer

from fastlinear.cli.errors import CommandError
from fastlinear.cli.measurements import (
    draw,
    host_facts,
    machine_facts,
    print_absence,
    print_tables,
    save,
    versions,
)
from fastlinear.cli.options import (
    layer_sizes,
    one_of,
    option,
    output_file,
    use_threads,
    whole_numbers,
)
from fastlinear.profile.cases import DTYPES, Case, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable

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
