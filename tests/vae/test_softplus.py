"""The cheap softplus against torch's."""

import pytest
import torch
from torch.nn import functional as F

from pyro_mivae.vae.likelihoods import Bernoulli
from pyro_mivae.vae.softplus import Softplus, softplus


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-7), (torch.float64, 4e-16)])
def test_value_and_gradient_are_torchs(dtype, error):
    x = torch.cat([torch.linspace(-30, 30, 2001), torch.tensor([-1e4, -0.0, 0.0, 1e4])]).to(dtype)
    one, other = (x.clone().requires_grad_() for _ in range(2))
    found, expected = softplus(one), F.softplus(other, threshold=100)
    assert (found - expected).abs().max() <= error * expected.clamp(min=1).max()
    near = x.abs() < 30.5
    assert (found - expected)[near].abs().max() <= error * 31
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-7)
    assert found.dtype == dtype


def test_gradient_by_differences():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(softplus, x)
    assert torch.equal(Softplus()(x), softplus(x))


def test_input_stays_as_it_is():
    x = torch.randn(10)
    before = x.clone()
    softplus(x)
    assert torch.equal(x, before)


def test_under_vmap():
    x = torch.randn(5, 3)
    torch.testing.assert_close(torch.func.vmap(softplus)(x), F.softplus(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    x = torch.cat([torch.linspace(-12, 12, 2001), torch.tensor([-1e4, 0.0, 1e4])]).to(dtype)
    half, single = x.clone().requires_grad_(), x.float().requires_grad_()
    found, expected = softplus(half), softplus(single)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    found.sum().backward()
    expected.sum().backward()
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, single.grad.to(dtype))


def test_elsewhere_it_is_torchs():
    found = softplus(torch.zeros(4, device="meta"))
    assert (found.device.type, found.dtype) == ("meta", torch.float32)


def test_pixels_have_the_density_of_bernoullis(float64):
    logits = torch.cat([10 * torch.randn(6, 4, 5), torch.full((1, 4, 5), 1e4)]).requires_grad_()
    x = (torch.rand(7, 4, 5) < 0.5).double().requires_grad_()
    found = Bernoulli()(logits).log_prob(x)
    expected = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((-2, -1))
    torch.testing.assert_close(found, expected)
    for variable in (logits, x):
        ours, theirs = (
            torch.autograd.grad(value.sum(), variable, retain_graph=True)[0]
            for value in (found, expected)
        )
        torch.testing.assert_close(ours, theirs)
