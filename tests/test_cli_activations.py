"""``fastlinear activations``: the table, and the picture."""

import inspect

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import fastlinear as fl
from fastlinear.cli import activations, app
from fastlinear.cli.gradients import ACTIVATIONS
from fastlinear.layers.activation import CLASSES, NAMES


def run(*args, status=0):
    result = CliRunner().invoke(app.app, ["activations", *map(str, args)], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def test_the_table_has_every_name_parameter_and_default():
    rows = activations.rows()
    assert {name for name, _, _ in rows} == {*NAMES, ""}
    for name, shown, _ in rows:
        if name:  # what is printed, typed in, is the same activation
            assert repr(eval(shown, {"fl": fl})) == repr(NAMES[name]()) == shown[len("fl.") :]
    for cls in CLASSES:
        lines = [line for line in rows if line[1].startswith(f"fl.{cls.__name__}(")]
        assert lines
        assert all(p in lines[0][1] for p in inspect.signature(cls).parameters)
        assert all(definition for *_, definition in lines)
    stdout = run().stdout
    assert all(shown in stdout for _, shown, _ in rows)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_picture_shows_every_h_and_h_prime(suffix, magic, tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a: (figures.append(f), save(f, *a)))
    path = tmp_path / f"all{suffix}"
    assert run("--plot", path).stdout == f"drew every activation in {path}\n"
    assert path.read_bytes().startswith(magic)
    (figure,) = figures
    panels = {a.get_title().partition("(")[0]: a for a in figure.axes if a.lines}
    assert set(panels) == set(ACTIVATIONS)
    for name, axes in panels.items():
        h, h_prime = axes.lines[:2]
        x, y = h.get_data()
        drawn = ~np.isnan(y)
        assert (y == ACTIVATIONS[name]().predict(x))[drawn].all()
        gaps = len(x) - np.count_nonzero(drawn)
        assert gaps == {"hardshrink": 2, "threshold": 1}.get(name, 0)  # where h jumps
        # h' is the slope of what is drawn, but for the two points around a kink
        slopes = np.gradient(y, x)
        usual = np.isclose(h_prime.get_ydata(), slopes, atol=0.01)
        assert np.count_nonzero(~usual) <= 8
    (legend,) = (a.get_legend() for a in figure.axes if a.get_legend())
    assert [t.get_text() for t in legend.get_texts()] == ["h(x)", "h'(x)"]
    assert figure.get_suptitle()


def test_a_file_that_cannot_be_written(tmp_path):
    for path, message in (("a.pdf", ".png or .svg"), (tmp_path / "no" / "a.png", "no folder")):
        stderr = run("--plot", path, status=2).stderr
        assert message in stderr
        assert stderr.count("\n") == 1
