"""Errors: each names the site, what was expected, what was found, and what to do."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import bit_guide, bit_model
from pyro.distributions import transforms
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from pyro.infer.autoguide import AutoNormal, AutoNormalMessenger
from torch import nn

from pyro_mivae.distributions import (
    CorrelatedNormal,
    CorrelatedSquashedNormal,
    IntervalUniform,
    LogitNormal,
    ProbitNormal,
    RotatedPairs,
)
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.guide_checks import require_support, support_bounds

pytestmark = pytest.mark.usefixtures("float64")


def gaussian_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def gaussian_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))


X = torch.zeros(4, 2, dtype=torch.float64)


def terms(model=gaussian_model, guide=gaussian_guide, *args, **kwargs):
    elbo = TraceMI_ELBO(**{"channel": "sample"} | kwargs)
    return elbo.terms(model, guide, *(args or (X,)))


# The constructor's.


def test_unknown_channel():
    message = "unknown channel 'men': expected one of mean, sample, straight-through, sleep"
    with pytest.raises(ValueError, match=message):
        TraceMI_ELBO(channel="men")
    with pytest.raises(TypeError, match="channel"):  # no default
        TraceMI_ELBO()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "1"])
def test_weights_are_finite_and_not_negative(bad):
    with pytest.raises(ValueError, match=r"mi_weight \(lambda\) must be a finite number >= 0"):
        TraceMI_ELBO(channel="sample", mi_weight=bad)
    with pytest.raises(ValueError, match=r"kl_weight \(beta\) must be .* callable of the step, fo"):
        TraceMI_ELBO(channel="sample", kl_weight=bad)


@pytest.mark.parametrize("name", ["mi_weight", "kl_weight"])
def test_schedules_too(name):
    elbo = TraceMI_ELBO(channel="sample", **{name: lambda step: 1.0 - step})
    elbo.loss_and_grads(gaussian_model, gaussian_guide, X)
    elbo.loss_and_grads(gaussian_model, gaussian_guide, X)
    with pytest.raises(ValueError, match=f"{name} at step 2 must be a finite number >= 0.* -1.0"):
        elbo.loss_and_grads(gaussian_model, gaussian_guide, X)


class _Subclass(Trace_ELBO):
    pass


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (RenyiELBO(), "RenyiELBO"),
        (_Subclass(), "_Subclass"),
        (Trace_ELBO, "Trace_ELBO"),
        (3, "int"),
    ],
)
def test_unsupported_base(base, name):
    message = f"unsupported base ELBO {name}: expected an instance of TraceMean"
    with pytest.raises(ValueError, match=message):
        TraceMI_ELBO(channel="sample", elbo=base)


@pytest.mark.parametrize("base", [TraceGraph_ELBO, TraceEnum_ELBO])
@pytest.mark.parametrize("weight", [2.0, lambda step: 1.0])
def test_kl_weight_needs_a_base_that_separates_the_kl(base, weight):
    message = f"kl_weight must be 1 with {base.__name__}, .* use elbo=Trace_ELBO"
    with pytest.raises(ValueError, match=message):
        TraceMI_ELBO(channel="sample", elbo=base(), kl_weight=weight)


def test_other_arguments():
    with pytest.raises(ValueError, match="num_dual_particles must be at least 1, found 0"):
        TraceMI_ELBO(channel="sample", num_dual_particles=0)
    with pytest.raises(ValueError, match="codes is empty: name a latent site"):
        TraceMI_ELBO(channel="sample", codes=[])


# Codes.


def test_unknown_code():
    message = r"codes names the site 'k', which the model does not have; its latent sites are \['z'"
    with pytest.raises(ValueError, match=message):
        terms(codes="k")


def test_code_that_is_always_data():
    message = r"'x', which is not latent: it is the argument 'x'. .* this call are \['z'\]"
    with pytest.raises(ValueError, match=message):
        terms(codes=["z", "x"])


def test_code_that_the_model_never_draws():
    def model(x):
        gaussian_model(x)
        pyro.deterministic("twice", x.sum())
        pyro.param("slope", torch.ones(()))

    for name in ("twice", "slope"):
        with pytest.raises(ValueError, match=f"'{name}', which is not latent: the model never dra"):
            terms(model, codes=name)


def test_code_without_a_guide_site():
    def model(x):
        gaussian_model(x)
        pyro.sample("k", dist.Normal(0.0, 1.0).mask(False))

    message = r"the guide has no site for the code 'k': q\(k\|x'\) .* latent sites are \['z'\]"
    with (
        pytest.warns(UserWarning, match="Found vars in model but not guide"),
        pytest.raises(ValueError, match=message),
    ):
        terms(model, codes="k", elbo=Trace_ELBO())


def test_no_shared_site():
    def guide(x):
        pass

    with (
        pytest.warns(UserWarning, match="Found vars in model but not guide"),
        pytest.raises(ValueError, match=r"share no latent site \(the model's are \['z'\], the guide's \[\]\)"),
    ):
        terms(guide=guide, elbo=Trace_ELBO())


def full_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.MultivariateNormal(x, torch.eye(2)))


def full_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "guide"), [(gaussian_model, full_guide), (full_model, gaussian_guide)]
)
def test_sliced_site_that_does_not_factorise(model, guide):
    message = r"dimensions of site 'z', but its MultivariateNormal of event shape \(2,\) does not"
    with pytest.raises(ValueError, match=message):
        terms(model, guide, codes={"z": slice(0, 1)})


def test_sliced_scalar_site():
    with pytest.raises(ValueError, match=r"site 'c', but its Bernoulli .* name the whole site"):
        terms(bit_model, bit_guide, X[:, 0], codes={"c": slice(0, 1)}, elbo=Trace_ELBO())


@pytest.mark.parametrize("dims", [slice(5, 10), slice(1, 1), 2, [0, 2], [], [0, 0], [0, -2]])
def test_slice_that_picks_nothing(dims):
    with pytest.raises(ValueError, match=r"picks no dimension.* event dimension .* 'z' has size 2"):
        terms(codes={"z": dims})


@pytest.mark.parametrize("dims", [(0, 1), [True, False], torch.tensor([0]), "z", 0.5])
def test_dimensions_of_another_type(dims):
    with pytest.raises(
        ValueError, match="expected None for the whole site, a slice, an int or a l"
    ):
        TraceMI_ELBO(channel="sample", codes={"z": dims})


def test_nothing_to_generate():
    message = r"generates no data in this call: it has no observed site besides observed=\['x'\]"
    with pytest.raises(ValueError, match=message):
        terms(observed="x")


def test_point_guides():
    guide = AutoNormal(gaussian_model)
    message = r"code site 'z' is a Delta, a point .* autoguides.*: write a guide with a density"
    with (
        pytest.warns(UserWarning, match="ignores its data"),
        pytest.raises(ValueError, match=message),
    ):
        terms(guide=guide)


def test_guide_messengers():
    with pytest.raises(ValueError, match="a GuideMessenger draws its values while the model runs"):
        terms(guide=AutoNormalMessenger(gaussian_model))


# The base's silences.


@pytest.mark.parametrize("validate", [True, False])
def test_guide_without_rsample_under_mean_field(validate):
    message = (
        "guide site 'c' is a Bernoulli, which has no reparameterised sampler: TraceMeanField_ELBO "
        r"would lose its gradient. Use elbo=TraceEnum_ELBO\(\) .* elbo=TraceGraph_ELBO\(\)"
    )
    with pyro.validation_enabled(validate):
        for weight in (0, 1):
            elbo = TraceMI_ELBO(channel="sample", mi_weight=weight)
            for compute in (elbo.loss, elbo.differentiable_loss, elbo.loss_and_grads, elbo.terms):
                with pytest.raises(ValueError, match=message):
                    compute(bit_model, bit_guide, X[:, 0])


def test_model_site_without_a_guide_site_under_mean_field():
    def model(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))
        gaussian_model(x)

    message = r"no site for the model's latent site 'w', which TraceMeanField.*TraceEnum_ELBO\(\)"
    with (
        pytest.warns(UserWarning, match="Found vars in model but not guide"),
        pytest.raises(ValueError, match=message),
    ):
        terms(model)


def squashed(*maps):
    return dist.TransformedDistribution(dist.Normal(torch.zeros(1), 1.0), list(maps))


SIGMOID, EXP, TANH = (
    transforms.SigmoidTransform(),
    transforms.ExpTransform(),
    transforms.TanhTransform(),
)
UNIFORM, STANDARD = dist.Uniform(-torch.ones(2), torch.ones(2)), dist.Normal(torch.zeros(2), 1.0)
WIDE, ORDER = transforms.AffineTransform(-1.0, 2.0), torch.tensor([0])


def square(low=-1.0, high=1.0):
    return IntervalUniform(low, high, torch.zeros(2)).to_event(1)


def turned(low=-1.0, high=1.0):
    """A diamond: its corners are 2 ** 0.5 away from the centre of a square of half side 1."""
    return RotatedPairs(square(low, high), low, high)


FULL = CorrelatedSquashedNormal(CorrelatedNormal(torch.zeros(2), torch.eye(2)), LogitNormal, -1, 1)
PROBIT = ProbitNormal(torch.zeros(2), torch.ones(2), -1.0, 1.0).to_event(1)
EXCEEDS = {
    "a square under the same one turned": (square(), turned()),
    "that of logit-normals": (FULL, turned()),
    "that of probit-normals": (PROBIT, turned()),
    "a square a bit too large for a turned one": (square(-0.71, 0.71), turned()),
    "a Normal under a turned square": (STANDARD.to_event(1), turned()),
    "a turned square under the same one": (turned(), square()),
    "a turned square under a square a bit too small": (turned(), square(-1.41, 1.41)),
    "a turned square under a Uniform": (turned(), UNIFORM.to_event(1)),
    "a turned square under a smaller one": (
        RotatedPairs(square(-1, 1), -1, 1),
        RotatedPairs(square(-0.9, 0.9), -1, 1),
    ),
    "Normal under Uniform": (STANDARD, UNIFORM),
    "Normal under Exponential": (STANDARD, dist.Exponential(1.0)),
    "wider Uniform": (dist.Uniform(-1.0, 1.5), UNIFORM),
    "wider in one dimension": (dist.Uniform(-torch.ones(2), torch.tensor([1.0, 2.0])), UNIFORM),
    "affine map of a sigmoid": (squashed(SIGMOID, transforms.AffineTransform(-1.0, 4.0)), UNIFORM),
    "reversed affine map": (squashed(SIGMOID, transforms.AffineTransform(1.0, -4.0)), UNIFORM),
    "Uniform under Beta": (UNIFORM, dist.Beta(1.0, 1.0)),
    "LogNormal under Uniform": (dist.LogNormal(0.0, 1.0), UNIFORM),
    "Gamma under Beta": (dist.Gamma(1.0, 1.0), dist.Beta(2.0, 2.0)),
    "more letters": (dist.Categorical(torch.ones(4)), dist.Categorical(torch.ones(3))),
    "composed maps": (
        squashed(transforms.ComposeTransform([SIGMOID, transforms.AffineTransform(-1.0, 4.0)])),
        UNIFORM,
    ),
    "an affine Normal": (squashed(WIDE), UNIFORM),
    "more letters than a bit has": (dist.Categorical(torch.ones(3)), dist.Bernoulli(0.5)),
    "MultivariateNormal": (dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), UNIFORM),
}
FITS = {
    "a turned square": (turned(), turned()),
    "one of logit-normals": (RotatedPairs(FULL, -1, 1), turned()),
    "a smaller turned square": (RotatedPairs(square(-0.9, 0.9), -1, 1), turned()),
    "a square inside a turned one": (square(-0.7, 0.7), turned()),
    "a turned square inside a square": (turned(), square(-1.4143, 1.4143)),
    "a turned square under a Normal": (turned(), STANDARD.to_event(1)),
    "one that is turned about another centre": (turned(4.0, 5.0), turned(3.0, 6.0)),
    "a full covariance in an interval": (FULL, square()),
    "probit-normals": (PROBIT, square()),
    "uniform under probit-normals": (square(), PROBIT),
    "the same": (STANDARD, STANDARD),
    "Uniform under Normal": (UNIFORM, STANDARD),
    "narrower Uniform": (dist.Uniform(-0.5, 0.5), UNIFORM),
    "Beta covers half": (dist.Beta(2.0, 2.0), UNIFORM),
    "affine map onto the interval": (squashed(SIGMOID, WIDE), UNIFORM),
    "composed maps": (squashed(transforms.ComposeTransform([SIGMOID, WIDE])), UNIFORM),
    "tanh": (squashed(TANH), UNIFORM),
    "reversed": (squashed(SIGMOID, transforms.AffineTransform(1.0, -2.0)), UNIFORM),
    "LogNormal under Exponential": (dist.LogNormal(0.0, 1.0), dist.Exponential(1.0)),
    "HalfNormal under Gamma": (dist.HalfNormal(1.0), dist.Gamma(1.0, 1.0)),
    "fewer letters": (dist.Categorical(torch.ones(2)), dist.Categorical(torch.ones(3))),
    "Bernoulli": (dist.Bernoulli(0.5), dist.Bernoulli(0.1)),
    "one hot": (dist.OneHotCategorical(torch.ones(3)), dist.OneHotCategorical(torch.ones(3))),
    "simplex": (dist.Dirichlet(torch.ones(3)), dist.Dirichlet(torch.ones(3))),
    "a point": (dist.Delta(torch.zeros(2)), UNIFORM),
    "a map that may do anything": (squashed(SIGMOID, transforms.Permute(ORDER)), UNIFORM),
    "and is followed by others": (squashed(SIGMOID, transforms.Permute(ORDER), WIDE), UNIFORM),
    "masked": (UNIFORM.mask(torch.tensor([True, False])), UNIFORM),
}


def site_traces(posterior, prior):
    def at(fn):
        return pyro.poutine.trace(lambda: pyro.sample("z", fn)).get_trace()

    return at(prior), at(posterior)


@pytest.mark.parametrize("case", EXCEEDS)
def test_support_that_exceeds(case):
    posterior, prior = EXCEEDS[case]
    message = (
        r"guide's support exceeds the prior's at site 'z': the guide \(\w+\) draws from \(.*, "
    )
    with pytest.raises(
        ValueError, match=message + r".*\), the prior \(\w+\) has density on \("
    ) as caught:
        require_support(*site_traces(posterior, prior))
    along = "both along the sides of its turned square" in str(caught.value)
    assert along == isinstance(prior, RotatedPairs)


@pytest.mark.parametrize("case", FITS)
def test_support_that_fits(case):
    require_support(*site_traces(*FITS[case]))


@pytest.mark.parametrize("scale", [1e-3, 10.0])
def test_support_is_checked_by_the_losses_whether_or_not_a_draw_leaves_it(scale):
    """With Pyro's validation a draw outside would otherwise be an error without its cause."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(-torch.ones(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, scale).to_event(1))

    message = r"guide \(Normal\) draws from \(-inf, inf\), the prior \(Uniform\) has .* \(-1, 1\)"
    for base in (
        Trace_ELBO(),
        TraceMeanField_ELBO(),
        TraceEnum_ELBO(strict_enumeration_warning=False),
    ):
        with pytest.raises(ValueError, match=message):
            TraceMI_ELBO(channel="sample", elbo=base, mi_weight=0).loss(model, guide, X)


def test_bounds():
    low, high = support_bounds(
        squashed(SIGMOID, transforms.AffineTransform(1.0, torch.tensor([-2.0, 4.0])))
    )
    assert (low.tolist(), high.tolist()) == ([-1.0, 1.0], [1.0, 5.0])
    assert support_bounds(dist.Delta(torch.zeros(()))) is None


def test_bounds_without_values_are_no_proof():
    """On the meta device there is nothing to read: no error."""
    assert (
        support_bounds(dist.Uniform(torch.zeros(2, device="meta"), 1.0, validate_args=False))
        is None
    )


def test_check_holds_for_parameters_too():
    """A learnable interval is compared at its current value."""
    edge = nn.Parameter(torch.tensor(1.5))
    traces = site_traces(dist.Uniform(-torch.ones(()), edge), dist.Uniform(-1.0, 1.0))
    with pytest.raises(ValueError, match=r"draws from \(-1, 1.5\)"):
        require_support(*traces)
