"""The table of all scores, in words."""

import numpy as np
import pytest
import xarray as xr

from pyro_mivae.disentanglement import summary

SCORES = xr.Dataset(
    {
        "mi": (("code", "factor"), [[0.9, 0.0], [0.1, 0.25]]),
        "entropy": ("factor", [3.0, 0.5]),
        "num_live": 2,
        "mig": 0.281,
        "mig_ceiling": 0.95,
        "modularity": 0.75,
        "modularity_ceiling": np.nan,
        "sap": 0.5,
    },
    {"code": ["a", "b"], "factor": ["slant", "digit"]},
    {"num_points": 300},
)


def test_each_score_has_a_line_with_its_ceiling_and_each_factor_its_code():
    assert summary(SCORES).splitlines() == [
        "2 of 2 codes are live, 2 factors, 300 points",
        "                      score  ceiling",
        "MIG                    0.28     0.95  one code is ahead, by factor",
        "modularity             0.75        -  a code carries one factor only",
        "SAP                    0.50           one code is ahead in predicting",
        "factor, the code that carries most about it, and nats of its entropy",
        "slant                code a: 0.90 of 3.00",
        "digit                code b: 0.25 of 0.50",
    ]
    assert max(map(len, summary(SCORES).splitlines())) <= 80


def test_what_is_no_result_of_evaluate_is_refused():
    with pytest.raises(ValueError, match=r"evaluate, found none of \['mi'\]"):
        summary(SCORES.drop_vars(["mi"]))
