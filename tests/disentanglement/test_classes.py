"""Categories matched to classes, against matchings by hand."""

import itertools

import numpy as np
import pytest
import torch

from pyro_mivae.disentanglement.classes import match_classes


def test_a_permutation_of_the_classes_is_perfect():
    labels = torch.tensor([7, 3, 5, 7, 3, 5, 5])
    categories = torch.tensor([0, 2, 1, 0, 2, 1, 1])
    found = match_classes(categories, labels, 3)
    assert found.accuracy == 1
    assert found.classes == [7, 5, 3]
    assert found.shares == pytest.approx([2 / 7, 3 / 7, 2 / 7])


def test_a_category_that_says_nothing_has_the_largest_class():
    labels = torch.tensor([0, 1, 1, 1, 2])
    found = match_classes(torch.zeros(5, dtype=torch.long), labels, 3)
    assert found.accuracy == pytest.approx(0.6)
    assert found.shares == [1, 0, 0]


def test_no_class_is_given_twice():
    """Both categories are of class 0 mostly: a majority vote would score 1, a matching 0.6."""
    labels = torch.tensor([0, 0, 0, 0, 0])
    categories = torch.tensor([0, 0, 0, 1, 1])
    found = match_classes(categories, labels, 2)
    assert found.accuracy == pytest.approx(0.6)
    assert found.classes == [0, None]


def test_the_matching_is_the_best_of_all():
    generator = torch.Generator().manual_seed(0)
    labels, categories = (torch.randint(0, 5, (200,), generator=generator) for _ in range(2))
    best = max(
        float((torch.tensor(order)[categories] == labels).double().mean())
        for order in itertools.permutations(range(5))
    )
    found = match_classes(categories, labels, 5)
    assert found.accuracy == pytest.approx(best)
    assert (torch.tensor(found.classes)[categories] == labels).double().mean() == pytest.approx(
        best
    )


def test_errors():
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"found shapes \(3,\) and \(2,\)"):
        match_classes(torch.zeros(3, dtype=torch.long), labels, 2)
    with pytest.raises(ValueError, match="categories from 0 to 1, found 0 to 2"):
        match_classes(torch.tensor([0, 2]), labels, 2)


@pytest.mark.parametrize(
    ("categories", "labels"),
    [
        (torch.tensor([0.0, 1.0]), torch.tensor([0, 1])),
        (torch.tensor([True, False]), torch.tensor([0, 1])),
        (torch.tensor([0, 1]), np.array(["a", "b"])),
        (torch.tensor([0, 1]), torch.tensor([0.2, 0.7])),
    ],
)
def test_what_is_no_number_of_a_class(categories, labels):
    with pytest.raises(ValueError, match=r"as whole numbers, found .*: number them"):
        match_classes(categories, labels, 2)
