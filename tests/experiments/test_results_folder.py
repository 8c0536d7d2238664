"""Folders of results: one process at a time, nothing replaced unasked, nothing left in vain."""

import os
import subprocess
import sys

import pytest

from experiments.factors import program as factors
from experiments.generator import program as generator
from experiments.information import program as information
from experiments.open_question.jobs import measure_codes
from experiments.results_folder import results_folder
from pyro_mivae.runs.lock import FolderInUseError

HOLD = """
import sys, time
from pathlib import Path
from experiments.results_folder import results_folder
with results_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def taken(tmp_path):
    """A folder that another process writes its results into."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield tmp_path / "out", process.pid
    process.kill()
    process.communicate()


def test_another_process_is_named(taken, capsys):
    folder, pid = taken
    with pytest.raises(FolderInUseError, match=f"process {pid} "), results_folder(folder):
        pass
    for program, arguments in (
        *((generator, ["run"]), (information, ["run"])),
        *((measure_codes, ["run"]), (factors, ["--data", "mnist-5k"])),
    ):
        assert program.main([*arguments, "--out", str(folder)]) == 1
        assert f"process {pid} " in capsys.readouterr().err


def test_results_are_kept_unless_they_may_be_replaced(tmp_path):
    (tmp_path / "numbers.json").write_text("{}")
    with pytest.raises(FileExistsError, match="holds results"):
        results_folder(tmp_path, "numbers.json").__enter__()
    with results_folder(tmp_path, "numbers.json", overwrite=True) as folder:
        assert (folder / "numbers.json").exists()


def test_a_folder_made_in_vain_is_removed_and_one_with_results_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), results_folder(tmp_path / "out") as folder:
        raise ZeroDivisionError
    assert not folder.exists()
    with results_folder(tmp_path / "out") as folder:
        (folder / "numbers.json").write_text("{}")
    assert os.listdir(folder) == ["numbers.json"]


def test_no_folder_that_was_made_in_vain_is_left(tmp_path):
    def fail(out):
        with results_folder(out):
            raise ValueError("no run")

    with pytest.raises(ValueError, match="no run"):
        fail(tmp_path / "no" / "such" / "run" / "information")
    assert not (tmp_path / "no").exists()
