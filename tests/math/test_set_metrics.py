"""Metrics of sets against known answers: copies, one distribution, sets apart, a collapsed set, closed forms."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from jax3d.math.metrics import chamfer_squared
from jax3d.math.set_metrics import (
    SetDistances,
    coverage,
    emd,
    frechet_distance,
    minimum_matching_distance,
    nearest_neighbor_accuracy,
    pairwise_chamfer,
    pairwise_emd,
    r_precision,
)


def of_points(generated: np.ndarray, reference: np.ndarray) -> SetDistances:
    """Sets whose "shapes" are points [n, d] with Euclidean distances."""
    return SetDistances(*(cdist(a, b) for a, b in itertools.combinations_with_replacement((generated, reference), 2)))


def clouds(n: int, p: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, p, 3)).astype(np.float32)


def test_sets_of_one_distribution_cannot_be_told_apart():
    a, b = np.random.default_rng(0).normal(size=(2, 1000, 3))
    assert nearest_neighbor_accuracy(of_points(a, b)) == pytest.approx(0.5, abs=0.03)
    # Of n points in n cells of random measure, a cell is missed with probability about E exp(-n measure).
    assert 0.5 < coverage(cdist(a, b)) < 0.75


def test_sets_apart_are_told_apart():
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3))
    assert nearest_neighbor_accuracy(of_points(a, b + 100)) == 1
    assert minimum_matching_distance(cdist(a, b + 100)) == pytest.approx(100 * np.sqrt(3), rel=0.05)


def test_copies_are_known_by_an_accuracy_of_zero():
    a = np.random.default_rng(0).normal(size=(50, 3))
    across = cdist(a, a)
    assert nearest_neighbor_accuracy(of_points(a, a)) == 0
    assert coverage(across) == 1 and minimum_matching_distance(across) == 0


def test_a_collapsed_set_covers_one_reference():
    reference = np.arange(8.0)[:, None]
    collapsed = np.full((8, 1), 2.25)
    across = cdist(collapsed, reference)
    assert coverage(across) == 1 / 8
    assert minimum_matching_distance(across) == np.mean([2.25, 1.25, 0.25, 0.75, 1.75, 2.75, 3.75, 4.75])
    # A collapsed shape finds its twins; references 2 and 3 find the collapsed shapes, the others a reference.
    assert nearest_neighbor_accuracy(of_points(collapsed, reference)) == (8 + 6) / 16


def test_ties_count_by_shares_and_in_any_order():
    same = SetDistances(np.zeros((3, 3)), np.zeros((3, 5)), np.zeros((5, 5)))
    assert nearest_neighbor_accuracy(same) == pytest.approx(3 / 8 * 2 / 7 + 5 / 8 * 4 / 7)  # own ones of seven others
    assert coverage(same.across) == 1 / 5  # the first
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 20, 2)).astype(float)  # a small lattice, full of ties
    expected = nearest_neighbor_accuracy(of_points(a, b))
    assert nearest_neighbor_accuracy(of_points(rng.permutation(a), rng.permutation(b))) == pytest.approx(expected)
    assert nearest_neighbor_accuracy(of_points(b, a)) == pytest.approx(expected)


def test_the_diagonals_are_not_looked_at():
    a, b = np.random.default_rng(1).normal(size=(2, 9, 2))
    expected = of_points(a, b)
    odd = expected._replace(generated=expected.generated + np.diag(np.full(9, np.nan)))
    assert nearest_neighbor_accuracy(odd) == nearest_neighbor_accuracy(expected)


@pytest.mark.parametrize("p, q", [(40, 40), (7, 23), (600, 513)])  # of one tile, unequal, of more tiles than one
def test_pairwise_chamfer_is_the_loop(p, q):
    a, b = clouds(3, p, 0) + 5, clouds(2, q, 1) + 5
    expected = [[chamfer_squared(jnp.array(x), jnp.array(y)) for y in b] for x in a]
    np.testing.assert_allclose(pairwise_chamfer(a, b), expected, rtol=1e-5)


def test_within_a_set_each_pair_is_computed_once():
    a = clouds(4, 30, 0)
    for pairwise in (pairwise_chamfer, pairwise_emd):
        within = pairwise(a)
        np.testing.assert_array_equal(within, within.T)
        np.testing.assert_array_equal(np.diag(within), 0)
        np.testing.assert_allclose(within, pairwise(a, a.copy()), rtol=1e-5, atol=1e-6)


def test_progress_is_watched():
    seen = []
    pairwise_emd(clouds(3, 5, 0), watch=lambda pairs, total: seen.append(total) or pairs)
    pairwise_chamfer(clouds(3, 5, 0), watch=lambda rows, total: seen.append(total) or rows)
    assert seen == [3, 3]  # pairs; rows


def test_emd_of_a_shift_and_of_a_permutation():
    a = clouds(2, 300, 0).astype(np.float64)
    shift = np.array([0.3, -0.4, 1.2])
    assert emd(a[0], a[0] + shift) == pytest.approx(1.3)  # no bijection beats the shift: lengths >= |mean| = |shift|
    assert emd(a[0], np.random.default_rng(1).permutation(a[0])) == 0
    assert emd(a[0], a[1]) == pytest.approx(emd(a[1], a[0])) == pytest.approx(emd(a[0] + shift, a[1] + shift))
    np.testing.assert_allclose(pairwise_emd(a, a + shift)[[0, 1], [0, 1]], 1.3)


@pytest.mark.parametrize("stretch", [0.0, 1.0, 1e4])  # all points in one place; a far outlier
def test_emd_is_the_best_of_all_bijections(stretch):
    a, b = np.random.default_rng(2).normal(size=(2, 6, 3))
    a[0] *= stretch
    b[3] *= -stretch
    if not stretch:
        a[:], b[:] = 1, 1
    every = [np.linalg.norm(a - b[list(order)], axis=-1).mean() for order in itertools.permutations(range(6))]
    assert emd(a, b) == pytest.approx(min(every), rel=1e-12)


def test_frechet_distance_of_two_gaussians():
    """Samples with the very means and covariances asked for, where those commute: sum (dm^2 + (s - t)^2)."""
    rng = np.random.default_rng(0)
    white = np.linalg.qr(np.concatenate([np.ones((64, 1)), rng.normal(size=(64, 3))], 1))[0][:, 1:] * np.sqrt(63)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    a = (white * [1, 2, 3]) @ turn + [1, 0, 0]
    b = (white * [2, 2, 0.5]) @ turn + [0, 0, 2]
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 6.25)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("n", [40, 4])  # more samples than features, and fewer: singular covariances
def test_frechet_distance_is_that_by_the_root_of_a_matrix(n):
    a, b = np.random.default_rng(n).normal(size=(2, n, 8))
    b = b @ np.diag(np.arange(1.0, 9)) + 1
    roots = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * roots)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))


def test_r_precision_by_hand():
    similarity = np.array([[0.9, 0.1, 0.0], [0.2, 0.1, 0.3], [0.0, 0.5, 0.5], [0.7, 0.7, 0.7]])
    assert r_precision(similarity[:3]) == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert r_precision(similarity, np.array([0, 2, 1, 1])) == pytest.approx((1 + 1 + 1 / 2 + 1 / 3) / 4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nearest_neighbor_accuracy(of_points(np.ones((1, 2)), np.ones((3, 2)))), "at least 2.*1 and 3"),
        (lambda: pairwise_emd(clouds(2, 5, 0), clouds(2, 6, 0)), "one size.*5 and 6"),
        (lambda: pairwise_emd(np.zeros((1, 2049, 3))), "at most 2048.*2049"),
        (lambda: pairwise_chamfer(np.zeros((2, 0, 3))), "finite points"),
        (lambda: pairwise_chamfer(clouds(2, 5, 0), np.full((2, 5, 3), np.nan)), "finite points"),
        (lambda: frechet_distance(np.ones((1, 4)), np.ones((5, 4))), "at least 2 samples.*1 and 5"),
        (lambda: r_precision(np.ones((4, 3))), "among 3 candidates, got 3"),
    ],
)
def test_bad_sets_are_refused_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
