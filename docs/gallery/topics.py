"""ProdLDA (Srivastava and Sutton 2017) on documents whose topics are known."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

WORDS, TOPICS, LENGTH = 60, 4, 80


def documents(size):
    """Counts of words: each topic has 15 words of its own, a document one topic or two."""
    words = 0.1 + 5 * torch.eye(TOPICS).repeat_interleave(WORDS // TOPICS, 1)
    weights = dist.Dirichlet(torch.full((TOPICS,), 0.3)).sample((size,))
    return dist.Multinomial(LENGTH, weights @ (words / words.sum(-1, keepdim=True))).sample()


class ProdLDA(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(
            *(nn.Linear(WORDS, 64), nn.Softplus(), nn.Linear(64, 64), nn.Softplus()),
            nn.Linear(64, 2 * TOPICS),
        )
        self.topics = nn.Linear(TOPICS, WORDS, bias=False)

    def model(self, x):
        with pyro.plate("documents", len(x)):
            prior = dist.Normal(x.new_zeros(len(x), TOPICS), 2.0).to_event(1)
            weights = pyro.sample("logtheta", prior).softmax(-1)
            words = self.topics(weights).softmax(-1)
            pyro.sample("x", dist.Multinomial(LENGTH, words), obs=x)

    def guide(self, x):
        with pyro.plate("documents", len(x)):
            loc, log_scale = self.encode(x / LENGTH).chunk(2, -1)
            pyro.sample("logtheta", dist.Normal(loc, log_scale.exp()).to_event(1))


def main(steps=1500):
    """Trains, prints the information from both sides, and draws topics."""
    pyro.set_rng_seed(0)
    x, lda = documents(2000), ProdLDA()
    elbo = TraceMI_ELBO(channel="straight-through", codes="logtheta")
    fit(lda.model, lda.guide, elbo, x, steps=steps, progress=False)
    print(sandwich(lda.model, lda.guide, x[:200], num_samples=1000, progress=False))
    return draw(lda)


def draw(lda):
    """The words of each learnt topic; 15 words in a row belong together."""
    figure = Figure(figsize=(7.36, 2.4), layout="constrained")
    axes = figure.subplots()
    with torch.no_grad():
        axes.imshow(lda.topics(torch.eye(TOPICS)).softmax(-1).numpy(), aspect="auto", cmap="Greys")
    axes.set(xlabel="word", ylabel="learnt topic", yticks=range(TOPICS))
    return figure


if __name__ == "__main__":
    main().savefig("topics.png", dpi=200)
