"""Cart-poles steered by a policy network: the network inside the simulator's loop, and outside it.

Thousands of cart-poles (Barto, Sutton and Anderson 1983, with CartPole's constants) are balanced by
a network of 17 observations (the state, and padding to a common policy's size), two hidden layers
of 64 ReLU and 6 outputs, float32. Contestants:

as_jit      net.as_jit() called for each cart inside @njit(parallel=True): no array leaves the loop
as_jit, 64  the same function called for 64 carts of a thread at a time
np.dot      the first loop with the network written as np.dot, as one would without fastlinear
NumPy       all carts at once, one step after another: matrix products and array expressions
PyTorch     as NumPy, with torch.nn, if it is installed

And the time of one observation at a time on one thread, simulator left out. All times are medians
of interleaved rounds; compilation is not in them.

    python benchmarks/rollout.py [--carts 4096] [--steps 50] [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numba import njit, prange

import fastlinear as fl

try:
    import torch
except ImportError:
    torch = None

STATE, OBSERVED, ACTIONS = 4, 17, 6
GROUP = 64
SIZES = [OBSERVED, 64, 64, ACTIONS]
ZERO = np.float32(0)
GRAVITY, POLE, MASS, POLE_MASS, TAU = map(np.float32, (9.8, 0.5, 1.1, 0.05, 0.02))
FORCE, THIRD, TRACK, FALLEN, UPRIGHT = map(np.float32, (10, 4 / 3, 2.4, 0.21, 0.01))

net = fl.MLP(SIZES, "relu", rng=0)
policy, params = net.as_jit()


@njit(error_model="numpy")
def advance(state, action):
    """Advance one cart by Euler's method; one that left the track or fell starts again."""
    x, speed, angle, spin = state[0], state[1], state[2], state[3]
    force = FORCE if action[0] > action[1] else -FORCE
    sine, cosine = np.sin(angle), np.cos(angle)
    push = (force + POLE_MASS * spin * spin * sine) / MASS
    turn = (GRAVITY * sine - cosine * push) / (
        POLE * (THIRD - POLE_MASS / POLE * cosine * cosine / MASS)
    )
    state[0], state[1] = x + TAU * speed, speed + TAU * (push - POLE_MASS * turn * cosine / MASS)
    state[2], state[3] = angle + TAU * spin, spin + TAU * turn
    if abs(state[0]) > TRACK or abs(state[2]) > FALLEN:
        state[0], state[1], state[2], state[3] = ZERO, ZERO, UPRIGHT, ZERO


@njit(parallel=True)
def inside(params, states, steps):
    for i in prange(len(states)):
        state, action = states[i], np.empty(ACTIONS, np.float32)
        for _ in range(steps):
            policy(params, state, action)
            advance(state, action)


@njit(parallel=True)
def inside_in_groups(params, states, steps):
    for group in prange((len(states) + GROUP - 1) // GROUP):
        carts = states[group * GROUP : (group + 1) * GROUP]
        actions = np.empty((len(carts), ACTIONS), np.float32)
        for _ in range(steps):
            policy(params, carts, actions)
            for i in range(len(carts)):
                advance(carts[i], actions[i])


@njit
def dot_policy(weights, x):
    W1, b1, W2, b2, W3, b3 = weights
    hidden = np.maximum(np.dot(W1, x) + b1, ZERO)
    hidden = np.maximum(np.dot(W2, hidden) + b2, ZERO)
    return np.dot(W3, hidden) + b3


@njit(parallel=True)
def with_dot(weights, states, steps):
    for i in prange(len(states)):
        state = states[i]
        for _ in range(steps):
            advance(state, dot_policy(weights, state))


def arrays_advance(states: np.ndarray, actions: np.ndarray) -> None:
    """Do what `advance` does to all carts at once."""
    x, speed, angle, spin = (states[:, k].copy() for k in range(STATE))
    force = np.where(actions[:, 0] > actions[:, 1], FORCE, -FORCE)
    sine, cosine = np.sin(angle), np.cos(angle)
    push = (force + POLE_MASS * spin * spin * sine) / MASS
    turn = (GRAVITY * sine - cosine * push) / (
        POLE * (THIRD - POLE_MASS / POLE * cosine * cosine / MASS)
    )
    states[:, 0], states[:, 2] = x + TAU * speed, angle + TAU * spin
    states[:, 1] = speed + TAU * (push - POLE_MASS * turn * cosine / MASS)
    states[:, 3] = spin + TAU * turn
    over = (abs(states[:, 0]) > TRACK) | (abs(states[:, 2]) > FALLEN)
    states[over, :STATE] = ZERO, ZERO, UPRIGHT, ZERO


def outside(predict: Callable[[np.ndarray], np.ndarray], states: np.ndarray, steps: int) -> None:
    for _ in range(steps):
        arrays_advance(states, predict(states))


def numpy_predict(weights: tuple[np.ndarray, ...]) -> Callable[[np.ndarray], np.ndarray]:
    W1, b1, W2, b2, W3, b3 = weights

    def predict(X: np.ndarray) -> np.ndarray:
        hidden = np.maximum(X @ W1.T + b1, ZERO)
        return np.maximum(hidden @ W2.T + b2, ZERO) @ W3.T + b3

    return predict


def torch_predict() -> Callable[[np.ndarray], np.ndarray]:
    layers = [torch.nn.Linear(m, n) for m, n in pairwise(SIZES)]
    module = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    module.load_state_dict({k: torch.from_numpy(v) for k, v in net.state_dict().items()})

    def predict(X: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(X)).numpy()

    return predict


@njit
def one_by_one(params, observations, action):
    for i in range(len(observations)):
        policy(params, observations[i], action)


@njit
def dot_one_by_one(weights, observations, action):
    for i in range(len(observations)):
        action[:] = dot_policy(weights, observations[i])


def interleaved(contestants: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return each contestant's median seconds.

    Each run that counts follows one that does not: it compiles, and it wakes the threads, which
    sleep while others run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(title: str, unit: str, scale: float, seconds: dict[str, float]) -> None:
    print(title)
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:<11} {value * scale:10.3f} {unit}   {value / first:5.2f} x as_jit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--carts", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    start = np.zeros((options.carts, OBSERVED), np.float32)
    start[:, :STATE] = rng.uniform(-0.05, 0.05, (options.carts, STATE))
    weights = tuple(np.ascontiguousarray(a) for a in net.state_dict().values())

    observations = rng.uniform(-1, 1, (5000, OBSERVED)).astype(np.float32)
    action, expected = np.empty(ACTIONS, np.float32), net.predict(observations)
    one_by_one(params, observations, action)
    assert np.array_equal(action, expected[-1]), "as_jit and predict differ"
    seconds = interleaved(
        {
            "as_jit": lambda: one_by_one(params, observations, action),
            "np.dot": lambda: dot_one_by_one(weights, observations, action),
        },
        4 * options.rounds,
    )
    table("one observation at a time, one thread", "us", 1e6 / len(observations), seconds)

    runs: dict[str, Callable[[np.ndarray], None]] = {
        "as_jit": lambda states: inside(params, states, options.steps),
        "as_jit, 64": lambda states: inside_in_groups(params, states, options.steps),
        "np.dot": lambda states: with_dot(weights, states, options.steps),
        "NumPy": lambda states: outside(numpy_predict(weights), states, options.steps),
    }
    if torch is not None:
        torch.set_num_threads(fl.get_num_threads())
        predict = torch_predict()
        runs["PyTorch"] = lambda states: outside(predict, states, options.steps)
    ends = {name: start.copy() for name in runs}
    for name, run in runs.items():
        run(ends[name])
        # Other sums differ by a rounding, which may push a cart the other way; most go the same.
        close = np.isclose(ends[name], ends["as_jit"], rtol=1e-3, atol=1e-3).all(axis=1).mean()
        assert close == 1 if "as_jit" in name else close > 0.9, f"{name}: {close:.0%} the same"
    work = options.carts * options.steps
    title = f"{options.carts} carts, {options.steps} steps, {fl.get_num_threads()} threads"
    fresh = {name: (lambda run=run: run(start.copy())) for name, run in runs.items()}
    table(title, "us a step", 1e6 / work, interleaved(fresh, options.rounds))


if __name__ == "__main__":
    main()
