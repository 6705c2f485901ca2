"""Calibration: what a fit recovers, what thresholds promise, and that test scores never enter."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit, logit

from tfforensics import calibration
from tfforensics.calibration import Band, Calibration, fit, reliability
from tfforensics.command import DataError, UsageError
from tfforensics.scores import Scores


def scores_of(label, logits, *, split="val", frames=4, level="c23"):
    """Scores of clips of `frames` faces each, in order."""
    n = len(label)
    clip = np.char.mod("%05d", np.arange(n) // frames)
    manipulation = np.where(np.asarray(label) == 1, "Deepfakes", "real")
    clip = np.char.add(clip, np.where(np.asarray(label) == 1, "_x", ""))
    empty = np.full(n, "")
    levels = np.full(n, level)
    return Scores(split, expit(logits), label, clip, manipulation, levels, clip, empty)


def overconfident(rng, n, *, scale=0.5, offset=-1.0, share=0.5):
    """Labels and logits z with P(label = 1 | z) = sigmoid(scale * z + offset) at even odds.

    z is normal in each class with means apart by scale * variance, from which that follows;
    `share` of the faces are manipulated, without a change to either class.
    """
    label = np.repeat([0, 1], [n - round(n * share), round(n * share)])
    variance = 9.0
    middle = -offset / scale
    mean = middle + np.where(label == 1, 0.5, -0.5) * scale * variance
    return label, rng.normal(mean, np.sqrt(variance))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_fit_recovers_scale_and_offset_whatever_the_share_of_the_classes(share):
    label, logits = overconfident(np.random.default_rng(0), 40_000, share=share)
    fitted = fit(scores_of(label, logits), np.full(40_000, 77))
    band = fitted.bands[4]
    assert band.lowest == 69
    assert band.videos == 10_000
    assert band.scale == pytest.approx(0.5, abs=0.02)
    assert band.offset == pytest.approx(-1.0, abs=0.04)
    before = reliability(label, expit(logits)).error
    after = reliability(label, fitted.probability(logits, np.full(40_000, 77))).error
    assert before > 0.1
    assert after < 0.02


def test_each_band_of_quality_gets_its_own_correction_and_a_band_without_any_its_neighbours():
    rng = np.random.default_rng(1)
    fine, coarse = (overconfident(rng, 8000, scale=scale, offset=0) for scale in (0.9, 0.4))
    label = np.concatenate([fine[0], coarse[0]])
    logits = np.concatenate([fine[1], coarse[1]])
    quality = np.repeat([100, 10], 8000)
    bands = fit(scores_of(label, logits), quality).bands
    assert [band.lowest for band in bands] == [1, 8, 13, 38, 69, 90]
    assert [band.videos for band in bands] == [0, 2000, 0, 0, 0, 2000]
    assert [round(band.scale, 1) for band in bands] == [0.4, 0.4, 0.4, 0.4, 0.9, 0.9]
    # The levels of the records each have a band of their own.
    assert np.searchsorted(calibration.BANDS, [5, 10, 15, 60, 77, 98], "right").tolist() == [
        *range(1, 7)
    ]


def test_thresholds_are_the_lowest_and_highest_that_hold_the_error_rate():
    # 20 real faces: at a rate of .1 two may be called manipulated.
    real, manipulated = np.linspace(-3, 1.75, 20), np.linspace(-1.1, 3.65, 20)
    label, logits = np.repeat([0, 1], 20), np.concatenate([real, manipulated])
    quality = np.full(40, 60)
    fitted = fit(scores_of(label, logits, frames=2), quality, error_rate=0.1)
    probability = fitted.probability(logits, quality)
    call = fitted.call(probability, quality)
    assert (call[:20] == 1).sum() == 2
    assert (call[20:] == 0).sum() == 2
    band = fitted.bands[3]
    assert band.real_below < band.manipulated_from
    # A face less than the thresholds would be one too many: each lies in the gap below.
    for threshold in (band.real_below, band.manipulated_from):
        assert np.abs(probability - threshold).min() > 0
    assert np.sort(probability[:20])[-3] < band.manipulated_from < np.sort(probability[:20])[-2]
    assert np.sort(probability[20:])[1] < band.real_below < np.sort(probability[20:])[2]


def test_the_error_rate_carries_over_to_other_faces_of_the_same_kind():
    rng = np.random.default_rng(2)
    fitted = fit(scores_of(*overconfident(rng, 20_000)), np.full(20_000, 15), error_rate=0.05)
    label, logits = overconfident(rng, 20_000)
    quality = np.full(20_000, 15)
    call = fitted.call(fitted.probability(logits, quality), quality)
    assert (call[label == 0] == 1).mean() == pytest.approx(0.05, abs=0.01)
    assert (call[label == 1] == 0).mean() == pytest.approx(0.05, abs=0.01)
    assert 0.2 < (call == -1).mean() < 0.8


def test_a_perfect_detector_stays_finite_and_abstains_from_nothing():
    label = np.repeat([0, 1], 40)
    logits = np.where(label == 1, 50.0, -50.0)
    quality = np.full(80, 77)
    fitted = fit(scores_of(label, logits), quality)
    band = fitted.bands[4]
    assert np.isfinite([band.scale, band.offset]).all()
    assert band.real_below == band.manipulated_from == pytest.approx(0.5, abs=0.01)
    probability = fitted.probability(logits, quality)
    assert (fitted.call(probability, quality) == label).all()
    # Ten videos of each class: no more certain than 11 to 1.
    assert probability.max() == pytest.approx(11 / 12, abs=0.01)


def test_an_inverted_detector_is_not_turned_round_but_says_nothing():
    label, logits = overconfident(np.random.default_rng(3), 4000, offset=0)
    quality = np.full(4000, 77)
    fitted = fit(scores_of(label, -logits), quality)
    assert fitted.bands[0].scale == 0
    probability = fitted.probability(-logits, quality)
    np.testing.assert_allclose(probability, 0.5, atol=1e-3)
    assert (fitted.call(probability, quality) == -1).all()


def test_saturated_scores_are_kept_out_by_a_threshold_above_them():
    label = np.repeat([0, 1], 40)
    logits = np.where(np.arange(80) % 4 == 0, 800.0, np.where(label == 1, 5.0, -5.0))
    quality = np.full(80, 77)
    fitted = fit(scores_of(label, logits, frames=2), quality)
    call = fitted.call(fitted.probability(logits, quality), quality)
    assert (call[label == 0] == 1).mean() <= 0.05


@pytest.mark.parametrize("split", ["test", "train", ""])
def test_scores_of_another_split_are_refused(split):
    label, logits = overconfident(np.random.default_rng(0), 400)
    with pytest.raises(UsageError, match=f"fitted on 'val' only, not on '{split}'"):
        fit(scores_of(label, logits, split=split), np.full(400, 77))


@pytest.mark.parametrize("error_rate", [0, 0.5, -1, float("nan")])
def test_an_impossible_error_rate_is_refused(error_rate):
    label, logits = overconfident(np.random.default_rng(0), 400)
    with pytest.raises(UsageError, match=r"error_rate: expected more than 0 and less than 0\.5"):
        fit(scores_of(label, logits), np.full(400, 77), error_rate=error_rate)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_validation_split_of_one_class_is_one_line_of_error(kind):
    message = r"at least 5 real and 5 manipulated .* in 'val', got " + (
        "10 and 0" if kind == 0 else "0 and 10"
    )
    with pytest.raises(DataError, match=message) as caught:
        fit(scores_of(np.full(40, kind), np.linspace(-1, 1, 40)), np.full(40, 77))
    assert "\n" not in str(caught.value)


def test_the_calibration_survives_json_to_the_last_bit():
    label, logits = overconfident(np.random.default_rng(4), 2000)
    fitted = fit(scores_of(label, logits), np.full(2000, 77))
    assert Calibration.from_json(fitted.to_json()) == fitted


def with_band(**changes):
    band = {**dataclasses.asdict(Band(1, 1.0, 0.0, 0.4, 0.6, 9)), **changes}
    return json.dumps({"schema": 1, "error_rate": 0.05, "bands": [band]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 1, "error_rate": 0.05, "bands": []}',
        '{"schema": 1, "bands": []}',
        with_band().replace('"schema": 1', '"schema": 2'),
        with_band(scale=-1),
        with_band(scale=float("nan")),
        with_band(offset=float("inf")),
        with_band(real_below=0.7),
        with_band(lowest=5),
        with_band(offset="0"),
        with_band(unknown=1),
    ],
)
def test_json_that_is_no_calibration_is_one_line_of_error(text):
    with pytest.raises(DataError, match="calibration: expected") as caught:
        Calibration.from_json(text)
    assert "\n" not in str(caught.value)


def test_the_graph_computes_the_same_probabilities():
    import tfforensics  # noqa: F401, I001  (before TensorFlow, which it configures)
    import tensorflow as tf

    fitted = Calibration(
        0.05,
        tuple(
            Band(lowest, scale, offset, 0.4, 0.6, 9)
            for lowest, scale, offset in ((1, 0.2, -0.5), (13, 0.6, 0.1), (69, 1.3, 0.4))
        ),
    )
    rng = np.random.default_rng(5)
    # Some are far out.
    logits, quality = rng.standard_cauchy(300) * 9, rng.integers(1, 101, 300)
    graph = tf.function(fitted.probability_in_graph)
    found = graph(tf.constant(logits, tf.float32), tf.constant(quality, tf.int32))
    np.testing.assert_allclose(found, fitted.probability(logits, quality), atol=1e-6)
    assert fitted.probability(np.zeros(3), np.array([12, 13, 69])) == pytest.approx(
        expit([-0.5, 0.1, 0.4])
    )


def test_reliability_counted_by_hand():
    # At even odds a real face weighs 1/4 of all, a manipulated one 1/8.
    label = np.array([0, 0, 1, 1, 1, 1])
    diagram = reliability(label, np.array([0.1, 0.3, 0.3, 0.7, 0.9, 1.0]), bins=2)
    np.testing.assert_allclose(diagram.weight, [5 / 8, 3 / 8])
    np.testing.assert_allclose(diagram.predicted, [(0.025 + 0.075 + 0.0375) / (5 / 8), 2.6 / 3])
    np.testing.assert_allclose(diagram.observed, [1 / 5, 1])
    assert diagram.error == pytest.approx(5 / 8 * 0.02 + 3 / 8 * (1 - 2.6 / 3))


def test_reliability_of_a_sure_and_right_detector_is_exact_and_of_one_class_unknown():
    label = np.array([0, 1, 1])
    assert reliability(label, np.array([0.0, 1.0, 1.0])).error == 0
    assert reliability(label, np.array([1.0, 0.0, 0.0])).error == 1
    assert reliability(np.ones(3, int), np.full(3, 0.5)) is None
    assert reliability(np.zeros(0, int), np.zeros(0)) is None


def test_probabilities_of_one_are_read_as_large_logits():
    assert calibration.FURTHEST < logit(np.nextafter(1.0, 0)) < calibration.FURTHEST + 1
