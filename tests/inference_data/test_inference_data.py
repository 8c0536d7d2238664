import errno
import gc
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy import special, stats
from torch import nn

import pyro_mivae
from pyro_mivae import inference_data as module
from pyro_mivae.inference_data import from_pair, inference_data
from pyro_mivae.inference_data.mivae import from_run, read, write
from pyro_mivae.information import per_dimension
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.networks import MLPDecoder, MLPEncoder

pytestmark = pytest.mark.usefixtures("float64")

SHAPE = (4, 5)
GROUPS = {
    "prior",
    "prior_predictive",
    "posterior",
    "posterior_predictive",
    "observed_data",
    "constant_data",
    "log_likelihood",
    "sample_stats",
    "traversal",
}


def make_vae(**options):
    torch.manual_seed(3)
    settings = {"code_dim": 3, "noise_dim": 2, "image_shape": SHAPE} | options
    shape = settings["image_shape"]
    settings.setdefault("encoder", lambda n: MLPEncoder(n, image_shape=shape, hidden=(8,)))
    settings.setdefault("decoder", lambda n: MLPDecoder(n, image_shape=shape, hidden=(8,)))
    vae = MIVAE(**settings).double()
    for parameter in vae.parameters():  # biases too are not 0
        nn.init.normal_(parameter, std=0.5)
    return vae


def make_data(n=6, shape=SHAPE):
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    return (images > 127).double(), torch.arange(n) % 3, images


class Show(nn.Module):
    """A decoder whose pixels are the latents."""

    def forward(self, latent):
        return latent.unsqueeze(-2)


def same(one, other):
    assert {node.path for node in one.subtree} == {node.path for node in other.subtree}
    for node in one.subtree:
        xr.testing.assert_identical(node.to_dataset(), other[node.path].to_dataset())


@pytest.mark.parametrize("noise_dim", [0, 2])
def test_every_dimension_is_named_and_numbered(noise_dim):
    vae, (x, labels, images) = make_vae(noise_dim=noise_dim), make_data()
    tree = inference_data(vae, x, labels=labels, images=images, draws=4, prior_draws=5)
    assert set(tree.children) == GROUPS
    sites = {"c": 3, "z": 2} if noise_dim else {"c": 3}
    many, image = ("chain", "draw"), ("image", "height", "width")
    for site, dim in sites.items():
        assert tree["prior"].data_vars[site].sizes == {"chain": 1, "draw": 5, f"{site}_dim": dim}
        assert tree["posterior"][site].dims == (*many, "image", f"{site}_dim")
        assert tree["posterior"][site].shape == (1, 4, 6, dim)
        assert tree["sample_stats"][f"kl_{site}"].dims == ("image",)
    assert set(tree["posterior"].data_vars) == set(tree["prior"].data_vars) == set(sites)
    for name in ("x", "x_mean"):
        assert tree["prior_predictive"][name].dims == (*many, "height", "width")
        assert tree["posterior_predictive"][name].dims == (*many, *image)
        assert tree["posterior_predictive"][name].shape == (1, 1, 6, *SHAPE)
    for name in ("lp", "log_q"):
        assert tree["sample_stats"][name].dims == (*many, "image")
        assert tree["sample_stats"][name].attrs["units"] == "nats"
    assert tree["log_likelihood"]["x"].shape == (1, 4, 6)
    assert tree["log_likelihood"]["x"].attrs["units"] == "nats"
    assert tree["traversal"]["x_mean"].sizes == {
        "c_dim": 3,
        "quantile": 11,
        "height": 4,
        "width": 5,
    }
    assert "first 1 of 4 draws" in tree["posterior_predictive"].attrs["note"]
    assert np.array_equal(tree["observed_data"]["x"], x)
    assert np.array_equal(tree["constant_data"]["label"], labels)
    assert np.array_equal(tree["constant_data"]["grey"], images)
    for node in tree.children.values():
        assert node.attrs["pyro_mivae_version"] == pyro_mivae.__version__
        assert set(node.sizes) <= set(node.coords)
    # Bytes where x is binary, and signed ones: ArviZ's plot_ppc refuses unsigned integers.
    assert tree["observed_data"]["x"].dtype == tree["prior_predictive"]["x"].dtype == np.int8


def test_labels_and_images_may_be_missing():
    tree = inference_data(make_vae(), make_data()[0], draws=2)
    assert set(tree.children) == GROUPS - {"constant_data"}


def test_densities_are_those_computed_by_hand():
    vae, (x, _, _) = make_vae(), make_data()
    tree = inference_data(vae, x, draws=4)
    c, z = (torch.tensor(tree["posterior"][site].values[0]) for site in "cz")
    with torch.no_grad():
        logits = vae.model.decoder(torch.cat([c, z], -1))
        likelihood = (x * logits - nn.functional.softplus(logits)).sum((-2, -1)).numpy()
        raw_c, raw_z = vae.guide.encoder(x).split([6, 4], -1)
        log_q, kl = 0.0, {}
        for site, raw, value in (("c", raw_c, c), ("z", raw_z, z)):
            q = vae.guide.posteriors[site](raw).base_dist
            loc, scale = q.loc.numpy(), q.scale.numpy()
            log_q = log_q + stats.norm.logpdf(value, loc, scale).sum(-1)
            kl[site] = (0.5 * (loc**2 + scale**2 - 1) - np.log(scale)).sum(-1)
    log_p = sum(stats.norm.logpdf(value).sum(-1) for value in (c, z))
    found = tree["sample_stats"]
    np.testing.assert_allclose(tree["log_likelihood"]["x"][0], likelihood, rtol=1e-10)
    np.testing.assert_allclose(found["lp"][0], likelihood + log_p, rtol=1e-10)
    np.testing.assert_allclose(found["log_q"][0], log_q, rtol=1e-10)
    for site in "cz":
        np.testing.assert_allclose(found[f"kl_{site}"], kl[site], rtol=1e-10)
        assert found[f"kl_{site}"].attrs == {"units": "nats", "estimator": "analytic"}
    means = torch.sigmoid(logits)
    np.testing.assert_allclose(tree["posterior_predictive"]["x_mean"][0, 0], means[0], rtol=1e-10)


def test_a_kl_without_closed_form_is_a_mean_of_the_draws():
    vae, (x, _, _) = make_vae(prior="uniform", noise_dim=0), make_data()
    tree = inference_data(vae, x, draws=7)
    found = tree["sample_stats"]
    assert found["kl_c"].attrs["estimator"] == "mean of the draws"
    expected = (found["log_q"] + 3 * math.log(2)).mean(("chain", "draw"))
    np.testing.assert_allclose(found["kl_c"], expected, rtol=1e-10)
    assert (abs(tree["posterior"]["c"]) < 1).all()
    assert (abs(tree["prior"]["c"]) < 1).all()


@pytest.mark.slow
def test_draws_come_from_prior_posterior_and_decoder():
    vae, (x, _, _) = make_vae(decoder=Show(), image_shape=(1, 5)), make_data(2, (1, 5))
    count = 5_000
    tree = inference_data(vae, x, draws=count, prior_draws=count, predictive_draws=count)
    c = tree["prior"]["c"].values[0]
    assert np.abs(c.mean(0)).max() < 5 / math.sqrt(count)
    assert np.abs(c.var(0) - 1).max() < 5 * math.sqrt(2 / count)
    with torch.no_grad():
        q = vae.guide.encode(x)["c"].base_dist
    z_score = (tree["posterior"]["c"].values[0].mean(0) - q.loc.numpy()) / q.scale.numpy()
    assert np.abs(z_score).max() < 5 / math.sqrt(count)
    for group in ("prior_predictive", "posterior_predictive"):
        mean, x = tree[group]["x_mean"].values[0], tree[group]["x"].values[0]
        error = np.sqrt((mean * (1 - mean)).mean(0) / count)
        assert (np.abs((x - mean).mean(0)) < 5 * error).all()


@pytest.mark.parametrize("prior", ["gaussian", "uniform"])
def test_a_traversal_moves_one_code_dimension(prior):
    decoder, likelihood = Show(), "gaussian"
    vae = make_vae(decoder=decoder, image_shape=(1, 5), likelihood=likelihood, prior=prior)
    x = torch.randn(4, 1, 5)
    quantiles = (0.1, 0.5, 0.9)
    tree = inference_data(vae, x, quantiles=quantiles, traversal_image=2, draws=3)
    # The decoder sees latents in units of their prior's spread: back to the code's own.
    shown = tree["traversal"]["x_mean"].values[:, :, 0] * vae.model.latent_scale.numpy()
    start = np.concatenate(
        [tree["posterior"][site].sel(image=2).mean(("chain", "draw")).values for site in "cz"]
    )
    target = stats.norm.ppf(quantiles) if prior == "gaussian" else np.array([-0.8, 0.0, 0.8])
    for d in range(3):
        expected = np.tile(start, (3, 1))
        expected[:, d] = target
        np.testing.assert_allclose(shown[d], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(tree["traversal"]["value"][d], target, atol=1e-12)
    np.testing.assert_array_equal(tree["traversal"]["quantile"], quantiles)
    assert tree["traversal"].attrs["image"] == 2
    assert tree["observed_data"]["x"].dtype == np.float64


def test_a_traversal_of_turned_pairs_stays_inside():
    vae = make_vae(code_dim=2, prior="rotated")
    x, _, _ = make_data()
    tree = inference_data(vae, x, quantiles=(1e-6, 0.5, 1 - 1e-6), draws=3)
    start = tree["posterior"]["c"].sel(image=0).mean(("chain", "draw")).values
    reach = math.sqrt(2)
    for d in range(2):
        ends = tree["traversal"]["value"].values[d]
        width = reach - abs(start[1 - d])
        np.testing.assert_allclose(ends, [-width, 0, width], atol=1e-5)


def test_a_category_and_what_it_generates():
    vae, (x, labels, images) = make_vae(categories=4), make_data()
    tree = inference_data(vae, x, labels=labels, images=images, draws=3, prior_draws=7)
    assert set(tree.children) == GROUPS | {"categories"}
    assert tree["prior"]["d"].sizes == {"chain": 1, "draw": 7, "d_dim": 4}
    drawn = tree["posterior"]["d"]
    assert drawn.sizes == {"chain": 1, "draw": 3, "image": 6, "d_dim": 4}
    assert drawn.dtype == np.int8
    assert (drawn.sum("d_dim") == 1).all()
    q = vae.guide.encode(x)["d"]
    np.testing.assert_allclose(tree["sample_stats"]["q_d"], q.probs.detach())
    kl = math.log(4) - q.entropy().detach()
    np.testing.assert_allclose(tree["sample_stats"]["kl_d"], kl)
    assert tree["sample_stats"]["kl_d"].attrs["estimator"] == "analytic"
    # Five rows of four images, whose other latents are the first draws from the prior.
    shown = tree["categories"]["x_mean"]
    assert shown.sizes == {"row": 5, "d_dim": 4, "height": 4, "width": 5}
    c, z = (torch.as_tensor(tree["prior"][site].values[0]) for site in "cz")
    for k in range(4):
        expected = vae.model.decode(c[:5], z[:5], torch.eye(4)[k].expand(5, 4)).mean
        np.testing.assert_allclose(shown[:, k], expected.detach(), rtol=1e-6)
    # A traversal leaves the likeliest category as it is.
    start = [tree["posterior"][s].sel(image=0).mean(("chain", "draw")).values for s in "cz"]
    moved = torch.as_tensor(np.tile(start[0], (11, 1)))
    moved[:, 1] = torch.as_tensor(tree["traversal"]["value"].values[1])
    expected = vae.model.decode(moved, torch.as_tensor(start[1])[None], q.mode[:1]).mean
    found = tree["traversal"]["x_mean"].values[1]
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-6)


def test_calls_agree_and_leave_no_trace():
    vae, (x, _, _) = make_vae(), make_data()
    vae.train()
    vae.guide.encoder.eval()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    one = inference_data(vae, x, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.model.training
    assert not vae.guide.encoder.training
    torch.randn(3)
    same(one, inference_data(vae, x, seed=4))
    other = inference_data(vae, x, seed=5)
    assert not np.allclose(one["posterior"]["c"], other["posterior"]["c"])


def measured(vae, x):
    return per_dimension(vae.model, vae.guide, x, channels=("mean", "sample"), progress=False)


def test_information_of_every_dimension():
    vae, (x, _, _) = make_vae(), make_data()
    found = inference_data(vae, x, draws=2, information=measured(vae, x))["information"]
    assert list(found["channel"].values) == ["mean", "sample"]
    assert found["mi_c"].dims == ("channel", "c_dim")
    assert found["mi_c"].shape == (2, 3)
    assert found["kl_z"].shape == (2,)
    assert found["mi_c"].attrs["units"] == found["kl_c"].attrs["units"] == "nats"
    assert list(found["dimension"].values) == ["c[0]", "c[1]", "c[2]", "z[0]", "z[1]"]


@pytest.mark.slow
def test_a_round_trip_keeps_everything(tmp_path):
    import arviz

    vae, (x, labels, images) = make_vae(), make_data()
    attrs = {"data": "random", "channel": "mean"}
    tree = inference_data(
        vae, x, labels=labels, images=images, information=measured(vae, x), attrs=attrs
    )
    path = tmp_path / "posterior.nc"
    write(tree, path)
    assert [file.name for file in tmp_path.iterdir()] == ["posterior.nc"]
    same(tree, read(tmp_path))
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        same(tree, opened.load())
    stored = arviz.from_netcdf(path)
    for data in (stored, from_run(tmp_path)):
        assert set(names_of(data)) == GROUPS | {"information"}
        assert data.attrs["data"] == "random"
        assert data.attrs["creation_library_version"] == pyro_mivae.__version__
        for group in names_of(data):
            own = data[group]
            own = own.to_dataset() if isinstance(own, xr.DataTree) else own
            xr.testing.assert_identical(own.load(), tree[group].to_dataset())
    stored.close()


@pytest.mark.filterwarnings("ignore:Variables x in '.*' look (binary|discrete)")
@pytest.mark.filterwarnings("ignore:Deleting a single level of a MultiIndex")  # ArviZ 1's own
@pytest.mark.unreadable  # ArviZ draws as it likes
def test_arviz_summarises_and_plots_a_run(tmp_path):
    import arviz
    from matplotlib import pyplot as plt

    vae, (x, _, _) = make_vae(), make_data()
    tree = inference_data(vae, x, draws=50)
    write(tree, tmp_path / "posterior.nc")
    data = from_run(tmp_path)
    table = arviz.summary(
        data, var_names=["c"], coords={"image": [2]}, round_to="none", kind="stats"
    )
    np.testing.assert_allclose(table["mean"], tree["posterior"]["c"].values[0, :, 2].mean(0))
    plt.switch_backend("agg")
    if hasattr(arviz, "plot_ppc_dist"):  # ArviZ 1
        arviz.plot_dist(data, var_names=["c"], coords={"image": [2]}, backend="none")
        arviz.plot_ppc_dist(data, num_samples=1, backend="none")
    else:
        axes = arviz.plot_posterior(data, var_names=["c"], coords={"image": [2]})
        assert axes.size == 3
        arviz.plot_ppc(data, num_pp_samples=1)
    plt.close("all")


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_arviz_leaves_an_image_out_of_its_own_draws_alone(tmp_path):
    """What az.loo computes is of p(x|c, z): the docs say why it is no cross-validation."""
    import arviz

    vae, (x, _, _) = make_vae(), make_data()
    write(inference_data(vae, x, draws=200), tmp_path / "posterior.nc")
    data = from_run(tmp_path)
    loo = arviz.loo(data, var_name="x", reff=1.0)
    density = read(tmp_path)["log_likelihood"]["x"].values[0]
    elpd = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    # By the inverse of the likelihood: between its least and its mean on a draw of the guide.
    mean = special.logsumexp(density, axis=0) - np.log(len(density))
    assert density.min(0).sum() < elpd < mean.sum()


def names_of(data):
    """Names of the groups, of ArviZ 0.23 or 1."""
    return [*data.children] if isinstance(data, xr.DataTree) else data.groups()


def test_the_file_of_500_images_stays_below_20_mb(tmp_path):
    vae, (x, labels, images) = make_vae(image_shape=(28, 28)), make_data(10, (28, 28))
    vae, x = vae.float(), x.float()
    tree = inference_data(vae, x, labels=labels, images=images)
    # Noise does not compress: what depends on the number of images grows 50-fold, at most.
    grows = sum(
        v.nbytes for node in tree.subtree for v in node.data_vars.values() if "image" in v.dims
    )
    assert grows * 50 + tree.nbytes - grows < 5e6
    write(tree, tmp_path / "posterior.nc")
    assert (tmp_path / "posterior.nc").stat().st_size < tree.nbytes
    assert read(tmp_path)["observed_data"]["x"].encoding["complevel"] > 0


def test_an_error_holds_no_view_of_the_buffer_that_is_collected_with_it(tmp_path, monkeypatch):
    """As the system's errors do, whose traceback has what was to be written."""
    tree, unraised = inference_data(make_vae(), make_data()[0]), []
    monkeypatch.setattr(sys, "unraisablehook", unraised.append)

    def write_bytes(path, content):
        view = memoryview(content)
        raise OSError(errno.ENOSPC, f"no room for {len(view)} bytes")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    try:
        write(tree, tmp_path / "posterior.nc")
    except OSError as error:
        cycle = [error]
        cycle.append(cycle)
    del cycle
    gc.collect()
    assert unraised == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    def fail(path, **options):
        path.write_text("half")
        raise OSError("disk full")

    path = tmp_path / "posterior.nc"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        write(SimpleNamespace(subtree=[], to_netcdf=fail), path)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("reader", [read, from_run])
def test_a_folder_without_a_posterior(reader, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no posterior\.nc in .*finished run"):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": torch.zeros(6, 5, 5)}, r"x: expected floats of shape \(N, 4, 5\).*\(6, 5, 5\)"),
        ({"x": torch.zeros(6, 4, 5, dtype=torch.uint8)}, "observe"),
        ({"x": torch.zeros(0, 4, 5)}, r"\(0, 4, 5\)"),
        ({"labels": torch.zeros(5)}, r"labels: expected shape \(6,\).*\(5,\)"),
        ({"images": torch.zeros(6, 4, 5)}, "images: expected uint8.*float32"),
        ({"draws": 0}, "draws=0"),
        ({"prior_draws": 0}, "prior_draws=0"),
        ({"predictive_draws": 21}, "predictive_draws=21"),
        ({"quantiles": (0.0, 0.5)}, r"quantiles: .*\(0, 1\), found \[0.0, 0.5\]"),
        ({"quantiles": ()}, "quantiles"),
        ({"traversal_image": 6}, "0 to 5, found 6"),
        ({"information": xr.Dataset()}, r"per_dimension\(\) returns for the sites \['c', 'z'\]"),
        (
            {"information": xr.Dataset({"kl_b": ("b_dim", [1.0], {"site": "b"})})},
            r"found the variables \['kl_b'\]",
        ),
        (
            {"information": xr.Dataset({"kl_z": ("z_dim", [1.0, 2, 3], {"site": "z"})})},
            "expected 2 dimensions of site 'z' in 'z_dim', found 3",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(options, message):
    arguments = {"x": make_data()[0]} | options
    with pytest.raises(ValueError, match=message):
        inference_data(make_vae(), **arguments)


def conjugate_model(y, scale=0.5):
    mu = pyro.sample("mu", dist.Normal(0, 1))
    with pyro.plate("data", len(y)):
        pyro.deterministic("twice", 2 * y)
        pyro.sample("y", dist.Normal(mu, scale), obs=y)


def conjugate_guide(y, scale=0.5):
    precision = 1 + len(y) / scale**2
    pyro.sample("mu", dist.Normal(y.sum() / scale**2 / precision, precision**-0.5))


def test_any_pair_with_its_exact_posterior():
    y, count = torch.tensor([0.3, -1.2, 2.0, 0.4]), 500
    torch.manual_seed(5)
    state = torch.get_rng_state()
    tree = from_pair(conjugate_model, conjugate_guide, y, num_draws=count, scale=0.5)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(tree.children) == GROUPS - {"constant_data", "traversal"}
    # With the exact posterior log p(x, mu) - log q(mu | x) is log p(x) at every draw.
    covariance = 0.25 * np.eye(4) + np.ones((4, 4))
    evidence = stats.multivariate_normal.logpdf(y, np.zeros(4), covariance)
    ratio = tree["sample_stats"]["lp"] - tree["sample_stats"]["log_q"]
    np.testing.assert_allclose(ratio, evidence, rtol=1e-9)
    mu = tree["posterior"]["mu"]
    assert mu.dims == ("chain", "draw")
    np.testing.assert_allclose(
        tree["log_likelihood"]["y"], stats.norm.logpdf(y, mu.values[..., None], 0.5), rtol=1e-9
    )
    assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "data")
    np.testing.assert_array_equal(tree["observed_data"]["y"], y)
    assert list(tree["observed_data"].data_vars) == ["y"]  # not what is only deterministic
    posterior_sd = 1 / math.sqrt(17)
    assert abs(mu.mean() - float(y.sum()) * 4 / 17) < 5 * posterior_sd / math.sqrt(count)
    for group, variance in (("prior_predictive", 1.25), ("posterior_predictive", 0.25 + 1 / 17)):
        drawn = tree[group]["y"].var("draw")
        assert (abs(drawn - variance) < 5 * variance * math.sqrt(2 / count)).all()
    assert abs(tree["prior"]["mu"].var() - 1) < 5 * math.sqrt(2 / count)


def test_a_vae_is_a_pair_too():
    vae, (x, _, _) = make_vae(), make_data(400)
    tree = inference_data(vae, x, draws=5)
    pair = from_pair(vae.model, vae.guide, x, num_draws=5)
    assert pair["posterior"]["c"].dims == ("chain", "draw", "data", "c_dim_0")
    assert pair["posterior_predictive"]["x"].dims == ("chain", "draw", "data", "x_dim_0", "x_dim_1")
    elbo = [
        (t["sample_stats"]["lp"] - t["sample_stats"]["log_q"]).values.reshape(5, -1).sum(-1)
        for t in (tree, pair)
    ]
    error = math.sqrt(sum(e.var(ddof=1) / 5 for e in elbo))
    assert abs(elbo[0].mean() - elbo[1].mean()) < 5 * error


def test_dimensions_are_named_by_their_plates():
    def model():
        outer = pyro.plate("outer", 3, dim=-2)
        with outer:
            a = pyro.sample("a", dist.Normal(0, 1))
        with outer, pyro.plate("inner", 2, dim=-1):
            with pyro.poutine.scale(scale=2.0):
                pyro.sample("b", dist.Normal(a, 1).expand([3, 2]), obs=torch.ones(3, 2))
            pyro.sample("e", dist.Dirichlet(torch.ones(4)))

    def guide():
        with pyro.plate("outer", 3, dim=-2):
            pyro.sample("a", dist.Normal(1, 1))
            with pyro.plate("inner", 2, dim=-1):
                pyro.sample("e", dist.Dirichlet(torch.ones(4)))

    tree = from_pair(model, guide, num_draws=2)
    assert tree["posterior"]["a"].sizes == {"chain": 1, "draw": 2, "outer": 3}
    assert tree["prior"]["e"].dims == ("chain", "draw", "outer", "inner", "e_dim_0")
    a = tree["posterior"]["a"].values[..., None]
    expected = np.broadcast_to(2 * stats.norm.logpdf(1, a, 1), (1, 2, 3, 2))  # scaled by 2
    np.testing.assert_allclose(tree["log_likelihood"]["b"], expected)


def test_pairs_that_do_not_fit_are_errors():
    def subsampling(y):
        with pyro.plate("data", len(y), subsample_size=2, subsample=torch.tensor([0, 2])) as index:
            pyro.sample("mu", dist.Normal(0, 1))
            pyro.sample("y", dist.Normal(0, 1), obs=y[index])

    def guide(y):
        with pyro.plate("data", len(y), subsample_size=2, subsample=torch.tensor([0, 2])):
            pyro.sample("mu", dist.Normal(0, 1))

    with pytest.raises(ValueError, match=r"plate 'data' takes 2 of its 3 data.*subsample_size"):
        from_pair(subsampling, guide, torch.zeros(3))
    with pytest.raises(ValueError, match=r"no site for the model's latents \['mu'\]"):
        from_pair(conjugate_model, lambda y: None, torch.zeros(3))
    with pytest.raises(ValueError, match="num_draws must be at least 1, found 0"):
        from_pair(conjugate_model, conjugate_guide, torch.zeros(3), num_draws=0)


def test_the_module_names_what_a_user_needs():
    assert {"inference_data", "from_pair", "from_run", "read", "write"} <= set(module.__all__)
