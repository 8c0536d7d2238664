import logging
import os

import numpy as np
import pytest

from pyro_mivae.datasets.cache import cached, default_folder, fingerprint

ARRAYS = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "t": np.linspace(0, 1, 5)}


@pytest.fixture
def counted():
    """A maker of arrays, and how often it was asked."""
    calls = []

    def make():
        calls.append(1)
        return {name: array.copy() for name, array in ARRAYS.items()}

    return make, calls


def check(found):
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_second_call_reads_what_the_first_wrote(tmp_path, counted, caplog):
    make, calls = counted
    for _ in range(3):
        check(cached("kind", "k" * 64, make, folder=tmp_path / "new" / "folder"))
    assert len(calls) == 1
    (file,) = (tmp_path / "new" / "folder").iterdir()  # and no temporary one
    assert file.name == f"kind-{'k' * 32}.npz"
    check(cached("kind", "other" * 10, make, folder=tmp_path / "new" / "folder"))
    check(cached("other", "k" * 64, make, folder=tmp_path / "new" / "folder"))
    assert len(calls) == 3
    assert not caplog.records


@pytest.mark.parametrize("kind", ["one bit", "cut short", "empty", "longer", "head"])
def test_damage_is_seen_and_mended(tmp_path, counted, caplog, kind):
    make, calls = counted
    cached("kind", "key", make, folder=tmp_path)
    path = tmp_path / "kind-key.npz"
    good = path.read_bytes()
    where = good.index(ARRAYS["images"].tobytes()) + 5
    bad = {
        "one bit": good[:where] + bytes([good[where] ^ 1]) + good[where + 1 :],
        "cut short": good[:-1],
        "empty": b"",
        "longer": good + b"\n",
        "head": b"0" + good[1:] if good[:1] != b"0" else b"1" + good[1:],
    }[kind]
    path.write_bytes(bad)
    check(cached("kind", "key", make, folder=tmp_path))
    assert len(calls) == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in record.getMessage()
    assert "anew: expected SHA-256" in record.getMessage()
    assert path.read_bytes() == good
    check(cached("kind", "key", make, folder=tmp_path))
    assert len(calls) == 2


def test_a_folder_that_cant_be_written_costs_time_only(tmp_path, counted, caplog):
    make, calls = counted
    (tmp_path / "file").write_text("not a folder")
    for _ in range(2):
        check(cached("kind", "key", make, folder=tmp_path / "file"))
    assert len(calls) == 2
    assert "can't be kept for the next time" in caplog.text
    assert (tmp_path / "file").read_text() == "not a folder"


def test_nothing_is_kept_of_what_fails(tmp_path):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached("kind", "key", fail, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_default_folder_is_that_of_the_digits(monkeypatch, tmp_path, counted):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_folder() == tmp_path / "cache" / "pyro_mivae"
    cached("kind", "key", counted[0])
    assert os.listdir(tmp_path / "cache" / "pyro_mivae") == ["kind-key.npz"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder() == tmp_path / "home" / ".cache" / "pyro_mivae"


def test_fingerprints_tell_types_shapes_and_order_apart():
    a = np.arange(6, dtype=np.int64)
    prints = [
        fingerprint(*parts)
        for parts in (
            (a,),
            (a.reshape(2, 3),),
            (a.astype(np.int32),),
            (a.astype(np.uint64),),
            (a, 1),
            (1, a),
            (a, 2),
            ("1", a),
            (a[:3], a[3:]),
            (a[:2], a[2:]),
        )
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(a) == fingerprint(a.copy())
    assert fingerprint(a.reshape(2, 3).T) == fingerprint(a.reshape(2, 3).T.copy())
