"""Crops: where they are cut, what they show, and how every frame is accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from videos import centre, person, scene, turn, write_video

from tfforensics import faces
from tfforensics.detection import Face
from tfforensics.faces import Extraction, FaceFinder, crop_face, extract, square_about
from tfforensics.media import Limits, MediaError


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(path, "PNG")
    return path


def check_accounts(extraction: Extraction) -> None:
    """Every frame that was asked for gave crops, or is counted with its reason."""
    shown = {crop.frame for crop in extraction.crops}
    assert len(shown) + sum(extraction.skipped.values()) == extraction.asked
    assert set(extraction.skipped) <= {"undecodable", "no-face"}
    assert 0 not in extraction.skipped.values()
    keys = [(crop.frame, crop.track) for crop in extraction.crops]
    assert keys == sorted(set(keys))
    for crop in extraction.crops:
        assert crop.pixels.dtype == np.uint8
        assert crop.pixels.std() > 10  # neither black nor empty


@pytest.mark.parametrize(
    ("box", "side", "expected"),
    [((10, 20, 30, 50), 65, (-8, 12, 65, 65)), ((10, 20, 30, 50), 64.6, (-8, 12, 65, 65)),
     ((100.0, 50.0, 40.0, 40.0), 52.0, (94, 44, 52, 52)), ((5, 5, 0.2, 0.2), 0.26, (5, 5, 1, 1))],
)  # fmt: skip
def test_the_square_about_a_face(box, side, expected):
    assert square_about(Face(box, 0.9, np.zeros((5, 2), np.float32)), side) == expected


def test_a_crop_inside_the_image():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    pixels, padded = crop_face(image, (2, 1, 4, 4), 4)
    np.testing.assert_array_equal(pixels, image[1:5, 2:6])
    assert padded == 0


def test_beyond_the_border_the_outermost_pixels_repeat():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    pixels, padded = crop_face(image, (-2, 1, 4, 4), 4)
    a, b = image[:, 0], image[:, 1]
    expected = [[a[y], a[y], a[y], b[y]] for y in (1, 2, 3, 3)]
    np.testing.assert_array_equal(pixels, expected)
    assert padded == 1 - (2 * 3) / 16
    # A square that misses the image altogether shows its nearest corner.
    pixels, padded = crop_face(image, (50, -90, 3, 3), 3)
    np.testing.assert_array_equal(pixels, np.broadcast_to(image[0, 3], (3, 3, 3)))
    assert padded == 1


def test_shrinking_takes_means():
    image = np.zeros((8, 8, 3), np.uint8)
    image[::4, ::4] = 160  # one pixel in sixteen: sampling would hit it or miss it
    pixels, _ = crop_face(image, (0, 0, 8, 8), 2)
    np.testing.assert_array_equal(pixels, np.full((2, 2, 3), 10))


@settings(deadline=None)
@given(*[st.integers(-60, 60)] * 2, st.integers(1, 90), st.integers(1, 40))
def test_a_crop_stays_within_the_range_of_its_image(x, y, side, size):
    rng = np.random.default_rng(0)
    image = rng.integers(100, 111, (30, 40, 3), np.uint8)
    pixels, padded = crop_face(image, (x, y, side, side), size)
    assert pixels.shape == (size, size, 3)
    # Cubics overshoot, by less than a quarter of the range.
    assert 97 <= pixels.min() <= pixels.max() <= 113
    inside = max(0, min(x + side, 40) - max(x, 0)) * max(0, min(y + side, 30) - max(y, 0))
    assert padded == pytest.approx(1 - inside / side**2)


def test_an_image(finder, tmp_path):
    portrait, place = person(1, 200), (150.0, 90.0)
    image = scene([portrait], [place])
    # What a file is, its content says.
    path = save(tmp_path / "image.mp4", image)
    extraction = extract(path, finder, size=224)
    check_accounts(extraction)
    (crop,) = extraction.crops
    assert (extraction.asked, extraction.skipped) == (1, {})
    assert (crop.frame, crop.track, crop.padded) == (0, 0, 0)
    ((face,),) = finder.find([image])
    assert crop.confidence == pytest.approx(face.confidence)
    assert crop.box[2] == crop.box[3] == round(1.3 * face.side)
    x, y, width, height = face.box
    middle = crop.box[0] + crop.box[2] / 2, crop.box[1] + crop.box[3] / 2
    np.testing.assert_allclose(middle, (x + width / 2, y + height / 2), atol=0.6)
    # The landmarks are those of the person, in pixels of the crop.
    back = crop.landmarks * (crop.box[2] / 224) + crop.box[:2]
    assert np.abs(back - (portrait.landmarks + place)).max() < 8
    assert (crop.landmarks > 0).all()
    assert (crop.landmarks < 224).all()
    twice = extract(path, finder, size=224, margin=2.6).crops[0]
    assert twice.box[2] == pytest.approx(2 * crop.box[2], abs=1)
    # A crop is the image in its square, resized.
    left, top, side, _ = crop.box
    whole = extract(path, finder, size=side).crops[0]
    np.testing.assert_array_equal(whole.pixels, image[top : top + side, left : left + side])


def test_a_face_at_the_border_is_padded(finder, tmp_path):
    image = scene([person(2, 260)], [(-70, 60)])
    crop = extract(save(tmp_path / "border.png", image), finder, margin=2).crops[0]
    assert crop.box[0] < 0
    assert crop.padded == pytest.approx(-crop.box[0] / crop.box[2], abs=0.01)
    # What lies beyond repeats the first column.
    beyond = round(-crop.box[0] * 380 / crop.box[2])
    assert np.abs(crop.pixels[:, : beyond - 3].astype(int) - crop.pixels[:, :1]).max() <= 1


def walk(frames: int) -> list[tuple[float, float]]:
    """A person who sways across the picture."""
    return [(160 + 120 * np.sin(t / 6), 70 + 30 * np.cos(t / 5)) for t in range(frames)]


@pytest.fixture(scope="module")
def one_person(tmp_path_factory) -> Path:
    portrait = person(1, 240)
    frames = (scene([portrait], [place]) for place in walk(40))
    return write_video(tmp_path_factory.mktemp("clips") / "one.mp4", frames)


def test_one_person_is_followed_and_the_crop_is_steady(finder, one_person):
    extraction = extract(one_person, finder, frames=20)
    check_accounts(extraction)
    assert extraction.asked == 20
    assert extraction.skipped == {}
    assert [crop.frame for crop in extraction.crops] == list(range(1, 40, 2))
    assert {crop.track for crop in extraction.crops} == {0}
    portrait = person(1, 240)
    places = walk(40)
    off = []
    for crop in extraction.crops:
        x, y, side, _ = crop.box
        truth = centre(portrait, places[crop.frame])
        off.append((np.array([x, y]) + side / 2 - truth) / side)
    # Where the face is in the crop hardly changes, and neither does the crop's size.
    assert np.std(off, axis=0).max() < 0.02
    sides = np.array([crop.box[2] for crop in extraction.crops])
    assert np.abs(np.diff(sides)).max() < 0.04 * sides.mean()


def test_two_people(finder, tmp_path):
    large, small = person(3, 240), person(4, 170)
    frames = (
        scene([large, small], [(330 + 20 * np.sin(t), 60), (60, 90 + 3 * t)]) for t in range(16)
    )
    path = write_video(tmp_path / "two.mp4", frames)
    foremost = extract(path, finder, frames=8)
    check_accounts(foremost)
    assert len(foremost.crops) == 8
    assert all(crop.box[0] > 300 and crop.track == 0 for crop in foremost.crops)
    everyone = extract(path, finder, frames=8, every=True)
    check_accounts(everyone)
    assert [(crop.frame, crop.track) for crop in everyone.crops] == [
        (frame, track) for frame in range(1, 16, 2) for track in (0, 1)
    ]
    for crop in everyone.crops:
        assert (crop.box[0] > 300) == (crop.track == 0)
    for crop, same in zip(foremost.crops, everyone.crops[::2], strict=True):
        np.testing.assert_array_equal(crop.pixels, same.pixels)


def test_frames_without_the_person_are_counted(finder, tmp_path):
    portrait = person(1, 200)
    frames = (
        scene([portrait], [(200, 80)]) if 4 <= t < 10 else scene([], [], seed=t) for t in range(12)
    )
    extraction = extract(write_video(tmp_path / "late.mp4", frames), finder)
    check_accounts(extraction)
    assert extraction.asked == 12
    assert extraction.skipped == {"no-face": 6}
    assert [crop.frame for crop in extraction.crops] == list(range(4, 10))


def test_a_file_without_a_face_gives_no_crops(finder, tmp_path):
    blank = scene([], [])
    extraction = extract(save(tmp_path / "blank.png", blank), finder)
    assert (extraction.asked, extraction.crops, extraction.skipped) == (1, (), {"no-face": 1})
    path = write_video(tmp_path / "blank.mp4", [blank] * 5)
    extraction = extract(path, finder)
    assert (extraction.asked, extraction.crops, extraction.skipped) == (5, (), {"no-face": 5})


def test_a_video_that_lost_its_end(finder, tmp_path):
    frames = (scene([person(1, 200)], [place]) for place in walk(20))
    options, container = {"g": "1", "bf": "0"}, {"movflags": "faststart"}
    path = write_video(tmp_path / "cut.mp4", frames, options=options, container=container)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    extraction = extract(path, finder, frames=10)
    check_accounts(extraction)
    assert extraction.asked == 10
    assert 3 <= extraction.skipped["undecodable"] <= 5
    assert "no-face" not in extraction.skipped


def test_a_phone_video(finder, tmp_path):
    upright = scene([person(1, 240)], [(60, 60)], height=480, width=368)
    sideways = np.ascontiguousarray(np.rot90(upright))
    path = turn(write_video(tmp_path / "phone.mp4", [sideways] * 3), 90)
    extraction = extract(path, finder)
    assert len(extraction.crops) == 3
    middle = extraction.crops[0].landmarks
    assert middle[:2, 1].max() < middle[2, 1] < middle[3:, 1].min()  # eyes, nose, mouth


def test_frames_that_do_not_fit_are_decoded_twice(finder, one_person, monkeypatch):
    held = extract(one_person, finder, frames=9)
    monkeypatch.setattr(faces, "_HELD", 0)
    again = extract(one_person, finder, frames=9)
    assert (again.asked, again.skipped) == (held.asked, held.skipped)
    for one, other in zip(held.crops, again.crops, strict=True):
        assert (one.frame, one.track, one.box) == (other.frame, other.track, other.box)
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_what_cannot_be_read_is_an_error(finder, tmp_path):
    for name, content, reason in (
        ("text.mp4", b"not a film", "not-a-video"),
        ("empty.jpg", b"", "empty-file"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0", "damaged"),
        ("anim.gif", b"GIF89a" + bytes(40), "unsupported-format"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(MediaError, match=name) as caught:
            extract(path, finder)
        assert caught.value.reason == reason
    with pytest.raises(MediaError) as caught:
        extract(save(tmp_path / "big.png", scene([], [])), finder, limits=Limits(pixels=1000))
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"frames": 0}, "frames: expected at least 1, got 0"),
     ({"margin": 0}, "margin: expected more than 0, got 0"),
     ({"size": 0}, "size: expected at least 1, got 0")],
)  # fmt: skip
def test_settings_out_of_range(finder, one_person, settings, message):
    with pytest.raises(ValueError, match=message):
        extract(one_person, finder, **settings)
