"""InfoGAN as a pair: its sites, its players, its images."""

import pyro
import pytest
import torch
from pyro import poutine

from pyro_mivae.gan import InfoGAN
from pyro_mivae.infer import TraceMI_GAN


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    return InfoGAN()


def objective(gan, **settings):
    return TraceMI_GAN(gan.discriminator, codes=gan.codes, **settings)


def test_the_model_has_noise_that_the_guide_lacks(gan):
    x = torch.rand(3, 28, 28)
    model, guide = (poutine.trace(fn).get_trace(x) for fn in (gan.model, gan.guide))
    shapes = {site: tuple(model.nodes[site]["value"].shape) for site in ("c", "z", "d", "x")}
    assert shapes == {"c": (3, 2), "z": (3, 4), "d": (3, 10), "x": (3, 28, 28)}
    assert [site for site in guide.stochastic_nodes if site != "data"] == ["c", "d"]


@pytest.mark.parametrize("networks", ["small", "paper"])
@pytest.mark.parametrize("shared_trunk", [True, False])
def test_each_parameter_has_one_player(networks, shared_trunk):
    gan = InfoGAN(networks=networks, shared_trunk=shared_trunk, noise_dim=3)
    players = objective(gan).players(gan.model, gan.guide, torch.rand(4, 28, 28))
    own = {id(p) for p in gan.model.parameters()}
    assert {id(p) for p in players.model.values()} == own
    both = [*gan.guide.parameters(), *gan.discriminator.parameters()]
    assert {id(p) for p in players.reader.values()} == {id(p) for p in both}
    shared = gan.guide.encoder.trunk is gan.discriminator.trunk
    assert shared is shared_trunk
    assert len(players.reader) == len({id(p) for p in both})


def test_terms_are_those_of_codes(gan):
    terms = objective(gan).terms(gan.model, gan.guide, torch.rand(4, 28, 28))
    assert {"discriminator", "generator", "mi", "mi/c", "mi/d"} <= terms.keys()
    without = InfoGAN(categories=0)
    terms = objective(without).terms(without.model, without.guide, torch.rand(4, 28, 28))
    assert "mi/d" not in terms
    assert without.codes == ("c",)


def test_images_of_the_generator_are_grey_and_depend_on_every_latent(gan):
    values = {site: prior().sample((6,)) for site, prior in gan.priors.items()}
    gan.eval()
    with torch.no_grad():
        images = gan.model.decode(*values.values()).mean
        for site in values:
            other = values | {site: values[site].flip(0)}
            assert not torch.equal(images, gan.model.decode(*other.values()).mean)
    gan.train()
    assert images.shape == (6, 28, 28)
    assert 0 < images.min() < images.max() < 1


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="networks: expected one of small, paper, found 'large'"):
        InfoGAN(networks="large")


def test_svi_trains_both_players(gan):
    svi = pyro.infer.SVI(
        gan.model, gan.guide, pyro.optim.Adam({"lr": 1e-3}), objective(gan, code_scale={"c": 1.0})
    )
    before = [p.detach().clone() for p in gan.parameters()]
    loss = svi.step(torch.rand(4, 28, 28))
    assert torch.isfinite(torch.tensor(loss))
    moved = [not torch.equal(a, b) for a, b in zip(before, gan.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
