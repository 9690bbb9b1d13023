"""Compare the tiled kernels with NumPy, PyTorch, JAX and ONNX Runtime, whichever are installed.

Contestants take turns, so that all meet the same machine; a number is the median over the rounds,
and a ratio the median of the ratios within a round: above 1 the tiled kernels are faster. ``F``
marks the memory order of a layer's own weights. The FMA peak takes its turns too, and the share of
it is the median within a round as well: the clock of a shared machine changes meanwhile::

    python benchmarks/compare.py --threads 1 --dtype float32 --what Y,dW,dX
    python benchmarks/compare.py --shape 64,784,128 --random 10 --seed 1 --json results.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from pathlib import Path
from statistics import geometric_mean
from typing import Any

OURS = ("tiled", "tiled F")
PEAK = "FMA peak"


def shape(text: str) -> tuple[int, int, int]:
    S, M, N = (int(size) for size in text.split(","))
    return S, M, N


def names(text: str) -> list[str]:
    return text.split(",")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="of every library")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--what", type=names, default=names("Y,dW,dX,step,predict,activations"))
    parser.add_argument("--shape", type=shape, action="append", metavar="S,M,N")
    parser.add_argument("--random", type=int, default=0, metavar="K", help="that many more shapes")
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes")
    parser.add_argument("--activation", action="append", help="instead of the usual ones")
    parser.add_argument("--peers", type=names, default=names("numpy,torch,jax,onnxruntime"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.005, help="for one turn, at least")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not
    from fastlinear.profile.environment import environment, start_anew

    variables = environment(options.threads)
    if not variables.items() <= os.environ.items():
        # Libraries read these when they are imported, and NumPy and Numba already are: start anew.
        start_anew(variables)
    from cases import TABLE, cases, random_shapes

    from fastlinear.profile.peak import fma_peak, fma_run
    from fastlinear.profile.peers import PEERS

    for option, given, known in (("what", options.what, TABLE), ("peers", options.peers, PEERS)):
        unknown = [name for name in given if name not in known]
        if unknown:
            sys.exit(f"--{option}: expected some of {', '.join(known)}; got {', '.join(unknown)}")
    contestants = entrants(options.peers, options.threads)
    print(
        f"{options.dtype}, {options.threads} thread{'s'[: options.threads > 1]}; "
        f"FMA peak {fma_peak(options.dtype, options.threads) / 1e9:.1f} GFLOP/s"
    )
    roof = fma_run(options.dtype, options.threads)
    rows: list[dict[str, Any]] = []
    for what in options.what:
        shapes = options.shape
        if options.random:
            shapes = [*(shapes or []), *random_shapes(options.random, options.seed)]
        heading = None
        first = len(rows)
        for case in cases(what, options.dtype, shapes, options.activation):
            if (case.quantity, case.activation) != heading:
                print_means(rows[first:])
                first, heading = len(rows), (case.quantity, case.activation)
                print(f"\n{case.quantity} {case.activation or ''}")
            rows.append(measure(case, contestants, roof, options))
            print_row(rows[-1])
        print_means(rows[first:])
    if options.json:
        from fastlinear.cli.info import facts

        command = shlex.join(["python", "benchmarks/compare.py", *sys.argv[1:]])
        command = re.sub(r"--json[= ]\S+", "--json FILE", command)
        results = {"facts": list(facts()), "command": command, "rows": rows}
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def entrants(peers: list[str], threads: int) -> list[Any]:
    """Return the contestants that are here."""
    from fastlinear.profile.contestants import Kernels, LayerOrder
    from fastlinear.profile.numpy_peer import Copy
    from fastlinear.profile.peers import peer

    others = [peer(name, threads) for name in peers]
    ours = [Kernels("tiled"), LayerOrder("tiled"), Copy()]
    return ours + [other for other in others if other is not None]


def measure(
    case: Any, contestants: list[Any], roof: tuple[Any, int], options: argparse.Namespace
) -> dict[str, Any]:
    """Time all that take part in a case, and the FMA peak: a call and its operations."""
    from fastlinear.profile.cases import Data
    from fastlinear.profile.timing import interleaved, warm_up

    data = Data(case)
    runs = {c.name: run for c in contestants if (run := c.prepare(case, data)) is not None}
    calls = {name: run.call for name, run in runs.items()}
    warm = warm_up(options.threads)
    at_peak, operations = roof
    timings = interleaved({**calls, PEAK: at_peak}, options.rounds, options.seconds, warm)
    peak = timings.pop(PEAK)
    return {
        **case._asdict(),
        "label": case.label,
        "flops": case.flops,
        "bytes": case.bytes,
        "threads": options.threads,
        "samples": {name: timing.samples for name, timing in timings.items()},
        "seconds": {name: timing.median for name, timing in timings.items()},
        "spread": {name: timing.spread for name, timing in timings.items()},
        "ratio": {
            ours: {n: timings[ours].speedup(t) for n, t in timings.items() if n not in OURS}
            for ours in OURS
            if ours in timings
        },
        "peak": operations / peak.median,
        "share_of_peak": {
            name: case.flops / operations * timing.speedup(peak) for name, timing in timings.items()
        },
    }


def print_row(row: dict[str, Any]) -> None:
    """Print time, rate, share of the peak and ratios of each memory order."""
    for ours, ratios in row["ratio"].items():
        seconds = row["seconds"][ours]
        if row["flops"]:
            rate = f"{row['flops'] / seconds / 1e9:7.1f} GF/s"
            rate += f" {row['share_of_peak'][ours]:6.1%}"
        else:
            rate = f"{row['bytes'] / seconds / 1e9:7.1f} GB/s       "
        against = "  ".join(
            f"{name} {ratio:5.2f}{'  ' if ratio >= 1 else ' <'}" for name, ratio in ratios.items()
        )
        label = f"{row['label']}{' F' if ours != 'tiled' else ''}"
        print(
            f"{label:>24} {seconds * 1e6:10.2f} us +-{row['spread'][ours]:4.0%} {rate}  {against}",
            flush=True,
        )


def print_means(rows: list[dict[str, Any]]) -> None:
    """Print the geometric mean of the ratios to each peer, and the lowest of them."""
    for ours in OURS:
        ratios = [row["ratio"][ours] for row in rows if ours in row["ratio"]]
        peers = {name: [r[name] for r in ratios if name in r] for r in ratios for name in r}
        if len(rows) > 1 and peers:
            shown = "  ".join(
                f"{name} {geometric_mean(values):.2f} (least {min(values):.2f})"
                for name, values in peers.items()
            )
            print(f"{'mean' + ' F' * (ours != 'tiled'):>24} {shown}")


if __name__ == "__main__":
    main()
