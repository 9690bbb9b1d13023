"""save and load: a network from its file alone, PyTorch's files both ways, damaged files."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastlinear as fl

f4 = np.float32


def networks():
    yield fl.Linear(4, 3, rng=0)
    yield fl.Linear(4, 3, bias=False, activation=fl.ELU(0.25), dtype=np.float64, rng=0)
    yield fl.MLP([4, 5, 3], rng=0)
    yield fl.MLP([4, 5, 3], activation=None, bias=False, dtype=np.float64, rng=0)
    yield fl.MLP([4, 5, 3], activation=fl.GELU("tanh"), rng=0)
    yield fl.Sequential(
        fl.Linear(4, 5, activation="tanh", rng=0),
        fl.Sequential(fl.Linear(5, 5, rng=1), fl.Softplus(2, threshold=np.inf)),
        fl.Linear(5, 3, rng=2),
        fl.Threshold(0.1, -1.5),
        fl.Softmax(),
    )
    yield fl.Hardtanh(-0.1, 1 / 3)


@pytest.mark.parametrize("net", list(networks()), ids=lambda net: type(net).__name__)
def test_a_network_comes_back_from_its_file_alone(net, tmp_path):
    path = tmp_path / "net.safetensors"
    net.save(path)
    again = fl.load(path)
    assert type(again) is type(net)
    assert repr(again) == repr(net)
    assert list(again.params) == list(net.params)
    for name, w in net.params.items():
        assert again.params[name].tobytes() == w.tobytes()
        assert again.params[name].dtype == w.dtype
    X = np.random.default_rng(0).normal(size=(6, 4)).astype(net.dtype or f4)
    assert (again.predict(X) == net.predict(X)).all()


def test_pytorch_reads_our_files(tmp_path):
    """Its names, shapes and C order, here through safetensors' own reader."""
    path = str(tmp_path / "net.safetensors")
    net = fl.MLP([4, 5, 3], rng=0)
    net.save(path)
    state = load_file(path)
    assert set(state) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert state["0.weight"].shape == (5, 4)
    assert all((state[name] == w).all() for name, w in net.params.items())


def test_we_read_pytorchs_files(tmp_path):
    """What safetensors.torch.save_file(net.state_dict(), path) writes: no metadata."""
    path = str(tmp_path / "torch.safetensors")
    rng = np.random.default_rng(0)
    state = {
        "0.weight": rng.normal(size=(5, 4)).astype(f4),
        "0.bias": rng.normal(size=5).astype(f4),
        "2.weight": rng.normal(size=(3, 5)).astype(f4),
        "2.bias": rng.normal(size=3).astype(f4),
    }
    save_file(state, path)
    fused = fl.MLP([4, 5, 3])
    separate = fl.Sequential(fl.Linear(4, 5), fl.ReLU(), fl.Linear(5, 3))
    for net in (fused, separate):
        net.load_state_dict(fl.read_state_dict(path))
        assert all((net.params[name] == w).all() for name, w in state.items())
    with pytest.raises(ValueError, match=r"read_state_dict\('.*torch.safetensors'\).*0\.weight"):
        fl.load(path)


def test_state_dict_round_trip_and_independence():
    net, other = fl.MLP([4, 5, 3], rng=0), fl.MLP([4, 5, 3], rng=1)
    state = net.state_dict()
    assert all(a.flags.c_contiguous for a in state.values())
    other.load_state_dict(state)
    for a in state.values():
        a[...] = 0
    assert net.params["0.weight"].all()
    assert (other.params["0.weight"] == net.params["0.weight"]).all()


def test_metadata(tmp_path):
    path = tmp_path / "net.safetensors"
    net = fl.Linear(2, 2)
    net.save(path, metadata={"labels": "cat,dog"})
    assert fl.read_metadata(path) == {"labels": "cat,dog"}
    fl.load(path)
    with pytest.raises(ValueError, match="'fastlinear' holds the architecture"):
        net.save(path, metadata={"fastlinear": "x"})
    with pytest.raises(TypeError, match="metadata: expected str to str, got 'labels': 3"):
        net.save(path, metadata={"labels": 3})
    assert fl.read_metadata(path) == {"labels": "cat,dog"}  # the file was left as it was


def test_saving_what_a_file_cannot_name(tmp_path):
    class Mine(fl.Linear):
        pass

    class ReLU(fl.ReLU):
        pass

    for layer in (Mine(2, 2), ReLU(), fl.Sequential(Mine(2, 2))):
        with pytest.raises(TypeError, match="one of fastlinear's own classes"):
            layer.save(tmp_path / "net")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="cannot be written"):
        fl.ReLU().save(tmp_path / "no folder" / "net")


def linear(**arguments):
    return {"type": "Linear", "in_features": 2, "out_features": 2} | arguments


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (linear(type="System"), "unknown layer 'System'; known are CELU"),
        (linear(in_features=3), r"state\['weight'\]: expected shape \(2, 3\)"),
        (linear(dtype="float64"), r"state\['weight'\]: expected float64, got float32"),
        (linear(bias=False), r"surplus \['bias'\]"),
        (linear(activation="rely"), "activation: expected one of"),
        (linear(surprise=1), "unexpected keyword argument 'surprise'"),
        ({"type": "Linear"}, "missing 2 required positional arguments"),
        ({"type": "Sequential", "layers": [1]}, "expected layers"),
        ({"type": "Sequential", "layers": 1}, "damaged"),
        ({"type": "MLP", "sizes": [10**9, 10**9, 10**9]}, "damaged"),
        ({}, "damaged"),
        ([], "damaged"),
        (None, "damaged"),
    ],
)
def test_headers_that_are_wrong(network, message, tmp_path):
    path = str(tmp_path / "net")
    header = json.dumps({"version": 1, "network": network})
    state = {"weight": np.zeros((2, 2), f4), "bias": np.zeros(2, f4)}
    save_file(state, path, metadata={"fastlinear": header})
    with pytest.raises(ValueError, match=message) as caught:
        fl.load(path)
    assert path in str(caught.value)


@pytest.mark.parametrize("header", ["", "{", "[]", '{"version": 99}', "[" * 10**5])
def test_headers_that_are_no_headers(header, tmp_path):
    path = str(tmp_path / "net")
    save_file({"weight": np.zeros((2, 2), f4)}, path, metadata={"fastlinear": header})
    with pytest.raises(ValueError, match="damaged or of another version"):
        fl.load(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "net"
    fl.Linear(2, 2, rng=0).save(path)
    good = path.read_bytes()
    for bad in (good[:-1], good[:100], good[:7], b"", b"\x80\x04 a pickle, say", good + b"more"):
        path.write_bytes(bad)
        for read in (fl.load, fl.read_state_dict, fl.read_metadata):
            with pytest.raises(ValueError, match="not a safetensors file, or damaged"):
                read(path)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere"):
        fl.load(tmp_path / "nowhere")
    with pytest.raises(OSError, match="cannot be read"):
        fl.load(tmp_path)


def test_a_dtype_that_numpy_lacks(tmp_path):
    path = tmp_path / "net"
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    try:
        known = np.dtype("bfloat16")  # a library that is installed may have brought it
    except TypeError:
        with pytest.raises(ValueError, match="a dtype that NumPy lacks"):
            fl.read_state_dict(path)
    else:
        assert fl.read_state_dict(path)["a"].dtype == known


def test_pytorch_itself(tmp_path):
    """Where PyTorch is installed, its own classes read and write the files."""
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    path = str(tmp_path / "net")
    net = fl.MLP([4, 5, 3], activation="tanh", rng=0)
    net.save(path)
    peer = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    peer.load_state_dict(files.load_file(path))
    X = np.random.default_rng(0).normal(size=(6, 4)).astype(f4)
    difference = peer(torch.from_numpy(X)).detach().numpy() - net.predict(X)
    assert np.abs(difference).max() < 32 * np.finfo(f4).eps
    files.save_file(peer.state_dict(), path)
    net.load_state_dict(fl.read_state_dict(path))
    net.load_state_dict(peer.state_dict())


@pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes are POSIX's")
def test_what_is_at_the_path_stays_what_it_is(tmp_path):
    net = fl.Linear(3, 2, rng=0)
    path, link = tmp_path / "net", tmp_path / "link"
    before = os.umask(0o022)
    try:
        net.save(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o664)
    link.symlink_to(path)
    net.params["bias"] = np.ones(2, np.float32)
    net.save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o664
    assert fl.load(path).params["bias"].tolist() == [1, 1]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    net.save(pipe)
    assert os.read(reader, 10**6) == path.read_bytes()
    os.close(reader)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "net", "pipe"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OSError, match="cannot be written"):
        fl.Linear(3, 2).save(tmp_path)
    fl.Linear(3, 2).save(os.fsencode(tmp_path / "bytes"))
    assert (fl.load(os.fsencode(tmp_path / "bytes"))).out_features == 2
