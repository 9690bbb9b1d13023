"""Networks as safetensors files: parameters under PyTorch's names, the architecture beside them.

The file's metadata holds, under "fastlinear", the architecture as JSON: the class of each layer and
its constructor's arguments. So `load` rebuilds a network from the file alone, and PyTorch
(`safetensors.torch.load_file`) reads the parameters as it would its own. The other way, a file
saved by PyTorch holds no architecture: build the network, then

>>> net.load_state_dict(fl.read_state_dict("from_pytorch.safetensors"))  # doctest: +SKIP

A file holds no code, and loading runs none. Of an activation of the user's own it holds the name,
under which the loading process must have made it (`fl.Activation` with ``name=``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np

from fastlinear.layers.activation import CLASSES as ACTIVATIONS
from fastlinear.layers.activation import USER_NAMES
from fastlinear.layers.checks import Array
from fastlinear.layers.linear import Linear
from fastlinear.layers.maps import Softmax
from fastlinear.layers.module import Module
from fastlinear.layers.sequential import MLP, Sequential
from fastlinear.layers.user_activation import Activation

Path = str | PathLike[str]

KEY = "fastlinear"
VERSION = 1
_KNOWN: tuple[type[Module], ...] = (Linear, Sequential, MLP, Softmax, *ACTIVATIONS)
CLASSES = {cls.__name__: cls for cls in _KNOWN}
# What a header made up by someone else can end in.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError)


def save(module: Module, path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's architecture and parameters to ``path``.

    Parameters
    ----------
    module : Module
        A layer or network made of fastlinear's own classes.
    path : str or path
        The file to write; the usual suffix is ".safetensors".
    metadata : mapping of str to str, optional
        Entries of the user's own, see `read_metadata`.

    Raises
    ------
    TypeError
        Where the network holds a class, or an activation of the user's own, that a file cannot
        name.
    ValueError
        Where ``metadata`` uses the key "fastlinear".
    OSError
        Where the file cannot be written; one that was there is left as it was.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    own = dict(metadata or {})
    if KEY in own:
        raise ValueError(f"metadata: the key {KEY!r} holds the architecture; choose another")
    for key, value in own.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"metadata: expected str to str, got {key!r}: {value!r}")
    header = json.dumps({"version": VERSION, "network": describe(module)})
    try:
        save_file(module.state_dict(), fspath(path), metadata={**own, KEY: header})
    except SafetensorError as error:
        raise OSError(f"{fspath(path)}: cannot be written: {error}") from error


def load(path: Path) -> Module:
    """Return the network that `save` wrote to ``path``: same class, parameters and dtype.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is not safetensors, is damaged, or holds no architecture of ours; where it
        names an activation of the user's own that this process has not made.
    """
    state, metadata = _read(path)
    if KEY not in metadata:
        raise ValueError(
            f"{fspath(path)}: expected a network saved by fastlinear, found parameters without an "
            f"architecture: build the network, then "
            f"net.load_state_dict(fl.read_state_dict({fspath(path)!r})). Its keys: {list(state)}"
        )
    try:
        header = json.loads(metadata[KEY])
        if header["version"] != VERSION:
            raise ValueError(f"version {header['version']}, this fastlinear reads {VERSION}")
        module: Module = build(header["network"])
        module.load_state_dict(state)
    except UnknownActivation as error:
        raise ValueError(f"{fspath(path)}: {error}") from None
    except _WRONG as error:
        raise ValueError(f"{fspath(path)}: damaged or of another version: {error}") from error
    return module


def read_state_dict(path: Path) -> dict[str, Array]:
    """Return the arrays of any safetensors file by name, for `Module.load_state_dict`."""
    return _read(path)[0]


def read_metadata(path: Path) -> dict[str, str]:
    """Return the entries that `save` was given as ``metadata`` (for a foreign file, all)."""
    return {key: value for key, value in _read(path)[1].items() if key != KEY}


def _read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(fspath(path), framework="numpy") as file:
            # Copies: nothing refers to the mapped file after it is closed.
            state = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            return state, dict(file.metadata() or {})
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {fspath(path)}") from None
    except OSError as error:
        raise OSError(f"{fspath(path)}: cannot be read: {error}") from error
    except SafetensorError as error:
        raise ValueError(f"{fspath(path)}: not a safetensors file, or damaged: {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{fspath(path)}: holds a dtype that NumPy lacks: {error}") from error


def describe(value: Any) -> Any:
    """Return a layer, or an argument of one, as JSON can hold it: {"type": class, **arguments}."""
    if type(value) is Activation:
        if value.name is None:
            raise TypeError(f"{value!r}: expected a name to save it by: fl.Activation(..., name=)")
        return {"type": "Activation", "name": value.name}
    if isinstance(value, Module):
        name = type(value).__name__
        if CLASSES.get(name) is not type(value):
            raise TypeError(
                f"{name}: expected one of fastlinear's own classes, {', '.join(sorted(CLASSES))}; "
                f"others can be pickled, or their state_dict() saved"
            )
        return {"type": name} | {k: describe(v) for k, v in value.arguments().items()}
    if isinstance(value, list):
        return [describe(item) for item in value]
    return value


class UnknownActivation(ValueError):
    """A file names an activation of the user's own that this process has not made."""


def user_activation(name: str) -> Activation:
    """Return the user's activation of that name."""
    if name not in USER_NAMES:
        raise UnknownActivation(
            f"holds the user's own activation {name!r}; make it first: "
            f"fl.Activation(h, h_prime, name={name!r})"
        )
    activation: Activation = USER_NAMES[name]()
    return activation


def build(description: Any) -> Any:
    """Return what `describe` described; parameters are zero."""
    if isinstance(description, list):
        return [build(item) for item in description]
    if not isinstance(description, dict):
        return description
    arguments = {name: build(value) for name, value in description.items() if name != "type"}
    name = description["type"]
    if name == "Activation":
        return user_activation(arguments["name"])
    if name not in CLASSES:
        raise ValueError(f"unknown layer {name!r}; known are {', '.join(sorted(CLASSES))}")
    if name in ("Linear", "MLP"):
        arguments["init"] = "zeros"
    return CLASSES[name](*arguments.pop("layers", ()), **arguments)
