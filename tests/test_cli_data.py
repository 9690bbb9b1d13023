"""Reading data for the command line: what is accepted, and what every complaint says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fastlinear.cli.archive import read_npz
from fastlinear.cli.data import Data
from fastlinear.cli.encoding import Encoding
from fastlinear.cli.errors import CommandError
from fastlinear.cli.experiment import Problem, Settings
from fastlinear.cli.sources import load_features, load_training

X = np.arange(12.0).reshape(6, 2)
SETTINGS = Settings((4,), "relu", "adam", 1, 4, 0.001, 0, "float32")


def csv(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def npz(tmp_path, **arrays):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return str(path)


# --- .csv -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["3", "-1", "3"], np.array([3, -1, 3], np.int64)),
        (["0.5", "1", "2e3"], np.array([0.5, 1.0, 2000.0])),
        (["1.0", "2.0", "1.0"], np.array([1.0, 2.0, 1.0])),
        (["yes", "no", "1"], np.array(["yes", "no", "1"])),
        (["007", "010", "007"], np.array(["007", "010", "007"])),
        (["1_0", "2", "3"], np.array(["1_0", "2", "3"])),
        (["NA", "DE", "FR"], np.array(["NA", "DE", "FR"])),
        (["9223372036854775807", "1", "2"], np.array([2**63 - 1, 1, 2])),
        (["9223372036854775808", "1", "2"], np.array(["9223372036854775808", "1", "2"])),
    ],
)
def test_the_kind_of_a_target_follows_from_its_cells(tmp_path, cells, expected):
    data = load_training(csv(tmp_path, "a,y\n" + "".join(f"1,{c}\n" for c in cells)), None)
    assert data.y.dtype.kind == expected.dtype.kind
    assert data.y.tolist() == expected.tolist()


def test_header_names_features_and_target(tmp_path):
    path = csv(tmp_path, '\ufeffa, "b, c", y\r\n1,2,3\r\n\r\n-4e1,.5,6\r\n')
    data = load_training(path, None)
    assert data.features == ("a", "b, c")
    assert (data.target, data.position) == ("y", 2)
    assert data.X.tolist() == [[1, 2], [-40, 0.5]]
    assert data.y.tolist() == [3, 6]


def test_without_a_header_columns_have_numbers(tmp_path):
    data = load_training(csv(tmp_path, "1,2,x\n3,4,y\n"), None)
    assert data.features is None
    assert data.target is None
    assert data.X.tolist() == [[1, 2], [3, 4]]
    assert data.y.tolist() == ["x", "y"]


@pytest.mark.parametrize("target", ["b", "2"])
def test_target_by_name_or_number(tmp_path, target):
    data = load_training(csv(tmp_path, "a,b,c\n1,2,3\n"), target)
    assert data.X.tolist() == [[1, 3]]
    assert data.y.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,b\n", "a header, but no rows of data"),
        ("a\n1\n", "1 column, expected features and a target separated by commas"),
        ("a;b;y\n1;2;3\n", "1 column, expected features and a target separated by commas"),
        ("a,b,y\n1,2,3\n1,2\n", "line 3 has 2 columns, expected 3 as in line 1"),
        ("1,2\n1,2\n\n1,2,3\n", "line 4 has 3 columns, expected 2 as in line 1"),
        ("a,b,y\n1,,3\n", "line 2, column 'b': the value is missing ('')"),
        ("a,b,y\n1,2,3\n1, NA ,3\n", "line 3, column 'b': the value is missing ('NA ')"),
        ("1,2,3\n1,nan,3\n", "line 2, column 2: the value is missing ('nan')"),
        ("a,b,y\n1,Paris,3\n", "line 2, column 'b': 'Paris' is not a number; features must"),
        ("a,b,y\n1,1_000,3\n", "line 2, column 'b': '1_000' is not a number"),
        ("a,b,y\n1,-inf,3\n", "line 2, column 'b': '-inf' is not finite"),
        ("a,b,y\n1,2,\n", "line 2, column 'y': the target is missing ('')"),
        ("a,b,y\n1,2,0.5\n1,2,NA\n", "line 3, column 'y': the target is missing ('NA')"),
        ("a,b,y\n1,2,0.5\n1,2,inf\n", "line 3, column 'y': 'inf' is not finite"),
        ("a,a,y\n1,2,3\n", "columns 1 and 2 are both named 'a'"),
        (",a,y\n1,2,3\n", "column 1 has no name in the header"),
        ('a,b\n1,"2\n', "not a readable .csv file (unexpected end of data)"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(CommandError) as caught:
        load_training(path, None)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_line_numbers_count_lines_inside_quotes(tmp_path):
    path = csv(tmp_path, 'a,y\n1,"two\nlines"\nx,z\n')
    with pytest.raises(CommandError, match="line 4, column 'a': 'x' is not a number"):
        load_training(path, None)


def test_csv_in_another_encoding(tmp_path):
    path = csv(tmp_path, "größe,y\n1,2\n", encoding="latin-1")
    with pytest.raises(CommandError, match="not UTF-8 text"):
        load_training(path, None)


@pytest.mark.parametrize("target", ["z", "0", "4", "-1"])
def test_unknown_target_column(tmp_path, target):
    path = csv(tmp_path, "a,b,y\n1,2,3\n")
    with pytest.raises(CommandError, match=rf"no column '{target}', expected one of a, b, y or 1"):
        load_training(path, target)


# --- .npz -----------------------------------------------------------------------------------------


def test_npz_takes_any_real_dtype_and_flattens_images(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = load_training(npz(tmp_path, X=images, label=np.array([b"a", b"b"])), "label")
    assert data.X.dtype == np.float64
    assert data.X.tolist() == images.reshape(2, 12).tolist()
    assert data.y.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("y", "kind"),
    [([1, 2], "i"), ([True, False], "b"), ([0.5, 1.0], "f"), (["a", "b"], "U")],
)
def test_npz_targets(tmp_path, y, kind):
    for shape in ((2,), (2, 1)):
        data = load_training(npz(tmp_path, X=X[:2], y=np.array(y).reshape(shape)), None)
        assert data.y.dtype.kind == kind
        assert data.y.tolist() == y


NAN = np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, 0.0]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, "no array y; it holds X"),
        ({"y": X}, "no array X; it holds y"),
        ({"a": X, "b": X}, "no array X and y; it holds a, b"),
        ({}, "no array X and y; it holds nothing"),
        ({"X": X.astype(object), "y": X[:, 0]}, "array X holds Python objects, expected numbers"),
        ({"X": X, "y": X[:, 0].astype(object)}, "array y holds Python objects, expected numbers"),
        ({"X": X + 1j, "y": X[:, 0]}, "X has dtype complex128, expected real numbers"),
        ({"X": X.astype(str), "y": X[:, 0]}, "X has dtype <U32, expected real numbers"),
        ({"X": X[:, 0], "y": X[:, 0]}, "X has shape (6,), expected (samples, features)"),
        ({"X": X[:0], "y": X[:0, 0]}, "X has shape (0, 2), expected (samples, features)"),
        ({"X": NAN, "y": [1, 2, 3]}, "X[1, 1] is nan: a missing or infinite value (2 in all)"),
        ({"X": NAN[:1], "y": [np.nan]}, "y[0] is nan: a missing or infinite value (1 in all)"),
        ({"X": X, "y": X[:5, 0]}, "y has shape (5,), expected (6,) for the 6 rows of X"),
        ({"X": X, "y": X}, "y has shape (6, 2), expected (6,) for the 6 rows of X"),
        ({"X": X, "y": X[:, 0] * 1j}, "y has dtype complex128, expected numbers or strings"),
        ({"X": X[:1], "y": [b"\xff"]}, "y holds bytes that are not UTF-8 text"),
        ({"X": X[:1], "y": np.array([2**63], np.uint64)}, "y holds 9223372036854775808, too large"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    path = npz(tmp_path, **arrays)
    with pytest.raises(CommandError) as caught:
        load_training(path, None)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_damaged_and_foreign_files(tmp_path):
    whole = (tmp_path / "whole.npz", tmp_path / "bad.npz")
    np.savez_compressed(whole[0], X=X, y=X[:, 0])
    content = bytearray(whole[0].read_bytes())
    flipped = content.copy()
    flipped[70:90] = bytes(b ^ 255 for b in flipped[70:90])
    for bad in (b"", b"not a zip", content[:-30], flipped):
        whole[1].write_bytes(bad)
        with pytest.raises(CommandError, match=r"bad\.npz: not a readable \.npz archive"):
            read_npz(whole[1], "y")


def test_single_array_under_the_name_of_an_archive(tmp_path):
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(CommandError, match="a single array, expected an archive"):
        load_training(str(tmp_path / "a.npz"), None)


def test_names_of_sources(tmp_path):
    with pytest.raises(CommandError, match=r"expected 'digits' or a file ending in \.npz"):
        load_training("data.parquet", None)
    with pytest.raises(CommandError, match=r"nowhere\.csv: no such file"):
        load_training("nowhere.csv", None)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(CommandError, match=r"folder\.csv: not a file"):
        load_training(str(tmp_path / "folder.csv"), None)
    with pytest.raises(CommandError, match="digits: the target is given"):
        load_training("digits", "y")


# --- what a problem needs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        ([3] * 20, "auto", "all 20 samples are of class '3': nothing to tell apart"),
        ([2.5] * 20, "auto", r"the target is 2.5 in all samples: nothing to learn"),
        (["a"] * 19 + ["b"], "auto", "class 'b' has 1 sample, at least 2 .* --task regression"),
        ([1, 2, 3, 1, 2, 3, 1, 2, 3, 1], "auto", "10 samples of 3 classes.* at least 11"),
        ([1.0, 2, 3, 4, 5], "auto", "5 samples, a regression needs at least 6"),
        ([1, 2, 3, 4, 5], "regression", "5 samples, a regression needs at least 6"),
        (["a", "b"] * 10, "regression", "a regression needs a numeric target, not text"),
        ([0.5, 1.0] * 10, "classification", "the target holds fractions"),
    ],
)
def test_targets_that_cannot_be_learned(y, task, message):
    data = Data(np.arange(2.0 * len(y)).reshape(-1, 2), np.array(y))
    with pytest.raises(CommandError, match=message):
        Problem.prepare(data, task, SETTINGS)


def test_values_whose_variance_overflows():
    data = Data(np.array([[1e308], [-1e308]] * 10), np.array([0, 1] * 10))
    with pytest.raises(CommandError, match="the values are too large"):
        Problem.prepare(data, "auto", SETTINGS)


def test_split_is_stratified_seeded_and_standardised_by_the_training_part():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(5, 3, 100), np.full(100, 0.1)])
    y = np.array(["b"] * 80 + ["a"] * 20)
    data = Data(features, y)
    problem = Problem.prepare(data, "auto", SETTINGS)
    assert problem.encoding.classes.tolist() == ["a", "b"]
    for seed in range(5):
        parts = Problem.prepare(data, "auto", replace(SETTINGS, seed=seed))
        assert np.bincount(parts.training.y).tolist() == [16, 64]
        assert np.bincount(parts.held_out.y).tolist() == [4, 16]
    assert problem.training.X.dtype == np.float32
    # A constant column becomes exactly zero: its deviation of rounding errors is no scale.
    assert problem.encoding.scale[1] == 1
    assert not problem.training.X[:, 1].any()
    assert not problem.held_out.X[:, 1].any()
    again = Problem.prepare(data, "auto", SETTINGS)
    assert again.training.X.tobytes() == problem.training.X.tobytes()


def test_task_overrides_what_the_target_looks_like():
    y = np.arange(20)
    assert Problem.prepare(Data(y[:, None] * 1.0, y), "regression", SETTINGS).encoding.outputs == 1
    y = np.array([1.0, 2.0] * 10)
    encoding = Problem.prepare(Data(y[:, None], y), "classification", SETTINGS).encoding
    assert encoding.classes.tolist() == [1, 2]


# --- the encoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, ["no", "yes"], [-3, 2**62 + 1], [False, True]])
def test_encoding_survives_json_to_the_last_bit(classes):
    rng = np.random.default_rng(0)
    y = rng.normal(1e-9, 1 / 3, 30) if classes is None else np.array(classes * 15)
    data = Data(rng.normal(0, 1 / 3, (30, 4)), y, tuple("abcd"), "é", 4)
    before = Encoding.of(data, None if classes is None else np.unique(y))
    after = Encoding.from_json(json.loads(json.dumps(before.to_json())))
    for name in ("mean", "scale"):
        assert getattr(after, name).tobytes() == getattr(before, name).tobytes()
    assert (after.target_mean, after.target_scale) == (before.target_mean, before.target_scale)
    assert (after.features, after.target, after.position) == (tuple("abcd"), "é", 4)
    assert (
        after.encode_inputs(data.X, "float32").tobytes()
        == before.encode_inputs(data.X, "float32").tobytes()
    )
    if classes is not None:
        assert after.classes.dtype == before.classes.dtype
        assert after.decode(np.eye(2)).tolist() == classes


def test_a_value_too_far_from_the_training_data():
    encoding = Encoding(np.zeros(2), np.ones(2), None)
    with pytest.raises(CommandError, match=r"sample 2, feature 1: 1e\+300 is too far .* float32"):
        encoding.encode_inputs(np.array([[0.0, 0.0], [1e300, 0.0]]), "float32")
    with pytest.raises(CommandError, match="the data have 3 features, the model expects 2"):
        encoding.encode_inputs(np.zeros((1, 3)), "float32")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c,y,a,id\n1,x,2,q\n", [[2, 1]]),  # by name, the rest ignored
        ("a,c\n2,1\n", [[2, 1]]),
        ("2,1\n", [[2, 1]]),  # by position
        ("2,9,1\n", [[2, 1]]),  # with the target where it was in training
    ],
)
def test_columns_for_prediction(tmp_path, text, expected):
    encoding = Encoding(np.zeros(2), np.ones(2), None, 0.0, 1.0, ("a", "c"), "y", 1)
    assert load_features(csv(tmp_path, text), encoding.choose).X.tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "no column c"), ("1,2,3,4\n", "4 columns, the model expects 2")],
)
def test_columns_that_do_not_fit_the_model(tmp_path, text, message):
    encoding = Encoding(np.zeros(2), np.ones(2), None, 0.0, 1.0, ("a", "c"), "y", 1)
    with pytest.raises(CommandError, match=message):
        load_features(csv(tmp_path, text), encoding.choose)
