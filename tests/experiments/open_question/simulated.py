"""Files of runs that nobody has trained."""

FACTORS = ["thickness", "slant", "label"]


def simulated(seed, *, thickness=0.4, slant=0.6, leading="slant", dci=0.5, **checks):
    """A seed's file, as `jobs.train_arm` leaves it (test_arms.py holds the two together)."""
    known = {"posterior_ks": [0.03, 0.02], "factor_ks": {"thickness": 0.01, "slant": 0.01}}
    known |= {"set_measured": {"thickness": 0.97, "slant": 0.999}, "unmeasured": 0}
    total = thickness + slant
    return {
        "seed": seed,
        "units": "nats",
        "terms": {"log_likelihood": -110.0, "kl": 10.0, "kl/c": 4.0, "kl/z": 6.0}
        | {"mi": checks.pop("mi", 3.0), "mi/c": 3.0, "elbo": -120.0},
        "alignment": {
            "codes": ["c[0]", "c[1]"],
            "factors": FACTORS,
            "mi": [[thickness, 0.0, 0.1], [0.0, slant, 0.2]],
            "bias": [[0.0] * 3] * 2,
            "live": [True, True],
            "entropies": [3.0, 3.0, 2.3],
            "I_T": thickness,
            "I_S": slant,
            "share_T": thickness / total if total else None,
            "sums": {"thickness": thickness, "slant": slant, "label": 0.3},
            "leading": 0,
            "leading_top": leading,
            "top": ["thickness", "slant"],
            "num_live": 2,
            **{"mig": 0.1, "mig_ceiling": 0.99, "modularity": 0.8, "modularity_ceiling": 1.0},
            **{"modularity_pair": 0.9, "dci_d": dci, "dci_c": 0.5, "informativeness": [0.3, 0.6]},
        },
        "category": {},
        "generator": {
            "measured": ["thickness", "slant", "width"],
            "slope": [[0.9, 0.1, 0.0], [0.0, 1.2, 0.1]],
            "slope_se": [[0.1] * 3] * 2,
            "exclusivity": [[0.98, 0.02, 0.0], [0.0, 0.99, None]],
            "linearity": [[0.9] * 3] * 2,
            "num_missing": [[0, 0, 1], [0, 0, 0]],
        },
        "checks": known | checks,
        "seconds": {"training": 9.0, "total": 10.0, "processor": 9.5},
    }
