"""``fastlinear warmup``: compile ahead, for images and continuous integration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastlinear.cli.errors import CommandError
from fastlinear.cli.options import one_of
from fastlinear.profile.cases import DTYPES

if TYPE_CHECKING:
    import numpy as np


def warmup(
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            help="Compile for this dtype; may be repeated [default: both].",
            metavar="|".join(DTYPES),
        ),
    ] = None,
    activation: Annotated[
        list[str] | None,
        typer.Option(
            help="Compile for this activation; may be repeated [default: all].", metavar="NAME"
        ),
    ] = None,
) -> None:
    """Compile the kernels and store them in the cache folder, which `fastlinear info` shows.

    Afterwards a new process compiles nothing for layers, losses, optimisers and predictions of
    these dtypes and activations. What is there already costs a fraction of a second.
    """
    for name in dtype or ():
        one_of("--dtype", name, DTYPES)

    # Imported here so that the complaints above, and --help, come at once.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from fastlinear.cli.gradients import ACTIVATIONS
    from fastlinear.kernels.cache import announce, cache_folder

    for name in activation or ():
        one_of("--activation", name, ACTIVATIONS)
    folder = cache_folder()
    if folder is None:
        raise CommandError("no writable folder for compiled kernels", status=1)
    announce.cache_clear()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    steps = list(work(dtype or DTYPES, activation or ACTIVATIONS))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    before, start = stored(folder), time.perf_counter()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("compiling", total=len(steps))
        for title, step in steps:
            progress.update(bar, description=title)
            step()
            progress.advance(bar)
    new, seconds = stored(folder) - before, time.perf_counter() - start
    console.print(f"{new} new kernels in {folder}, {seconds:.1f} s")


def stored(folder: Any) -> int:
    """Return how many compiled kernels a folder holds."""
    return len(list(folder.glob("*.kernel")))


def work(dtypes: Any, activations: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield a title and what to run for it."""
    import numpy as np

    for name in dtypes:
        kind = np.dtype(name)
        yield f"{name}: layers", lambda kind=kind: train(None, kind)  # type: ignore[misc]
        yield f"{name}: losses and optimisers", lambda kind=kind: optimise(kind)  # type: ignore[misc]
        yield f"{name}: as_jit and rare shapes", lambda kind=kind: inside(kind)  # type: ignore[misc]
        for activation in activations:
            yield (
                f"{name}: {activation}",
                lambda act=activation, kind=kind: train(act, kind),  # type: ignore[misc]
            )


def train(activation: str | None, dtype: np.dtype[Any]) -> None:
    """Run a Linear both ways with an activation fused in, and the activation by itself."""
    import numpy as np

    import fastlinear as fl
    from fastlinear.cli.gradients import ACTIVATIONS

    X = np.ones((2, 3), dtype)
    act = ACTIVATIONS[activation]() if activation is not None else None
    for layer in filter(None, (fl.Linear(3, 3, activation=act, dtype=dtype, rng=0), act)):
        layer.backward(layer.forward(X, out=np.empty_like(X)), accumulate=True)


def optimise(dtype: np.dtype[Any]) -> None:
    """Run each loss and each optimiser once."""
    import numpy as np

    import fastlinear as fl

    X = np.ones((2, 3), dtype)
    net = fl.Sequential(fl.Linear(3, 3, dtype=dtype, rng=0), fl.Softmax())
    for loss, target in ((fl.CrossEntropyLoss(), np.array([0, 1])), (fl.MSELoss(), X)):
        loss.forward(net.forward(X), target)
        net.backward(loss.backward())
    for optimizer in (fl.SGD(net, 0.1), fl.SGD(net, 0.1, momentum=0.9), fl.Adam(net)):
        optimizer.step()


def inside(dtype: np.dtype[Any]) -> None:
    """Compile what `as_jit` and `jit_backward` load, and what few products need."""
    import fastlinear as fl
    from fastlinear.kernels.by_address import compile_all

    compile_all(dtype)
    layer = fl.Linear(3, 3, dtype=dtype, rng=0)
    layer.as_jit()
    layer.jit_backward()
