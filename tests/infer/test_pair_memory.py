"""Two pairs under one ELBO: each gets its own checks, warnings, bindings and estimators."""

import copy
import gc
import logging
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.pair_memory import PairMemories
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


def make_model(prior):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model


def make_guide(posterior):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return guide


GOOD = make_model(dist.Normal(0.0, 1.0)), make_guide(lambda x: dist.Normal(x / 2, 0.7))
WIDE = make_model(dist.Uniform(-1.0, 1.0)), make_guide(lambda x: dist.Normal(x / 2, 0.01))
BLIND = GOOD[0], make_guide(lambda x: dist.Normal(torch.zeros(len(x)), 1.0))


def test_the_second_pair_gets_its_support_check():
    elbo, x = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO()), torch.zeros(5)
    elbo.loss(*GOOD, x)
    with pytest.raises(ValueError, match="the guide's support exceeds the prior's at site 'z'"):
        elbo.loss(*WIDE, x)


def test_the_second_pair_gets_its_warning():
    elbo, x = TraceMI_ELBO(channel="sample"), torch.randn(5)
    elbo.loss(*GOOD, x)
    with pytest.warns(UserWarning, match="the guide ignores its data"):
        elbo.loss(*BLIND, x)


def test_each_pair_has_its_own_kl_estimators(caplog):
    """One site of the same name may have a closed form in one pair only."""
    elbo, x = TraceMI_ELBO(channel="sample", elbo=TraceMeanField_ELBO()), torch.randn(5)
    sampled = make_model(dist.StudentT(5.0)), make_guide(lambda x: dist.Normal(x / 2, 0.7))
    with caplog.at_level(logging.INFO), pyro.validation_enabled(False):
        for pair, kind in ((GOOD, "analytic"), (sampled, "sampled"), (GOOD, "analytic")):
            torch.manual_seed(0)
            loss = elbo.loss(*pair, x)
            torch.manual_seed(0)
            alone = TraceMI_ELBO(channel="sample").loss(*pair, x)
            assert elbo.kl_estimators == {"z": kind}
            assert loss == pytest.approx(alone, rel=1e-12)


def test_the_second_pair_gets_its_binding():
    """The first pair observes its first argument, the second one its second."""

    def make(which):
        def model(*data):
            with pyro.plate("data", 6, subsample_size=6) as indices:
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 0.1), obs=data[which][indices])

        def guide(*data):
            seen.append([argument.clone() for argument in data])
            with pyro.plate("data", 6, subsample_size=6) as indices:
                pyro.sample("z", dist.Normal(data[which][indices], 0.1))

        return model, guide

    elbo, data = TraceMI_ELBO(channel="sample"), (torch.randn(6), torch.randn(6))
    for which in (0, 1):
        seen = []
        elbo.terms(*make(which), *data)
        assert not torch.equal(seen[-1][which], data[which])
        assert torch.equal(seen[-1][1 - which], data[1 - which])


class VAE(nn.Module):
    def model(self, x):
        GOOD[0](x)

    def guide(self, x):
        GOOD[1](x)


def test_bound_methods_are_one_pair_and_are_forgotten_with_their_owner():
    memories, vae = PairMemories(), VAE()
    first = memories(Call(vae.model, vae.guide))
    assert memories(Call(vae.model, vae.guide)) is first
    other = VAE()
    assert memories(Call(other.model, other.guide)) is not first
    assert len(memories) == 2
    del vae, other
    gc.collect()
    assert len(memories) == 0


def test_an_elbo_that_has_run_can_be_copied_and_pickled():
    elbo = TraceMI_ELBO(channel="sample")
    elbo.loss(*GOOD, torch.randn(5))
    for made in (copy.deepcopy(elbo), pickle.loads(pickle.dumps(elbo))):
        assert made.loss(*GOOD, torch.randn(5)) > 0
