"""What Pyro's examples write and the term can't be of: the errors and warnings say what to do."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from bayes_structures import toy_mixture
from count_structures import build_lda
from gamma_structures import build_sparse_gamma
from hmm_structures import build_hmm
from image_structures import CLASSES, PIXELS, SSVAE, build_cvae, images
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from sequence_structures import build_dmm
from structure_models import BY_NAME

from pyro_mivae.infer import TraceMI_ELBO


def terms(pair, *args, **options):
    elbo = TraceMI_ELBO(**{"channel": "sample", "elbo": Trace_ELBO(), **options})
    return elbo.terms(*pair, *(args or ()))


def test_a_classifier_without_latent_sites_has_the_loss_of_its_base():
    """The second loss of ss_vae_M2: no code, so no information."""
    vae = SSVAE()
    pair = vae.model_classify, vae.guide_classify
    args = images(6).reshape(6, PIXELS), torch.eye(CLASSES)[torch.arange(6) % CLASSES]
    losses = []
    for elbo in (Trace_ELBO(), TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())):
        losses.append(SVI(*pair, pyro.optim.Adam({"lr": 0.0}), elbo).step(*args))
    assert losses[0] == losses[1]
    assert terms(pair, *args)["mi"] == 0


def test_cvae_without_data_args_is_asked_where_the_data_go():
    pair = build_cvae(6)
    with pytest.raises(ValueError, match="data_args=lambda generated, args, kwargs"):
        terms((pair.model, pair.guide), *pair.args)


def test_dmm_without_data_args_names_the_argument_that_it_does_not_read():
    """x' went to the first argument; the guide reads the second one, which is backwards."""
    pair = build_dmm(6)
    with pytest.warns(UserWarning, match="the guide ignores its data.*in the argument 'batch'"):
        terms((pair.model, pair.guide), *pair.args)


def test_annealing_of_dmm_scales_the_term_as_it_scales_the_kl():
    structure = BY_NAME["dmm"]
    pair = structure.build(6)
    values = []
    for factor in (1.0, 0.25):
        pyro.set_rng_seed(3)
        options = structure.options()
        values.append(terms((pair.model, pair.guide), *pair.args, factor, **options))
    for name in ("mi", "kl"):
        torch.testing.assert_close(values[1][name], 0.25 * values[0][name])


def test_points_of_lda_have_no_density():
    pair = build_lda(6, fixed=True)

    def guide(data, batch_size=None):
        with pyro.plate("documents", 6, batch_size):
            topics = pyro.param("topics", torch.tensor([0.4, 0.6])).expand(batch_size, 2)
            pyro.sample("doc_topics", dist.Delta(topics, event_dim=1))

    elbo = TraceEnum_ELBO(max_plate_nesting=2)
    delta = "'doc_topics' is a Delta.*write a guide with a density"
    with (
        pytest.warns(UserWarning, match="the guide ignores its data"),
        pytest.raises(ValueError, match=delta),
    ):
        terms((pair.model, guide), *pair.args, codes="doc_topics", elbo=elbo)


def test_parameters_of_each_datum_tell_nothing():
    """The guide of Pyro's sparse gamma example, and of its toy mixture and eight schools."""
    pair = build_sparse_gamma(6)

    def guide(x):
        for layer, size in {"top": 4, "mid": 4, "bottom": 6}.items():
            with pyro.plate(f"w_{layer}_plate", size):
                pyro.sample(f"w_{layer}", dist.Gamma(torch.ones(size), 1.0))
        with pyro.plate("data", len(x)):
            for layer in ("top", "mid", "bottom"):
                shape = pyro.param(f"q_{layer}", torch.ones(6, 2))
                pyro.sample(f"z_{layer}", dist.Gamma(shape, 1.0).to_event(1))

    with pytest.warns(UserWarning, match="the guide ignores its data"):
        terms((pair.model, guide), *pair.args, codes="z_top")


def test_a_guide_without_data_tells_nothing_of_the_toy_mixture():
    def guide(obs, size):
        pyro.sample("p_A", dist.Beta(torch.tensor(2.0), 2.0))
        for name in ("p_B", "p_C"):
            pyro.sample(name, dist.Beta(torch.ones(2), 1.0).to_event(1))

    obs = {"A": torch.tensor([0.0, 1.0, 1.0]), "C": torch.tensor([0.0, 0.0, 1.0])}
    with pytest.warns(UserWarning, match="the guide ignores its data"):
        terms((toy_mixture, guide), obs, 3, elbo=TraceEnum_ELBO(max_plate_nesting=1))


@pytest.mark.parametrize("name", ["Bayesian regression", "eight schools"])
@pytest.mark.parametrize("autoguide", [AutoDiagonalNormal, AutoNormal])
def test_autoguides_read_no_data(name, autoguide):
    pair = BY_NAME[name].build(1)
    guide = autoguide(pair.model)
    guide(*pair.args)
    delta = r"is a Delta.*write a guide with a density"
    with (
        pytest.warns(UserWarning, match="the guide ignores its data"),
        pytest.raises(ValueError, match=delta),
    ):
        terms((pair.model, guide), *pair.args)


def test_the_warning_does_not_name_the_keywords_of_an_autoguide():
    """``AutoGuide.forward(*args, **kwargs)``: the first argument has no name."""
    pair = BY_NAME["eight schools"].build(1)
    guide = AutoNormal(pair.model)
    guide(*pair.args)
    with (
        pytest.warns(UserWarning, match="the guide ignores its data") as caught,
        pytest.raises(ValueError, match="is a Delta"),
    ):
        terms((pair.model, guide), *pair.args)
    assert "'kwargs'" not in str(caught[0].message)


def test_a_mixed_hmm_whose_guide_is_empty_has_no_code():
    """Pyro's guide of discrete effects: all of them are summed out in the model."""
    pair = build_hmm(2)
    with pytest.raises(ValueError, match="share no latent site"):
        terms(
            (pair.model, lambda x, mask: None),
            *pair.args,
            elbo=TraceEnum_ELBO(max_plate_nesting=2),
        )


def masked_by_noise(x):
    with pyro.plate("data", len(x)):
        present = pyro.sample("present", dist.Bernoulli(0.5 * torch.ones(len(x))))
        with pyro.poutine.mask(mask=present.bool()):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(present * z, 0.5), obs=x)


def sure_of_absence(x):
    with pyro.plate("data", len(x)):
        present = pyro.sample("present", dist.Bernoulli(logits=-20 + 0 * x))
        with pyro.poutine.mask(mask=present.bool()):
            pyro.sample("z", dist.Normal(0 * x, 1.0))


def test_a_code_masked_by_noise_is_refused():
    """AIR with the places alone as code: the presence, which masks them, is noise.

    Where the model's object is present and the guide's is not, only -log p(z) would count: 0.73
    nats for a guide that knows nothing.
    """
    x = torch.randn(4000)
    pair = masked_by_noise, sure_of_absence
    with pytest.raises(ValueError, match=r"masked for other data.*\['present'\], to codes"):
        terms(pair, x, codes="z", elbo=TraceGraph_ELBO())
    both = terms(pair, x, codes=["present", "z"], elbo=TraceGraph_ELBO())["mi"] / len(x)
    assert both < 0
