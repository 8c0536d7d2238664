import itertools
import math

import pytest
import torch
from torch import nn

from pyro_mivae.vae.networks import (
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
)

pytestmark = pytest.mark.usefixtures("one_thread")

ENCODERS = [MLPEncoder, ConvEncoder]
DECODERS = [MLPDecoder, ConvDecoder]
NETWORKS = ENCODERS + DECODERS
CONVOLUTIONS = 9 * (1 * 32 + 32 * 64 + 64 * 64)


def _io(network, features, image_shape, lead, **kwargs):
    """An input of a network, and the shape its output must have."""
    if network in ENCODERS:
        return torch.rand(*lead, *image_shape, **kwargs), (*lead, features)
    return torch.randn(*lead, features, **kwargs), (*lead, *image_shape)


@pytest.mark.parametrize("lead", [(), (5,), (3, 5), (2, 1, 3), (0,)])
@pytest.mark.parametrize("network", NETWORKS)
def test_leading_dimensions(network, lead):
    net = network(6)
    x, expected = _io(network, 6, (28, 28), lead)
    assert net(x).shape == expected


@pytest.mark.parametrize("image_shape", [(28, 28), (3, 28, 28), (1, 9, 14), (32, 27)])
@pytest.mark.parametrize("network", NETWORKS)
def test_image_shapes(network, image_shape):
    net = network(4, image_shape=image_shape)
    x, expected = _io(network, 4, image_shape, (2,))
    assert net(x).shape == expected


@pytest.mark.parametrize("network", NETWORKS)
def test_each_datum_is_computed_alone(network):
    net = network(6).double()
    x, _ = _io(network, 6, (28, 28), (2, 3), dtype=torch.float64)
    looped = torch.stack([torch.stack([net(x[i, j]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(net(x), looped, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_reads_every_input_and_writes_every_output(network):
    net = network(6).double()
    x, _ = _io(network, 6, (28, 28), (2,), dtype=torch.float64)
    first, second = net(x.requires_grad_())
    assert (first != second).all()
    (first * torch.randn_like(first)).sum().backward()
    assert (x.grad[0] != 0).all()
    assert (x.grad[1] == 0).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_reach_every_parameter(network):
    net = network(6)
    x, _ = _io(network, 6, (28, 28), (4,))
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_mlp_is_the_posters():
    for net, sizes in [
        (MLPEncoder(20), [784, 500, 500, 20]),
        (MLPDecoder(10), [10, 500, 500, 784]),
    ]:
        linear = [m for m in net.layers if isinstance(m, nn.Linear)]
        found = [(m.in_features, m.out_features) for m in linear]
        assert found == list(itertools.pairwise(sizes))
        assert [type(m) for m in net.layers] == [nn.Linear, nn.Softplus] * 2 + [nn.Linear]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (MLPEncoder, 784 * 500 + 500 + 500 * 500 + 500 + 500 * 20 + 20),
        (MLPDecoder, 20 * 500 + 500 + 500 * 500 + 500 + 500 * 784 + 784),
        (ConvEncoder, CONVOLUTIONS + 32 + 64 + 64 + 1024 * 64 + 64 + 64 * 20 + 20),
        (ConvDecoder, CONVOLUTIONS + 64 + 32 + 1 + 1024 * 65 + 64 + 64 * 20),
    ],
)
def test_number_of_parameters(network, expected):
    assert sum(p.numel() for p in network(20).parameters()) == expected


@pytest.mark.parametrize("network", NETWORKS)
def test_init_is_xavier_uniform_with_zero_biases(network):
    checked = 0
    for module in network(20).modules():
        if not isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            continue
        area = math.prod(module.weight.shape[2:])
        variance = 2 / (sum(module.weight.shape[:2]) * area)
        weight = module.weight.double()
        assert (module.bias == 0).all()
        # Uniform: the limit is sqrt(3) times the standard deviation, the kurtosis is 9/5.
        assert weight.abs().max() <= math.sqrt(3 * variance) * (1 + 1e-6)
        error = variance * math.sqrt(0.8 / weight.numel())
        assert abs(weight.square().mean() - variance) < 5 * error
        checked += 1
    assert checked == (3 if "MLP" in network.__name__ else 5)


@pytest.mark.parametrize("network", NETWORKS)
def test_float64(network):
    net = network(6).double()
    x, _ = _io(network, 6, (28, 28), (2,), dtype=torch.float64)
    assert net(x).dtype == torch.float64


@pytest.mark.parametrize("encoder", ENCODERS)
def test_wrong_images_are_named(encoder):
    net = encoder(6)
    for shape in [(5, 28, 27), (28,), (5, 784)]:
        with pytest.raises(ValueError, match=r"expected images of shape \(\.\.\., 28, 28\), found"):
            net(torch.rand(shape))
    with pytest.raises(TypeError, match=r"floating point images, found torch.uint8: divide by 255"):
        net(torch.zeros(28, 28, dtype=torch.uint8))


@pytest.mark.parametrize("decoder", DECODERS)
def test_wrong_latents_are_named(decoder):
    with pytest.raises(
        ValueError, match=r"expected latents of shape \(\.\.\., 6\), found \(2, 7\)"
    ):
        decoder(6)(torch.randn(2, 7))


def test_conv_needs_planes():
    for network in (ConvEncoder, ConvDecoder):
        with pytest.raises(ValueError, match=r"image_shape must be \(height, width\) or"):
            network(6, image_shape=(784,))
