"""What fit and evaluate take as data: tensors, Datasets, DataLoaders, iterables of batches."""

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyro_mivae.batches import permutation
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import evaluate, fit
from pyro_mivae.training.sources import make_source

DATA = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) + 2
CPU = torch.device("cpu")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.dec = nn.Linear(2, 3)

    def forward(self, x, y=None):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.dec(z), 0.5).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(3, 4)

    def forward(self, x, y=None):
        loc, log_scale = self.enc(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Rows(Dataset):
    """Rows of an array, counted as they are read."""

    def __init__(self, rows, noise=False, label=False):
        self.rows, self.noise, self.label, self.read = rows, noise, label, []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.read.append(index)
        row = torch.tensor(np.asarray(self.rows[index]))
        if self.noise:
            row = row + 0.1 * torch.randn(3) + float(np.random.rand())  # noqa: NPY002
        return {"x": row, "y": index} if self.label else row


class Stream:
    """Batches from the start each time, without a length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class StreamDataset(IterableDataset):
    def __iter__(self):
        return iter(DATA)


def train(data, steps=7, **settings):
    torch.manual_seed(1)
    pair = Model(), Guide()
    elbo = TraceMI_ELBO(channel="sample", codes="z", mi_weight=0.5)
    settings = {"device": "cpu", "progress": False, "log_every": 1, **settings}
    history = fit(*pair, elbo, data, steps=steps, **settings)
    return history.rows, [p.detach().clone() for m in pair for p in m.parameters()]


def same(one, other):
    return one[0] == other[0] and all(
        torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True)
    )


def chunks(*tensors):
    return list(zip(*(tensor.split(20) for tensor in tensors), strict=True))


@pytest.mark.parametrize("data", [TensorDataset(DATA), Rows(DATA.numpy())])
def test_a_dataset_trains_as_its_tensors_do(data):
    """The permutation is a function of seed and epoch, so that the numbers are the same."""
    assert same(train(data, batch_size=20), train(DATA, batch_size=20))
    assert same(
        train(data, batch_size=20, drop_last=True), train(DATA, batch_size=20, drop_last=True)
    )


LOADER = {"batch_size": 20, "shuffle": True}


def noisy_loader():
    return DataLoader(Rows(DATA.numpy(), noise=True), **LOADER)


def seeded_loader():
    return DataLoader(Rows(DATA.numpy()), generator=torch.Generator().manual_seed(9), **LOADER)


def worker_loader():
    return DataLoader(Rows(DATA.numpy(), noise=True), num_workers=1, **LOADER)


def mapped(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, DATA.numpy())
    return Rows(np.load(path, mmap_mode="r"))


RESUMED = {
    "a memory-mapped Dataset": (mapped, {"batch_size": 20}),
    "a Dataset with random draws": (
        lambda _: Rows(DATA.numpy(), noise=True),
        {"batch_size": 20, "drop_last": True},
    ),
    "a DataLoader": (lambda _: noisy_loader(), {}),
    "a DataLoader with a generator": (lambda _: seeded_loader(), {}),
    "a DataLoader with a worker": (lambda _: worker_loader(), {}),
    "a list of batches": (lambda _: chunks(DATA), {}),
    "an iterable": (lambda _: Stream(chunks(DATA)), {}),
    "an iterable without its last batch": (lambda _: Stream(chunks(DATA)), {"drop_last": True}),
}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("stop", [2, 4])
def test_resumed_in_mid_epoch(name, stop, tmp_path, caplog):
    """Bit for bit; an iterable, whose order is its own affair, says so."""
    make, settings = RESUMED[name]
    straight = train(make(tmp_path), **settings)
    folder = tmp_path / "run"
    folder.mkdir()
    train(make(tmp_path), steps=stop, folder=folder, **settings)
    assert "to the bit" not in caplog.text
    resumed = train(make(tmp_path), folder=folder, resume=True, **settings)
    assert ("to the bit" in caplog.text) is ("iterable" in name), caplog.text
    assert same(resumed, straight)


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


def test_an_endless_iterable_is_counted_no_further_than_the_training():
    class Endless:
        def __iter__(self):
            while True:
                yield DATA[:20]

    rows, _ = train(Endless(), steps=5)
    assert len(rows) == 5


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
    loader = DataLoader(DATA, sampler=list(range(50)))
    with pytest.raises(ValueError, match="list orders the data itself"):
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
