"""dmm with and without flows, and air, small."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import affine_autoregressive
from structure import (
    Net,
    Pair,
    Structure,
    bernoulli_table,
    hermite,
    information_of_table,
    mean_and_error,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

TIME, NOTES = 2, 2


def reverse(padded, lengths):
    """Each sequence backwards, its padding at the end as before."""
    steps = torch.arange(padded.shape[1])
    places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return padded.gather(1, places[..., None].expand_as(padded))


class DMM(nn.Module):
    def __init__(self, flows=0):
        super().__init__()
        self.decoder_emitter = Net(2, NOTES, gain=3)
        self.decoder_transition = Net(2, 2, 2)
        self.combiner = Net(2 + 5, 2, 2)
        self.rnn = nn.RNN(NOTES, 5, batch_first=True, nonlinearity="relu")
        self.flows = nn.ModuleList(affine_autoregressive(2, [4]) for _ in range(flows))
        self.decoder_z_0 = nn.Parameter(torch.zeros(2))
        self.z_q_0 = nn.Parameter(torch.zeros(2))
        self.h_0 = nn.Parameter(torch.zeros(1, 1, 5))

    def transition(self, z):
        loc, log_scale = self.decoder_transition(z)
        return z + loc, log_scale.exp()

    def model(self, batch, reversed_batch, mask, lengths, annealing=1.0):
        pyro.module("dmm", self)
        z = self.decoder_z_0.expand(len(batch), 2)
        with pyro.plate("z_minibatch", len(batch)):
            for t in pyro.markov(range(1, batch.shape[1] + 1)):
                kept = mask[:, t - 1 : t]
                prior = dist.Normal(*self.transition(z)).mask(kept).to_event(1)
                with pyro.poutine.scale(scale=annealing):
                    z = pyro.sample(f"z_{t}", prior)
                notes = dist.Bernoulli(self.decoder_emitter(z).sigmoid()).mask(kept)
                pyro.sample(f"obs_x_{t}", notes.to_event(1), obs=batch[:, t - 1, :])

    def guide(self, batch, reversed_batch, mask, lengths, annealing=1.0):
        pyro.module("dmm", self)
        start = self.h_0.expand(1, len(batch), 5).contiguous()
        states, _ = pad_packed_sequence(self.rnn(reversed_batch, start)[0], batch_first=True)
        states = reverse(states, lengths)
        z = self.z_q_0.expand(len(batch), 2)
        with pyro.plate("z_minibatch", len(batch)):
            for t in pyro.markov(range(1, batch.shape[1] + 1)):
                loc, log_scale = self.combiner(torch.cat((z, states[:, t - 1]), -1))
                posterior = dist.Normal(loc, log_scale.exp())
                if self.flows:
                    posterior = dist.TransformedDistribution(posterior, [*self.flows])
                    posterior = posterior.mask(mask[:, t - 1])
                else:
                    posterior = posterior.mask(mask[:, t - 1 : t]).to_event(1)
                with pyro.poutine.scale(scale=annealing):
                    z = pyro.sample(f"z_{t}", posterior)


def music(batch, lengths):
    """The arguments: a batch, the same backwards and packed, mask and lengths."""
    mask = torch.arange(TIME) < lengths[:, None]
    packed = pack_padded_sequence(reverse(batch, lengths), lengths, batch_first=True)
    return batch, packed, mask, lengths


def build_dmm(size, flows=0):
    dmm = DMM(flows)
    lengths = torch.where(torch.arange(size) < size // 2, TIME, 1)
    batch = torch.bernoulli(torch.full((size, TIME, NOTES), 0.5))
    batch = batch * (torch.arange(TIME) < lengths[:, None])[..., None]
    return Pair(dmm.model, dmm.guide, music(batch, lengths), size, {"dmm": dmm})


def place_music(generated, args):
    batch, _, mask, lengths, *rest = args
    drawn = torch.stack([generated[f"obs_x_{t}"] for t in range(1, TIME + 1)], 1)
    return (*music(torch.where(mask[..., None], drawn, batch), lengths), *rest)


@torch.no_grad()
def exact_dmm(pair):
    """Half of the sequences have one step, half two."""
    dmm = pair.known["dmm"]
    noise, weights = hermite(4, 10)
    loc, scale = dmm.transition(dmm.decoder_z_0)
    first = loc + scale * noise[:, :2]
    loc, scale = dmm.transition(first)
    logits = [dmm.decoder_emitter(z) for z in (first, loc + scale * noise[:, 2:])]
    one = information_of_table(bernoulli_table(logits[0]), weights)
    two = information_of_table(bernoulli_table(torch.cat(logits, -1)), weights)
    return ((one + two) / 2).item(), 0.0


STEPS, CELLS, NOISE = 2, 3, 0.5


class AIR(nn.Module):
    """Draws at most two objects, of a place and a brightness, into a row of three cells.

    The number of steps is fixed; a step without an object is masked out.
    """

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTMCell(CELLS + 3, 6)
        self.predict = Net(6, 1, 1, 1)
        self.encode = Net(CELLS + 1, 1, 1)
        self.decoder_height = nn.Parameter(torch.tensor(1.0))

    def draw(self, where, what):
        cells = torch.arange(CELLS) - (CELLS - 1) / 2
        return self.decoder_height * (1 + what) * torch.exp(-((cells - where) ** 2))

    def model(self, data, batch_size, prior=0.5):
        pyro.module("air", self)
        with pyro.plate("data", data.size(0)) as ix:
            batch = data[ix]
            size = batch.size(0)
            row, present = torch.zeros(size, CELLS), torch.ones(size, 1)
            for t in range(STEPS):
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(prior * present).to_event(1))
                with pyro.poutine.mask(mask=present.squeeze(-1).bool()):
                    normal = dist.Normal(torch.zeros(size, 1), 1.0).to_event(1)
                    where = pyro.sample(f"z_where_{t}", normal)
                    what = pyro.sample(f"z_what_{t}", normal)
                row = row + present * self.draw(where, what)
            pyro.sample("obs", dist.Normal(row, NOISE).to_event(1), obs=batch.view(size, -1))

    def guide(self, data, batch_size, prior=0.5):
        pyro.module("air", self)
        with pyro.plate("data", data.size(0), subsample_size=batch_size) as ix:
            batch = data[ix]
            size = batch.size(0)
            state = torch.zeros(size, 6), torch.zeros(size, 6)
            present, where, what = torch.ones(size, 1), torch.zeros(size, 1), torch.zeros(size, 1)
            for t in range(STEPS):
                state = self.rnn(torch.cat((batch, present, where, what), -1), state)
                logits, loc, log_scale = self.predict(state[0])
                probs = logits.sigmoid() * present
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(probs).to_event(1))
                with pyro.poutine.mask(mask=present.squeeze(-1).bool()):
                    posterior = dist.Normal(loc, log_scale.exp()).to_event(1)
                    where = pyro.sample(f"z_where_{t}", posterior)
                    loc, log_scale = self.encode(torch.cat((batch, where), -1))
                    posterior = dist.Normal(loc, log_scale.exp()).to_event(1)
                    what = pyro.sample(f"z_what_{t}", posterior)


def build_air(size, batch_size=None):
    air = AIR()
    return Pair(air.model, air.guide, (torch.randn(size, CELLS), batch_size), size, {"air": air})


def place_rows(generated, args):
    """x' at the indices of the plate."""
    return (args[0].index_copy(0, generated["data"], generated["obs"]), *args[1:])


@torch.no_grad()
def exact_air(pair):
    """By draws of x', whose density is summed over nodes of the latents."""
    air = pair.known["air"]
    nodes, weights = hermite(2, 12)
    one = air.draw(nodes[:, :1], nodes[:, 1:])
    two = (one[:, None] + one).reshape(-1, CELLS)
    rows = torch.cat((torch.zeros(1, CELLS), one, two))
    log_w = torch.cat(
        (
            torch.tensor([0.5]).log(),
            (0.25 * weights).log(),
            (0.25 * weights[:, None] * weights).reshape(-1).log(),
        )
    )
    present = torch.bernoulli(torch.full((300, 2, 1), 0.5)).cumprod(1)
    objects = air.draw(torch.randn(300, 2, 1), torch.randn(300, 2, 1))
    loc = (present * objects).sum(1)
    x = loc + NOISE * torch.randn_like(loc)
    density = [
        (dist.Normal(rows, NOISE).log_prob(part[:, None]).sum(-1) + log_w).logsumexp(-1)
        for part in x.split(50)
    ]
    own = dist.Normal(loc, NOISE).log_prob(x).sum(-1)
    return mean_and_error(own - torch.cat(density))


STRUCTURES = [
    Structure(
        "dmm",
        build_dmm,
        place_music,
        ("obs_x",),
        data_args="callable",
        base="Trace",
        exact=exact_dmm,
        fallback="depends on the value of a tensor",
    ),
    Structure(
        "dmm, flows",
        lambda size: build_dmm(size, flows=2),
        place_music,
        ("obs_x",),
        data_args="callable",
        base="Trace",
        exact=exact_dmm,
        fallback="depends on the value of a tensor",
    ),
    Structure(
        "air",
        build_air,
        place_rows,
        ("obs",),
        base="TraceGraph",
        exact=exact_air,
        fallback="TraceGraph_ELBO follows",
    ),
    Structure(
        "air, batch_size",
        lambda size: build_air(size, size // 2),
        place_rows,
        ("obs",),
        base="TraceGraph",
        exact=exact_air,
        fallback="TraceGraph_ELBO follows",
    ),
]
