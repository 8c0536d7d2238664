"""Trainings on data of all kinds that are resumed within an epoch, and other data refused."""

import numpy as np
import pytest
import torch
from kinds_of_data import DATA, LOADER, Rows, Stream, StreamDataset, chunks, mapped, same, train
from torch.utils.data import DataLoader

from pyro_mivae.training import CheckpointError, load_checkpoint


def mapped_tensor(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, DATA.numpy())
    return torch.from_numpy(np.load(path, mmap_mode="r+"))


def loader(noise=True, **settings):
    return DataLoader(Rows(DATA.numpy(), noise=noise), **{**LOADER, **settings})


def seeded_loader():
    return loader(noise=False, generator=torch.Generator().manual_seed(9))


RESUMED = {
    "a memory-mapped tensor": (mapped_tensor, {"batch_size": 20}),
    "a memory-mapped Dataset": (mapped, {"batch_size": 20}),
    "a Dataset with random draws": (
        lambda _: Rows(DATA.numpy(), noise=True),
        {"batch_size": 20, "drop_last": True},
    ),
    "all of a Dataset": (lambda _: Rows(DATA.numpy()), {"batch_size": None}),
    "a DataLoader": (lambda _: loader(), {}),
    "a DataLoader without its last batch": (lambda _: loader(), {"drop_last": True}),
    "a DataLoader with a generator": (lambda _: seeded_loader(), {}),
    "a DataLoader of batches": (lambda _: DataLoader(chunks(DATA), batch_size=None), {}),
    "a list of batches": (lambda _: chunks(DATA), {}),
    "an iterable": (lambda _: Stream(chunks(DATA)), {}),
    "an iterable without its last batch": (lambda _: Stream(chunks(DATA)), {"drop_last": True}),
    "an iterable in a DataLoader": (lambda _: DataLoader(StreamDataset(), batch_size=20), {}),
}


def resumed_and_straight(make, stop, tmp_path, **settings):
    straight = train(make(tmp_path), **settings)
    train(make(tmp_path), steps=stop, folder=tmp_path / "run", **settings)
    return train(make(tmp_path), folder=tmp_path / "run", resume=True, **settings), straight


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("stop", [2, 4])
def test_resumed_in_mid_epoch(name, stop, tmp_path, caplog):
    """Bit for bit; where fit does not order the batches it says so."""
    make, settings = RESUMED[name]
    resumed, straight = resumed_and_straight(make, stop, tmp_path, **settings)
    assert caplog.text.count("to the bit") == ("iterable" in name), caplog.text
    assert same(resumed, straight)


def test_resumed_with_a_worker(tmp_path, caplog):
    resumed, straight = resumed_and_straight(lambda _: loader(num_workers=1), 2, tmp_path)
    assert "to the bit" not in caplog.text
    assert same(resumed, straight)


class OwnNoise(Rows):
    """Rows with a generator that nobody else can seed."""

    def __init__(self, rows):
        super().__init__(rows)
        self.generator = np.random.default_rng()

    def __getitem__(self, index):
        return super().__getitem__(index) + float(self.generator.normal())


@pytest.mark.parametrize(
    "make",
    [
        lambda _: OwnNoise(DATA.numpy()),
        lambda _: DataLoader(OwnNoise(DATA.numpy()), batch_size=20),
    ],
    ids=["Dataset", "DataLoader"],
)
def test_a_dataset_that_differs_at_each_reading_is_resumed_with_a_warning(make, tmp_path, caplog):
    resumed, straight = resumed_and_straight(make, 2, tmp_path)
    assert "twice gave different data: it is to the bit the one without" in caplog.text
    assert not same(resumed, straight)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Stream(chunks(DATA)), Stream(chunks(DATA.flip(0)))),
        # Each worker gets a copy of the same generator: two readings agree, two programs do not.
        [DataLoader(OwnNoise(DATA.numpy()), batch_size=20, num_workers=1) for _ in range(2)],
    ],
    ids=["iterables", "workers"],
)
def test_another_first_batch_is_said(first, second, tmp_path, caplog):
    train(first, steps=2, folder=tmp_path)
    train(second, steps=3, folder=tmp_path, resume=True)
    assert "the first batch is another one than in the checkpoint's training" in caplog.text


def test_a_resumed_iterable_reads_the_current_epoch_alone(tmp_path):
    """The length of the epochs is in the checkpoint."""

    class Counted(Stream):
        read = 0

        def __iter__(self):
            for batch in self.batches:
                self.read += 1
                yield batch

    train(Counted(chunks(DATA)), steps=5, folder=tmp_path)
    assert load_checkpoint(tmp_path)["record"]["steps_per_epoch"] == 3
    stream = Counted(chunks(DATA))
    train(stream, steps=6, folder=tmp_path, resume=True)
    # The first batch to see the model with it and once more for the checksum, each with one ahead.
    assert stream.read == 2 + 2 + 3


other = DATA.flip(0) + 1
OTHERS = {
    "another Dataset": (
        lambda: (Rows(DATA.numpy()), Rows(other.numpy())),
        {},
        "checksum of the data",
    ),
    "a longer Dataset": (
        lambda: (Rows(DATA[:49].numpy()), Rows(DATA.numpy())),
        {},
        "49 data there, 50 now",
    ),
    "a loader of others": (
        lambda: (DataLoader(DATA, batch_size=20), DataLoader(other, batch_size=20)),
        {},
        "checksum of the data",
    ),
    "other batches of a loader": (
        lambda: (DataLoader(DATA, batch_size=20), DataLoader(DATA, batch_size=24)),
        {},
        "batch_size: 20 there, 24 now",
    ),
    "another sampler": (
        lambda: (DataLoader(DATA, batch_size=20), DataLoader(DATA, **LOADER)),
        {},
        "order: SequentialSampler there, RandomSampler now",
    ),
    "another list": (lambda: (chunks(DATA), chunks(other)), {}, "checksum of the data"),
    "a shorter list": (
        lambda: (chunks(DATA), chunks(DATA[:20])),
        {},
        "steps_per_epoch: 3 there, 1 now",
    ),
    "another kind": (lambda: (DATA, Rows(DATA.numpy())), {}, "data: tensors there, Dataset now"),
    "another seed": (
        lambda: (DataLoader(DATA, **LOADER), DataLoader(DATA, **LOADER)),
        {"seed": 1},
        "seed: 0 there, 1 now",
    ),
    "drop_last": (
        lambda: (DataLoader(DATA, batch_size=20), DataLoader(DATA, batch_size=20)),
        {"drop_last": True},
        "steps_per_epoch: 3 there, 2 now",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_no_training_goes_on_with_other_data(name, tmp_path):
    make, settings, words = OTHERS[name]
    first, second = make()
    train(first, steps=2, folder=tmp_path)
    with pytest.raises(CheckpointError, match=words):
        train(second, folder=tmp_path, resume=True, **settings)
