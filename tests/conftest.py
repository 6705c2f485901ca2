"""What several test files share: a small record folder, written without the record builder."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip (first, so that TensorFlow takes the right Keras)

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from object_store import bucket, client, refusing, server  # noqa: F401

from tfforensics import jpeg, manifest
from tfforensics.manifest import ClipReport, Manifest, Settings, Shard


def smooth_face(seed: int, size: int) -> np.ndarray:
    """A picture with the statistics that JPEG cares for: broad shading, edges, fine grain."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    broad = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    picture = np.asarray(broad.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    y, x = np.mgrid[:size, :size] / size
    for _ in range(3):
        cx, cy, radius = rng.uniform(0.2, 0.8, 3) * (1, 1, 0.4)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        picture[inside] = 0.4 * picture[inside] + 0.6 * rng.integers(0, 256, 3)
    picture += rng.normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


WriteRecords = Callable[..., Path]


@pytest.fixture
def write_records(tmp_path: Path) -> WriteRecords:
    """Writes a record folder of smooth pictures.

    Called with {(manipulation, split): faces}; a face's `frame` is its number within that pair,
    its clip `000`, `001`, ... changes every `per_clip` faces, a shard ends every `per_shard`;
    `pixels` gives the picture of (manipulation, split, frame) in place of a smooth one.
    """

    def write(
        faces: dict[tuple[str, str], int],
        *,
        levels: tuple[str, ...] = ("c0",),
        encoder: str = "turbo",
        size: int = 64,
        per_clip: int = 2,
        per_shard: int = 7,
        name: str = "records",
        pixels: Callable[[str, str, int], np.ndarray] | None = None,
    ) -> Path:
        import tensorflow as tf

        from tfforensics.example import Face, serialise

        folder = tmp_path / name
        shards: list[Shard] = []
        clips: dict[tuple[str, str, str], int] = {}
        for number, ((manipulation, split), count) in enumerate(sorted(faces.items())):
            total = -(-count // per_shard)
            for shard in range(total):
                records: dict[str, list[bytes]] = {level: [] for level in levels}
                for frame in range(shard * per_shard, min(count, (shard + 1) * per_shard)):
                    clip = f"{frame // per_clip:03d}"
                    clips[manipulation, split, clip] = clips.get((manipulation, split, clip), 0) + 1
                    if pixels is None:
                        picture = smooth_face(1000 * number + frame, size)
                    else:
                        picture = pixels(manipulation, split, frame)
                    canonical = jpeg.encode_canonical(picture)
                    crop = jpeg.decode(canonical)
                    for level in levels:
                        encoded = (
                            canonical
                            if level == "c0"
                            else jpeg.encode(crop, jpeg.quality_of(level), encoder)
                        )
                        face = Face(
                            encoded=encoded,
                            level=level,
                            encoder="turbo" if level == "c0" else encoder,
                            label=int(manipulation != "real"),
                            manipulation=manipulation,
                            split=split,
                            clip=clip,
                            target=clip,
                            source="",
                            source_compression="c23",
                            frame=frame,
                            track=0,
                            box=(frame, 2, 3, 4),
                            confidence=0.5,
                            margin=1.3,
                            padded=0.0,
                            landmarks=np.zeros((5, 2), np.float32),
                        )
                        records[level].append(serialise(face))
                for level in levels:
                    file = f"{split}-{shard:05d}-of-{total:05d}.tfrecord"
                    path = folder / manipulation / level / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with tf.io.TFRecordWriter(str(path)) as writer:
                        for record in records[level]:
                            writer.write(record)
                    shards.append(
                        Shard(
                            path=str(path.relative_to(folder)),
                            manipulation=manipulation,
                            level=level,
                            split=split,
                            lengths=tuple(map(len, records[level])),
                            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                        )
                    )
        folder.mkdir(exist_ok=True)
        reports = tuple(
            ClipReport(m, clip, split, clip, "", "", "c23", asked=n, found=n, skipped={})
            for (m, split, clip), n in clips.items()
        )
        manifest.save(
            Manifest(
                dataset=name,
                settings=Settings(levels=levels, encoder=encoder, size=size),
                shards=tuple(shards),
                clips=reports,
                notes=(),
                versions={},
            ),
            folder,
        )
        return folder

    return write


@pytest.fixture
def precision() -> Iterator[Callable[[str], None]]:
    """Sets Keras's precision policy, for one test."""
    import tf_keras as keras

    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)
