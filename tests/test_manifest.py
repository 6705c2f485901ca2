"""The manifest: read as it was written, refused where it is not one, damage by its path."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tracemalloc

import pytest

from tfforensics import manifest
from tfforensics.command import DataError, UsageError
from tfforensics.manifest import ClipReport, Manifest, Settings, Shard


def shard(path="real/c0/test-00000-of-00001.tfrecord", data=b"abc"):
    return Shard(path, "real", "c0", "test", (3, 5), hashlib.sha256(data).hexdigest())


def made(**changes):
    values = {
        "dataset": "ffpp",
        "settings": Settings(
            levels=("c0", "c40"), frames=(("", 32), ("NeuralTextures", 64)), margin=1.25
        ),
        "shards": (shard(),),
        "clips": (ClipReport("real", "000", "test", "000", "", "youtube-000", "c23", 5, 3,
                             {"no face": 2}),),
        "notes": ("Deepfakes: no folder at compression c23",),
        "versions": {"tensorflow": "2.21.0"},
    }  # fmt: skip
    return Manifest(**values | changes)


def test_a_manifest_is_read_as_it_was_saved(tmp_path):
    manifest.save(made(), tmp_path)
    assert manifest.load(tmp_path) == made()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_shards_are_equal_whatever_their_lengths_came_in():
    assert shard() == dataclasses.replace(shard(), lengths=[3, 5])
    assert hash(shard()) == hash(dataclasses.replace(shard(), lengths=[3, 5]))
    assert shard() != dataclasses.replace(shard(), lengths=(3, 6))
    assert (shard().count, shard().bytes) == (2, 40)


def test_a_record_takes_few_bytes_of_memory_to_read_and_four_to_keep(tmp_path):
    count = 100_000
    long = tuple(
        Shard(f"real/c0/{n}", "real", "c0", "test", range(50_000, 50_000 + count // 10), "")
        for n in range(10)
    )
    manifest.save(made(shards=long), tmp_path)
    tracemalloc.start()
    read = manifest.load(tmp_path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.shards == long
    assert kept < 5 * count
    size = (tmp_path / "manifest.json").stat().st_size
    assert peak - 2 * size < 12 * count  # the file's bytes, and their text


@pytest.mark.parametrize("lengths", ["[-1]", "[1.5]", '["3"]', "[99999999999]", "null", "7"])
def test_lengths_that_are_none_are_bad_data(tmp_path, lengths):
    manifest.save(made(), tmp_path)
    body = json.dumps(json.loads((tmp_path / "manifest.json").read_text()))
    assert '"lengths": [3, 5]' in body
    (tmp_path / "manifest.json").write_text(body.replace("[3, 5]", lengths))
    with pytest.raises(DataError, match=r"/manifest\.json: not a manifest: "):
        manifest.load(tmp_path)


def test_the_file_says_what_another_program_needs(tmp_path):
    manifest.save(made(), tmp_path)
    body = json.loads((tmp_path / "manifest.json").read_text())
    assert body["schema_version"] == 1
    assert body["shards"][0] == {
        "path": "real/c0/test-00000-of-00001.tfrecord",
        "manipulation": "real",
        "level": "c0",
        "split": "test",
        "lengths": [3, 5],
        "count": 2,
        "bytes": 40,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
    }
    assert body["clips"][0] == {
        "manipulation": "real",
        "name": "000",
        "split": "test",
        "target": "000",
        "source": "",
        "source_group": "youtube-000",
        "source_compression": "c23",
        "asked": 5,
        "found": 3,
        "skipped": {"no face": 2},
    }


def test_frames_are_asked_by_manipulation():
    settings = made().settings
    assert settings.frames_of("NeuralTextures") == 64
    assert settings.frames_of("real") == settings.frames_of("Deepfakes") == 32


def test_shards_are_selected_by_split_and_level():
    shards = tuple(
        Shard(f"{m}/{level}/{split}", m, level, split, (1,), "")
        for m in ("FaceSwap", "real", "Deepfakes")
        for level in ("c0", "c40")
        for split in ("train", "test")
    )
    records = made(shards=shards)
    assert [s.path for s in records.select("test", "c40")] == [
        "FaceSwap/c40/test",
        "real/c40/test",
        "Deepfakes/c40/test",
    ]
    assert records.manipulations == ("Deepfakes", "FaceSwap")
    assert records.levels == ("c0", "c40")


def test_a_folder_without_a_manifest_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError) as raised:
        manifest.load(tmp_path / "none")
    assert str(raised.value) == f"records {tmp_path}/none: not there (no manifest.json)"
    with pytest.raises(UsageError) as raised:
        manifest.load(tmp_path)
    assert str(raised.value) == (
        f"records {tmp_path}: not finished: run tfforensics.records again (no manifest.json)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{}",
        '{"schema_version": 1}',
        '{"schema_version": 1, "dataset": 3, "set',
        "\xff",
    ],
)
def test_a_file_that_is_no_manifest_is_bad_data(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"/manifest\.json: not a manifest: "):
        manifest.load(tmp_path)


def test_a_manifest_with_an_unknown_setting_is_bad_data(tmp_path):
    manifest.save(made(), tmp_path)
    body = json.loads((tmp_path / "manifest.json").read_text())
    body["settings"]["colour"] = "grey"
    (tmp_path / "manifest.json").write_text(json.dumps(body))
    with pytest.raises(DataError, match="colour"):
        manifest.load(tmp_path)


def test_another_schema_version_is_bad_data(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema_version": 99}')
    with pytest.raises(DataError, match=r"manifest\.json: expected schema version 1, got 99$"):
        manifest.load(tmp_path)


def test_a_failure_while_saving_leaves_the_manifest_that_was_there(tmp_path, monkeypatch):
    manifest.save(made(), tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        manifest.save(made(dataset="other"), tmp_path)
    assert manifest.load(tmp_path).dataset == "ffpp"


def test_damage_is_told_by_path_and_kind(tmp_path):
    data = b"x" * 40
    shards = [shard(name, data) for name in ("good", "gone", "short", "changed")]
    (tmp_path / "good").write_bytes(data)
    (tmp_path / "short").write_bytes(data[:-1])
    (tmp_path / "changed").write_bytes(data[:-1] + b"y")
    assert manifest.find_damage(tmp_path, shards) == [
        f"{tmp_path}/gone: missing",
        f"{tmp_path}/short: 39 bytes, expected 40",
        f"{tmp_path}/changed: SHA-256 differs from the manifest's",
    ]
    assert manifest.find_damage(tmp_path, shards[:1]) == []


def test_sha256_of_a_file_longer_than_a_block(tmp_path):
    data = bytes(range(256)) * 8193
    (tmp_path / "long").write_bytes(data)
    assert manifest.sha256_of(tmp_path / "long") == hashlib.sha256(data).hexdigest()
