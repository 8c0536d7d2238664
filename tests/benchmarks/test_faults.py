"""The faults of `benchmarks.faults`: those that take no training all, of the others some."""

import pytest

from benchmarks.faults import damaged_files, disk, folders, resuming, strangers, values
from benchmarks.faults.__main__ import POINTS, injected, main

QUICK = {
    **{n: f for n, f in disk.FAULTS.items() if not n.endswith("checkpoint")},
    **damaged_files.FAULTS,
    **{n: f for n, f in strangers.FAULTS.items() if not n.startswith("mathematics")},
    **{n: f for n, f in values.FAULTS.items() if n.startswith(("fit", "numbers"))},
    **{n: f for n, f in folders.FAULTS.items() if n.startswith(("twenty", "overwriting", "fails"))},
    **{n: f for n, f in resuming.FAULTS.items() if n.startswith("stopped")},
}


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_fault_is_survived(name):
    assert not injected(QUICK[name])


def test_there_are_more_than_a_hundred_faults():
    assert len(POINTS) == 6
    assert sum(map(len, POINTS.values())) > 200


def test_a_fault_that_is_not_survived_is_told(monkeypatch, capsys):
    def fails(folder):
        raise AssertionError(f"{folder.is_dir()}: this is why")

    monkeypatch.setitem(POINTS, "1 folders", {"bad": fails, "good": lambda folder: None})
    assert main(["--only", "1 folders"]) == 1
    said = capsys.readouterr().out
    assert "DID NOT SURVIVE  1 folders: bad" in said
    assert "True: this is why" in said
    assert "1 of 2 survived" in said


@pytest.mark.slow
def test_all_faults_are_survived():
    assert main([]) == 0
