"""The README names everything there is."""

import re
from pathlib import Path

import fastlinear as fl

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_public_name_is_there():
    section = README.partition("### What there is")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(?:net\.|fastlinear\.)?(\w+)", section))
    assert set(fl.__all__) - {"__version__"} <= named
    methods = {name for name in vars(fl.Module) if not name.startswith("_")}
    attributes = {"arguments", "in_features", "out_features", "dtype", "places"}  # in its docstring
    assert methods - attributes <= named
