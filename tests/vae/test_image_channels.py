"""Images with channels: every likelihood and network, from data to figures."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from pyro_mivae import inference_data, plotting
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import log_evidence, per_dimension, sandwich
from pyro_mivae.runs.history import History
from pyro_mivae.training import evaluate, fit
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.likelihoods import LIKELIHOODS, Bernoulli, Gaussian, Likelihood

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (3, 6, 5)
IMAGES = torch.randint(0, 256, (24, *SHAPE), dtype=torch.uint8)
CHANNEL = "straight-through"


def small(**kwargs):
    return MIVAE(**{"code_dim": 2, "noise_dim": 1, "image_shape": SHAPE, **kwargs})


def elbo_of(vae, **kwargs):
    return TraceMI_ELBO(channel=CHANNEL, codes=vae.codes, **kwargs)


@pytest.mark.parametrize("networks", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_log_density_is_the_sum_over_channels_and_pixels(likelihood, networks):
    vae = small(likelihood=likelihood, encoder=networks, decoder=networks)
    x = vae.observe(IMAGES)
    c, z = torch.randn(24, 2), torch.randn(24, 1)
    p = vae.model.decode(c, z)
    assert (p.batch_shape, p.event_shape) == ((24,), SHAPE)
    output = vae.model.decoder(torch.cat([c, z], -1))
    if likelihood == "gaussian":
        scale = nn.functional.softplus(vae.likelihood.raw_scale) + 1e-3
        by_pixel = dist.Normal(output, scale).log_prob(x)
    else:
        by_pixel = -nn.functional.binary_cross_entropy_with_logits(output, x, reduction="none")
    torch.testing.assert_close(p.log_prob(x), by_pixel.sum((1, 2, 3)), rtol=1e-5, atol=1e-4)
    by_channel = by_pixel.sum((2, 3)).mean(0)
    assert len(set(by_channel.tolist())) == 3
    history = fit(
        vae.model,
        vae.guide,
        elbo_of(vae),
        IMAGES,
        steps=2,
        batch_size=10,
        prepare=vae.observe,
        progress=False,
    )
    assert history.rows[-1]["step"] == 2
    terms = evaluate(vae.model, vae.guide, elbo_of(vae), IMAGES, prepare=vae.observe)
    assert {"log_likelihood", "kl/c", "mi/c", "loss"} <= terms.keys()


@pytest.mark.parametrize("networks", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_channel_is_none(likelihood, networks):
    """Shapes (1, 6, 5) and (6, 5) have the same parameters, loss and gradients, bit for bit."""
    losses, gradients, names = [], [], []
    for shape in ((6, 5), (1, 6, 5)):
        torch.manual_seed(0)
        vae = small(likelihood=likelihood, encoder=networks, decoder=networks, image_shape=shape)
        x = vae.observe(IMAGES[:, :1].reshape(-1, *shape))
        loss = elbo_of(vae)(vae.model, vae.guide)(x)
        loss.backward()
        losses.append(loss)
        gradients.append([p.grad for p in vae.parameters()])
        names.append(list(vae.state_dict()))
    assert torch.equal(*losses)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert names[0] == names[1]


def test_states_of_earlier_runs_have_the_same_names():
    """What checkpoints hold, with sizes; a new name would make old ones unreadable."""
    assert {name: tuple(value.shape) for name, value in MIVAE().state_dict().items()} == {
        "guide.encoder.layers.0.weight": (500, 784),
        "guide.encoder.layers.0.bias": (500,),
        "guide.encoder.layers.2.weight": (500, 500),
        "guide.encoder.layers.2.bias": (500,),
        "guide.encoder.layers.4.weight": (20, 500),
        "guide.encoder.layers.4.bias": (20,),
        "model.priors.c.loc": (5,),
        "model.priors.c.scale": (5,),
        "model.priors.z.loc": (5,),
        "model.priors.z.scale": (5,),
        "model.latent_loc": (10,),
        "model.latent_scale": (10,),
        "model.decoder.layers.0.weight": (500, 10),
        "model.decoder.layers.0.bias": (500,),
        "model.decoder.layers.2.weight": (500, 500),
        "model.decoder.layers.2.bias": (500,),
        "model.decoder.layers.4.weight": (784, 500),
        "model.decoder.layers.4.bias": (784,),
    }


class Levels(Likelihood):
    """Pixels of 256 levels, and no word of events."""

    def forward(self, output):
        return dist.Binomial(255, logits=output)

    def observe(self, images):
        return images.float()


@pytest.mark.parametrize("shape", [(6, 5), SHAPE])
@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(scale=0.1), Levels()])
def test_one_likelihood_serves_images_with_and_without_channels(likelihood, shape):
    vae = small(likelihood=likelihood, image_shape=shape)
    x = vae.observe(IMAGES if len(shape) == 3 else IMAGES[:, 0])
    trace = pyro.poutine.trace(vae.model).get_trace(x)
    trace.compute_log_prob()
    site = trace.nodes["x"]
    assert site["log_prob"].shape == (24,)
    by_pixel = likelihood(vae.model.decoder(_latents(trace, vae)))
    while by_pixel.event_shape:
        by_pixel = by_pixel.base_dist
    expected = by_pixel.log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(site["log_prob"], expected, rtol=1e-5, atol=1e-3)


def _latents(trace, vae):
    latent = torch.cat([trace.nodes[site]["value"] for site in vae.priors], -1)
    return (latent - vae.model.latent_loc) / vae.model.latent_scale


def test_a_category_is_summed_out():
    vae = small(categories=3)
    base = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    terms = elbo_of(vae, elbo=base).terms(
        vae.model, vae.guide.enumerated(), vae.observe(IMAGES[:4])
    )
    assert terms["loss"].isfinite()
    assert "mi/d" in terms


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(1)
    vae = small(prior="uniform", likelihood="gaussian", encoder="conv", decoder="conv")
    settings = {"prepare": vae.observe}
    info = per_dimension(vae.model, vae.guide, IMAGES, channels=("mean", "sample"), **settings)
    labels = torch.arange(24) % 4
    tree = inference_data.inference_data(
        vae,
        vae.observe(IMAGES),
        images=IMAGES,
        labels=labels,
        draws=3,
        prior_draws=10,
        information=info,
    )
    return vae, info, tree


def test_information_is_measured(measured):
    vae, info, _ = measured
    assert info["mi_c"].sizes["c_dim"] == 2
    bounds = sandwich(vae.model, vae.guide, IMAGES, codes="c", num_samples=8, prepare=vae.observe)
    assert bounds.lower.mean <= bounds.upper.mean + 5 * bounds.upper.standard_error
    evidence = log_evidence(vae.model, vae.guide, IMAGES, num_samples=5, prepare=vae.observe)
    assert np.isfinite(evidence.mean)


def test_groups_name_the_planes(measured, tmp_path):
    vae, _, tree = measured
    image = ("image", "plane", "height", "width")
    assert tree["observed_data"]["x"].dims == tree["constant_data"]["grey"].dims == image
    assert np.array_equal(tree["constant_data"]["grey"], IMAGES)
    assert tree["prior_predictive"]["x_mean"].dims == ("chain", "draw", *image[1:])
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", *image)
    assert tree["traversal"]["x_mean"].dims == ("c_dim", "quantile", *image[1:])
    assert tree["traversal"]["x_mean"].shape == (2, 11, *SHAPE)
    with torch.no_grad():
        c, z = (torch.tensor(tree["posterior"][site].values[0, 0]) for site in "cz")
        by_hand = vae.model.decode(c, z).mean
    np.testing.assert_allclose(
        tree["posterior_predictive"]["x_mean"].values[0, 0], by_hand, rtol=1e-5, atol=1e-6
    )
    inference_data.write(tree, tmp_path / "posterior.nc")
    assert inference_data.read(tmp_path)["traversal"]["x_mean"].sizes["plane"] == 3
    with pytest.raises(ValueError, match=r"floats of shape \(N, 3, 6, 5\) as the model reads"):
        inference_data.inference_data(vae, torch.rand(4, 6, 5))


@pytest.mark.slow
def test_figures_are_in_colour(measured, tmp_path, unrendered):
    _, _, tree = measured
    inference_data.write(tree, tmp_path / "posterior.nc")
    history = History()
    history.add(1, 1.0, "train", {"loss": 3.0})
    history.write_csv(tmp_path / "history.csv")
    assert {"reconstructions", "prior_samples", "traversals"} <= plotting.redraw(tmp_path).keys()
    figure = plotting.reconstructions(tree)
    assert isinstance(figure, Figure)
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    # Originals of classes 0 to 3 in the first row of tiles, each after a gap of one pixel.
    for column in range(4):
        left = 1 + 6 * column
        tile = canvas[1:7, left : left + 5]
        np.testing.assert_allclose(np.moveaxis(tile[..., :3], -1, 0) * 255, IMAGES[column])
        assert (tile[..., 3] == 1).all()
    assert (canvas[0, :, 3] == 0).all()  # gaps show the axes' pale colour


@pytest.mark.parametrize("planes", [1, 2, 4])
def test_planes_that_are_no_colours_stand_side_by_side(planes):
    images = np.arange(2 * 3 * planes).reshape(2, 3, planes, 1, 1) / 24 * np.ones((6, 5))
    canvas = plotting.style.mosaic(images, "")[0].axes[0].images[0].get_array().filled(np.nan)
    assert canvas.shape == (2 * 7 + 1, 3 * (5 * planes + 1) + 1)
    for (row, column, plane), value in np.ndenumerate(images[..., 0, 0]):
        left = 1 + column * (5 * planes + 1) + 5 * plane
        tile = canvas[1 + 7 * row : 7 + 7 * row, left : left + 5]
        np.testing.assert_allclose(tile, value)


COLOURS = torch.zeros(4, 3, 6, 5, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("shape", "images", "words"),
    [
        ((6, 5), COLOURS[:, :1], r"found \(4, 1, 6, 5\): take the channel off, images.squeeze\(1"),
        ((6, 5), COLOURS, r"keep the channels by MIVAE\(image_shape=\(3, 6, 5\)\)"),
        ((6, 5), COLOURS.permute(0, 2, 3, 1), r"permute\(0, 3, 1, 2\), and set MIVAE\(image_shape"),
        (
            SHAPE,
            COLOURS.permute(0, 2, 3, 1),
            r"before height and width, images.permute\(0, 3, 1, 2",
        ),
        ((1, 6, 5), COLOURS[:, 0], r"add the channel, images.unsqueeze\(1\)"),
        (SHAPE, COLOURS[:, 0], r"of shape \(N, 3, 6, 5\), found \(4, 6, 5\)\. Another size"),
        (SHAPE, COLOURS[None], r"of shape \(N, 3, 6, 5\), found \(1, 4, 3, 6, 5\)\. Another size"),
    ],
)
def test_images_of_another_layout_are_told_how_to_fit(shape, images, words):
    with pytest.raises(ValueError, match=words):
        small(image_shape=shape).observe(images)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_images_in_other_numbers_than_bytes_are_refused(likelihood):
    with pytest.raises(TypeError, match=r"images: expected uint8, 0 to 255, found torch.float32"):
        small(likelihood=likelihood).observe(COLOURS / 255)
    assert small(likelihood=likelihood).observe(COLOURS[0]).shape == SHAPE


@pytest.mark.parametrize(
    ("shape", "error", "words"),
    [
        ((784,), ValueError, r"image_shape: expected \(height, width\) or .* found \(784,\)"),
        ((2, 3, 6, 5), ValueError, r"image_shape: expected .* found \(2, 3, 6, 5\)"),
        ((3, 0, 5), ValueError, r"image_shape: expected .* of positive numbers"),
        ((28.0, 28), TypeError, r"image_shape: expected whole numbers"),
        (28, TypeError, r"image_shape: expected whole numbers, .* found 28"),
    ],
)
def test_other_shapes_are_refused_at_construction(shape, error, words):
    with pytest.raises(error, match=words):
        small(image_shape=shape)


def test_shapes_may_come_from_a_file():
    assert small(image_shape=[3, 6, 5]).image_shape == SHAPE


@pytest.mark.parametrize("made", [(6, 5, 3), (6, 5), (1, *SHAPE), (90,)])
def test_a_decoder_of_another_shape_is_named(made):
    size = int(np.prod(made))
    vae = small(decoder=lambda n: nn.Sequential(nn.Linear(n, size), nn.Unflatten(-1, made)))
    with pytest.raises(ValueError, match=r"decoder and likelihood: expected .* \(3, 6, 5\), which"):
        elbo_of(vae).loss(vae.model, vae.guide, vae.observe(IMAGES))
