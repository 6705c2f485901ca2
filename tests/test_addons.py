"""tensorflow-addons comes in through one door, on one Keras, and leaves `keras` as it was."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from small_run import SmallRun, batches

from tfforensics import addons, losses, metrics
from tfforensics.command import UsageError
from tfforensics.optimizers import build_optimizer
from tfforensics.stopping import Stopped

pytestmark = pytest.mark.io

needs_addons = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tensorflow-addons has no wheels for this Python"
)


@pytest.fixture(scope="module")
def tfa() -> ModuleType:
    return addons.load("this test")


@needs_addons
def test_keras_is_as_before() -> None:
    """In a process of its own, where Keras 3 is there first."""
    program = """
import sys
import tfforensics, keras, keras.src.backend
from tfforensics import addons
import tf_keras
def keras_modules():
    return {name: id(module) for name, module in sys.modules.items()
            if name == "keras" or name.startswith("keras.")}
before = keras_modules()
tfa = addons.load("this test")
assert keras_modules() == before, "modules under the name of keras changed"
assert addons.load("again") is tfa
assert sys.modules["keras"] is keras is not tf_keras
assert keras.Model is not tf_keras.Model
from keras.src import backend
assert backend.__name__ == "keras.src.backend"
assert tf_keras.__spec__.name == tf_keras.__name__ == "tf_keras"
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Absent:
    """Finds no tensorflow-addons, as an import system where it is not installed."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        if name == "tensorflow_addons":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow_addons", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    before = {name: id(sys.modules[name]) for name in sys.modules if name.startswith("keras")}
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(UsageError) as error:
        build_optimizer("lamb", 0.1)
    assert str(error.value) == (
        "optimizer.name lamb: needs tensorflow-addons, which is not installed; it has wheels for "
        f"Python 3.10 and 3.11 only (this is {version})"
    )
    after = {name: id(sys.modules[name]) for name in sys.modules if name.startswith("keras")}
    assert after == before


@needs_addons
def test_one_keras(tfa: ModuleType) -> None:
    assert isinstance(tfa.optimizers.LAMB(), keras.optimizers.legacy.Optimizer)
    radam = tfa.optimizers.RectifiedAdam()
    assert isinstance(tfa.optimizers.Lookahead(radam), keras.optimizers.legacy.Optimizer)
    assert isinstance(tfa.losses.SigmoidFocalCrossEntropy(), keras.losses.Loss)
    assert isinstance(tfa.metrics.CohenKappa(2), keras.metrics.Metric)
    assert isinstance(tfa.metrics.MatthewsCorrelationCoefficient(2), keras.metrics.Metric)
    assert isinstance(tfa.callbacks.TimeStopping(), keras.callbacks.Callback)


@needs_addons
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_focal_loss_is_ours(tfa: ModuleType, gamma: float, alpha: float) -> None:
    labels = tf.constant([0.0, 0.0, 1.0, 1.0, 1.0])
    logits = tf.constant([-3.0, 0.5, -1.0, 0.0, 4.0])
    theirs = tfa.losses.SigmoidFocalCrossEntropy(
        from_logits=True, alpha=alpha, gamma=gamma, reduction="none"
    )(labels[:, None], logits[:, None])
    ours = losses.focal(labels, logits, gamma=gamma, alpha=alpha)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    keras_own = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=alpha, gamma=gamma, from_logits=True, reduction="none"
    )(labels[:, None], logits[:, None])
    np.testing.assert_allclose(theirs, keras_own, rtol=1e-5)


@needs_addons
def test_agreement_metrics_are_ours(tfa: ModuleType) -> None:
    # 3 true positives, 2 true negatives, 1 false positive, 2 false negatives
    truth = tf.constant([1, 1, 1, 1, 1, 0, 0, 0])
    guess = tf.constant([1, 1, 1, 0, 0, 1, 0, 0])
    kappa = tfa.metrics.CohenKappa(num_classes=2)
    kappa.update_state(truth, guess)
    # agreement 5/8; by chance (5 * 4 + 3 * 4) / 64 = 1/2
    assert float(kappa.result()) == pytest.approx((5 / 8 - 1 / 2) / (1 - 1 / 2))
    matthews = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=2)
    matthews.update_state(tf.one_hot(truth, 2), tf.one_hot(guess, 2))
    # (3 * 2 - 1 * 2) / sqrt(4 * 5 * 3 * 4)
    assert float(matthews.result()) == pytest.approx(4 / 240**0.5)
    counts = metrics.count(truth.numpy(), guess.numpy().astype(float))
    assert metrics.cohen_kappa(counts) == pytest.approx(float(kappa.result()))
    assert metrics.matthews(counts) == pytest.approx(float(matthews.result()))


@needs_addons
def test_gaussian_filter(tfa: ModuleType) -> None:
    impulse = np.zeros((1, 21, 21, 1), np.float32)
    impulse[0, 10, 10, 0] = 1.0
    blurred = tfa.image.gaussian_filter2d(impulse, filter_shape=11, sigma=7.0).numpy()
    x = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 7.0**2))
    inner = blurred[0, 5:16, 5:16, 0]
    np.testing.assert_allclose(inner, np.outer(x, x) / x.sum() ** 2, rtol=1e-5)


@needs_addons
def test_our_time_budget_ends_where_time_stopping_would_go_on(
    tfa: ModuleType, tmp_path: Path
) -> None:
    class Pace(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            time.sleep(0.02)

    small = SmallRun(tmp_path / "theirs", eager=True)
    theirs = tfa.callbacks.TimeStopping(seconds=0)
    small.model.fit(batches(0), steps_per_epoch=6, epochs=3, callbacks=[Pace(), theirs], verbose=0)
    assert int(small.model.step) == 6  # it looks at the end of an epoch, and saves nothing
    ours = SmallRun(tmp_path / "ours", eager=True, max_hours=0.001 / 3600)
    with pytest.raises(Stopped):
        ours.fit([Pace()])
    assert ours.store.steps() == [1]
