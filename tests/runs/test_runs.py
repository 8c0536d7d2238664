import json

import pytest

from pyro_mivae import runs
from pyro_mivae.runs.history import History


def test_config_names_versions_and_commit(tmp_path):
    runs.write_config(tmp_path, {"seed": 3, "path": tmp_path}, {})
    config = runs.read_config(tmp_path)
    import torch

    assert config["versions"]["torch"] == torch.__version__.split("+")[0]
    assert config["settings"]["path"] == str(tmp_path)
    assert "commit" in config
    runs.write_config(tmp_path, {"seed": 3}, {})
    assert len(runs.read_config(tmp_path)["commands"]) == 2


def test_damaged_or_missing_config(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run"):
        runs.read_config(tmp_path)
    (tmp_path / runs.CONFIG).write_text('{"settings": ')
    with pytest.raises(ValueError, match=r"config\.json can't be read"):
        runs.read_config(tmp_path)


def test_json_has_no_nan(tmp_path):
    runs.write_json(tmp_path / "m.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_history_round_trip(tmp_path):
    history = History()
    history.add(10, 0.5, "train", {"loss": 1.25, "mi/c/sample": -0.1})
    history.add(10, 0.5, "validation", {"loss": 0.1 + 0.2})
    history.write_csv(tmp_path / "history.csv")
    read = History.read_csv(tmp_path / "history.csv")
    assert read.rows == history.rows
    assert read.series("loss", "validation") == ([10], [0.1 + 0.2])
    with pytest.raises(KeyError, match="no column 'kl'"):
        read.series("kl")
