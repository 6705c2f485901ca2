"""The embedded default: drawn people, their motion, the imitations, and the folder of clips."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest

from tfforensics.clips import leaks
from tfforensics.command import DataError, UsageError
from tfforensics.demo import photograph
from tfforensics.demo.animate import Actor, Frame
from tfforensics.demo.film import ORIGINAL, Role, Take, clip_paths, shots
from tfforensics.demo.folder import MARKER, build
from tfforensics.demo.imitate import IMITATIONS, TEMPLATE, Shot, sample_style
from tfforensics.demo.performance import Expression, Pose, perform
from tfforensics.demo.portrait import Portrait, draw
from tfforensics.ffpp import MANIPULATIONS, find_clips, official_clips

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "portraits"
NEUTRAL = Expression(blink=0, mouth=0, smile=0)
STILL = Pose(pan=(0, 0), turn=(0, 0), zoom=1, roll=0)
SMALL = {"identities": {"train": 2, "val": 2, "test": 2}, "seconds": 0.5, "fps": 8, "size": 160}
TAKE = Take(seconds=1.0, fps=12, size=352, seed=3)


def hashes(root: Path) -> dict[str, str]:
    """Every file of a demo folder but the lock."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def decode(path: Path) -> np.ndarray:
    """A clip's frames, (n, H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "ffpp"
    build(root, workers=1, **SMALL)
    return root


@pytest.fixture(scope="module")
def roles() -> list[Role]:
    return [
        Role(number, draw(TAKE.random(number, "portrait"), 440), TAKE) for number in ("000", "003")
    ]


# Portraits.


def test_a_portrait_follows_from_its_seed_alone() -> None:
    first, again, other = (draw(np.random.default_rng(seed), 200) for seed in (5, 5, 6))
    assert first.image.shape == (200, 200, 3)
    assert first.image.dtype == np.uint8
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    assert np.abs(first.image.astype(int) - other.image).mean() > 10


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_and_depth_lie_on_the_face(seed: int) -> None:
    portrait = draw(np.random.default_rng(seed), 300)
    left_eye, right_eye, nose, left_mouth, right_mouth = portrait.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    columns, rows = portrait.landmarks.round().astype(int).T
    # Background, then head, and the nose nearest of all.
    assert portrait.depth[:20, :20].max() == 0
    assert portrait.depth[rows, columns].min() > 0.6
    assert portrait.depth[rows, columns].argmax() == 2
    assert 0.85 < portrait.depth.max() < 1.15


def test_mtcnn_finds_drawn_faces_where_they_are() -> None:
    from tfforensics.detection import FaceDetector

    portraits = [draw(np.random.default_rng(seed), 256) for seed in range(20)]
    faces = FaceDetector().detect([portrait.image for portrait in portraits], 80)
    found = [[face.landmarks for face in each] for each in faces]
    assert len(errors := landmark_errors(portraits, found)) >= 19
    assert np.mean(errors) < 0.08


@pytest.mark.slow
def test_the_mtcnn_package_finds_95_of_100_drawn_faces() -> None:
    """The package itself, with its weights by absolute path, at the size of the demo's faces."""
    from importlib.resources import files

    from mtcnn import MTCNN
    from mtcnn.stages import StageONet, StagePNet, StageRNet

    stages = [
        stage(weights=str(files("mtcnn.assets.weights") / f"{name}.lz4"))
        for stage, name in ((StagePNet, "pnet"), (StageRNet, "rnet"), (StageONet, "onet"))
    ]
    detector = MTCNN(stages=stages)
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    portraits = [draw(np.random.default_rng(seed), 352) for seed in range(200, 300)]
    found = [
        [
            np.array([face["keypoints"][name] for name in names])
            for face in detector.detect_faces(portrait.image)
        ]
        for portrait in portraits
    ]
    assert len(errors := landmark_errors(portraits, found)) >= 95
    assert np.mean(errors) < 0.08


def landmark_errors(portraits: list[Portrait], found: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Of the portraits whose face was found: distances in x and y, in distances of the eyes."""
    errors = []
    for portrait, faces in zip(portraits, found, strict=True):
        apart = np.linalg.norm(portrait.landmarks[1] - portrait.landmarks[0])
        distances = [np.abs(points - portrait.landmarks) / apart for points in faces]
        near = [distance for distance in distances if distance.max() < 0.5]
        errors += near[:1]
    return errors


# Motion.


def test_a_neutral_still_frame_is_the_portrait_itself(roles: list[Role]) -> None:
    portrait = draw(TAKE.random("000", "portrait"), 440)
    frame = Actor(portrait, 440).frame(replace(STILL, zoom=1 / 1.06), NEUTRAL)
    np.testing.assert_array_equal(frame.image, portrait.image)
    np.testing.assert_allclose(frame.landmarks, portrait.landmarks, atol=1e-3)


@pytest.mark.parametrize(
    "pose",
    [
        STILL,
        replace(STILL, pan=(0.05, -0.03)),
        replace(STILL, turn=(0.06, 0.04)),
        replace(STILL, zoom=1.2, roll=0.2),
        Pose(pan=(-0.03, 0.02), turn=(-0.05, 0.03), zoom=1.1, roll=-0.15),
    ],
)
def test_landmarks_move_with_the_picture(pose: Pose) -> None:
    portrait = draw(np.random.default_rng(1), 400)
    marked = np.zeros_like(portrait.image)
    for x, y in portrait.landmarks:
        cv2.circle(marked, (round(float(x)), round(float(y))), 4, (255, 255, 255), -1)
    frame = Actor(replace(portrait, image=marked), 320).frame(pose, NEUTRAL)
    dots = (frame.image[..., 0] > 128).astype(np.uint8)
    count, _, _, centers = cv2.connectedComponentsWithStats(dots)
    assert count == 6
    for point in frame.landmarks:
        assert np.linalg.norm(centers[1:] - point, axis=1).min() < 1.2


def test_the_head_moves_against_the_background() -> None:
    portrait = draw(np.random.default_rng(2), 400)
    actor = Actor(portrait, 400)
    still, turned = (actor.frame(replace(STILL, turn=(x, 0)), NEUTRAL) for x in (0, 0.05))
    moved = turned.landmarks - still.landmarks
    assert (moved[:, 0] > 10).all()
    assert moved[:, 0].argmax() == 2  # the nose most of all
    np.testing.assert_array_equal(still.image[:40, :40], turned.image[:40, :40])


@pytest.mark.parametrize(
    ("expression", "points"),
    [
        (replace(NEUTRAL, blink=1), (0, 1)),
        (replace(NEUTRAL, mouth=1), (3, 4)),
        (replace(NEUTRAL, smile=1), (3, 4)),
    ],
)
def test_an_expression_changes_its_part_of_the_face(
    expression: Expression, points: tuple[int, ...]
) -> None:
    portrait = draw(np.random.default_rng(4), 400)
    actor = Actor(portrait, 400)
    neutral, shown = actor.frame(STILL, NEUTRAL), actor.frame(STILL, expression)
    difference = np.abs(shown.image.astype(int) - neutral.image).max(axis=-1)
    middle = neutral.landmarks[list(points)].mean(axis=0)
    rows, columns = np.nonzero(difference > 25)
    apart = np.linalg.norm(neutral.landmarks[1] - neutral.landmarks[0])
    assert len(rows) > 40
    assert np.abs(columns - middle[0]).max() < 1.2 * apart
    assert np.abs(rows - middle[1]).max() < 1.2 * apart


def test_closed_eyes_show_no_eyeball() -> None:
    portrait = draw(np.random.default_rng(4), 400)
    actor = Actor(portrait, 400)
    spread = []
    for blink in (0.0, 1.0):
        frame = actor.frame(STILL, replace(NEUTRAL, blink=blink))
        x, y = frame.landmarks[0].round().astype(int)
        spread.append(frame.image[y - 5 : y + 4, x - 9 : x + 10].std())
    assert spread[1] < 0.5 * spread[0]


def test_a_performance_is_smooth_and_the_same_at_any_frame_rate() -> None:
    slow, fast = (perform(np.random.default_rng(9), 2 * fps, fps) for fps in (12, 24))
    for i, moment in enumerate(slow):
        assert fast[2 * i].expression == pytest.approx(moment.expression)
        assert fast[2 * i].pose.turn == pytest.approx(moment.pose.turn)
    turns = np.array([moment.pose.turn for moment in fast])
    assert np.abs(np.diff(turns, axis=0)).max() < 0.02
    assert max(moment.expression.blink for moment in fast) > 0.5


# Imitations.


def face_box(frame: Frame) -> tuple[slice, slice]:
    """A square about the landmarks that holds all of the face."""
    apart = np.linalg.norm(frame.landmarks[1] - frame.landmarks[0])
    x, y = frame.landmarks[:2].mean(axis=0)
    return (
        slice(int(y - 1.1 * apart), int(y + 2.2 * apart)),
        slice(int(x - 1.6 * apart), int(x + 1.6 * apart)),
    )


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_an_imitation_changes_the_face_in_every_frame_and_nothing_else(
    name: str, roles: list[Role]
) -> None:
    rng = np.random.default_rng(0)
    style = sample_style(rng)
    for shot in list(shots(*roles))[::3]:
        image = IMITATIONS[name](shot, style, rng)
        difference = np.abs(image.astype(int) - shot.scene.image)
        inner = shot.scene.landmarks[[2, 3, 4]].mean(axis=0).round().astype(int)
        near_nose = difference[inner[1] - 20 : inner[1] + 20, inner[0] - 20 : inner[0] + 20]
        assert near_nose.mean() > 1.5
        difference[face_box(shot.scene)] = 0
        assert difference.max() == 0


def test_swaps_take_the_source_and_reenactments_its_expression(roles: list[Role]) -> None:
    shot = next(shots(*roles))
    rng = np.random.default_rng(0)
    style = sample_style(rng)
    black = Frame(np.zeros_like(shot.scene.image), shot.scene.landmarks)

    def changed(name: str, other: Shot) -> bool:
        images = [IMITATIONS[name](s, style, np.random.default_rng(1)) for s in (shot, other)]
        return not np.array_equal(*images)

    source, acted = replace(shot, source=black), replace(shot, acted=black)
    assert {name: (changed(name, source), changed(name, acted)) for name in IMITATIONS} == {
        "Deepfakes": (True, False),
        "Face2Face": (False, True),
        "FaceSwap": (True, False),
        "NeuralTextures": (False, True),
    }


def detail(image: np.ndarray, frame: Frame) -> float:
    """How much fine structure the face has about eyes, nose and mouth."""
    left, top = frame.landmarks[0].astype(int) - 15
    right, bottom = frame.landmarks[4].astype(int) + 15
    face = image[top:bottom, left:right].mean(axis=-1)
    return float(cv2.Laplacian(face, cv2.CV_64F).std())


def test_swap_and_rendering_are_smoother_than_the_face_they_replace(roles: list[Role]) -> None:
    shot = list(shots(*roles))[4]
    rng = np.random.default_rng(0)
    style = sample_style(rng)
    before = detail(shot.scene.image, shot.scene)
    assert detail(IMITATIONS["Deepfakes"](shot, style, rng), shot.scene) < 0.6 * before
    assert detail(IMITATIONS["Face2Face"](shot, style, rng), shot.scene) < 0.95 * before


def test_the_resynthesised_mouth_has_a_grid_of_four_pixels() -> None:
    # A flat face that lies as the template does: what is not flat after it is the trace.
    side = 192
    flat = Frame(np.full((side, side, 3), 128, np.uint8), TEMPLATE * side - 0.5)
    rng = np.random.default_rng(0)
    style = sample_style(rng)
    shot = Shot(flat, flat, flat)
    mouth = {
        name: paint(shot, style, rng)[131:155, 84:108].astype(int)
        for name, paint in IMITATIONS.items()
    }
    for name in ("Deepfakes", "Face2Face", "FaceSwap"):
        assert mouth[name].std(axis=(0, 1)).max() < 0.5
    grid = mouth["NeuralTextures"]
    assert grid.std(axis=(0, 1)).min() > 2
    assert np.abs(grid[:, 4:] - grid[:, :-4]).max() <= 1
    assert np.abs(grid[4:] - grid[:-4]).max() <= 1
    assert np.abs(grid[:, 2:] - grid[:, :-2]).max() > 5


# The folder.


def test_the_folder_has_the_shape_of_faceforensics(folder: Path) -> None:
    listing = find_clips(folder)
    assert listing.notes == ()
    assert len(listing.clips) == 6 * 5
    assert {clip.source_compression for clip in listing.clips} == {"c23"}
    names = {"real": {"000", "001", "003", "004", "870", "982"}}
    for manipulation in MANIPULATIONS:
        names[manipulation] = {"000_003", "003_000", "001_870", "870_001", "004_982", "982_004"}
    found = {m: {c.name for c in listing.clips if c.manipulation == m} for m in names}
    assert found == names


def test_splits_are_the_official_ones_and_apart(folder: Path) -> None:
    clips = find_clips(folder).clips
    assert leaks(clips) == []
    assert {clip.split for clip in clips} == {"train", "val", "test"}
    for clip in clips:
        assert clip.split == official_clips()[clip.target].split


def test_the_marker_says_that_these_are_imitations(folder: Path) -> None:
    marker = json.loads((folder / MARKER).read_text())
    assert "NOT FaceForensics++" in marker["notice"]
    assert "IMITATION" in marker["notice"]
    assert marker["settings"] == {"seconds": 0.5, "fps": 8, "size": 160, "seed": 0}
    assert marker["clips"]["000"] == {"split": "test", "partner": "003", "face": "drawn"}
    with av.open(str(clip_paths(folder, "000", "003")["FaceSwap"])) as container:
        assert "IMITATION" in container.metadata["comment"]


def test_real_and_imitated_clips_are_encoded_alike(folder: Path) -> None:
    described = {name: describe(path) for name, path in clip_paths(folder, "000", "003").items()}
    for name in MANIPULATIONS:
        assert described[name] == described[ORIGINAL]
    assert described[ORIGINAL]["frames"] == [0, 1, 2, 3]
    assert described[ORIGINAL]["codec"] == "h264"
    assert "threads=1 " in described[ORIGINAL]["encoder"]
    assert "mbtree=0 " in described[ORIGINAL]["encoder"]
    sizes = {name: path.stat().st_size for name, path in clip_paths(folder, "000", "003").items()}
    for name in MANIPULATIONS:
        assert 0.8 < sizes[name] / sizes[ORIGINAL] < 1.2


def describe(path: Path) -> dict[str, Any]:
    """Everything about how a clip is encoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        packets = [packet for packet in container.demux(stream) if packet.size]
        about = {
            "codec": context.name,
            "profile": context.profile,
            "header": context.extradata,
            "format": (context.pix_fmt, context.width, context.height),
            "rate": (stream.average_rate, stream.time_base),
            "frames": sorted(packet.pts * stream.time_base * 8 for packet in packets),
            "metadata": (dict(container.metadata), dict(stream.metadata)),
        }
    content = path.read_bytes()
    start = content.index(b"x264 - core")
    about["encoder"] = content[start : content.index(b"\0", start)].decode()
    return about


def test_what_is_outside_the_face_is_the_same_in_real_and_imitated_clips(tmp_path: Path) -> None:
    build(tmp_path, identities={"test": 2}, seconds=0.5, fps=8, size=256, workers=1)
    paths = clip_paths(tmp_path, "000", "003")
    real = decode(paths[ORIGINAL]).astype(int)
    for name in MANIPULATIONS:
        difference = decode(paths[name]).astype(int) - real
        corners = np.concatenate([difference[:, :48, :32], difference[:, :48, -32:]])
        # What the encoder makes of it differs by a grey level here and there, without a bias.
        assert np.abs(corners).mean() < 1.5
        assert abs(corners.mean()) < 0.2
        assert np.abs(difference[:, 90:190, 90:166]).mean() > 3 * np.abs(corners).mean()


def test_the_bytes_depend_on_neither_workers_nor_interruptions(
    folder: Path, tmp_path: Path
) -> None:
    expected = hashes(folder)
    assert len(expected) == 31
    root = tmp_path / "two"
    build(root, workers=2, **SMALL)
    assert hashes(root) == expected

    lost = [*clip_paths(root, "000", "003").values()][1:4]
    for path in lost:
        path.unlink()
    (lost[0].parent / f".{lost[0].name}.partial").write_bytes(b"half a clip")
    kept = clip_paths(root, "003", "000")[ORIGINAL]
    before = kept.stat().st_mtime_ns
    build(root, workers=1, **SMALL)
    assert hashes(root) == expected
    assert kept.stat().st_mtime_ns == before


BUILD = """
import sys
from pathlib import Path
from tfforensics.demo.folder import build
if __name__ == "__main__":
    build(Path(sys.argv[1]), workers=2, identities={"train": 2, "val": 2, "test": 2}, seconds=0.5,
          fps=8, size=160)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_and_run_again_it_does_what_is_missing(folder: Path, tmp_path: Path) -> None:
    root, script = tmp_path / "ffpp", tmp_path / "script.py"
    script.write_text(BUILD)
    process = subprocess.Popen([sys.executable, str(script), str(root)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(root.rglob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    complete = {name: digest for name, digest in hashes(root).items() if name.endswith(".mp4")}
    assert 0 < len([name for name in complete if not Path(name).name.startswith(".")]) <= 30
    build(root, workers=1, **SMALL)
    assert hashes(root) == hashes(folder)


def test_a_killed_worker_ends_the_build_with_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(BUILD)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "ffpp")], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while not workers and process.poll() is None and time.monotonic() < deadline:
        children = psutil.Process(process.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        time.sleep(0.01)
    workers[0].kill()
    _, error = process.communicate(timeout=60)
    assert error.splitlines()[-1].startswith("OSError:")
    assert "a worker was killed" in error


def test_drawn_portraits_need_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tfforensics.demo.folder import build;"
        f"build(Path({str(tmp_path)!r}), identities={{'val': 2}}, seconds=0.2, fps=5, size=128,"
        "workers=1); print([m for m in sys.modules if m in ('tensorflow', 'tf_keras', 'mtcnn')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_full_disk_ends_with_the_path_and_nothing_half_written(tmp_path: Path) -> None:
    # A limit on the size of files stands for the disk: the kernel refuses the write.
    code = f"""
import resource
from pathlib import Path
from tfforensics.demo.folder import build
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    build(Path({str(tmp_path)!r}), identities={{"val": 2}}, seconds=0.5, fps=8, size=160, workers=1)
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "004.mp4" in done.stdout
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [".lock", MARKER]


# Photographs.


@pytest.fixture(scope="module")
def drawn_photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn portraits stand for photographs: five files, in two folders."""
    root = tmp_path_factory.mktemp("photographs")
    for i, name in enumerate(("a/1.png", "a/2.jpg", "b/1.JPG", "b/2.png", "b/3.png")):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        portrait = draw(np.random.default_rng(100 + i), 400)
        wide = cv2.copyMakeBorder(portrait.image, 40, 0, 90, 60, cv2.BORDER_REPLICATE)
        cv2.imwrite(str(path), cv2.cvtColor(wide, cv2.COLOR_RGB2BGR))
    return root


def test_photographs_become_identities_in_the_order_of_their_paths(
    drawn_photographs: Path, tmp_path: Path
) -> None:
    build(
        tmp_path, identities={"train": 2, "test": 2}, seconds=0.25, fps=8, size=160,
        portraits=drawn_photographs, workers=1,
    )  # fmt: skip
    faces = {
        number: clip["face"]
        for number, clip in json.loads((tmp_path / MARKER).read_text())["clips"].items()
    }
    assert faces == {"000": "1.png", "001": "2.jpg", "003": "1.JPG", "870": "2.png"}
    assert len(find_clips(tmp_path).clips) == 20


def test_a_photograph_is_cut_about_its_face(drawn_photographs: Path) -> None:
    from tfforensics.detection import FaceDetector

    portrait = photograph.load(drawn_photographs / "b" / "2.png", FaceDetector(), 440)
    drawn = draw(np.random.default_rng(103), 400)
    apart = portrait.landmarks[1, 0] - portrait.landmarks[0, 0]
    assert apart / 440 == pytest.approx(0.174, abs=0.02)
    np.testing.assert_allclose(portrait.landmarks[:2].mean(axis=0) / 440, [0.5, 0.45], atol=0.03)
    # The same face as the drawing at the landmarks that were found.
    scale = apart / (drawn.landmarks[1, 0] - drawn.landmarks[0, 0])
    assert scale == pytest.approx(1.0, abs=0.12)
    columns, rows = portrait.landmarks.round().astype(int).T
    assert portrait.depth[rows, columns].min() > 0.6
    assert portrait.depth[:10, :10].max() == 0


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="shared/portraits is not there")
def test_every_shared_photograph_becomes_a_portrait() -> None:
    from tfforensics.detection import FaceDetector

    detector = FaceDetector()
    found = photograph.find(PHOTOGRAPHS)
    assert len(found) == 100
    for path in found:
        portrait = photograph.load(path, detector, 440)
        assert 0.12 < (portrait.landmarks[1, 0] - portrait.landmarks[0, 0]) / 440 < 0.35


def test_a_photograph_without_a_face_or_without_an_image_is_an_error_with_its_path(
    tmp_path: Path,
) -> None:
    from tfforensics.detection import FaceDetector

    wall, text = tmp_path / "wall.png", tmp_path / "text.jpg"
    cv2.imwrite(str(wall), np.full((300, 300, 3), 180, np.uint8))
    text.write_text("not an image")
    for path in (wall, text):
        with pytest.raises(DataError, match=path.name):
            photograph.load(path, FaceDetector(), 440)


# Guests.


@pytest.fixture
def guests(folder: Path, tmp_path: Path) -> Path:
    """A clip of twice the rate, wide and short, and a photograph."""
    root = tmp_path / "guests"
    root.mkdir()
    bands = np.linspace(0, 255, 192, dtype=np.uint8)
    with av.open(str(root / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for i in range(6):
            image = np.broadcast_to(bands[None, :, None] // 2 + 20 * i, (128, 192, 3))
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    portrait = draw(np.random.default_rng(100), 400)
    cv2.imwrite(str(root / "b.png"), cv2.cvtColor(portrait.image, cv2.COLOR_RGB2BGR))
    return root


def test_guests_join_the_training_split_as_themselves(
    folder: Path, guests: Path, tmp_path: Path
) -> None:
    build(tmp_path / "demo", guests=guests, workers=1, **SMALL)
    alone, joined = hashes(folder), hashes(tmp_path / "demo")
    assert {name: joined[name] for name in alone if name != MARKER} == {
        name: value for name, value in alone.items() if name != MARKER
    }
    originals = tmp_path / "demo" / "original_sequences" / "youtube" / "c23" / "videos"
    added = sorted(tmp_path / "demo" / name for name in joined.keys() - alone.keys())
    assert added == [originals / "002.mp4", originals / "006.mp4"]
    assert {official_clips()[path.stem].split for path in added} == {"train"}
    # Every second frame, the middle square, until the clip ends.
    clip = decode(added[0])
    assert clip.shape == (3, 160, 160, 3)
    expected = np.linspace(32, 160, 160)[None] / 192 * 127.5 + 40 * np.arange(3)[:, None]
    np.testing.assert_allclose(clip[:, 80, :, 1], expected, atol=6)
    assert decode(added[1]).shape == (4, 160, 160, 3)
    found = {clip.name: clip for clip in find_clips(tmp_path / "demo").clips}
    assert found["006"].split == "train"
    build(tmp_path / "demo", guests=guests, workers=1, **SMALL)
    assert hashes(tmp_path / "demo") == joined


def test_guests_that_are_none(folder: Path, guests: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="guests: expected a folder of photographs or clips"):
        build(tmp_path / "demo", guests=tmp_path / "empty", **SMALL)
    with pytest.raises(UsageError, match="guests: expected at most 0, got 2"):
        build(tmp_path / "demo", guests=guests, **{**SMALL, "identities": {"train": 720}})
    (guests / "a.mp4").write_bytes(b"no clip")
    with pytest.raises(DataError, match=r"a\.mp4"):
        build(tmp_path / "demo", guests=guests, workers=1, **{**SMALL, "identities": {"train": 2}})
    assert not list((tmp_path / "demo").rglob("002.mp4"))


# Mistakes.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": {"train": 3}}, "train: expected an even number from 0 to 720, got 3"),
        ({"identities": {"val": 142}}, "val: expected an even number from 0 to 140, got 142"),
        ({"identities": {"test": -2}}, "test: expected an even number from 0 to 140, got -2"),
        ({"identities": {"dev": 2}}, "expected splits of train, val, test, got 'dev'"),
        ({"identities": {"train": 0}}, "expected at least one pair"),
        ({"seconds": 0}, "seconds: expected above 0 and at most 600, got 0.0"),
        ({"seconds": float("nan")}, "seconds: expected"),
        ({"fps": 0}, "fps: expected 1 to 120, got 0"),
        ({"size": 161}, "size: expected even, from 128 to 1080, got 161"),
        ({"size": 64}, "size: expected even, from 128 to 1080, got 64"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        (
            {"portraits": Path("nowhere")},
            "portraits: expected a folder of photographs",
        ),
    ],
)
def test_values_that_cannot_be_used(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        build(tmp_path / "demo", **{**SMALL, **change})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "demo").exists()


def test_fewer_photographs_than_identities(drawn_photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"portraits: expected 6 photographs .* got 5 in "):
        build(tmp_path / "demo", portraits=drawn_photographs, **SMALL)


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    before = hashes(folder)
    with pytest.raises(UsageError, match="got a demo of other settings"):
        build(folder, **{**SMALL, "seed": 1})
    assert hashes(folder) == before
    (tmp_path / "original_sequences").mkdir()
    with pytest.raises(UsageError, match="got one with original_sequences"):
        build(tmp_path, **SMALL)
    assert not (tmp_path / MARKER).exists()
