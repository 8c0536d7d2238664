"""The model, ELBO and data of a run, from settings that are plain values and may be anybody's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO

from pyro_mivae.datasets import Digits, load_digits
from pyro_mivae.gan import InfoGAN
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.infer.schedule import Weight, checked_weight
from pyro_mivae.isolation import forked_random
from pyro_mivae.runs.history import History
from pyro_mivae.training.checkpoints import CheckpointError, load_checkpoint
from pyro_mivae.training.matching import check_state
from pyro_mivae.vae import MIVAE

STRUCTURES = {"infogan": ("uniform", 10), "infogan-gaussian": ("gaussian", 10)}
"""The priors with a category: that of the continuous code, and the number of categories."""
LARGEST = 4096
"""Dimensions of a code or of the noise, so that no file makes a network of any size."""

# Kinds of values, their words and defaults, by setting.
_WORD, _WHOLE, _NUMBER = (str, "a name"), (int, "a whole number"), ((int, float), "a number")
_MODEL: dict[str, tuple[Any, Any]] = {
    "prior": (_WORD, "uniform"),
    "posterior": (_WORD, None),
    "noise_prior": (_WORD, "gaussian"),
    "code_dim": (_WHOLE, None),
    "noise_dim": (_WHOLE, 5),
    "likelihood": (_WORD, "bernoulli"),
    "networks": (_WORD, "mlp"),
    "init_gain": (_NUMBER, 1.0),
}
_OBJECTIVE: dict[str, tuple[Any, Any]] = {
    "channel": (_WORD, "straight-through"),
    "mi_weight": (_NUMBER, 1.0),
    "mi_warmup": (_WHOLE, 0),
    "kl_weight": (_NUMBER, 1.0),
    "code_scale": (_NUMBER, None),
}
_SWITCH = (bool, "true or false")
_GAN_MODEL: dict[str, tuple[Any, Any]] = {
    "prior": (_WORD, "uniform"),
    "code_dim": (_WHOLE, 2),
    "categories": (_WHOLE, 10),
    "noise_prior": (_WORD, "gaussian"),
    "noise_dim": (_WHOLE, 4),
    "networks": (_WORD, "small"),
    "shared_trunk": (_SWITCH, True),
}
_GAN_OBJECTIVE: dict[str, tuple[Any, Any]] = {
    "code_scale": (_NUMBER, None),
    "mi_weight": (_NUMBER, 1.0),
    "category_weight": (_NUMBER, 1.0),
    "adversary": (_WORD, "non-saturating"),
}
_TRAINING: dict[str, tuple[Any, Any]] = {"seed": (_WHOLE, 0), "init_seed": (_WHOLE, None)}


def build_pair(settings: Mapping[str, Any]) -> tuple[MIVAE, TraceMI_ELBO]:
    """Builds the model, with the weights of its seed, and the ELBO of a run's settings.

    The random state stays as it is.

    Args:
        settings: Plain values in the groups ``model``, ``objective`` and ``training``.

    Raises:
        ValueError: If a value is of another kind, out of range or unknown.
    """
    model = _checked("model", settings["model"], _MODEL, strict=True)
    objective = _checked("objective", settings["objective"], _OBJECTIVE, strict=True)
    training = _checked("training", settings["training"], _TRAINING, strict=False)
    prior, categories = STRUCTURES.get(model["prior"], (model["prior"], 0))
    code_dim = model["code_dim"]
    if code_dim is None:
        code_dim = 2 if categories or prior == "rotated" else 5
    for name, number, least in (("code_dim", code_dim, 1), ("noise_dim", model["noise_dim"], 0)):
        if not least <= number <= LARGEST:
            raise ValueError(f"{name}: expected {least} to {LARGEST}, found {number}")
    seed = training["seed"] if training["init_seed"] is None else training["init_seed"]
    with forked_random(torch.device("cpu")):
        torch.manual_seed(seed)
        vae = MIVAE(
            code_dim=code_dim,
            noise_dim=model["noise_dim"],
            categories=categories,
            prior=prior,
            posterior=model["posterior"],
            noise_prior=model["noise_prior"],
            likelihood=model["likelihood"],
            encoder=model["networks"],
            decoder=model["networks"],
        )
    if model["init_gain"] != 1:
        with torch.no_grad():
            for name, parameter in vae.named_parameters():
                if name.endswith("weight"):
                    parameter.mul_(model["init_gain"])
    elbo = TraceMI_ELBO(
        channel=objective["channel"],
        mi_weight=_mi_weight(objective["mi_weight"], objective["mi_warmup"]),
        kl_weight=objective["kl_weight"],
        codes=vae.codes,
        code_scale=objective["code_scale"],
        elbo=TraceEnum_ELBO(max_plate_nesting=1) if categories else None,
    )
    return vae, elbo


def build_infogan(settings: Mapping[str, Any]) -> tuple[InfoGAN, TraceMI_GAN]:
    """Builds InfoGAN, with the weights of its seed, and the objective of a run's settings.

    The random state stays as it is.

    Args:
        settings: Plain values in the groups ``model``, ``objective`` and ``training``.

    Raises:
        ValueError: If a value is of another kind, out of range or unknown.
    """
    model = _checked("model", settings["model"], _GAN_MODEL, strict=True)
    objective = _checked("objective", settings["objective"], _GAN_OBJECTIVE, strict=True)
    training = _checked("training", settings["training"], {"seed": _TRAINING["seed"]}, strict=False)
    for name, least in (("code_dim", 1), ("noise_dim", 1), ("categories", 0)):
        if not least <= model[name] <= LARGEST:
            raise ValueError(f"{name}: expected {least} to {LARGEST}, found {model[name]}")
    with forked_random(torch.device("cpu")):
        torch.manual_seed(training["seed"])
        gan = InfoGAN(**model)
    weights = {"c": objective["mi_weight"], "d": objective["category_weight"]}
    scale = objective["code_scale"]
    elbo = TraceMI_GAN(
        gan.discriminator,
        codes=gan.codes,
        mi_weight={site: weights[site] for site in gan.codes},
        code_scale=None if scale is None else {"c": scale},
        adversary=objective["adversary"],
    )
    return gan, elbo


def trained_guide(vae: MIVAE) -> Any:
    """Returns the guide as a run trains it: a category is summed out."""
    return vae.guide.enumerated() if "d" in vae.priors else vae.guide


def load_pair(folder: Path, settings: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Loads the fields of :class:`~pyro_mivae.runs.LoadedRun` that a checkpoint holds."""
    state = load_checkpoint(folder)
    module: MIVAE | InfoGAN
    elbo: TraceMI_ELBO | TraceMI_GAN
    try:
        build = build_infogan if "adversary" in settings["objective"] else build_pair
        module, elbo = build(settings)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{folder / 'config.json'}: {error}. It was edited, or is of another version of the "
            "program: take back the file that the run has written"
        ) from error
    check_state("model and guide", state["objective"], module.state_dict())
    module.load_state_dict(state["objective"])
    module.to(device)
    try:
        elbo.load_state_dict(state["elbo"])
        history = History(state["history"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint in {folder} is of another training ({error!r}): expected one with an "
            "information term, and the rows of its history"
        ) from error
    return {
        "module": module,
        "model": module.model,
        "guide": trained_guide(module) if isinstance(module, MIVAE) else module.guide,
        "elbo": elbo,
        "prepare": module.observe,
        "step": state["step"],
        "history": history,
    }


def load_data(record: Any, folder: Path, device: Any, data_dir: str | Path | None = None) -> Digits:
    """Loads the digits that a run has noted, and compares their checksum.

    Raises:
        ValueError: If the run notes no digits, or others are found.
    """
    names = ("mnist", "mnist-5k")
    name = record.get("name") if isinstance(record, dict) else None
    if name not in names:
        raise ValueError(
            f"{folder / 'config.json'}: expected the data {' or '.join(names)}, found {name!r}"
        )
    digits = load_digits("mnist-5k" if name == "mnist-5k" else "mnist", data_dir=data_dir)
    if record.get("checksum") != digits.checksum:
        raise ValueError(
            f"the run in {folder} was on {name} ({str(record.get('checksum'))[:12]}), but the data "
            f"found now are {digits.name} ({digits.checksum[:12]}): name their folder with "
            "data_dir, or take back the config.json that the run has written"
        )
    return digits.to(device)


def _mi_weight(weight: float, warmup: int) -> Weight:
    """Returns lambda, or the schedule by which it grows."""
    checked_weight("mi_weight (lambda)", weight)
    if warmup < 0:
        raise ValueError(f"mi_warmup: expected 0 or a number of steps, found {warmup}")
    return (lambda step: weight * min(1.0, step / warmup)) if warmup else weight


def _checked(
    group: str, values: Mapping[str, Any], known: Mapping[str, tuple[Any, Any]], *, strict: bool
) -> dict[str, Any]:
    """The values of a group with defaults for those that older runs lack, each of its kind."""
    unknown = [name for name in values if name not in known]
    if strict and unknown:
        raise ValueError(f"unknown setting {unknown[0]!r} in {group}: expected {', '.join(known)}")
    checked = {}
    for name, ((kind, words), default) in known.items():
        value = values.get(name, default)
        optional = default is None and value is None
        finite = not isinstance(value, float) or math.isfinite(value)
        right = isinstance(value, kind) and isinstance(value, bool) is (kind is bool)
        if not optional and not (right and finite):
            raise ValueError(f"{group}, {name}: expected {words}, found {value!r}")
        checked[name] = value
    return checked
