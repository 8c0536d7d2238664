"""lda, prodlda and scanvi, small."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
from structure import (
    NO_MEAN,
    Net,
    Pair,
    Structure,
    hermite,
    information_of_table,
    strings,
)
from torch import nn
from torch.distributions import constraints

TOPICS, VOCABULARY, LENGTH = 2, 3, 3


class LDA(nn.Module):
    """Documents of three words. The guide's plate subsamples them, as in Pyro's example.

    In Pyro's example the guide's topics of a document are a point (Delta), which has no density
    to score: here they have a Dirichlet distribution.
    """

    def __init__(self, topics_are_parameters, documents):
        super().__init__()
        self.fixed, self.documents = topics_are_parameters, documents
        self.predictor = Net(VOCABULARY, TOPICS)
        self.decoder_topics = nn.Parameter(2 * torch.randn(TOPICS, VOCABULARY))

    @config_enumerate
    def model(self, data, batch_size=None):
        pyro.module("lda", self)
        weights, words = torch.ones(TOPICS), self.decoder_topics.softmax(-1)
        if not self.fixed:
            with pyro.plate("topics", TOPICS):
                weights = pyro.sample("topic_weights", dist.Gamma(2.0, 1.0))
                words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(VOCABULARY)))
        with pyro.plate("documents", self.documents) as ind:
            data = data[:, ind]
            topics = pyro.sample("doc_topics", dist.Dirichlet(weights))
            with pyro.plate("words", LENGTH):
                topic = pyro.sample("word_topics", dist.Categorical(topics))
                word = dist.Categorical(Vindex(words)[topic])
                pyro.sample("doc_words", word, obs=data)

    def guide(self, data, batch_size=None):
        pyro.module("lda", self)
        if not self.fixed:
            positive = constraints.positive
            shape = pyro.param("shape", 2 * torch.ones(TOPICS), constraint=positive)
            counts = pyro.param("counts", torch.ones(TOPICS, VOCABULARY), constraint=positive)
            with pyro.plate("topics", TOPICS):
                pyro.sample("topic_weights", dist.Gamma(shape, torch.ones(())))
                pyro.sample("topic_words", dist.Dirichlet(counts))
        with pyro.plate("documents", self.documents, batch_size) as ind:
            counts = nn.functional.one_hot(data[:, ind], VOCABULARY).sum(0)
            concentration = self.predictor(counts.to(self.decoder_topics.dtype)).exp()
            pyro.sample("doc_topics", dist.Dirichlet(concentration))


def build_lda(size, fixed=False):
    lda = LDA(fixed, size)
    data = torch.randint(VOCABULARY, (LENGTH, size))
    return Pair(lda.model, lda.guide, (data, size // 2), size, {"lda": lda})


def place_words(generated, args):
    data, batch_size = args
    return data.index_copy(1, generated["documents"], generated["doc_words"]), batch_size


@torch.no_grad()
def exact_lda(pair):
    """Two topics with a flat Dirichlet prior: their share is uniform."""
    share = (torch.arange(2000) + 0.5) / 2000
    topics = torch.stack((share, 1 - share), -1)
    log_word = (topics @ pair.known["lda"].decoder_topics.softmax(-1)).log()
    table = log_word[:, strings(VOCABULARY, LENGTH)].sum(-1)
    return information_of_table(table, torch.full((2000,), 1 / 2000)).item(), 0.0


class ProdLDA(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(VOCABULARY, 6), nn.Softplus(), nn.Linear(6, 4))
        self.encoder_norm = nn.BatchNorm1d(TOPICS, affine=False)
        self.decoder = nn.Linear(TOPICS, VOCABULARY, bias=False)
        self.decoder_norm = nn.BatchNorm1d(VOCABULARY, affine=False)
        with torch.no_grad():
            self.decoder.weight.mul_(5)

    def words(self, logtheta):
        return self.decoder_norm(self.decoder(logtheta.softmax(-1))).softmax(-1)

    def model(self, docs):
        pyro.module("prodlda", self)
        with pyro.plate("documents", docs.shape[0]):
            prior = dist.Normal(docs.new_zeros(len(docs), TOPICS), 1.0).to_event(1)
            probs = self.words(pyro.sample("logtheta", prior))
            total = int(docs.sum(-1).max())
            pyro.sample("obs", dist.Multinomial(total, probs), obs=docs)

    def guide(self, docs):
        pyro.module("prodlda", self)
        with pyro.plate("documents", docs.shape[0]):
            loc, log_scale = self.encoder(docs).chunk(2, -1)
            posterior = dist.Normal(self.encoder_norm(loc), (0.5 * log_scale).exp())
            pyro.sample("logtheta", posterior.to_event(1))


def build_prodlda(size):
    prodlda = ProdLDA().eval()
    docs = dist.Multinomial(LENGTH, torch.ones(VOCABULARY)).sample((size,))
    return Pair(prodlda.model, prodlda.guide, (docs,), size, {"prodlda": prodlda})


@torch.no_grad()
def exact_prodlda(pair):
    """The order of words tells nothing, so that strings of words do for counts."""
    nodes, weights = hermite(TOPICS)
    log_word = pair.known["prodlda"].words(nodes).log()
    return information_of_table(log_word[:, strings(VOCABULARY, LENGTH)].sum(-1), weights).item(), 0


GENES, LABELS = 2, 3


class SCANVI(nn.Module):
    """Counts of genes, and labels of some cells; a scale inside the plate."""

    scale = 0.5

    def __init__(self):
        super().__init__()
        self.decoder_z2 = Net(2 + LABELS, 2, 2)
        self.decoder_x = Net(2, GENES, GENES, gain=2)
        self.encoder_z2l = Net(GENES, 2, 2, 1, 1)
        self.encoder_z1 = Net(2 + LABELS, 2, 2)
        self.classifier = Net(2, LABELS)

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        theta = pyro.param(
            "decoder_dispersion", 5 * x.new_ones(GENES), constraint=constraints.positive
        )
        with pyro.plate("batch", len(x)), pyro.poutine.scale(scale=self.scale):
            z1 = pyro.sample("z1", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(LABELS)), obs=y)
            z2 = pyro.sample("z2", self.normal(self.decoder_z2, z1, y))
            depth = dist.LogNormal(3 * x.new_ones(len(x), 1), 0.5).to_event(1)
            depth = pyro.sample("l", depth)
            gate_logits, mu = self.decoder_x(z2)
            logits = (depth * mu.softmax(-1) + 1e-6).log() - (theta + 1e-6).log()
            counts = dist.ZeroInflatedNegativeBinomial(
                gate_logits=gate_logits, total_count=theta, logits=logits
            )
            pyro.sample("x", counts.to_event(1), obs=x)

    @staticmethod
    def normal(net, *values):
        shape = torch.broadcast_shapes(*(value.shape[:-1] for value in values))
        values = [value.expand(*shape, value.shape[-1]) for value in values]
        loc, log_scale = net(torch.cat(values, -1))
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def guide(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), pyro.poutine.scale(scale=self.scale):
            loc, log_scale, l_loc, l_log_scale = self.encoder_z2l((1 + x).log())
            pyro.sample("l", dist.LogNormal(3 + l_loc, l_log_scale.exp()).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(loc, log_scale.exp()).to_event(1))
            labels = dist.OneHotCategorical(logits=self.classifier(z2))
            if y is None:
                y = pyro.sample("y", labels)
            else:
                pyro.factor("classification_loss", 50 * labels.log_prob(y), has_rsample=False)
            pyro.sample("z1", self.normal(self.encoder_z1, z2, y))


def build_scanvi(size, labelled=False):
    scanvi = SCANVI()
    guide = config_enumerate(scanvi.guide, "parallel", expand=True)
    x = torch.randint(20, (size, GENES)).to(torch.get_default_dtype())
    labels = torch.eye(LABELS)[torch.arange(size) % LABELS]
    return Pair(scanvi.model, guide, (x, labels) if labelled else (x,), size)


STRUCTURES = [
    Structure(
        "lda, batch_size",
        build_lda,
        place_words,
        ("doc_words",),
        codes="doc_topics",
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        channels=("sample", "sleep"),
        refused=NO_MEAN,
        sandwich="'doc_topics' depends on .'topic_weights'",
        silent="decoder_topics",
        decoder=None,
        repeats=60,
    ),
    Structure(
        "lda, topics as parameters",
        lambda size: build_lda(size, fixed=True),
        place_words,
        ("doc_words",),
        codes="doc_topics",
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        channels=("sample", "sleep"),
        refused=NO_MEAN,
        exact=exact_lda,
    ),
    Structure(
        "prodlda",
        build_prodlda,
        lambda generated, args: (generated["obs"],),
        ("obs",),
        codes="logtheta",
        exact=exact_prodlda,
        fallback="depends on the value of a tensor",
    ),
    Structure(
        "scanvi, unlabelled",
        build_scanvi,
        lambda generated, args: (generated["x"],),
        ("x",),
        codes=["y", "z2"],
        sandwich="'z2' depends on .'z1'",
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
    ),
    Structure(
        "scanvi, labelled",
        lambda size: build_scanvi(size, labelled=True),
        lambda generated, args: (generated["x"], args[1]),
        ("x",),
        codes="z2",
        sandwich="'z2' depends on .'z1'",
        observed=("y",),
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
    ),
]
