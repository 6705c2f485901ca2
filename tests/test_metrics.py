"""Every figure against scikit-learn or a count by hand; perfect, random, inverted detectors."""

from __future__ import annotations

import warnings
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics as sklearn_metrics

from tfforensics import metrics
from tfforensics.metrics import count
from tfforensics.scores import Scores


def scores_of(label, probability):
    n = len(label)
    clip = [f"{i:03}" for i in range(n)]
    manipulation = np.where(np.asarray(label) == 1, "Deepfakes", "real")
    return Scores("test", probability, label, clip, manipulation, ["c23"] * n, clip, [""] * n)


# Scores with many ties: one decimal, and both classes.
tied = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=60).filter(
    lambda faces: len({label for label, _ in faces}) == 2
)


def test_figures_counted_by_hand():
    # Falling: 1 at .9, 0 at .8, 1 at .7, 1 at .6, 0 at .4, 0 at .2.
    counts = count(np.array([1, 0, 1, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2]))
    assert counts.hits.tolist() == [1, 1, 2, 3, 3, 3]
    assert counts.alarms.tolist() == [0, 1, 1, 1, 2, 3]
    assert metrics.auc(counts) == pytest.approx(7 / 9)  # of 9 pairs two are in the wrong order
    assert metrics.accuracy(counts) == pytest.approx(5 / 6)
    assert metrics.f1(counts) == pytest.approx(6 / 7)
    # Called manipulated: 3 of 3, and 1 of 3; by chance half of the calls are right.
    assert metrics.cohen_kappa(counts) == pytest.approx((5 / 6 - 1 / 2) / (1 - 1 / 2))
    assert metrics.matthews(counts) == pytest.approx((3 * 2 - 1 * 0) / (4 * 2 * 3 * 3) ** 0.5)
    assert metrics.average_precision(counts) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert metrics.equal_error_rate(counts) == pytest.approx(1 / 3)
    assert metrics.tpr_at_fpr(counts, 0.05) == pytest.approx(1 / 3)
    assert metrics.tpr_at_fpr(counts, 1 / 3) == 1


def test_a_tie_between_the_classes_counts_half():
    counts = count(np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 0.8, 0.1]))
    assert metrics.auc(counts) == pytest.approx(3.5 / 4)
    # No threshold parts the tied pair: without a false positive only .8 is found.
    assert metrics.tpr_at_fpr(counts, 0.4) == 0.5


def test_the_threshold_itself_counts_as_manipulated():
    counts = count(np.array([1, 0]), np.array([0.5, 0.5]))
    assert metrics.accuracy(counts, 0.5) == 0.5
    assert metrics.f1(counts, 0.5) == pytest.approx(2 / 3)
    assert metrics.f1(counts, 0.6) == 0


@given(tied)
@settings(max_examples=200, deadline=None)
def test_figures_equal_those_of_scikit_learn(faces):
    label = np.array([label for label, _ in faces])
    probability = np.array([tenth / 10 for _, tenth in faces])
    counts = count(label, probability)
    called = probability >= 0.5
    fpr, tpr, _ = sklearn_metrics.roc_curve(label, probability, drop_intermediate=False)
    for ours, theirs in (
        (metrics.auc(counts), sklearn_metrics.roc_auc_score(label, probability)),
        (metrics.accuracy(counts), sklearn_metrics.accuracy_score(label, called)),
        (metrics.f1(counts), sklearn_metrics.f1_score(label, called, zero_division=0)),
        (
            metrics.average_precision(counts),
            sklearn_metrics.average_precision_score(label, probability),
        ),
        (metrics.matthews(counts), sklearn_metrics.matthews_corrcoef(label, called)),
        (metrics.cohen_kappa(counts), sklearn_metrics.cohen_kappa_score(label, called)),
        (metrics.tpr_at_fpr(counts, 0.01), tpr[fpr <= 0.01].max()),
        (metrics.tpr_at_fpr(counts, 0.3), tpr[fpr <= 0.3].max()),
    ):
        assert ours == pytest.approx(theirs, abs=1e-12)
    np.testing.assert_allclose(metrics.roc(counts), [fpr, tpr], atol=1e-12)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(label, probability)
    ours = metrics.precision_recall(counts)
    np.testing.assert_allclose(ours[0], precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(ours[1], recall[:-1][::-1], atol=1e-12)


def test_equal_error_rate_is_where_the_interpolated_curve_crosses():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 500)
    probability = np.round(1 / (1 + np.exp(-rng.normal(label, 1.2))), 2)
    fpr, tpr, _ = sklearn_metrics.roc_curve(label, probability, drop_intermediate=False)
    curve = interp1d(fpr, tpr)
    crossing = brentq(lambda x: 1 - x - curve(x), 0, 1, xtol=1e-14)
    counts = count(label, probability)
    assert metrics.equal_error_rate(counts) == pytest.approx(crossing, abs=1e-9)
    # All tied: the curve is the diagonal, whatever the sizes of the classes.
    flat = count(np.array([1, 0, 0, 0]), np.full(4, 0.5))
    assert metrics.equal_error_rate(flat) == 0.5


@given(tied)
@settings(max_examples=50, deadline=None)
def test_only_the_order_of_the_scores_counts_and_inverting_it_mirrors_auc_and_eer(faces):
    label = np.array([label for label, _ in faces])
    probability = np.array([tenth / 10 for _, tenth in faces])
    counts, inverted = count(label, probability), count(label, 1 - probability)
    assert metrics.auc(count(label, probability**3)) == metrics.auc(counts)
    assert metrics.auc(inverted) == pytest.approx(1 - metrics.auc(counts))
    eer = metrics.equal_error_rate(counts)
    assert metrics.equal_error_rate(inverted) == pytest.approx(1 - eer)


@given(tied, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_a_weight_is_a_repetition_also_along_a_leading_axis(faces, random):
    label = np.array([label for label, _ in faces])
    probability = np.array([tenth / 10 for _, tenth in faces])
    weight = np.array([[random.randint(0, 2) for _ in faces] for _ in range(4)], float)
    weight[:, [label.argmax(), label.argmin()]] = 2  # both classes stay
    together = count(label, probability, weight)
    for row in range(4):
        times = weight[row].astype(int)
        repeated = count(np.repeat(label, times), np.repeat(probability, times))
        for figure in (
            metrics.auc,
            metrics.accuracy,
            metrics.f1,
            metrics.average_precision,
            metrics.cohen_kappa,
            metrics.matthews,
            metrics.equal_error_rate,
            lambda counts: metrics.tpr_at_fpr(counts, 0.2),
        ):
            assert figure(together)[row] == pytest.approx(figure(repeated), abs=1e-12)


def test_perfect_inverted_and_constant_detectors():
    label = np.repeat([0, 1], [100, 400])
    perfect = metrics.measure(scores_of(label, np.where(label == 1, 0.9, 0.1)))
    assert astuple(perfect) == (1, 1, 1, 1, 0, 1, 1, 1, 1)
    inverted = metrics.measure(scores_of(label, np.where(label == 1, 0.1, 0.9)))
    assert astuple(inverted) == (0, 0, 0, 0.8, 1, 0, 0, pytest.approx(-8 / 17), -1)
    constant = metrics.measure(scores_of(label, np.full(500, 0.7)))
    assert astuple(constant) == (0.5, 0.8, pytest.approx(8 / 9), 0.8, 0.5, 0, 0, 0, 0)


def test_a_random_detector_scores_chance():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 20_000)
    figures = metrics.measure(scores_of(label, rng.uniform(size=40_000)))
    # Four standard errors of an AUC of 1/2 at these sizes.
    assert figures.auc == pytest.approx(0.5, abs=4 * np.sqrt(1 / (6 * 20_000)))
    assert figures.accuracy == pytest.approx(0.5, abs=0.01)
    assert figures.eer == pytest.approx(0.5, abs=0.01)
    assert figures.tpr_at_fpr_1 == pytest.approx(0.01, abs=0.004)
    assert figures.tpr_at_fpr_5 == pytest.approx(0.05, abs=0.008)


@pytest.mark.parametrize("label", [[], [0, 0], [1, 1]])
def test_a_set_without_one_of_the_classes_has_no_figures_and_no_warning(label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.measure(scores_of(label, [0.3] * len(label))) is None


def test_frame_and_video_figures_differ_where_frames_disagree():
    scores = Scores(
        "test",
        [0.2, 0.4, 0.1, 0.9, 0.3, 0.5],
        [0, 0, 1, 1, 0, 0],
        ["000", "000", "000_001", "000_001", "001", "001"],
        ["real", "real", "Deepfakes", "Deepfakes", "real", "real"],
        ["c23"] * 6,
        ["000"] * 4 + ["001"] * 2,
        ["", "", "001", "001", "", ""],
    )
    assert metrics.measure(scores).auc == 0.5
    assert metrics.measure(scores.videos()).auc == 1


def test_averages_are_means_of_the_named_levels_and_of_nothing_less():
    assert metrics.AVERAGES == {
        "c23 & c40": ("c23", "c40"),
        "c85 & c90": ("c85", "c90"),
        "all datasets": ("c23", "c40", "c85", "c90"),
    }
    assert metrics.average([0.9, 0.8, 0.4]) == pytest.approx(0.7)
    assert metrics.average([0.9, None]) is None
    assert metrics.average([]) is None
    np.testing.assert_allclose(
        metrics.average([np.array([0.2, 0.4]), np.array([0.6, 0.6])]), [0.4, 0.5]
    )
