"""TraceMeanField_ELBO under guides whose sites run in another order than the model's."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.dimension_terms import KlTerms, by_datum_of
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import entangled_sites

pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings("ignore:Failed to verify mean field"),  # Pyro's, of the order alone
]

X = torch.full((20_000,), 0.7, dtype=torch.float64)
SCALES = 0.8, 0.6
"""Of q(z1|x) and of the one that follows."""


def model(x):
    with pyro.plate("data", len(x)):
        z2 = pyro.sample("z2", dist.Normal(torch.zeros(()), 1.0))
        z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
        pyro.sample("x", dist.Normal(z1, 1.0), obs=x)


def bottom_up(x):
    with pyro.plate("data", len(x)):
        z1 = pyro.sample("z1", dist.Normal(x / 2, SCALES[0]))
        pyro.sample("z2", dist.Normal(z1 / 2, SCALES[1]))


def top_down(x):
    with pyro.plate("data", len(x)):
        z2 = pyro.sample("z2", dist.Normal(x / 4, SCALES[1]))
        pyro.sample("z1", dist.Normal((x + z2) / 2, SCALES[0]))


def apart(x):
    """Another order than the model's, and no site depends on the other."""
    with pyro.plate("data", len(x)):
        pyro.sample("z1", dist.Normal(x / 2, SCALES[0]))
        pyro.sample("z2", dist.Normal(x / 4, SCALES[1]))


def by_way_of_another(x):
    """z2 depends on z1 through a site of the guide alone."""
    with pyro.plate("data", len(x)):
        z1 = pyro.sample("z1", dist.Normal(x / 2, SCALES[0]))
        h = pyro.sample("h", dist.Normal(z1, 0.1), infer={"is_auxiliary": True})
        pyro.sample("z2", dist.Normal(h / 2, SCALES[1]))


def exact_elbo(x):
    """E_q[log p(x, z1, z2) - log q] of the guide that runs bottom-up, by Gaussian moments."""
    s1, s2 = SCALES
    mean, var = x / 2, s1**2
    half_log = 0.5 * torch.tensor(2 * torch.pi).log()
    log_x = -half_log - 0.5 * ((x - mean) ** 2 + var)
    # z1 - z2 = z1 / 2 - e has mean `mean / 2` and variance var / 4 + s2^2.
    log_z1 = -half_log - 0.5 * (mean**2 / 4 + var / 4 + s2**2)
    log_z2 = -half_log - 0.5 * (mean**2 / 4 + var / 4 + s2**2)
    entropy = sum(half_log + 0.5 + torch.tensor(s).log() for s in SCALES)
    return float(log_x + log_z1 + log_z2 + entropy)


def test_bottom_up_has_the_exact_elbo():
    torch.manual_seed(0)
    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.0)
    values = torch.tensor([-elbo.loss(model, bottom_up, X) / len(X) for _ in range(20)])
    exact, error = exact_elbo(X[0]), float(values.std() / len(values) ** 0.5)
    assert abs(float(values.mean()) - exact) < 4 * error
    assert elbo.kl_estimators == {"z2": "analytic", "z1": "sampled"}
    wrong = -TraceMeanField_ELBO().loss(model, bottom_up, X) / len(X)
    assert abs(wrong - exact) > 50 * error  # what the analytic KL would give


def test_gradients_are_those_of_the_sampled_elbo():
    slope = torch.tensor(0.5, requires_grad=True)

    def guide(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x * slope, SCALES[0]))
            pyro.sample("z2", dist.Normal(z1 * slope, SCALES[1]))

    def gradients(elbo, count=10):
        torch.manual_seed(0)
        losses = [elbo.differentiable_loss(model, guide, X) / len(X) for _ in range(count)]
        grads = torch.stack([torch.autograd.grad(loss, slope)[0] for loss in losses])
        return grads.mean(), grads.std() / count**0.5

    ours, error = gradients(TraceMI_ELBO(channel="sample", mi_weight=0))
    pyros, other = gradients(Trace_ELBO())
    assert abs(ours - pyros) < 4 * (error + other)


@pytest.mark.parametrize(
    ("guide", "expected"),
    [
        (bottom_up, {"z1"}),
        (by_way_of_another, {"z1"}),
        (top_down, set()),
        (apart, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_which_sites_are_sampled(guide, expected):
    call = Call(model, guide, (X[:5],))
    guide_trace = call.trace_guide()
    replayed = pyro.poutine.replay(model, trace=guide_trace)
    model_trace = pyro.poutine.trace(replayed).get_trace(X[:5])
    assert entangled_sites(call, model_trace, guide_trace) == expected


def test_said_once_for_a_pair(caplog):
    elbo = TraceMI_ELBO(channel="sample", mi_weight=0)
    for _ in range(3):
        elbo.loss(model, bottom_up, X[:5])
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "the KL of ['z1'] is sampled" in record.message


@pytest.mark.parametrize("guide", [top_down, apart], ids=["top-down", "apart"])
def test_nothing_changes_where_the_analytic_kl_is_right(guide):
    """Bits and random numbers included."""
    states = []
    for elbo in (TraceMeanField_ELBO(), TraceMI_ELBO(channel="sample", mi_weight=0)):
        torch.manual_seed(0)
        states.append((elbo.loss(model, guide, X[:50]), torch.rand(())))
    assert states[0] == states[1]


def test_buffers_are_left_alone():
    """The search for dependencies runs model and guide, and is no step."""

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(1)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z1 = pyro.sample("z1", dist.Normal(self.norm(x[:, None])[:, 0], SCALES[0]))
                pyro.sample("z2", dist.Normal(z1 / 2, SCALES[1]))

    guide = Guide()
    TraceMI_ELBO(channel="sample", mi_weight=0).loss(model, guide, X[:50])
    assert int(guide.norm.num_batches_tracked) == 1


def test_kl_by_datum_of_a_guide_that_runs_bottom_up():
    x = X[:5000]
    kl = by_datum_of([KlTerms(model, bottom_up)], Batching.of(x, 5000, None, 0))[0]
    s1, s2 = SCALES
    mean, var = x[0] / 2, s1**2
    # E[log q(z1|x) - log p(z1|z2)]: minus the entropy, plus half the mean square of z1 - z2.
    exact = -0.5 - torch.tensor(s1).log() + 0.5 * (mean**2 / 4 + var / 4 + s2**2)
    error = kl["z1"].std() / len(x) ** 0.5
    assert abs(kl["z1"].mean() - exact) < 4 * error
