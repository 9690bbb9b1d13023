"""``fastlinear check``: find out whether this machine computes rightly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fastlinear.cli.errors import CommandError

if TYPE_CHECKING:
    from fastlinear.cli.comparisons import Comparison
    from fastlinear.cli.gradients import GradientCase


class Finding(NamedTuple):
    """The cells of one line of a table, and what is wrong, if anything."""

    cells: tuple[str, ...]
    problem: str = ""


class Section(NamedTuple):
    """A table: its title, its columns, and for each line a label and the work behind it."""

    title: str
    columns: tuple[str, ...]
    jobs: list[tuple[str, Callable[[], Finding]]]


def check() -> None:
    """Check gradients, and that tiled equals loops.

    The gradient of every layer, activation and loss is compared with central differences, and
    every result of the tiled kernels with that of the plain loops, bit by bit, for awkward shapes
    and layouts. The exit status is 1 if anything fails. Where nothing is compiled yet, compiling
    takes most of the time.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(highlight=False)
    sections = plan()
    total = sum(len(section.jobs) for section in sections)
    problems = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=total)
        for section in sections:
            findings = {}
            for label, job in section.jobs:
                progress.update(bar, description=f"{label:<28}")
                findings[label] = attempt(job, len(section.columns))
                progress.advance(bar)
            problems += [f"{k}: {f.problem}" for k, f in findings.items() if f.problem]
            print_table(console, section, findings)
    for problem in problems:
        console.print(problem, soft_wrap=True, markup=False)
    if problems:
        raise CommandError(f"{len(problems)} of {total} checks failed", status=1)
    console.print(f"all {total} checks passed")


def plan() -> list[Section]:
    """Return all that is to be checked."""
    from fastlinear.cli import comparisons, gradients

    return [
        Section(
            "Gradients against central differences, float64",
            ("points", "at kinks", "rel. error", "error / bound"),
            [(case.label, partial(gradient, case)) for case in gradients.cases()],
        ),
        Section(
            "tiled == loops, bit by bit, float32 and float64",
            ("arrays", "differing"),
            [(label, partial(equality, compare)) for label, compare in comparisons.cases()],
        ),
    ]


def gradient(case: GradientCase) -> Finding:
    """Check one gradient."""
    import fastlinear as fl

    try:
        report, problem = fl.gradcheck(case.module, case.X, case.target), ""
    except fl.GradcheckError as error:
        report, problem = error.report, str(error)
    share = f"{report.excess:.2f}"
    return Finding((f"{report.checked}", f"{report.kinks}", f"{report.error:.0e}", share), problem)


def equality(compare: Callable[[], Comparison]) -> Finding:
    """Make one comparison."""
    result = compare()
    return Finding((f"{result.count}", f"{result.differing}"), result.first)


def attempt(job: Callable[[], Finding], columns: int) -> Finding:
    """Do a job; one that breaks off is a finding too."""
    try:
        return job()
    except Exception as error:
        return Finding(("",) * columns, f"{type(error).__name__}: {error}")


def print_table(console: Any, section: Section, findings: dict[str, Finding]) -> None:
    """Print one section."""
    from rich.table import Table

    table = Table(title=section.title)
    table.add_column("", no_wrap=True)
    for name in section.columns:
        table.add_column(name, justify="right")
    table.add_column("")
    for label, finding in findings.items():
        verdict = "[bold red]FAILED[/]" if finding.problem else "[green]passed[/]"
        table.add_row(label, *finding.cells, verdict)
    console.print(table)
