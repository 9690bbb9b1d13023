"""``fastlinear check``: what it covers, and that it finds what is wrong."""

import re

import numpy as np
from test_cli import run

import fastlinear as fl
from fastlinear import kernels
from fastlinear.cli import check, comparisons, gradients
from fastlinear.cli.gradients import GradientCase
from fastlinear.layers.activation import CLASSES


def test_check_covers_every_layer_activation_and_loss():
    gradient, equality = check.plan()
    modules = [case.module for case in gradients.cases()]
    for kind in (*CLASSES, fl.Linear, fl.Softmax, fl.Sequential, fl.MLP):
        assert any(type(module) is kind for module in modules), kind
    for kind in (fl.CrossEntropyLoss, fl.MSELoss):
        reductions = {module.reduction for module in modules if type(module) is kind}
        assert reductions == {"mean", "sum"}
    for section in (gradient, equality):
        labels = [label for label, _ in section.jobs]
        assert len(set(labels)) == len(labels)
    compared = " ".join(label for label, _ in equality.jobs)
    for module in modules:
        if type(module) in CLASSES:
            assert f"{module.pair.name}  (17), (18)" in compared


def only(monkeypatch, cases=(), products=()):
    """Make `check` do little, which compiles little."""
    monkeypatch.setattr(gradients, "cases", lambda: iter(cases))
    jobs = [(p.label, lambda p=p: comparisons.compare_products(p)) for p in products]
    monkeypatch.setattr(comparisons, "cases", lambda: iter(jobs))
    monkeypatch.setattr(comparisons, "SHAPES", ((3, 5, 7), (17, 31, 33)))


X = np.linspace(-2, 2, 12).reshape(4, 3)


def test_check_passes(monkeypatch):
    case = GradientCase("Linear", fl.Linear(3, 2, activation="tanh", rng=0), X)
    only(monkeypatch, [case], comparisons.PRODUCTS[:1])
    stdout, _ = run("check")
    assert stdout.count("passed") == 3
    assert stdout.endswith("all 2 checks passed\n")


def test_check_finds_a_wrong_gradient(monkeypatch):
    class Wrong(fl.ReLU):
        def _hadamard(self, dtype):
            right = super()._hadamard(dtype)

            def run(dY, V, dX):
                fits = right(dY, V, dX)
                dX *= 1.001
                return fits

            return run

    only(monkeypatch, [GradientCase("Wrong", Wrong(), X), GradientCase("ReLU", fl.ReLU(), X)])
    stdout, stderr = run("check", status=1)
    assert re.search(r"Wrong .* FAILED", stdout)
    assert re.search(r"ReLU .* passed", stdout)
    assert "Wrong: wrong gradient: at X[" in stdout
    assert stderr == "fastlinear check: 1 of 2 checks failed\n"


def test_check_finds_one_wrong_bit_and_one_element_not_written(monkeypatch):
    forward = comparisons.PRODUCTS[0]
    only(monkeypatch, products=[forward])
    tiled, original = kernels.formulation("tiled"), kernels.formulation

    class Faulty:
        def linear_forward(self, X, W, b, Y):
            before = Y[-1, -1]
            tiled.linear_forward(X, W, b, Y)
            Y[0, 0] = np.nextafter(Y[0, 0], Y.dtype.type(np.inf))
            Y[-1, -1] = before

    monkeypatch.setattr(
        kernels, "formulation", lambda name: Faulty() if name == "tiled" else original(name)
    )
    threads = fl.get_num_threads()
    stdout, _ = run("check", status=1)
    assert fl.get_num_threads() == threads
    assert (
        "(S, M, N) = (3, 5, 7), float32, layouts C and C, 1 thread(s): 2 of 21 elements" in stdout
    )


def test_check_survives_what_breaks_off():
    def broken():
        raise RuntimeError("no compiler")

    finding = check.attempt(broken, 2)
    assert finding == (("", ""), "RuntimeError: no compiler")


def test_comparison_knows_zeros_and_nans_apart():
    comparison = comparisons.Comparison("test")
    comparison.add("a", np.array([np.nan, 1.0]), np.array([-np.nan, 1.0]))
    assert comparison.differing == 0
    comparison.add("b", np.array([0.0]), np.array([-0.0]))
    assert (comparison.count, comparison.differing) == (2, 1)
    assert comparison.first == "b: 1 of 1 elements, at (0,) 0.0 instead of -0.0"
