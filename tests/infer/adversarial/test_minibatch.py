"""Minibatch discrimination against its formula."""

import math

import pytest
import torch

from pyro_mivae.infer import MinibatchDiscrimination

pytestmark = pytest.mark.usefixtures("float64")


def test_formula():
    layer = MinibatchDiscrimination(3, kernels=2, kernel_dim=4, batch_size=5)
    features = torch.randn(5, 3)
    out = layer(features)
    assert out.shape == (5, 5)
    assert torch.equal(out[:, :3], features)
    places = (features @ layer.weight).reshape(5, 2, 4).detach()
    for i in range(5):
        for b in range(2):
            others = [j for j in range(5) if j != i]
            near = sum(math.exp(-(places[i, b] - places[j, b]).abs().sum()) for j in others)
            assert out[i, 3 + b].item() == pytest.approx(near, rel=1e-12)


def test_a_collapsed_batch_is_told():
    layer = MinibatchDiscrimination(3)
    for size in (6, 32, 500):  # as in training, or at an evaluation
        same = layer(torch.randn(1, 3).expand(size, 3))
        torch.testing.assert_close(same[:, 3:], torch.full((size, 8), 31.0))
    assert (layer(10 * torch.randn(6, 3))[:, 3:] < 25).all()
    assert (layer(torch.randn(1, 3))[:, 3:].abs() < 1e-12).all()


def test_batches_of_other_sizes_have_the_same_features():
    layer, features = MinibatchDiscrimination(3), torch.randn(2000, 3)
    whole, part = layer(features)[:100, 3:], layer(features[:200])[:100, 3:]
    assert (whole.mean(0) - part.mean(0)).abs().max() < 0.1 * whole.mean()


def test_gradients_and_their_gradients():
    layer = MinibatchDiscrimination(3, kernels=2)
    features = torch.randn(4, 3, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (features,))
    assert torch.autograd.gradgradcheck(layer, (features,))


def test_unit_features_differ_by_about_one():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(128, kernels=50, batch_size=2)
    nearness = layer(torch.randn(2, 128))[:, 128:]
    assert 0.1 < nearness.mean() < 0.7
