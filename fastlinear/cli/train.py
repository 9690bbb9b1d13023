"""``fastlinear train``: train a network on digits or on a file, and compare the formulations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastlinear.cli.errors import CommandError
from fastlinear.cli.options import (
    FORMULATIONS,
    choice,
    layer_sizes,
    one_of,
    option,
    output_file,
    use_threads,
    writing,
)
from fastlinear.profile.cases import DTYPES

if TYPE_CHECKING:
    from rich.console import Console

    from fastlinear.cli.experiment import Problem, Run

TASKS = ("auto", "classification", "regression")
LEARNING_RATES = {"sgd": 0.05, "adam": 0.001, "adamw": 0.001}


def train(
    data: Annotated[str, typer.Argument(metavar="digits|FILE.npz|FILE.csv")],
    target: Annotated[
        str | None,
        option(
            "What to predict: a column of FILE.csv, by name or number [default: the last], "
            "or an array of FILE.npz [default: y].",
            metavar="NAME",
        ),
    ] = None,
    task: Annotated[
        str, choice("auto: a regression if the target is real-valued.", TASKS)
    ] = "auto",
    hidden: Annotated[str, option("Sizes of the hidden layers, or none.")] = "256,128",
    activation: Annotated[str, option("Between the layers.")] = "relu",
    optimizer: Annotated[str, choice("sgd has momentum 0.9.", LEARNING_RATES)] = "adam",
    epochs: Annotated[int, option("Passes over the training part.", min=1)] = 20,
    batch_size: Annotated[int, option("Samples in one step.", min=1)] = 32,
    lr: Annotated[
        float | None, option("Learning rate [default: 0.05 for sgd, 0.001 for adam and adamw].")
    ] = None,
    seed: Annotated[
        int, option("Of the split, the weights and the order.", min=0, max=2**32 - 1)
    ] = 0,
    dtype: Annotated[str, choice("Of all numbers in the network.", DTYPES)] = "float32",
    threads: Annotated[
        int | None, option("Threads, NumPy's BLAS included [default: all cores].", min=1)
    ] = None,
    formulation: Annotated[str, choice("Kernels to train with.", FORMULATIONS)] = "tiled",
    save: Annotated[
        str | None, option("Save the network, for predict.", metavar="FILE.safetensors")
    ] = None,
    plot: Annotated[
        str | None, option("Draw loss and accuracy by epoch.", metavar="FILE.png|FILE.svg")
    ] = None,
    compare: Annotated[bool, option("Repeat the training under every formulation.")] = True,
) -> None:
    """Train a network on digits or on your own data.

    It learns from four fifths of the samples and is judged by the fifth held out. Features are
    standardised by mean and standard deviation of the training part. The closing table repeats
    the training under each formulation; the exit status is 1 if tiled and loops end with
    different weights.
    """
    one_of("--task", task, TASKS)
    one_of("--optimizer", optimizer, LEARNING_RATES)
    one_of("--dtype", dtype, DTYPES)
    one_of("--formulation", formulation, FORMULATIONS)
    sizes = layer_sizes("--hidden", hidden)
    rate = LEARNING_RATES[optimizer] if lr is None else lr
    if not 0 < rate < math.inf:
        raise CommandError(f"--lr: expected a positive number, got {rate:g}")
    model_path = output_file("--save", save, (".safetensors",))
    plot_path = output_file("--plot", plot, (".png", ".svg"))

    # Imported here so that the complaints above, and --help, come at once.
    from rich.console import Console
    from threadpoolctl import threadpool_limits

    from fastlinear.cli.experiment import Problem, Run, Settings
    from fastlinear.cli.modelfile import save_model
    from fastlinear.cli.sources import load_training
    from fastlinear.layers.activation import NAMES

    if plot_path is not None:
        from fastlinear.cli.curves import plot_curves

    one_of("--activation", activation, NAMES)
    settings = Settings(sizes, activation, optimizer, epochs, batch_size, rate, seed, dtype)
    problem = Problem.prepare(load_training(data, target), task, settings)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    count = use_threads(threads)
    with threadpool_limits(count, user_api="blas"):
        run = Run(problem, settings, formulation)
        summary = describe(run)
        console.print(samples_line(data, problem))
        console.print(summary)
        console.print(f"{count} thread{'s'[: count > 1]}, seed {seed}")
        train_with_progress(console, run, show_epochs=True)
        console.print(result_line(run))
        if model_path is not None:
            save_model(run.net, problem.encoding, model_path)
            console.print(f"saved the network to {model_path}")
        if plot_path is not None:
            with writing(plot_path):
                plot_curves(
                    plot_path, run.epochs, f"{Path(data).name}: {summary}", classes=run.classes
                )
            console.print(f"drew the curves in {plot_path}")
        if compare:
            runs = {formulation: run}
            for name in FORMULATIONS:
                if name != formulation:
                    runs[name] = Run(problem, settings, name)
                    train_with_progress(console, runs[name], show_epochs=False)
            print_comparison(console, [runs[name] for name in FORMULATIONS])


def train_with_progress(console: Console, run: Run, *, show_epochs: bool) -> None:
    """Compile, then train, with a progress bar and, if asked, a line for each epoch."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task(f"{run.formulation}: compiling", total=None)
        run.warm_up()
        total = run.settings.epochs
        progress.reset(bar, total=total, description=f"{run.formulation}: epochs")
        quality = "accuracy" if run.classes else "R^2"
        if show_epochs:
            console.print(f"epoch  training loss   held out  training {quality}  held out")
        for epoch in run.train():
            progress.advance(bar)
            if show_epochs:
                console.print(
                    f"{epoch.number:5d}  {epoch.training.loss:14.4f} {epoch.held_out.loss:10.4f}  "
                    f"{run.show(epoch.training.quality):>{len(quality) + 10}} "
                    f"{run.show(epoch.held_out.quality):>9}"
                )


def samples_line(source: str, problem: Problem) -> str:
    """Say what is learned."""
    training, held_out = len(problem.training.X), len(problem.held_out.X)
    classes = problem.encoding.classes
    what = "a real-valued target" if classes is None else f"{len(classes)} classes"
    return (
        f"{source}: {training + held_out} samples ({training} to train, {held_out} held out), "
        f"{len(problem.encoding.mean)} features, {what}"
    )


def describe(run: Run) -> str:
    """Say what learns it, and how."""
    chosen = run.settings
    sizes = "-".join(str(size) for size in run.net.sizes)
    return (
        f"network {sizes} {chosen.activation}; {chosen.optimizer}, lr {chosen.lr:g}, "
        f"batch {chosen.batch_size}; {chosen.dtype}; {run.formulation}"
    )


def result_line(run: Run) -> str:
    """Say how well the trained network does on what it has not seen."""
    score, count = run.epochs[-1].held_out, len(run.problem.held_out.X)
    if run.classes:
        right = round(score.quality * count)
        return f"held-out accuracy {run.show(score.quality)} ({right} of {count})"
    rmse = math.sqrt(score.loss) * run.problem.encoding.target_scale
    return f"held-out RMSE {rmse:.6g}, R^2 {run.show(score.quality)}"


def print_comparison(console: Console, runs: list[Run]) -> None:
    """Print the closing table; exit with status 1 if tiled and loops differ in any bit."""
    from rich.table import Table

    from fastlinear.cli.experiment import largest_difference

    tiled, loops, _ = runs
    same = tiled.weights() == loops.weights()
    table = Table(title="The same training under each formulation")
    table.add_column("formulation")
    quality = "accuracy" if tiled.classes else "R^2"
    for title in ("s per epoch", "final loss", f"held-out {quality}", "weights"):
        table.add_column(title, justify="right")
    for run in runs:
        difference = largest_difference(run, tiled)
        weights = "same bits" if run.weights() == tiled.weights() else f"within {difference:.1e}"
        last = run.epochs[-1]
        table.add_row(
            run.formulation,
            f"{run.seconds:.4g}",
            f"{last.training.loss:.6g}",
            run.show(last.held_out.quality),
            "the reference" if run is tiled else weights,
        )
    console.print(table)
    console.print("Seconds: median over the epochs, training only, nothing compiles in them.")
    if not same:
        raise CommandError("tiled and loops ended with different weights", status=1)
    console.print("tiled and loops ended with identical weights, bit for bit.")
