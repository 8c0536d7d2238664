"""Run folders: new, refused, replaced once the new run has started, left free by failed ones."""

import os
import shutil
import subprocess
import sys

import pytest

from pyro_mivae import runs
from pyro_mivae.runs.lock import LOCK, FolderInUseError, locked


def make_run(folder, seed):
    with runs.claimed(folder) as claim:
        runs.write_config(folder, {"seed": seed}, {"name": "mnist"})
        (folder / "checkpoint.ckpt").write_text(str(seed))
        claim.settle()


def fail_early(folder, **kwargs):
    with runs.claimed(folder, **kwargs):
        runs.write_config(folder, {"seed": 3}, {})
        raise ZeroDivisionError


def seed_of(folder):
    return runs.read_config(folder)["settings"]["seed"]


def test_a_run_is_refused_and_kept(tmp_path):
    folder = tmp_path / "a" / "run"
    make_run(folder, 1)
    with pytest.raises(FileExistsError, match=r"exists and holds a run$"), runs.claimed(folder):
        pass
    assert seed_of(folder) == 1
    assert not (folder / LOCK).exists()


def test_a_run_is_replaced_once_the_new_one_has_started(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, 1)
    with runs.claimed(folder, overwrite=True) as claim:
        assert [p.name for p in folder.iterdir()] == [LOCK]
        assert len(list(tmp_path.iterdir())) == 2
        runs.write_config(folder, {"seed": 2}, {})
        (folder / "checkpoint.ckpt").write_text("2")
        claim.settle()
        assert len(list(tmp_path.iterdir())) == 1
    assert seed_of(folder) == 2


def test_a_new_run_that_fails_early_restores_the_old_one(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, 1)
    with pytest.raises(ZeroDivisionError):
        fail_early(folder, overwrite=True)
    assert seed_of(folder) == 1
    assert os.listdir(tmp_path) == ["run"]


def test_a_killed_start_restores_the_old_run_at_the_next_one(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, 1)
    program = (
        "import os, sys; from pathlib import Path; from pyro_mivae import runs\n"
        "with runs.claimed(Path(sys.argv[1]), overwrite=True): os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileExistsError, match="holds a run"), runs.claimed(folder):
        pass
    assert seed_of(folder) == 1


def test_a_run_without_any_result_blocks_nothing(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        fail_early(folder)
    assert not folder.exists()
    folder.mkdir()  # as a killed one leaves it
    runs.write_config(folder, {"seed": 1}, {})
    make_run(folder, 2)
    assert seed_of(folder) == 2


def test_a_run_that_is_training_is_not_replaced(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, 1)
    (folder / LOCK).write_text("elsewhere/boot 7 token noon")
    words = "process 7 on elsewhere, since noon"
    with pytest.raises(FolderInUseError, match=words), runs.claimed(folder, overwrite=True):
        pass
    assert seed_of(folder) == 1


def test_what_is_not_a_run_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    words = "is not a run"
    with pytest.raises(FileExistsError, match=words), runs.claimed(tmp_path, overwrite=True):
        pass
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_name_that_is_taken_is_numbered(tmp_path):
    names = [runs.new_folder(tmp_path / "a" / "run").name for _ in range(3)]
    assert names == ["run", "run-2", "run-3"]
    with locked(tmp_path / "a" / "run"):
        assert runs.new_folder(tmp_path / "a" / "run").name == "run-4"


@pytest.mark.parametrize("name", ["config.json", "history.csv"])
def test_the_folder_of_another_program_is_never_deleted(tmp_path, name):
    (tmp_path / name).write_text('{"settings": {}, "model_type": "bert"}')
    with pytest.raises(FileExistsError, match="is not a run"), runs.claimed(tmp_path):
        pass
    with (
        pytest.raises(FileExistsError, match="is not a run"),
        runs.claimed(tmp_path, overwrite=True),
    ):
        pass
    assert os.listdir(tmp_path) == [name]


def test_a_resumed_run_forgets_the_one_that_it_replaced(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, 1)
    (tmp_path / ".run.replaced").mkdir()
    with runs.resumed(folder):
        assert (folder / LOCK).exists()
    assert os.listdir(tmp_path) == ["run"]
    with pytest.raises(FileNotFoundError, match="is not a run"), runs.resumed(tmp_path):
        pass


def test_a_removed_folder_hides_no_error(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, 1)

    def remove_and_fail():
        with runs.claimed(folder, overwrite=True):
            shutil.rmtree(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        remove_and_fail()
    assert seed_of(folder) == 1
