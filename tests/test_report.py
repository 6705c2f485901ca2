"""Reports: whole in one file, escaped, and without a word from the browser's console."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
from judged import make_findings, make_scores
from pages import Page

from tfforensics import plots, report
from tfforensics.calibrated import Calibrator, quality
from tfforensics.calibration import fit
from tfforensics.comparison import compare
from tfforensics.precedents import Precedent
from tfforensics.published import FIGURES

LEVELS = {"c0": 2.5, "c23": 2.0, "c40": 1.5, "c85": 1.0, "c90": 0.5}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def findings():
    val = make_scores(LEVELS, split="val", seed=1)
    calibrator = Calibrator(fit(val, quality(val)), "fitted on the val split")
    precedents = tuple(Precedent("c0", f) for f in FIGURES if f.manipulation == "Deepfakes")
    scores = make_scores(LEVELS, manipulations=("Deepfakes", "<script>alert(1)</script>"))
    return make_findings(scores, calibrator=calibrator, precedents=precedents)


@pytest.fixture(scope="module")
def html(findings):
    page = report.Page(findings.result(), plots.of(findings), [])
    return report.evaluation([page], plots.auc_by_quality([findings]))


def test_the_evaluation_is_one_file_that_asks_for_nothing(html):
    page = Page(html)
    assert page.requests == []
    assert page.unnamed == 0
    assert page.tags.get("script") is None
    assert "<script>alert(1)</script>" in page.text  # the name of a manipulation, as text
    assert page.tags["picture"] == 4
    assert page.tags["h1"] == 1
    assert html.startswith('<!doctype html>\n<html lang="en">')


def test_its_figures_are_those_of_the_table(findings, html):
    auc = findings.table["c23", "Deepfakes", "video"]["auc"]
    cell = f">{100 * auc.value:.1f}<small>{100 * auc.interval.low:.1f} to "
    assert cell in html


def test_what_is_published_is_marked_and_beside(findings, html):
    rows = findings.result()["published"]
    assert len(rows) == 3 + 4  # of DeepfakeBench and of the report
    assert {row["our_auc"] for row in rows} == {
        findings.table["c0", "Deepfakes", "frame"]["auc"].value
    }
    text = Page(html).text
    assert "Published figures of the same setting" in text
    assert "EfficientNet-B4 (DeepfakeBench)" in text
    assert "they are in no average of ours" in text


def test_pictures_are_png_on_two_grounds_and_the_same_each_time(findings):
    drawn = plots.of(findings)
    assert list(drawn) == ["roc", "histograms", "reliability"]
    for picture in drawn.values():
        assert picture.light.startswith(PNG)
        assert picture.dark.startswith(PNG)
        assert picture.light != picture.dark
    assert plots.of(findings) == drawn


def test_scores_without_bounds_can_be_drawn(findings):
    # Probabilities of exactly 0 and 1: infinite logits.
    sure = dataclasses.replace(
        findings.scores, probability=findings.scores.label.astype(np.float64)
    )
    drawn = plots.of(make_findings(sure))
    assert drawn["histograms"].light.startswith(PNG)


def test_one_class_alone_has_histograms_alone(findings):
    scores = make_scores({"c0": 1.0, "c23": 1.0})
    real = make_findings(scores.take(scores.label == 0))
    drawn = plots.of(real)
    assert list(drawn) == ["histograms"]
    page = Page(report.evaluation([report.Page(real.result(), drawn, [])], None))
    assert "AUC and compression" not in page.text


def browser():
    return next(
        (p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), None
    )


@pytest.mark.skipif(browser() is None, reason="no Chromium here")
@pytest.mark.parametrize("what", ["evaluation", "comparison"])
def test_a_browser_shows_it_without_complaint(tmp_path, findings, html, what):
    if what == "comparison":
        found = compare([findings, make_findings(findings.scores, "again")])
        html = report.comparison(found, plots.gains(found))
    page = tmp_path / "page.html"
    page.write_text(html)
    done = subprocess.run(
        [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'browser'}",
            "--enable-logging=stderr", f"--screenshot={tmp_path / 'page.png'}",
            "--window-size=1240,1600", f"file://{page}",
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    from PIL import Image

    with Image.open(tmp_path / "page.png") as image:
        shown = np.asarray(image.convert("RGB"))
    assert shown.shape == (1600, 1240, 3)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 200
