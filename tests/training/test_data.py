"""What fit and evaluate take as data: tensors, Datasets, DataLoaders, iterables of batches."""

import itertools
import warnings

import pytest
import torch
from kinds_of_data import (
    CPU,
    DATA,
    LOADER,
    Guide,
    Model,
    Rows,
    Stream,
    StreamDataset,
    chunks,
    mapped,
    same,
    train,
)
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from pyro_mivae.batches import permutation
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import evaluate, fit
from pyro_mivae.training.sources import make_source


@pytest.mark.parametrize("data", [TensorDataset(DATA), Rows(DATA.numpy())])
def test_a_dataset_trains_as_its_tensors_do(data):
    """The permutation is a function of seed and epoch, so that the numbers are the same."""
    assert same(train(data, batch_size=20), train(DATA, batch_size=20))
    assert same(
        train(data, batch_size=20, drop_last=True), train(DATA, batch_size=20, drop_last=True)
    )


def test_the_order_of_a_loader_changes_by_epoch_and_not_by_the_state_of_the_generator():
    torch.manual_seed(5)
    source = make_source(DataLoader(DATA, **LOADER), None, 3, None, CPU)
    first = [source.at(step).args[0] for step in range(6)]
    torch.manual_seed(6)
    state = torch.get_rng_state()
    source = make_source(DataLoader(DATA, **LOADER), None, 3, None, CPU)
    again = [source.at(step).args[0] for step in range(6)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[3])
    assert torch.equal(torch.cat(first[:3]).sort(0)[0], DATA.sort(0)[0])


def test_a_memory_mapped_dataset_is_not_read_whole(tmp_path):
    data = mapped(tmp_path)
    source = make_source(data, 20, 0, None, CPU)
    args = source.at(1).args
    assert data.read == permutation(50, 0, 0)[20:40].tolist()
    torch.testing.assert_close(args[0], DATA[data.read])
    source.at(1)
    assert len(data.read) == 20


@pytest.mark.parametrize(
    "data",
    [
        Rows(DATA.numpy(), label=True),
        DataLoader(Rows(DATA.numpy(), label=True), batch_size=20),
        [{"x": x, "y": y} for x, y in chunks(DATA, torch.arange(50))],
    ],
    ids=["Dataset", "DataLoader", "list"],
)
def test_dicts_are_keyword_arguments(data):
    rows, _ = train(data)
    assert len(rows) == 7
    elbo = TraceMI_ELBO(channel="sample", codes="z")
    torch.manual_seed(2)
    pair = Model(), Guide()
    expected = evaluate(*pair, elbo, DATA, batch_size=20)
    settings = {"batch_size": 20} if isinstance(data, Rows) else {}
    assert evaluate(*pair, elbo, data, **settings) == expected
    prepared = evaluate(*pair, elbo, data, prepare=lambda x, y: (x, y), **settings)
    assert prepared == expected


@pytest.mark.parametrize(
    "data",
    [
        TensorDataset(DATA),
        Rows(DATA.numpy()),
        DataLoader(DATA, batch_size=20),
        Stream(chunks(DATA)),
        chunks(DATA),
    ],
    ids=["TensorDataset", "Dataset", "DataLoader", "iterable", "list"],
)
def test_evaluate_takes_the_same(data):
    """Batches of 20, 20 and 10 data, with the mean over the data."""
    torch.manual_seed(2)
    pair = Model(), Guide()
    elbo = TraceMI_ELBO(channel="sample", codes="z")
    own = isinstance(data, DataLoader | Stream | list)
    terms = evaluate(*pair, elbo, data, **({} if own else {"batch_size": 20}))
    assert terms == evaluate(*pair, elbo, DATA, batch_size=20)


def test_all_data_of_a_dataset_in_each_step():
    assert same(train(Rows(DATA.numpy()), batch_size=None), train(DATA, batch_size=None))


def test_shares_of_a_dataset_and_a_loader():
    for data in (Rows(DATA.numpy()), DataLoader(Rows(DATA.numpy()), **LOADER)):
        size = 20 if isinstance(data, Rows) else None
        parts = [make_source(data, size, 0, None, CPU, (rank, 2)).at(2) for rank in (0, 1)]
        together = make_source(data, size, 0, None, CPU).at(2)
        assert [part.count for part in parts] == [5, 5]
        assert together.count == 10
        assert torch.equal(parts[0].args[0], together.args[0][::2])
        assert torch.equal(parts[1].args[0], together.args[0][1::2])


class Counted(Stream):
    """Batches that are counted as they are read."""

    read = 0

    def __iter__(self):
        for batch in self.batches:
            self.read += 1
            yield batch


def test_an_endless_iterable_is_read_one_batch_ahead():
    endless = Counted(itertools.cycle(chunks(DATA)))
    rows, _ = train(endless, steps=5)
    assert [row["epoch"] for row in rows] == [0] * 5
    assert endless.read == 6


def test_epochs_of_an_iterable_are_counted_once_the_first_has_ended():
    """Three batches: the end of the first epoch is known with its last one."""
    epochs = []
    stream = Counted(chunks(DATA))
    callbacks = [lambda event: event.kind == "epoch" and epochs.append(event.epoch)]
    rows, _ = train(stream, callbacks=callbacks)
    assert [row["epoch"] for row in rows] == [0, 0, 1, 4 / 3, 5 / 3, 2, 7 / 3]
    assert epochs == [1, 2]
    assert stream.read == 3 + 3 + 2


DROPPED = {
    "a DataLoader": (lambda: DataLoader(DATA, batch_size=20), 2),
    "a DataLoader that does so itself": (
        lambda: DataLoader(DATA, batch_size=20, drop_last=True),
        2,
    ),
    "a DataLoader of its own batches": (lambda: DataLoader(chunks(DATA), batch_size=None), 2),
    "a DataLoader of a stream": (lambda: DataLoader(StreamDataset(), batch_size=20), 2),
    "a list": (lambda: chunks(DATA), 2),
    "an iterable": (lambda: Stream(chunks(DATA)), 2),
    "no smaller last batch": (lambda: Stream(chunks(DATA[:40])), 2),
    "a smaller batch in the middle": (
        lambda: Stream([(DATA[:20],), (DATA[20:30],), (DATA[30:],)]),
        3,
    ),
    "a single batch": (lambda: Stream([(DATA,)]), 1),
}


@pytest.mark.parametrize("name", DROPPED)
def test_drop_last_of_batches_that_are_there(name):
    make, number = DROPPED[name]
    source = make_source(make(), None, 0, None, CPU, drop_last=True)
    sizes = [int(source.at(step).count) for step in range(3 * number)]
    assert source.steps_per_epoch == number
    assert sizes[:number] * 3 == sizes
    assert 10 not in sizes or "middle" in name


def test_the_batch_size_of_a_loader_counts():
    with pytest.warns(UserWarning, match="batch_size=25 is left out: .* of DataLoader"):
        rows, _ = train(DataLoader(DATA, batch_size=10), steps=10, batch_size=25)
    assert rows[-1]["epoch"] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(DataLoader(DATA, batch_size=10), steps=1)
        train(DataLoader(DATA, batch_size=10), steps=1, batch_size=10)


class Shrinking(Stream):
    """An epoch less each time."""

    def __iter__(self):
        yield from list(self.batches)
        self.batches = self.batches[1:]


class Misjudged(Stream):
    def __len__(self):
        return 2


REFUSED = {
    "a generator": (lambda: (x for x in chunks(DATA)), {}, "generator can be gone through only"),
    "an iterator": (lambda: iter(chunks(DATA)), {}, "list_iterator can be gone through only once"),
    "a loader of nothing": (lambda: DataLoader([]), {}, "at least one batch .*found DataLoader"),
    "no batches": (lambda: Stream([]), {}, "at least one batch in an epoch, found Stream of 0"),
    "an empty Dataset": (lambda: Rows(DATA[:0].numpy()), {}, "the Dataset is empty, found Rows"),
    "an empty list": (list, {}, "data: expected a tensor"),
    "an array": (DATA.numpy, {}, "a torch Dataset, a DataLoader.* found ndarray"),
    "a dict": (lambda: {"x": DATA}, {}, "found dict"),
    "a text": (lambda: "mnist", {}, "found str"),
    "a number": (lambda: 3, {}, "found int"),
    "an IterableDataset": (StreamDataset, {}, "pass DataLoader\\(dataset, batch_size="),
    "batches of numbers": (lambda: [1, 2], {}, "expected batches that are tensors.*found int"),
    "batches of texts": (lambda: Stream(["a"]), {}, "expected batches that are .*found str"),
    "dicts without names": (lambda: [{0: DATA}], {}, "dict .*keyword arguments.* found 0"),
    "data that can't be stacked": (
        lambda: Rows([torch.zeros(2), torch.zeros(3)]),
        {},
        "can't make a batch of the data of Rows.*collate_fn",
    ),
    "a list of batches that are tensors": (
        lambda: list(DATA.split(20)),
        {},
        r"equal length above 0, found lengths \[20, 20, 10\].*a list of tuples",
    ),
    "batches with texts": (lambda: [(DATA, "a")], {}, "found str in one"),
    "scalars": (lambda: Stream([torch.tensor(1.0)]), {}, "whose first dimension is that of"),
    "drop_last of a loader's only batch": (
        lambda: DataLoader(DATA, batch_size=60),
        {"drop_last": True},
        "leaves no batch of 50",
    ),
    "drop_last of all": (lambda: Rows(DATA.numpy()), {"drop_last": True}, "leaves no batch of 50"),
    "fewer batches later": (lambda: Shrinking(chunks(DATA)), {}, "expected 3 batches .*found 2 in"),
    "more batches": (lambda: Misjudged(chunks(DATA)), {}, "expected 2 batches .*found more in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    make, settings, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        train(make(), **settings)


def test_iterables_are_of_one_process():
    with pytest.raises(ValueError, match="several processes can't share the batches of list"):
        make_source(chunks(DATA), None, 0, None, CPU, (0, 2))
    own = DataLoader(DATA, sampler=list(range(50)))
    split = DataLoader(DATA, sampler=DistributedSampler(DATA, num_replicas=2, rank=0))
    for loader, words in ((own, "list orders the data itself"), (split, "other data already")):
        with pytest.raises(ValueError, match=words):
            make_source(loader, None, 0, None, CPU, (0, 2))


def test_batch_normalisation_and_a_loader_that_leaves_one_datum():
    class Normalising(Guide):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x, y=None):
            return super().forward(self.norm(x))

    loader = DataLoader(DATA[:41], batch_size=20)
    elbo = TraceMI_ELBO(channel="sample", codes="z")
    with pytest.raises(ValueError, match="drop_last=True"):
        fit(Model(), Normalising(), elbo, loader, steps=3, device="cpu", progress=False)


def without_first(x):
    return x[1:]


@pytest.mark.parametrize("kind", ["tensors", "loader", "dict"])
def test_a_prepare_that_leaves_data_out_is_warned_of(kind):
    """The mean over the data would count what is left out as terms of 0."""
    if kind == "dict":
        data = [{"x": DATA[:20]}, {"x": DATA[20:40]}]
    else:
        data = DATA if kind == "tensors" else DataLoader(DATA, **LOADER)
    batch_size = 20 if kind == "tensors" else None
    with pytest.warns(UserWarning, match=r"dimension of the 20 data .*\(19, 3\).*divided by 20"):
        make_source(data, batch_size, 0, without_first, CPU).at(0)


@pytest.mark.parametrize(
    "prepare",
    [lambda x: x.T, lambda x: (x, 3), lambda x: {"rows": [x[:, 0]]}, lambda x: (), torch.flatten],
)
def test_a_prepare_that_keeps_the_data_is_not(prepare):
    make_source(DATA, 20, 0, prepare, CPU).at(0)
