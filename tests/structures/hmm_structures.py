"""The mixed HMM, small."""

import itertools

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
from structure import NO_MEAN, Net, Pair, Structure, information_of_table, strings
from torch import nn

GROUPS, INDIVIDUALS, STATES, SYMBOLS, LENGTH = 2, 2, 2, 2, 2


class MixedHMM(nn.Module):
    """A random effect of each group, one of each individual, and a chain whose steps they shift.

    The sums over individuals and chains are the model's (TraceEnum's); the guide has the group's
    effect. One individual of the second group is missing.
    """

    def __init__(self):
        super().__init__()
        draw = lambda *shape: nn.Parameter(2 * torch.randn(shape))  # noqa: E731
        self.decoder_group = draw(2)
        self.decoder_individual = draw(2)
        self.decoder_shift_g, self.decoder_shift_i = (
            draw(2, STATES, STATES),
            draw(2, STATES, STATES),
        )
        self.decoder_emission = draw(STATES, SYMBOLS)
        self.q = Net(INDIVIDUALS * LENGTH, 2)

    @config_enumerate
    def model(self, x, mask):
        pyro.module("hmm", self)
        with pyro.plate("group", GROUPS, dim=-1):
            e_g = pyro.sample("e_g", dist.Categorical(logits=self.decoder_group))
            with (
                pyro.plate("individual", INDIVIDUALS, dim=-2),
                pyro.poutine.mask(mask=mask),
            ):
                e_i = pyro.sample("e_i", dist.Categorical(logits=self.decoder_individual))
                y = torch.zeros((), dtype=torch.long)
                for t in pyro.markov(range(LENGTH)):
                    steps = Vindex(self.decoder_shift_g)[e_g, y, :]
                    steps = steps + Vindex(self.decoder_shift_i)[e_i, y, :]
                    y = pyro.sample(f"y_{t}", dist.Categorical(logits=steps))
                    emission = dist.Categorical(logits=Vindex(self.decoder_emission)[y, :])
                    pyro.sample(f"x_{t}", emission, obs=x[..., t])

    def guide(self, x, mask):
        pyro.module("hmm", self)
        with pyro.plate("group", GROUPS, dim=-1):
            seen = (x * mask[..., None]).to(self.decoder_group.dtype)
            logits = self.q(seen.transpose(0, 1).reshape(GROUPS, -1))
            pyro.sample("e_g", dist.Categorical(logits=logits))


def build_hmm(size):
    hmm = MixedHMM()
    x = torch.randint(SYMBOLS, (INDIVIDUALS, GROUPS, LENGTH))
    mask = torch.tensor([[True, True], [True, False]])
    return Pair(hmm.model, hmm.guide, (x, mask), GROUPS, {"hmm": hmm})


def place_symbols(generated, args):
    x, mask = args
    drawn = torch.stack([generated[f"x_{t}"] for t in range(LENGTH)], -1)
    return torch.where(mask[..., None], drawn, x), mask


@torch.no_grad()
def exact_hmm(pair):
    """I(e_g; x) of a group, by summing all chains; one group has two individuals, one has one."""
    hmm = pair.known["hmm"]
    words, chains = strings(SYMBOLS, LENGTH), strings(STATES, LENGTH)
    log_lik = torch.zeros(2, len(words))
    for g in range(2):
        total = 0.0
        for i in range(2):
            steps = (hmm.decoder_shift_g[g] + hmm.decoder_shift_i[i]).log_softmax(-1)
            emission = hmm.decoder_emission.log_softmax(-1)
            for chain in chains:
                path = steps[0, chain[0]] + sum(steps[a, b] for a, b in itertools.pairwise(chain))
                letters = sum(emission[chain[t], words[:, t]] for t in range(LENGTH))
                total = total + (path + letters).exp() * hmm.decoder_individual.softmax(-1)[i]
        log_lik[g] = total.log()
    prior = hmm.decoder_group.softmax(-1)
    one = information_of_table(log_lik, prior)
    pairs = (log_lik[:, :, None] + log_lik[:, None]).reshape(2, -1)
    return ((one + information_of_table(pairs, prior)) / 2).item(), 0.0


STRUCTURES = [
    Structure(
        "mixed HMM",
        build_hmm,
        place_symbols,
        ("x_",),
        codes="e_g",
        data_args="callable",
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        channels=("sample", "sleep"),
        refused=NO_MEAN,
        exact=exact_hmm,
        repeats=40,
    ),
]
