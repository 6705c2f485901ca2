"""Faces over time: who is who, who lasts, and that the fast search misses nobody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import centre, person, scene

from tfforensics.detection import Face, FaceDetector
from tfforensics.tracking import FaceFinder, link, persistent, smooth_sides


def face(x: float, y: float, side: float, confidence: float = 0.99) -> Face:
    """A face by the centre and the height of its box."""
    box = x - 0.4 * side, y - 0.5 * side, 0.8 * side, side
    return Face(box, confidence, np.full((5, 2), (x, y), np.float32))


def places(track: dict[int, Face]) -> dict[int, tuple[float, float]]:
    return {at: (f.box[0] + f.box[2] / 2, f.box[3]) for at, f in track.items()}


def test_two_people_keep_their_tracks():
    found = [[face(100 + 9 * t, 100, 80), face(400 - 9 * t, 100, 60)] for t in range(12)]
    # The detector's order says nothing about who is who.
    found = [faces[::-1] if t % 2 else faces for t, faces in enumerate(found)]
    tracks = link(found)
    assert [places(track) for track in tracks] == [
        {t: (pytest.approx(100 + 9 * t), 80) for t in range(12)},
        {t: (pytest.approx(400 - 9 * t), 60) for t in range(12)},
    ]


def test_people_of_different_size_pass_each_other():
    """Between two frames they swap sides, so either is nearer to where the other was."""
    found = [[face(100 + 70 * t, 100, 120), face(485 - 70 * t, 100, 60)] for t in range(6)]
    assert [{at: size for at, (_, size) in places(track).items()} for track in link(found)] == [
        dict.fromkeys(range(6), 120),
        dict.fromkeys(range(6), 60),
    ]


def test_a_gap_does_not_end_a_track():
    found = [[] if t in (3, 4, 5) else [face(200 + t, 100, 80)] for t in range(10)]
    (track,) = link(found)
    assert list(track) == [0, 1, 2, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("second", "same"),
    [(face(130, 100, 80), True), (face(215, 100, 80), True), (face(225, 100, 80), False),
     (face(100, 100, 150), True), (face(100, 100, 300), False), (face(100, 100, 28), False)],
)  # fmt: skip
def test_how_far_a_face_may_go_and_grow(second, same):
    assert len(link([[face(100, 100, 80)], [second]])) == (1 if same else 2)


def test_no_frames_and_no_faces():
    assert link([]) == []
    assert link([[], [], []]) == []
    assert persistent([], 3) == []


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(*[st.floats(20, 500)] * 3), max_size=4), max_size=8))
def test_every_face_is_in_one_track(numbers):
    found = [[face(x, y, side) for x, y, side in faces] for faces in numbers]
    tracks = link(found)
    linked = [(at, id(f)) for track in tracks for at, f in track.items()]
    assert sorted(linked) == sorted((at, id(f)) for at, faces in enumerate(found) for f in faces)
    for track in tracks:
        assert list(track) == sorted(track)


def test_the_foremost_is_large_and_lasts():
    large_and_brief = {t: face(100, 100, 200) for t in range(4)}
    small_and_long = {t: face(300, 100, 40) for t in range(32)}
    foremost = {t: face(500, 100, 100) for t in range(2, 30)}
    order = persistent([large_and_brief, small_and_long, foremost], 32)
    assert order == [foremost, small_and_long, large_and_brief]


@pytest.mark.parametrize(
    ("frames", "seen", "lasts"),
    [(1, 1, True), (3, 1, True), (4, 1, False), (4, 2, True), (32, 1, False), (32, 2, True),
     (64, 3, False), (64, 4, True)],
)  # fmt: skip
def test_a_lone_detection_is_no_person(frames, seen, lasts):
    track = {t: face(100, 100, 500) for t in range(seen)}
    assert persistent([track], frames) == ([track] if lasts else [])


def test_sides_are_medians_of_five():
    sides = [100, 100, 100, 160, 100, 110, 120, 130]
    track = {3 * t: face(100, 100, side) for t, side in enumerate(sides)}
    assert smooth_sides(track) == {
        0: 100,
        3: 100,
        6: 100,
        9: 100,
        12: 110,
        15: 120,
        18: 115,
        21: 120,
    }
    assert smooth_sides({5: face(0, 0, 70)}) == {5: 70}


@settings(deadline=None)
@given(st.lists(st.floats(20, 1000), min_size=1, max_size=12), st.floats(0.1, 10))
def test_smoothing_scales_with_the_faces(sides, factor):
    small = smooth_sides({t: face(0, 0, side) for t, side in enumerate(sides)})
    large = smooth_sides({t: face(0, 0, factor * side) for t, side in enumerate(sides)})
    assert large == pytest.approx({t: factor * side for t, side in small.items()})
    assert min(sides) * 0.999 <= min(small.values()) <= max(small.values()) <= max(sides) * 1.001


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(every=4)


def overlap(one: Face, other: Face) -> float:
    (ax, ay, aw, ah), (bx, by, bw, bh) = one.box, other.box
    shared = max(0, min(ax + aw, bx + bw) - max(ax, bx)) * max(
        0, min(ay + ah, by + bh) - max(ay, by)
    )
    return shared / (aw * ah + bw * bh - shared)


def test_the_finder_sees_what_a_search_of_every_frame_sees(finder):
    """One person crosses the picture, another comes late; the places are known as well."""
    first, second = person(1, 200), person(3, 150)
    people, where = [], []
    for t in range(13):
        here = [(first, (20.0 + 25 * t, 40.0 + 6 * t))]
        if t >= 6:
            here.append((second, (460.0, 10.0 + 8 * t)))
        people.append([p for p, _ in here])
        where.append([place for _, place in here])
    images = [scene(p, w) for p, w in zip(people, where, strict=True)]
    found = list(finder.find(iter(images)))
    searched = FaceDetector().detect(images)
    for t, (fast, slow) in enumerate(zip(found, searched, strict=True)):
        for known in slow:
            assert max((overlap(known, f) for f in fast), default=0) > 0.7, t
        for portrait, place in zip(people[t], where[t], strict=True):
            middles = [f.landmarks.mean(axis=0) for f in fast]
            apart = min(np.abs(middle - centre(portrait, place)).max() for middle in middles)
            assert apart < 0.08 * portrait.image.shape[0], t
    # The same, however often all sizes are searched.
    for every in (1, 5, 40):
        again = list(FaceFinder(every=every).find(images))
        assert [len(faces) for faces in again] == [len(faces) for faces in found]


def test_a_cut_to_a_face_of_another_size(finder):
    near, far = scene([person(1, 340)], [(150, 5)]), scene([person(2, 110)], [(400, 200)])
    found = list(finder.find([near, near, far, near, near]))
    assert [len(faces) for faces in found] == [1] * 5
    assert found[2][0].side < 0.5 * found[1][0].side


def test_frames_without_faces(finder):
    assert list(finder.find([])) == []
    assert list(finder.find([scene([], [])] * 6)) == [[]] * 6
    shown = scene([person(1, 200)], [(50, 50)])
    blank = scene([], [])
    found = list(finder.find([blank, blank, shown, blank, blank, blank, shown]))
    assert [len(faces) for faces in found] == [0, 0, 1, 0, 0, 0, 1]


def test_a_small_face_is_found_where_there_is_no_larger_one(finder):
    small = scene([person(2, 90)], [(300, 100)], height=720, width=1280)
    ((face,),) = finder.find([small])
    assert 20 < face.side < 50


def test_few_frames_are_held(finder):
    """A finder asks for frames as it goes, so a long video need not be in memory."""
    taken = 0

    def frames():
        nonlocal taken
        for _ in range(12):
            taken += 1
            yield np.zeros((64, 64, 3), np.uint8)

    for number, _ in enumerate(finder.find(frames())):
        assert taken <= number + 4


def test_every_must_be_positive():
    with pytest.raises(ValueError, match="every: expected at least 1, got 0"):
        FaceFinder(every=0)
