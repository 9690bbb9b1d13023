"""What an activation is: h and h' together, and when h' may be taken from the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


def always(p: float, q: float) -> bool:
    """Say yes whatever the parameters."""
    return True


def p_not_negative(p: float, q: float) -> bool:
    """Say whether p >= 0: then the output has the sign of the input."""
    return p >= 0


def q_at_most_p(p: float, q: float) -> bool:
    """Say whether q <= p: then the value below the threshold stays below it."""
    return q <= p


class Pair(NamedTuple):
    """One activation: h and h', compiled scalar functions of (x, p, q), all of one dtype."""

    name: str
    h: Any
    """``h(x, p, q)``."""
    h_prime: Any
    """``h_prime(x, p, q)``: the derivative from the input."""
    h_prime_output: Any | None = None
    """``h_prime_output(y, p, q)``: the derivative from the output y, if it tells."""
    invertible: Callable[[float, float], bool] = always
    """``invertible(p, q)``: whether these parameters allow ``h_prime_output``."""
