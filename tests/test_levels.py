"""Compression examples: a picture and a table of what each level makes of an image."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfforensics import jpeg
from tfforensics.command import UsageError
from tfforensics.levels import examples, main

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def test_each_example_is_the_level_of_its_encoder() -> None:
    made = examples(NOISE)
    assert [(one.encoder, one.level) for one in made] == [
        (encoder, level) for encoder in jpeg.ENCODERS for level in jpeg.LEVELS[1:]
    ]
    for one in made:
        data = jpeg.encode(NOISE, jpeg.quality_of(one.level), one.encoder)
        assert one.bytes == len(data)
        assert np.array_equal(one.image, jpeg.decode(data))
        error = np.mean((NOISE.astype(float) - one.image) ** 2)
        assert one.psnr == pytest.approx(10 * np.log10(255**2 / error))
        assert one.ssim == pytest.approx(jpeg.ssim(NOISE, one.image))
    of_turbo = [one.psnr for one in made if one.encoder == "turbo"]
    assert of_turbo == sorted(of_turbo, reverse=True)


def test_the_command_writes_picture_table_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(NOISE).save(tmp_path / "noise.png")
    main([str(tmp_path / "noise.png"), "--out", str(tmp_path / "out")])
    table = (tmp_path / "out/levels.md").read_text()
    assert capsys.readouterr().out == table
    assert "mozjpeg PSNR, dB" in table.splitlines()[0]
    rows = list(csv.DictReader((tmp_path / "out/levels.csv").open()))
    assert [row["quality"] for row in rows] == ["77", "60", "15", "10", "5"] * 2
    assert int(rows[0]["bytes"]) == examples(NOISE, ["turbo"], ["c23"])[0].bytes
    with Image.open(tmp_path / "out/levels.png") as picture:
        assert picture.width > 6 * 200


def test_a_face_of_a_record_folder(
    write_records, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def noise(manipulation: str, split: str, frame: int) -> np.ndarray:
        return np.random.default_rng(frame).integers(0, 256, (32, 32, 3), np.uint8)

    records = write_records({("real", "test"): 3}, size=32, pixels=noise)
    out = tmp_path / "out"
    main([str(records), "--face", "2", "--encoder", "turbo", "--out", str(out)])
    rows = list(csv.DictReader((out / "levels.csv").open()))
    # The third face as the record holds it, and no other.
    stored = jpeg.decode(jpeg.encode_canonical(noise("real", "test", 2)))
    expected = examples(stored, ["turbo"])
    assert [int(row["bytes"]) for row in rows] == [one.bytes for one in expected]
    second = jpeg.decode(jpeg.encode_canonical(noise("real", "test", 1)))
    assert [one.bytes for one in examples(second, ["turbo"])] != [one.bytes for one in expected]
    with pytest.raises(UsageError, match="--face: expected"):
        main([str(records), "--face", "3", "--out", str(out)])


def test_mistakes_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="IMAGE: expected a file or a record folder"):
        main([str(tmp_path / "none.png"), "--out", str(tmp_path / "out")])
    Image.fromarray(NOISE[:8]).save(tmp_path / "flat.png")
    with pytest.raises(UsageError, match="at least 11 pixels a side, got 64 x 8"):
        main([str(tmp_path / "flat.png"), "--out", str(tmp_path / "out")])
