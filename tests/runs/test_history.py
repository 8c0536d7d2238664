"""The history's names, its text and its table; those of earlier versions are read."""

import csv
import math
from typing import get_args

from pyro_mivae.infer import CHANNELS, Channel
from pyro_mivae.runs.history import CHANNELS as NAMED
from pyro_mivae.runs.history import History

OLD = [
    {"step": 5, "epoch": 0.5, "split": "train", "loss": 9.0, "mi/sleep": 1.0, "mi/c/sleep": 0.75},
    {"step": 5, "epoch": 0.5, "split": "validation", "mi/mean": 2.0, "mi/c/mean": 3.0},
]


def test_channels_are_those_of_the_elbo():
    assert NAMED == CHANNELS == get_args(Channel)


def test_training_rows_that_named_the_channel_are_read_under_the_new_names(tmp_path):
    path = tmp_path / "history.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(n for row in OLD for n in row)))
        writer.writeheader()
        writer.writerows(OLD)
    for history in (History.read_csv(path), History(OLD)):
        assert history.series("mi/c") == ([5], [0.75])
        assert history.series("mi") == ([5], [1.0])
        assert history.series("mi/c/mean", "validation") == ([5], [3.0])
        assert "mi/c/sleep" not in history.columns()


def test_a_site_with_the_name_of_a_channel_keeps_it():
    row = {"step": 1, "epoch": 1.0, "split": "train", "mi": 1.0, "mi/sample": 1.0}
    assert History([row]).rows == [row]


def test_history_as_a_table_and_as_words():
    history = History(OLD)
    table = history.to_pandas()
    assert list(table.columns) == history.columns()
    assert table["mi/c"].tolist()[0] == 0.75
    assert math.isnan(table["mi/c"].tolist()[1])
    assert len(History().to_pandas()) == 0
    assert repr(history).splitlines() == [
        "History of 2 rows, in nats per datum",
        "  train: 1 row, at step 5: loss 9.00, mi 1.00",
        "  validation: 1 row, at step 5: other terms",
    ]
