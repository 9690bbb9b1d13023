"""SGD, Adam and AdamW with PyTorch's update formulas.

Each keeps a reference to the network and changes its parameters in place. The factors that are the
same for all elements (bias corrections, learning rate) are computed in float64 and rounded to the
parameters' dtype; the element-wise rules stand in `fastlinear.kernels.updates`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Any

import numpy as np

from fastlinear.kernels import updates
from fastlinear.layers import checks
from fastlinear.layers.checks import Array
from fastlinear.layers.module import Module


class Optimizer(ABC):
    """Steps through the parameters of a network; a rule defines `_update`.

    Parameters
    ----------
    net : Module
        Whose parameters are changed, in place.
    lr : float
        Learning rate; may be assigned between steps.
    weight_decay : float
        What the rule makes of it.
    memories : int
        How many numbers the rule remembers for each parameter; they start at zero.

    Attributes
    ----------
    net, lr, weight_decay
        As given.
    steps : int
        How many have been taken.

    Raises
    ------
    TypeError, ValueError
        Where ``net`` is no layer or network, a parameter is read-only, or a number is negative or
        not finite.
    """

    def __init__(self, net: Module, lr: float, weight_decay: float, memories: int) -> None:
        if not isinstance(net, Module):
            raise TypeError(f"net: expected a layer or network, got {type(net).__name__}")
        for name, w in net.params.items():
            if not w.flags.writeable:
                raise ValueError(f"net: expected parameters to change, {name} is read-only")
        self.net = net
        self.lr = lr
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)
        self.steps = 0
        self._memories = [
            {name: np.zeros_like(w) for name, w in net.params.items()} for _ in range(memories)
        ]
        self._bind()

    def _bind(self) -> None:
        """View parameter, gradient and memories of each name as rows, in their memory order."""
        holders = (self.net.params, self.net.grads, *self._memories)
        self._rows = [tuple(updates.flat(h[name]) for h in holders) for name in holders[0]]

    @property
    def lr(self) -> float:
        """The learning rate; it may be assigned between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _at_least_zero("lr", value)

    def step(self) -> None:
        """Change every parameter by its rule, from the gradients of the last backward."""
        self.steps += 1
        for rows in self._rows:
            self._update(*rows)

    @abstractmethod
    def _update(self, w: Array, g: Array, *memories: Array) -> None:
        """Change a parameter by its gradient.

        All are flat and in the parameter's memory order: w, which is changed in place, its gradient
        g, and each of its memories, changed in place too.
        """

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()

    def __repr__(self) -> str:
        shown = (f"{k}={v!r}" for k, v in self._settings().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _settings(self) -> dict[str, Any]:
        return {"lr": self.lr, "weight_decay": self.weight_decay}


class SGD(Optimizer):
    """Stochastic gradient descent.

    g' = g + weight_decay w;  v = momentum v + g';  w -= lr v, or with Nesterov's momentum
    w -= lr (g' + momentum v).

    Parameters
    ----------
    net : Module
        Whose parameters are changed.
    lr : float
        Learning rate.
    momentum : float
        From 0 (none) upwards.
    nesterov : bool
        Needs a momentum.
    weight_decay : float
        Added to the gradient times w.
    """

    def __init__(
        self,
        net: Module,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = _at_least_zero("momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected a momentum above 0 with it, got 0")
        super().__init__(net, lr, weight_decay, memories=1 if self.momentum else 0)

    def _update(self, w: Array, g: Array, *memories: Array) -> None:
        if memories:
            (v,) = memories
            updates.momentum(w, g, v, self.lr, self.weight_decay, self.momentum, self.nesterov)
        else:
            updates.sgd(w, g, self.lr, self.weight_decay)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """Adam (arXiv:1412.6980); the weight decay is added to the gradient.

    g' = g + weight_decay w;  m += (1 - beta1) (g' - m);  v = beta2 v + (1 - beta2) g'^2;
    w -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps) at step t.

    Parameters
    ----------
    net : Module
        Whose parameters are changed.
    lr : float
        Learning rate.
    betas : tuple of float
        beta1 and beta2, in [0, 1).
    eps : float
        Keeps the division finite.
    weight_decay : float
        Added to the gradient times w.
    """

    def __init__(
        self,
        net: Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not (isinstance(betas, Sequence) and len(betas) == 2 and not isinstance(betas, str)):
            raise TypeError(f"betas: expected two numbers, got {betas!r}")
        self.betas = (checks.number("betas", betas[0]), checks.number("betas", betas[1]))
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas}")
        self.eps = _at_least_zero("eps", eps)
        super().__init__(net, lr, weight_decay, memories=2)

    def _decay(self) -> tuple[float, float]:
        """Return what w adds to the gradient, and what w is multiplied by."""
        return self.weight_decay, 1.0

    def _update(self, w: Array, g: Array, *memories: Array) -> None:
        m, v = memories
        beta1, beta2 = self.betas
        step = self.lr / (1.0 - beta1**self.steps)
        root = sqrt(1.0 - beta2**self.steps)
        updates.adam(w, g, m, v, step, self.betas, root, self.eps, *self._decay())

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"betas": self.betas, "eps": self.eps}


class AdamW(Adam):
    """Adam with decoupled weight decay (arXiv:1711.05101): w *= 1 - lr weight_decay, then Adam.

    Parameters as in `Adam`; PyTorch's default decay is 0.01.
    """

    def __init__(
        self,
        net: Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(net, lr, betas, eps, weight_decay)

    def _decay(self) -> tuple[float, float]:
        return 0.0, 1.0 - self.lr * self.weight_decay


def _at_least_zero(name: str, value: Any) -> float:
    number = checks.number(name, value)
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")
    return number
