"""`Activation`: the user's own h and h', compiled into the same kernels as the built-in ones."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastlinear.kernels.activations import PAIRS, Pair
from fastlinear.layers.activation import USER_NAMES, ElementWise
from fastlinear.layers.user_function import (
    Function,
    composed,
    full_name,
    is_function,
    name_of,
    same_definition,
    scalar,
)


class Activation(ElementWise):
    """Y = h(X) and dX = dY o h'(X) for two functions of one number.

    Parameters
    ----------
    h : callable
        h(x): plain Python, compiled here, with division as IEEE has it (1 / 0 is infinite); or a
        function compiled with ``@njit``, called as it is; or one that Numba knows: `numpy.sin`.
    h_prime : callable
        h'(x), likewise; with ``from_output`` it takes y = h(x) instead.
    from_output : bool
        Whether h' is taken from the output, so that the input need not be kept.
    name : str, optional
        Makes the string stand for this activation, as in ``Linear(4, 3, activation="snake")``. A
        saved network holds this name alone: the process that loads it makes the activation first.
        Making the same definition again, as a notebook's cell does, edited or not, replaces it; a
        lambda, which has no name of its own, must be the same to the letter.

    Raises
    ------
    TypeError
        Where ``h`` or ``h_prime`` is no such function (a method, a `functools.partial`) or ``name``
        no string.
    ValueError
        Where a function does not compile, with the line at fault, or returns no real number; where
        ``name`` stands for another activation.

    Notes
    -----
    Both functions serve float32 and float64, and the result is **cast to the dtype of x**. Numba
    takes a Python number for a float64, so for a float32 x it computes ``0.5 * x`` in float64; the
    cast rounds it once.

    A function is compiled once in a process, for all activations made of it, and not stored on
    disk. The global and enclosing variables it reads keep the values they had then.

    Neither should raise: from a parallel loop, Numba turns an exception into a SystemError. Note
    that ``@njit`` divides as Python does and raises for 1 / 0, unless told
    ``@njit(error_model="numpy")``.

    It can be pickled where its functions can: those of a module, and all that are ``@njit``.

    Examples
    --------
    >>> import math, numpy as np, fastlinear as fl
    >>> def snake(x):
    ...     return x + math.sin(x) ** 2
    >>> def snake_prime(x):
    ...     return 1 + math.sin(2 * x)
    >>> fl.Activation(snake, snake_prime, name="snake")
    Activation(snake, snake_prime, name='snake')
    >>> fl.Linear(4, 3, activation="snake").predict(np.ones((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(
        self,
        h: Function,
        h_prime: Function,
        from_output: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        for argument, function in (("h", h), ("h_prime", h_prime)):
            if not is_function(function):
                raise TypeError(
                    f"{argument}: expected a function of one number, got {function!r}; it may be "
                    f"plain Python, compiled with @njit, or one that Numba knows"
                )
        self._definition = (h, h_prime, bool(from_output))
        self._name = name
        if name is not None:
            self._check_name(name)
        self.pair = self._compiled()
        self._configure()
        if name is not None:
            USER_NAMES[name] = self._maker()

    @property
    def name(self) -> str | None:
        """The name that stands for it, if any."""
        return self._name

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        arguments = dict(zip(("h", "h_prime", "from_output"), self._definition, strict=True))
        return arguments | {"name": self._name}

    def _compiled(self) -> Pair:
        h, h_prime, from_output = self._definition
        name = self._name or full_name(h)
        if from_output:
            return Pair(name, scalar(h), composed(scalar(h_prime), scalar(h)), scalar(h_prime))
        return Pair(name, scalar(h), scalar(h_prime))

    def _maker(self) -> partial[Activation]:
        return partial(Activation, *self._definition, name=self._name)

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"name: expected a string such as 'snake', got {name!r}")
        if name in PAIRS:
            raise ValueError(f"name: {name!r} is that of a built-in activation; choose another")
        if name in USER_NAMES:
            *held, _ = USER_NAMES[name].args
            *given, _ = self._definition
            if not all(map(same_definition, held, given)):
                shown = " and ".join(full_name(f) for f in held)
                raise ValueError(f"name: {name!r} stands for {shown}; choose another")

    def __repr__(self) -> str:
        h, h_prime, from_output = self._definition
        shown = [name_of(h), name_of(h_prime)]
        if from_output:
            shown.append("from_output=True")
        if self._name is not None:
            shown.append(f"name={self._name!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["pair"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.pair = self._compiled()
        if self._name is not None:
            USER_NAMES.setdefault(self._name, self._maker())  # a newer one stays
