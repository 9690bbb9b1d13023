"""The activations: every h and h' as a pair of scalar functions, each in one place.

Definitions, defaults and the derivative at a kink are PyTorch's. ``p`` and ``q`` are the run-time
parameters (changing them recompiles nothing):

============ ==================== ============================= ============================
name         p, q                 h(x)                          h' at a kink
============ ==================== ============================= ============================
identity                          x
relu                              max(x, 0)                     h'(0) = 0
leaky_relu   negative_slope       x if x > 0 else p x           h'(0) = p
elu          alpha                x if x > 0 else p (e^x - 1)   h'(0) = p
selu                              s (x if x > 0 else            h'(0) = s a
                                  a (e^x - 1))
celu         alpha                x if x > 0 else               h'(0) = 1
                                  p (e^(x/p) - 1)
gelu                              x Phi(x)
gelu_tanh                         x (1 + tanh u) / 2, u =
                                  (2/pi)^(1/2) (x + c x^3)
silu                              x sigmoid(x)
mish                              x tanh(log(1 + e^x))
sigmoid                           1 / (1 + e^-x)
log_sigmoid                       log(sigmoid(x))
tanh                              tanh(x)
softplus     beta, threshold      log(1 + e^(p x)) / p,         from p x > q on 1
                                  x where p x > q
softsign                          x / (1 + abs(x))
hardtanh     min_val, max_val     min(max(x, p), q)             h'(p) = h'(q) = 0
relu6                             min(max(x, 0), 6)             h'(0) = h'(6) = 0
hardsigmoid                       min(max(x + 3, 0), 6) / 6     h'(-3) = h'(3) = 0
hardswish                         x hardsigmoid(x)              h'(-3) = 0, h'(3) = 1
softshrink   lambda               x - p if x > p, x + p if      h'(-p) = h'(p) = 0
                                  x < -p, else 0
hardshrink   lambda               x if abs(x) > p else 0        h'(-p) = h'(p) = 0
tanhshrink                        x - tanh(x)
threshold    threshold, value     x if x > p else q             h'(p) = 0
============ ==================== ============================= ============================

with a = 1.6732632423543772, s = 1.0507009873554805 and c = 0.044715.

Every h and h' is within 4 ULP of the exact value for all x (measured by ``benchmarks/ulp.py``),
with two reasoned exceptions. h' of gelu, gelu_tanh, silu and mish crosses zero between -1.3 and
-0.7, where two terms cancel: for -2.5 < x < 0 the error is within 4 ULP of 1/2. And h' taken from
the output of sigmoid, tanh, elu, selu and celu inherits the absolute error of that output: it is
within 4 ULP of h'(0), as in PyTorch. NaN gives NaN under every h, and infinity gives the limit.
Where h' is piecewise constant, h'(NaN) is 1 for relu and threshold, p for leaky_relu, else 0 as in
PyTorch; elsewhere it is NaN.
"""

from __future__ import annotations

from fastlinear.kernels.activations import exponential, piecewise, smooth
from fastlinear.kernels.activations.pair import Pair

__all__ = ["PAIRS", "Pair"]

PAIRS: dict[str, Pair] = {
    pair.name: pair for family in (piecewise, exponential, smooth) for pair in family.PAIRS
}
