"""``fastlinear activations``: the table of all activations, or their picture."""

from __future__ import annotations

from typing import Annotated

import typer

from fastlinear.cli.options import output_file, writing


def activations(
    plot: Annotated[
        str | None,
        typer.Option(help="Draw every h and h' instead.", metavar="FILE.png|FILE.svg"),
    ] = None,
) -> None:
    """List all activations, or draw them.

    Prints the name of each, the object it stands for with the defaults of its parameters, and
    h(x). Threshold has no defaults, hence no name.
    """
    path = output_file("--plot", plot, (".png", ".svg"))
    if path is None:
        return print_table()

    from fastlinear.cli.gallery import plot_activations

    with writing(path):
        plot_activations(path)
    return typer.echo(f"drew every activation in {path}")


def print_table() -> None:
    """Print a line for each activation."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("object", no_wrap=True)
    table.add_column("h(x)")
    for row in rows():
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def rows() -> list[tuple[str, str, str]]:
    """Return the cells of every line: the name is empty where an activation has no defaults."""
    import inspect

    from fastlinear.layers.activation import CLASSES, NAMES

    made = {name: make() for name, make in NAMES.items()}
    lines = []
    for cls in CLASSES:
        summary = (inspect.getdoc(cls) or "").partition(" (arXiv")[0]
        definition = summary if summary.endswith("...") else summary.removesuffix(".")
        mine = [(name, f"fl.{a!r}") for name, a in made.items() if type(a) is cls]
        if not mine:
            mine = [("", f"fl.{cls.__name__}({', '.join(inspect.signature(cls).parameters)})")]
        lines += [(*names, definition) for names in mine]
    return lines
