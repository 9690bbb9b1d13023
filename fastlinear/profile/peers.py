"""Other libraries as contestants, each imported only when it is asked for.

Every one gets what its own users would give it: modules and autograd, compiled functions, a session
on a packed model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastlinear.profile.cases import Case, Data
from fastlinear.profile.contestants import Contestant, Run
from fastlinear.profile.numpy_peer import Copy, NumPy


class Torch(Contestant):
    """PyTorch in eager mode."""

    def __init__(self, threads: int) -> None:
        super().__init__("torch")
        self.torch = import_module("torch")
        self.torch.set_num_threads(threads)

    def prepare(self, case: Case, data: Data) -> Run | None:
        """Return the run of a case; gradients are recorded in steps only."""
        if case.activation is not None and not hasattr(self.torch.nn.functional, case.activation):
            return None
        run = super().prepare(case, data)
        if run is None or case.quantity.endswith("step"):
            return run
        return Run(self.torch.inference_mode()(run.call), run.results)

    def _product(self, name: str, *operands: Any) -> Run:
        A, B = (self.torch.from_numpy(operand) for operand in operands)
        out = self.torch.mm(A, B)
        return Run(partial(self.torch.mm, A, B, out=out), lambda out: {name: out.numpy()})

    def Y(self, data: Data) -> Run:
        """Return the run of equation (2) without a bias."""
        return self._product("Y", data.X, data.W.T)

    def dW(self, data: Data) -> Run:
        """Return the run of equation (5)."""
        return self._product("dW", data.dY.T, data.X)

    def dX(self, data: Data) -> Run:
        """Return the run of equation (15)."""
        return self._product("dX", data.dY, data.W)

    def db(self, data: Data) -> Run:
        """Return the run of equation (10)."""
        dY = self.torch.from_numpy(data.dY)
        return Run(partial(self.torch.sum, dY, 0), lambda db: {"db": db.numpy()})

    def _h(self, case: Case) -> Any:
        name = case.activation
        if name is None:
            return lambda Z: Z
        return getattr(self.torch, name, None) or getattr(self.torch.nn.functional, name)

    def _layer(self, data: Data) -> Any:
        torch = self.torch
        layer = torch.nn.Linear(data.case.M, data.case.N, dtype=getattr(torch, data.case.dtype))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(data.W))
            layer.bias.copy_(torch.from_numpy(data.b))
        return layer

    def predict(self, data: Data) -> Run:
        """Return the run of a module without gradients."""
        layer, h, X = self._layer(data), self._h(data.case), self.torch.from_numpy(data.X)
        return Run(lambda: h(layer(X)), lambda A: {"Y": A.numpy()})

    def step(self, data: Data) -> Run:
        """Return the run of a module's forward and backward pass."""
        layer, h = self._layer(data), self._h(data.case)
        W, b = layer.weight, layer.bias
        X = self.torch.tensor(data.X, requires_grad=True)
        dY = self.torch.from_numpy(data.dY)

        def call() -> Any:
            X.grad = W.grad = b.grad = None
            A = h(layer(X))
            A.backward(dY)
            return A

        def results(A: Any) -> dict[str, Any]:
            grads = {"dX": X, "dW": W, "db": b}
            return {"Y": A.detach().numpy(), **{k: v.grad.numpy() for k, v in grads.items()}}

        return Run(call, results)

    def activation(self, data: Data) -> Run:
        """Return the run of equation (16)."""
        return Run(
            partial(self._h(data.case), self.torch.from_numpy(data.Z)), lambda Y: {"Y": Y.numpy()}
        )

    def activation_step(self, data: Data) -> Run:
        """Return the run of equations (16) and (19)."""
        h, dY = self._h(data.case), self.torch.from_numpy(data.dY)
        Z = self.torch.tensor(data.Z, requires_grad=True)

        def call() -> Any:
            Z.grad = None
            Y = h(Z)
            Y.backward(dY)
            return Y

        return Run(call, lambda Y: {"Y": Y.detach().numpy(), "dX": Z.grad.numpy()})


class Jax(Contestant):
    """JAX: every quantity one function compiled by XLA."""

    def __init__(self, threads: int) -> None:
        super().__init__("jax")
        self.jax = import_module("jax")
        self.jax.config.update("jax_enable_x64", True)

    def _compiled(self, function: Any, names: tuple[str, ...], *arguments: Any) -> Run:
        """Return the run of a function of one result, or of a tuple of them."""
        arrays = [self.jax.numpy.asarray(argument) for argument in arguments]
        function, wait = self.jax.jit(function), self.jax.block_until_ready

        def call() -> Any:
            return wait(function(*arrays))

        def results(returned: Any) -> dict[str, Any]:
            values = returned if isinstance(returned, tuple) else (returned,)
            return {k: np.asarray(v) for k, v in zip(names, values, strict=True)}

        return Run(call, results)

    def Y(self, data: Data) -> Run:
        """Return the run of equation (2) without a bias."""
        return self._compiled(lambda X, W: X @ W.T, ("Y",), data.X, data.W)

    def dW(self, data: Data) -> Run:
        """Return the run of equation (5)."""
        return self._compiled(lambda dY, X: dY.T @ X, ("dW",), data.dY, data.X)

    def dX(self, data: Data) -> Run:
        """Return the run of equation (15)."""
        return self._compiled(lambda dY, W: dY @ W, ("dX",), data.dY, data.W)

    def db(self, data: Data) -> Run:
        """Return the run of equation (10)."""
        return self._compiled(lambda dY: dY.sum(0), ("db",), data.dY)

    def _h(self, case: Case) -> Any:
        if case.activation is None:
            return lambda Z: Z
        h = getattr(self.jax.nn, case.activation)
        return partial(h, approximate=False) if case.activation == "gelu" else h

    def predict(self, data: Data) -> Run:
        """Return the run of A = h(X W^T + b)."""
        h = self._h(data.case)
        return self._compiled(lambda X, W, b: h(X @ W.T + b), ("Y",), data.X, data.W, data.b)

    def step(self, data: Data) -> Run:
        """Return the run of the function and its vector-Jacobian product."""
        h = self._h(data.case)

        def function(X: Any, W: Any, b: Any, dY: Any) -> Any:
            A, pull_back = self.jax.vjp(lambda X, W, b: h(X @ W.T + b), X, W, b)
            return A, *pull_back(dY)

        names = ("Y", "dX", "dW", "db")
        return self._compiled(function, names, data.X, data.W, data.b, data.dY)

    def activation(self, data: Data) -> Run:
        """Return the run of equation (16)."""
        return self._compiled(self._h(data.case), ("Y",), data.Z)

    def activation_step(self, data: Data) -> Run:
        """Return the run of equations (16) and (19)."""
        h = self._h(data.case)

        def function(Z: Any, dY: Any) -> Any:
            Y, pull_back = self.jax.vjp(h, Z)
            return Y, *pull_back(dY)

        return self._compiled(function, ("Y", "dX"), data.Z, data.dY)


class OnnxRuntime(Contestant):
    """ONNX Runtime, which packs the weights once: prediction only, arrays bound beforehand."""

    def __init__(self, threads: int) -> None:
        super().__init__("onnxruntime")
        self.threads = threads

    def predict(self, data: Data) -> Run | None:
        """Return the run of a session for Gemm and activation."""
        onnx, onnxruntime = import_module("onnx"), import_module("onnxruntime")
        helper, numpy_helper = onnx.helper, onnx.numpy_helper

        case = data.case
        operator = None if case.activation is None else case.activation.capitalize()
        operator = {"Silu": "Swish"}.get(str(operator), operator)
        if operator not in (None, "Relu", "Tanh", "Sigmoid", "Elu", "Gelu", "Softplus"):
            return None
        nodes = [helper.make_node("Gemm", ["X", "W", "b"], ["Z" if operator else "A"], transB=1)]
        if operator:
            nodes.append(helper.make_node(operator, ["Z"], ["A"]))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("X", kind, (case.S, case.M))],
            [helper.make_tensor_value_info("A", kind, (case.S, case.N))],
            [numpy_helper.from_array(data.W, "W"), numpy_helper.from_array(data.b, "b")],
        )
        version = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=version, ir_version=10)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        providers = ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
            return None  # some functions are there for float32 only
        A = data.empty(case.S, case.N)
        binding = session.io_binding()
        binding.bind_cpu_input("X", data.X)
        binding.bind_output("A", "cpu", 0, A.dtype, A.shape, A.ctypes.data)

        def call() -> tuple[Any, Any]:
            session.run_with_iobinding(binding)
            return A, data.X  # bound by their addresses: they must live as long as the call

        return Run(call, lambda _: {"Y": A})


# Each by its name: the modules it needs, and how to make it for a number of threads.
PEERS: dict[str, tuple[tuple[str, ...], Callable[[int], Contestant]]] = {
    "numpy": (("numpy",), lambda threads: NumPy()),
    "copy": (("numpy",), lambda threads: Copy()),
    "torch": (("torch",), Torch),
    "jax": (("jax",), Jax),
    "onnxruntime": (("onnxruntime", "onnx"), OnnxRuntime),
}


def peer(name: str, threads: int) -> Contestant | None:
    """Return a contestant by its name, or None where its library is not installed."""
    modules, make = PEERS[name]
    return None if any(find_spec(module) is None for module in modules) else make(threads)
