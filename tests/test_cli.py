"""The commands, run in this process: what they print, write and return."""

import csv
import os
import re
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

import fastlinear as fl
from fastlinear import __main__
from fastlinear.cli import app, experiment, fit, modelfile


def run(*args, status=0):
    """Run a command; return what it printed to stdout and to stderr."""
    quiet = {"FASTLINEAR_QUIET": "1"}  # no notice on stderr that something compiles
    result = CliRunner(env=quiet).invoke(app.app, list(map(str, args)), catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """Two well separated classes of three features, as .npz and .csv."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y = np.array(["left", "right"] * 40)
    X = rng.normal(0, 1, (80, 3)) + np.where(y == "left", -4, 4)[:, None]
    np.savez(folder / "blobs.npz", X=X, y=y)
    lines = [",".join([*map(repr, x), label]) for x, label in zip(X.tolist(), y, strict=True)]
    (folder / "blobs.csv").write_text("\n".join(["a,b,c,side", *lines]), encoding="utf-8")
    np.savez(folder / "line.npz", X=X, y=100 + X @ [1.0, 2.0, -1.0])
    return folder


@pytest.fixture(scope="module")
def model(blobs):
    """A network trained on blobs.csv."""
    path = blobs / "blobs.safetensors"
    run("train", blobs / "blobs.csv", "--hidden", 8, "--epochs", 8, "--no-compare", "--save", path)
    return path


# --- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train data.txt", "data.txt: expected 'digits' or a file ending in .npz or .csv"),
        ("train nowhere.csv", "nowhere.csv: no such file"),
        ("train digits --target y", "digits: the target is given, expected no --target"),
        ("train digits --task rank", "--task: expected one of auto, classification, regression"),
        ("train digits --hidden 64,,64", "--hidden: expected positive whole numbers"),
        ("train digits --hidden 64,0", "--hidden: expected positive whole numbers"),
        ("train digits --hidden wide", "--hidden: expected positive whole numbers"),
        (f"train digits --hidden {'9' * 5000}", "--hidden: expected positive whole numbers"),
        ("train digits --activation step", "--activation: expected one of identity, relu,"),
        ("train digits --optimizer lbfgs", "--optimizer: expected one of sgd, adam, adamw"),
        ("train digits --dtype float16", "--dtype: expected one of float32, float64"),
        ("train digits --formulation gpu", "--formulation: expected one of tiled, loops, blas"),
        ("train digits --lr 0", "--lr: expected a positive number, got 0"),
        ("train digits --lr nan", "--lr: expected a positive number, got nan"),
        ("train digits --threads 10000", "--threads: "),
        ("train digits --plot curves.pdf", "--plot: expected a name ending in .png or .svg"),
        ("train digits --plot no/where/curves.png", "--plot: cannot write no/where/curves.png: no"),
        ("train digits --save model.pt", "--save: expected a name ending in .safetensors"),
        ("predict nowhere.safetensors digits", "no such file: nowhere.safetensors"),
        ("predict a.safetensors digits --output a.txt", "--output: expected a name ending in .csv"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_status_2(args, message):
    stdout, stderr = run(*args.split(), status=2)
    assert stdout == ""
    assert stderr.startswith(f"fastlinear {args.split()[0]}: {message}")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("args", ["learn", "train", "train digits --epochs 0", "train --fast"])
def test_unknown_commands_and_options_exit_with_2(args):
    assert "Error" in run(*args.split(), status=2)[1]


def test_help_lists_every_command():
    stdout, _ = run("--help")
    for name in app.COMMANDS:
        assert re.search(rf"^  {name} +[A-Z]", stdout, re.M)


@pytest.fixture
def commands_come_back():
    """Restore the command line: modules that a test imports anew have classes of their own."""
    before = {n: m for n, m in sys.modules.items() if n.startswith("fastlinear.cli.")}
    yield
    for name in [n for n in sys.modules if n.startswith("fastlinear.cli.")]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("commands_come_back")
@pytest.mark.parametrize("library", ["typer", "rich", "sklearn", "matplotlib", "threadpoolctl"])
def test_without_the_extra_one_line_says_how_to_get_it(library, monkeypatch, capsys, tmp_path):
    plot = str(tmp_path / "curves.png")
    monkeypatch.setattr(sys, "argv", ["fastlinear", "train", "digits", "--plot", plot])
    for name in list(sys.modules):
        if name.startswith((f"{library}.", "fastlinear.cli.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    out, err = capsys.readouterr()
    assert caught.value.code == 1
    assert err.startswith(f"fastlinear: the command line needs {library}")
    assert err.endswith('pip install "fastlinear[cli]"\n')
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.usefixtures("commands_come_back")
def test_other_missing_modules_are_not_blamed_on_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "fastlinear.cli.app")
    monkeypatch.setitem(sys.modules, "fastlinear.cli.errors", None)
    with pytest.raises(ModuleNotFoundError):
        __main__.main()


# --- train ----------------------------------------------------------------------------------------


def test_digits_reach_97_per_cent_with_the_defaults():
    stdout, _ = run("train", "digits", "--no-compare")
    assert "1797 samples (1437 to train, 360 held out), 64 features, 10 classes" in stdout
    found = re.search(r"held-out accuracy (\S+) % \((\d+) of 360\)", stdout)
    assert int(found[2]) / 360 >= 0.97
    assert f"{100 * int(found[2]) / 360:.2f}" == found[1]


def test_closing_table_and_curves(blobs, tmp_path):
    plot = tmp_path / "curves.svg"
    args = ("--hidden", "8", "--epochs", "3", "--optimizer", "sgd", "--activation", "tanh")
    stdout, _ = run("train", blobs / "blobs.npz", *args, "--formulation", "loops", "--plot", plot)
    assert re.findall(r"^ +([123])  ", stdout, re.M) == ["1", "2", "3"]
    table = re.findall(r"^\W (tiled|loops|blas) .*│ +([^│]+?) +│$", stdout, re.M)
    assert table[:2] == [("tiled", "the reference"), ("loops", "same bits")]
    assert table[2][0] == "blas"
    assert "tiled and loops ended with identical weights, bit for bit." in stdout
    drawn = plot.read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")
    assert fit_labels(drawn) >= {"epoch", "accuracy (%)", "loss: cross-entropy (nats)"}


def fit_labels(svg):
    """Return the texts of a drawing: matplotlib leaves each in a comment beside its glyphs."""
    return {text.strip() for text in re.findall(r"<!--(.*?)-->", svg)}


def test_different_weights_are_a_failure(blobs, monkeypatch):
    original = experiment.Run.build

    def off_by_one_bit(self):
        net = original(self)
        if self.formulation == "loops":
            bias = net.params["0.bias"]
            bias[0] = np.nextafter(bias[0], np.float32(np.inf))
        return net

    monkeypatch.setattr(experiment.Run, "build", off_by_one_bit)
    args = ("--hidden", "8", "--epochs", "1")
    stdout, stderr = run("train", blobs / "blobs.npz", *args, status=1)
    assert stderr == "fastlinear train: tiled and loops ended with different weights\n"
    assert "identical" not in stdout


def test_regression_reports_in_the_unit_of_the_target(blobs, tmp_path):
    path, output = tmp_path / "line.safetensors", tmp_path / "out.npz"
    data = blobs / "line.npz"
    args = ("--hidden", "none", "--epochs", "60", "--lr", "0.1", "--dtype", "float64")
    args = (*args, "--no-compare")
    stdout, _ = run("train", data, *args, "--save", path, "--plot", tmp_path / "line.png")
    rmse, r2 = re.search(r"held-out RMSE (\S+), R\^2 (\S+)", stdout).groups()
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")
    run("predict", path, data, "--output", output)
    with np.load(data) as saved, np.load(output) as written:
        y, predicted = saved["y"], written["prediction"]
    _, held_out = train_test_split(np.arange(80), test_size=0.2, random_state=0)
    error = np.mean((y - predicted)[held_out] ** 2)
    # Printed with 6 significant digits and with 4 decimals.
    assert float(rmse) == pytest.approx(np.sqrt(error), rel=5.1e-6)
    assert float(r2) == pytest.approx(1 - error / np.var(y[held_out]), abs=5.1e-5)
    assert float(r2) > 0.99  # a linear network learns a linear target


def test_a_loss_that_is_not_finite_ends_the_training(blobs):
    args = ("--hidden", "8", "--lr", "1e30", "--no-compare")
    _, stderr = run("train", blobs / "blobs.npz", *args, status=1)
    assert re.fullmatch(
        r"fastlinear train: the loss is (nan|inf) after epoch 1: "
        r"try a smaller --lr than 1e\+30\n",
        stderr,
    )


# --- the training loop ----------------------------------------------------------------------------


class Recorder:
    """Stands for network, loss and optimiser, and notes what is asked of it."""

    def __init__(self):
        self.batches = []
        self.steps = 0

    def __call__(self, X, y=None):
        if y is None:
            self.batches.append(X[:, 0].tolist())
        return X

    def backward(self, *args, **kwargs):
        return None

    def step(self):
        self.steps += 1

    def predict(self, X):
        return X


def test_every_epoch_takes_all_samples_in_a_new_order(monkeypatch):
    monkeypatch.setattr(fit, "score", lambda *args: fit.Score(0.0, 0.0))
    X = np.arange(10.0)[:, None]
    both = []
    for _ in range(2):
        recorder = Recorder()
        samples = fit.Samples(X, X[:, 0])
        epochs = fit.fit(
            recorder, recorder, recorder, samples, samples, epochs=2, batch_size=4, seed=3
        )
        assert [epoch.number for epoch in epochs] == [1, 2]
        assert [len(batch) for batch in recorder.batches] == [4, 4, 2] * 2
        assert recorder.steps == 6
        both.append(recorder.batches)
    assert both[0] == both[1]
    first, second = list(chain(*both[0][:3])), list(chain(*both[0][3:]))
    assert sorted(first) == sorted(second) == X[:, 0].tolist()
    assert first != second


def test_scores_of_known_predictions():
    net = SimpleNamespace(predict=lambda X: X)
    logits = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 0.0]])
    samples = fit.Samples(logits, np.array([0, 1, 1, 0]))
    assert fit.score(net, fl.CrossEntropyLoss(), samples).quality == 0.75
    values = np.array([[1.0], [2.0], [3.0], [6.0]])  # variance 3.5
    score = fit.score(net, fl.MSELoss(), fit.Samples(values + 1, values))
    assert score == (1.0, 1 - 1 / 3.5)
    assert np.isnan(fit.score(net, fl.MSELoss(), fit.Samples(values, values * 0)).quality)


# --- predict --------------------------------------------------------------------------------------


def test_predictions_are_the_labels_of_the_data(blobs, model, tmp_path):
    output = tmp_path / "out.csv"
    _, stderr = run("predict", model, blobs / "blobs.csv", "--output", output)
    assert stderr == f"wrote 80 predictions to {output}\n"
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["prediction"], *[["left"], ["right"]] * 40]
    assert run("predict", model, blobs / "blobs.npz")[0] == output.read_text(encoding="utf-8")
    assert run("predict", model, blobs / "blobs.csv", "--output", "-")[0].startswith("prediction\n")


def test_saved_network_is_the_trained_one(blobs, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(
        modelfile,
        "save_model",
        lambda net, encoding, path, save=modelfile.save_model: (
            kept.append((net, encoding)) or save(net, encoding, path)
        ),
    )
    path = tmp_path / "model.safetensors"
    args = ("--hidden", "8", "--epochs", "2", "--no-compare", "--save", path)
    run("train", blobs / "blobs.npz", *args)
    net, encoding = modelfile.load_model(path)
    with np.load(blobs / "blobs.npz") as data:
        inputs = encoding.encode_inputs(data["X"], net.dtype)
        assert inputs.tobytes() == kept[0][1].encode_inputs(data["X"], net.dtype).tobytes()
    assert net.predict(inputs).tobytes() == kept[0][0].predict(inputs).tobytes()


def test_files_that_are_no_model(blobs, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"something else")
    assert "not a safetensors file" in run("predict", path, "digits", status=2)[1]
    fl.MLP([3, 2], rng=0).save(path)
    assert "expected one saved by fastlinear train" in run("predict", path, "digits", status=2)[1]
    for text in ("{}", "[]", "no json", '{"mean": [0], "scale": [1], "classes": null, "x": 1}'):
        fl.MLP([3, 2], rng=0).save(path, metadata={modelfile.KEY: text})
        _, stderr = run("predict", path, "digits", status=2)
        assert f"{path}: damaged ({modelfile.KEY}" in stderr
        assert stderr.count("\n") == 1


def test_data_that_do_not_fit_the_model(model):
    stderr = run("predict", model, "digits", status=2)[1]
    assert stderr == "fastlinear predict: the data have 64 features, the model expects 3\n"


# --- info -----------------------------------------------------------------------------------------


def test_info_names_what_runs_here():
    stdout, _ = run("info")
    facts = dict(re.findall(r"^(.{17})(.+)$", stdout, re.M))
    facts = {name.strip(): value for name, value in facts.items()}
    assert facts["fastlinear"] == fl.__version__
    assert facts["numpy"] == np.__version__
    assert facts["threads"].startswith(f"{fl.get_num_threads()} of ")
    assert facts["threading layer"] in {"tbb", "omp", "workqueue"}
    assert {"python", "system", "CPU", "CPU features", "cache folder", "BLAS"} <= set(facts)


@pytest.mark.skipif(os.name != "posix", reason="only there a process can start anew")
def test_profile_starts_anew_unless_the_user_has_decided(monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    __main__.let_others_sleep()
    ((executable, argv, environment),) = calls
    assert argv == [executable, *sys.orig_argv[1:]]
    assert environment["OPENBLAS_THREAD_TIMEOUT"] == "24"
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    __main__.let_others_sleep()
    assert len(calls) == 1
