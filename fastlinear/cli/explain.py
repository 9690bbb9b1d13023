"""``fastlinear explain``: one sum from its equation to its machine code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastlinear.cli.errors import CommandError
from fastlinear.cli.measurements import time_text
from fastlinear.cli.options import one_of
from fastlinear.cli.profile import parse_shape
from fastlinear.profile.cases import DTYPES

if TYPE_CHECKING:
    from rich.console import Console

FUNCTIONS = {
    "Y": "linear_forward",
    "dW": "linear_backward_weight",
    "db": "linear_backward_bias",
    "dX": "linear_backward_input",
}
"""The sums and their functions in each formulation."""

WIDTH = 80
"""Columns of the text: a terminal's."""


def explain(
    kernel: Annotated[str, typer.Argument(metavar="|".join(FUNCTIONS))],
    shape: Annotated[
        str, typer.Option(help="S samples, M to N features.", metavar="S,M,N")
    ] = "64,784,128",
    dtype: Annotated[
        str, typer.Option(help="Of all numbers.", metavar="|".join(DTYPES))
    ] = "float32",
    asm: Annotated[bool, typer.Option("--asm", help="Show the tile's loop itself.")] = False,
    times: Annotated[bool, typer.Option(help="Compile anew to take the time.")] = True,
) -> None:
    """Explain a sum: equation, plain loop, sizes and their reasons, compile time, machine code."""
    one_of("KERNEL", kernel, FUNCTIONS)
    one_of("--dtype", dtype, DTYPES)
    S, M, N = parse_shape(shape)

    from rich.console import Console

    from fastlinear.kernels import loops
    from fastlinear.profile.cases import Case
    from fastlinear.profile.plans import choices

    console = Console(highlight=False, markup=False, soft_wrap=True)
    function = getattr(loops, FUNCTIONS[kernel])
    case = Case(kernel, S, M, N, dtype)
    heading(console, "The sum")
    console.print(inspect.getdoc(function))
    terms, rows, columns = {"Y": (M, S, N), "dW": (S, N, M), "db": (S, 1, N), "dX": (N, S, M)}[
        kernel
    ]
    work = (
        f"At S={S}, M={M}, N={N}: {rows} x {columns} sums of {terms} terms, "
        f"{case.flops:,} floating-point operations on {case.bytes:,} bytes."
    )
    console.print("\n" + textwrap.fill(work, WIDTH))
    heading(console, "The plain loop (fastlinear.kernels.loops)")
    console.print(textwrap.dedent(inspect.getsource(function.py_func)).rstrip())
    heading(console, "What the tiled kernel chooses at this shape (fastlinear.kernels.plan)")
    for line in choices(case):
        console.print(textwrap.fill(line, WIDTH, subsequent_indent="    "))
    heading(console, "The sizes it chooses by, and their reasons (fastlinear.kernels.sizes)")
    for name, value, reason in sizes_and_reasons():
        console.print(f"{name} = {value}")
        console.print(textwrap.indent(textwrap.fill(reason, WIDTH - 4), "    "))
    if times:
        print_times(console, case)
    print_code(console, case, asm)


def heading(console: Console, text: str) -> None:
    """Print a heading."""
    console.print(f"\n[bold]{text}[/]", markup=True)


def sizes_and_reasons() -> list[tuple[str, Any, str]]:
    """Return every constant of the table of sizes, its value here, and the reason beside it."""
    from fastlinear.kernels import sizes

    body = ast.parse(inspect.getsource(sizes)).body
    found = []
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(reason))),
            ):
                found.append((name, getattr(sizes, name), " ".join(reason.split())))
    return found


def print_times(console: Console, case: Any) -> None:
    """Print what it takes until the kernel is there, and then."""
    from subprocess import CalledProcessError

    from fastlinear.profile.compiletime import compile_times

    heading(console, "Compile time, and time (one thread, median)")
    try:
        with console.status("compiling in a new process"):
            taken = compile_times(case)
    except CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        raise CommandError(f"compiling failed: {lines[-1] if lines else error}", status=1) from None
    console.print(f"first call, nothing compiled yet  {time_text(taken.cold)}")
    console.print(f"first call, from the disk cache   {time_text(taken.load)}")
    console.print(f"later call                        {time_text(taken.warm)}")


def print_code(console: Console, case: Any, asm: bool) -> None:
    """Print what the compiler made of the loops over the terms, one line for each."""
    from rich.table import Table

    from fastlinear.profile import assembly
    from fastlinear.profile.plans import kernel_of

    kernel = kernel_of(case)
    use = assembly.KERNELS[kernel].use
    heading(console, f"The machine code of the loops over the terms, for {use}")
    if not assembly.READABLE:
        console.print("can be read for x86-64 only")
        return
    with console.status("writing out the code"):
        loops = [loop for loop in assembly.product_code(kernel, case.dtype) if loop.fma]
    loops.sort(key=lambda loop: (max(loop.fma), loop.sums), reverse=True)
    table = Table()
    for title in ("bytes", "sums", "terms", "fma", "loads", "stores", "stack", "spills", "in all"):
        table.add_column(title, justify="right", no_wrap=True)
    for loop in loops:
        instructions = sum(not line.endswith(":") for line in loop.lines)
        counts = loop.loads, loop.stores, len(loop.stack), len(loop.spills), instructions
        work = loop.sums, f"{loop.steps:g}", loop.fma.total()
        table.add_row("/".join(map(str, loop.fma)), *map(str, (*work, *counts)))
    console.print(table)
    legend = (
        "Each line is a loop, as instructions each time round; a tile's rows and columns choose "
        "the one that runs. bytes: width of the registers that multiply and add; sums: how many of "
        "them gather a sum; terms: what each gains; stack: accesses to it, spills: those that move "
        "vectors."
    )
    console.print(textwrap.fill(legend, WIDTH))
    if asm:
        heading(console, "The loop of the largest tile")
        console.print("\n".join(loops[0].lines))
