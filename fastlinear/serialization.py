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
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from typing import Any
from uuid import uuid4

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
        Where the file cannot be written; one that was there is left as it was. It is written beside
        the old one, which it then replaces.
    """
    from safetensors import numpy as safetensors

    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata: expected a mapping of str to str, got {metadata!r:.80}")
    own = dict(metadata or {})
    if KEY in own:
        raise ValueError(f"metadata: the key {KEY!r} holds the architecture; choose another")
    for key, value in own.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"metadata: expected str to str, got {key!r}: {value!r}")
    header = json.dumps({"version": VERSION, "network": describe(module)})
    _write(os.fsdecode(path), safetensors.save(module.state_dict(), {**own, KEY: header}))


def _write(path: str, contents: bytes) -> None:
    """Put ``contents`` into a file, which is there as a whole or as it was.

    A link stays one, and a file keeps its permissions; a new one has those of any other. What is no
    file, such as a pipe, is written to.
    """
    target = os.path.realpath(path)
    beside = os.path.join(os.path.dirname(target), f".{uuid4().hex}.tmp")
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as file:
                file.write(contents)
            return
        with open(beside, "xb") as file:
            file.write(contents)
        if os.path.exists(target):
            shutil.copymode(target, beside)
        os.replace(beside, target)
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error}") from error
    finally:
        with suppress(OSError):  # there is none, if all went well
            os.unlink(beside)


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
    path = os.fsdecode(path)
    state, metadata = _read(path)
    if KEY not in metadata:
        raise ValueError(
            f"{path}: expected a network saved by fastlinear, found parameters without an "
            f"architecture: build the network, then "
            f"net.load_state_dict(fl.read_state_dict({path!r})). Its keys: {list(state)}"
        )
    try:
        header = json.loads(metadata[KEY])
        if header["version"] != VERSION:
            raise ValueError(f"version {header['version']}, this fastlinear reads {VERSION}")
        module: Module = build(header["network"])
        module.load_state_dict(state)
    except UnknownActivation as error:
        raise ValueError(f"{path}: {error}") from None
    except _WRONG as error:
        raise ValueError(f"{path}: damaged or of another version: {error}") from error
    return module


def read_state_dict(path: Path) -> dict[str, Array]:
    """Return the arrays of any safetensors file by name, for `Module.load_state_dict`.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is not safetensors, is damaged, or holds a dtype that NumPy lacks.
    """
    return _read(path)[0]


def read_metadata(path: Path) -> dict[str, str]:
    """Return the entries that `save` was given as ``metadata`` (for a foreign file, all).

    Raises as `read_state_dict`.
    """
    return {key: value for key, value in _read(path)[1].items() if key != KEY}


def _read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    path = os.fsdecode(path)
    try:
        with safe_open(path, framework="numpy") as file:
            # Copies: nothing refers to the mapped file after it is closed.
            state = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            return state, dict(file.metadata() or {})
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error}") from error
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file, or damaged: {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: holds a dtype that NumPy lacks: {error}") from error


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
