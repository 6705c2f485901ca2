"""The audit passes a sound set, and fails one with a planted fault by the fault's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfforensics import jpeg, manifest
from tfforensics.audit import Check, audit
from tfforensics.audit.__main__ import main, text
from tfforensics.audit.read import blockiness
from tfforensics.command import DataError, UsageError
from tfforensics.example import Face, serialise
from tfforensics.manifest import ClipReport, Manifest, Settings, Shard

SIDE = 64
SPLITS = {"train": range(0, 20), "val": range(20, 26), "test": range(26, 34)}


def picture(number: int, frame: int) -> np.ndarray:
    """An image of its own for each identity, nearly the same in its next frame."""
    coarse = np.random.default_rng(number).uniform(0, 255, (16, 16, 3)).astype(np.float32)
    image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 3 * frame, 0, 255).astype(np.uint8)


def sound() -> list[dict[str, Any]]:
    """The faces of 17 pairs, each with an original and a fake for either identity."""
    faces = []
    for split, numbers in SPLITS.items():
        for number in numbers:
            for manipulation in ("real", "A"):
                fake = manipulation != "real"
                partner = f"p{number ^ 1:02d}" if fake else ""
                target = f"p{number:02d}"
                for frame in range(2):
                    face = {
                        # A fake is another image, of which files tell the same.
                        "pixels": picture(number + 1000 * fake, frame),
                        "quality": None,
                        "box": 130 + 7 * (number * 31 % 17) + frame,
                        "manipulation": manipulation,
                        "split": split,
                        "clip": f"{target}_{partner}" if fake else target,
                        "target": target,
                        "source": partner,
                        "source_compression": "",
                        "frame": frame,
                    }
                    faces.append(face)
    return faces


def write(folder: Path, faces: list[dict[str, Any]], groups: dict[str, str] | None = None) -> Path:
    """Records of faces, one shard a manipulation and split."""
    shards, clips = [], {}
    for manipulation in ("real", "A"):
        for split in SPLITS:
            mine = [f for f in faces if (f["manipulation"], f["split"]) == (manipulation, split)]
            if not mine:
                continue
            path = f"{manipulation}/c0/{split}-00000-of-00001.tfrecord"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            lengths = []
            with tf.io.TFRecordWriter(str(folder / path)) as writer:
                for face in mine:
                    record = serialise(_face(face))
                    writer.write(record)
                    lengths.append(len(record))
                    key = manipulation, face["clip"], split
                    clips[key] = (*clips.get(key, ()), face)
            shards.append(
                Shard(path, manipulation, "c0", split, tuple(lengths),
                      manifest.sha256_of(folder / path))
            )  # fmt: skip
    reports = tuple(
        ClipReport(m, name, split, of[0]["target"], of[0]["source"],
                   (groups or {}).get(of[0]["target"], ""), "", len(of), len(of), {})
        for (m, name, split), of in clips.items()
    )  # fmt: skip
    settings = Settings(frames=(("", 2),), size=SIDE)
    manifest.save(Manifest(folder.name, settings, tuple(shards), reports, (), {}), folder)
    return folder


def _face(face: dict[str, Any]) -> Face:
    pixels, quality = face["pixels"], face["quality"]
    encoded = jpeg.encode_canonical(pixels) if quality is None else jpeg.encode(pixels, quality)
    names = ("manipulation", "split", "clip", "target", "source", "source_compression", "frame")
    return Face(
        encoded=encoded, level="c0", encoder="turbo", label=int(face["manipulation"] != "real"),
        **{name: face[name] for name in names}, track=0, box=(0, 0, face["box"], face["box"]),
        confidence=1.0, margin=1.3, padded=0.0, landmarks=np.zeros((5, 2), np.float32),
    )  # fmt: skip


def failed(checks: list[Check]) -> dict[str, str]:
    return {c.name: "; ".join(c.findings) for c in checks if c.status == "failed"}


def test_a_sound_set_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "sound", sound())
    assert main([str(folder), "--frames", "1"]) == 0
    assert "every check passed" in capsys.readouterr().out
    body = json.loads((folder / "audit.json").read_text())
    assert body["passed"]
    assert {check["status"] for check in body["checks"]} == {"passed"}
    classes = next(check for check in body["checks"] if check["name"] == "classes")
    assert classes["figures"]["train"] == {"A": 40, "real": 40}


def shared_identity(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        if face["target"] == "p30":
            face["target"] = "p01"


def swapped_pair(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        if face["clip"] == "p02_p03":
            face["target"], face["source"] = face["source"], face["target"]


def pair_in_two_splits(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        if face["clip"] == "p02_p03":
            face["split"] = "test"


def duplicate_image(faces: list[dict[str, Any]]) -> None:
    copy = next(f for f in faces if f["target"] == "p28" and f["manipulation"] == "real")
    copy["pixels"] = jpeg.decode(jpeg.encode(picture(4, 0), 40, "mozjpeg"))


def other_qualities(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        face["quality"] = 77 if face["manipulation"] == "real" else 60


def decoded_at_other_qualities(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        quality = 77 if face["manipulation"] == "real" else 40
        face["pixels"] = jpeg.decode(jpeg.encode(face["pixels"], quality))


def qualities_by_size(faces: list[dict[str, Any]]) -> None:
    """Each class has both qualities and both sizes; which go together tells the label."""
    for face in faces:
        small, real = int(face["target"][1:]) % 4 < 2, face["manipulation"] == "real"
        face["box"] = (130 if small else 190) + face["frame"]
        face["quality"] = 77 if small == real else 60


def larger_crops(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        face["box"] += 60 * (face["manipulation"] != "real")


def other_media(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        face["source_compression"] = "raw" if face["manipulation"] == "real" else "c40"


COMPRESSION = "compression as the label, c0"


@pytest.mark.parametrize(
    ("plant", "check", "named"),
    [
        (shared_identity, "identities", "identity p01 is in train and test"),
        (swapped_pair, "pairs", "A/p02_p03: target p03 and source p02, by its name p02 and p03"),
        (pair_in_two_splits, "identities", "identity p02 is in train and test"),
        (duplicate_image, "near-duplicates", "is the image of real/p28 frame 0 in test"),
        (other_qualities, COMPRESSION, "quantisation tables alone gives the label away"),
        (decoded_at_other_qualities, COMPRESSION, "alone gives the label away"),
        (
            qualities_by_size,
            COMPRESSION,
            "estimated quality and size of the face box together give the label away: AUC 1.00",
        ),
        (larger_crops, COMPRESSION, "size of the face box alone gives the label away"),
        (other_media, "source compression", "raw against c40"),
    ],
)
def test_a_planted_fault_fails_by_its_name(
    tmp_path: Path, plant: Callable[[list[dict[str, Any]]], None], check: str, named: str
) -> None:
    faces = sound()
    plant(faces)
    checks = audit(write(tmp_path / "set", faces), frames=1)
    assert named in failed(checks).get(check, ""), text(tmp_path, checks)


def test_source_videos_of_two_splits_fail_but_official_overlaps_are_noted(tmp_path: Path) -> None:
    groups = {"p00": "tape", "p27": "tape"}
    found = failed(audit(write(tmp_path / "tape", sound(), groups), frames=1))
    assert found == {"source videos": "source video tape: p00 in train, p27 in test"}


def test_a_class_that_is_missing_fails(tmp_path: Path) -> None:
    faces = [f for f in sound() if (f["split"], f["manipulation"]) != ("val", "A")]
    folder = write(tmp_path / "set", faces)
    assert failed(audit(folder, frames=1)) == {"classes": "val: no manipulated face"}
    assert main([str(folder), "--frames", "1"]) == 1


def test_too_few_identities_are_told_not_judged(tmp_path: Path) -> None:
    faces = [f for f in sound() if int(f["target"][1:]) in (0, 1, 20, 21, 26, 27)]
    checks = audit(write(tmp_path / "set", faces), frames=1)
    assert {c.name: c.status for c in checks}[COMPRESSION] == "noted"
    assert not failed(checks)


def test_what_cannot_be_audited(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there"):
        audit(tmp_path / "nothing")
    folder = write(tmp_path / "set", sound())
    shard = folder / "A/c0/test-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DataError, match="test-00000"):
        audit(folder)


def test_blockiness_is_one_without_blocks() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert blockiness(noise) == pytest.approx(1, abs=0.05)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    assert blockiness(jpeg.decode(jpeg.encode(smooth, 10))) > 1.5
