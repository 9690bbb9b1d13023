"""fastlinear: a neural network's Linear layer and activations as compiled explicit loops.

>>> import numpy as np, fastlinear as fl
>>> net = fl.MLP([4, 8, 3], activation="relu", rng=0)
>>> net.predict(np.ones((2, 4), np.float32)).shape
(2, 3)
"""

from fastlinear import functional, init
from fastlinear.gradcheck import GradcheckError, GradcheckReport, gradcheck
from fastlinear.kernels.threads import get_num_threads, set_num_threads
from fastlinear.layers.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    LogSigmoid,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from fastlinear.layers.linear import Linear
from fastlinear.layers.losses import CrossEntropyLoss, Loss, MSELoss
from fastlinear.layers.maps import Softmax
from fastlinear.layers.module import Module
from fastlinear.layers.sequential import MLP, Sequential
from fastlinear.layers.user_activation import Activation
from fastlinear.optim import SGD, Adam, AdamW, Optimizer
from fastlinear.serialization import load, read_metadata, read_state_dict

__version__ = "0.1.0"

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "MLP",
    "SELU",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "CrossEntropyLoss",
    "GradcheckError",
    "GradcheckReport",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "Loss",
    "MSELoss",
    "Mish",
    "Module",
    "Optimizer",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "__version__",
    "functional",
    "get_num_threads",
    "gradcheck",
    "init",
    "load",
    "read_metadata",
    "read_state_dict",
    "set_num_threads",
]
