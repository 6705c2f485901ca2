"""Clips -> a record folder: shards and a manifest, or what is missing of them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tfforensics import command, lock, manifest, shards
from tfforensics import workers as worker_processes
from tfforensics.clips import Listing, leaks, shared_source_groups
from tfforensics.command import DataError, UsageError
from tfforensics.manifest import ClipReport, Manifest, Settings, Shard
from tfforensics.storage import Folder, Remote

if TYPE_CHECKING:
    from tfforensics.faces import FaceFinder

_PARTS = ".parts"  # what each written part reported, until the manifest has it


def build(
    listing: Listing,
    out: Folder,
    settings: Settings,
    *,
    workers: int,
    runner: str | None = None,
    runner_options: Sequence[str] = (),
    stream: TextIO = sys.stderr,
) -> Manifest:
    """Writes the records of a dataset, or what is missing of them.

    Args:
        listing: the clips; identities and clips must not lie in two splits.
        out: the record folder; in object storage nobody else may write to it meanwhile, since
            there are no locks.
        workers: processes, each of which takes one core and less than 1.5 GB.
        runner: Apache Beam's, or local, to write the shards with, instead of own processes.
        runner_options: Beam's.
        stream: where progress is shown.

    Returns:
        The manifest, which is then also in `out`.

    Raises:
        UsageError: `out` holds records of other settings or other clips, or cannot be written.
        DataError: an identity or clip lies in two splits, or no clip gave a face.
        OSError: the disk is full, or a worker was killed; run again to go on.
    """
    if leaking := leaks(listing.clips):
        raise DataError(f"{len(leaking)} leaks between splits: " + "; ".join(leaking[:5]))
    parts = shards.plan(listing.clips)
    with _hold(out):
        written = _already_written(out, parts, settings)
        missing = [p for p in parts if p.name not in written]
        if runner is None:
            _write_parts(missing, out, settings, workers, stream)
        elif missing:
            _write_on_beam(missing, out, settings, runner, runner_options)
        written = _already_written(out, parts, settings)
        if lost := next((part.name for part in parts if part.name not in written), None):
            raise OSError(f"{out}: {lost} was written and is not there; run again to go on")
        done = Manifest(
            dataset=out.name,
            settings=settings,
            shards=tuple(s for part in parts for s in written[part.name].shards),
            clips=tuple(c for part in parts for c in written[part.name].clips),
            notes=listing.notes + tuple(shared_source_groups(listing.clips)),
            versions=_versions(),
            notice=listing.notice,
        )
        manifest.save(done, out)
        _remove(out / _PARTS)
    if not any(clip.found for clip in done.clips):
        raise DataError(f"{out}: no face in any of {len(done.clips)} clips")
    return done


@contextlib.contextmanager
def _hold(out: Folder) -> Iterator[None]:
    if isinstance(out, Remote):
        yield
        return
    with lock.hold(out):
        (out / _PARTS).mkdir(exist_ok=True)
        yield


def _remove(folder: Folder) -> None:
    if isinstance(folder, Remote):
        folder.remove()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _write_parts(
    parts: Sequence[shards.Part], out: Folder, settings: Settings, workers: int, stream: TextIO
) -> None:
    from tqdm import tqdm

    if not parts:
        return
    clips, faces, start = sum(len(part.clips) for part in parts), 0, time.monotonic()
    write = partial(_write_part, out=out, settings=settings)
    with tqdm(total=clips, unit="clip", file=stream, mininterval=1) as bar:
        for part, found in worker_processes.run(
            write, parts, workers=min(workers, len(parts)), start=_single_thread
        ):
            faces += found
            bar.set_postfix_str(f"{faces / (time.monotonic() - start):.1f} faces/s", False)
            bar.update(len(part.clips))


def _write_on_beam(
    parts: Sequence[shards.Part],
    out: Folder,
    settings: Settings,
    runner: str,
    options: Sequence[str],
) -> None:
    from tfforensics import beam

    out = out.resolve() if isinstance(out, Path) else out
    write = partial(_write_part, out=out, settings=settings)
    beam.run(write, parts, runner=runner, options=options, start=_single_thread)


def _single_thread() -> None:
    """Numbers must not depend on how many cores a worker finds."""
    command.start_tensorflow()
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@cache
def _finder() -> FaceFinder:
    """One finder a worker: it takes seconds to make."""
    from tfforensics.faces import FaceFinder

    return FaceFinder()


def _write_part(part: shards.Part, out: Folder, settings: Settings) -> int:
    """Writes a part and what it reports; returns its faces."""
    if isinstance(out, Remote):
        written = _write_remotely(part, out, settings)
    else:
        written = shards.write(part, out, settings, _finder())
    body = {
        "settings": manifest.to_json(settings),
        "clips": [clip.name for clip in part.clips],
        "shards": [manifest.to_json(shard) for shard in written.shards],
        "reports": [manifest.to_json(report) for report in written.clips],
    }
    manifest.write_json(out / _PARTS / f"{part.name}.json", body)
    return written.shards[0].count


def _write_remotely(part: shards.Part, out: Remote, settings: Settings) -> shards.WrittenPart:
    """Writes a part on this machine; only whole shards ever have an address."""
    with tempfile.TemporaryDirectory(prefix="tfforensics-") as scratch:
        written = shards.write(part, Path(scratch), settings, _finder())
        for shard in written.shards:
            (out / shard.path).put(Path(scratch) / shard.path)
    return written


def _already_written(
    out: Folder, parts: Sequence[shards.Part], settings: Settings
) -> dict[str, shards.WrittenPart]:
    """The parts that are whole on disk, by name.

    Raises:
        UsageError: the folder holds records that this run would not write.
    """
    reports, shard_list = _reported(out, settings)
    by_path = {shard.path: shard for shard in shard_list}
    by_clip = {(report.manipulation, report.name): report for report in reports}
    expected = {part.path(level) for part in parts for level in settings.levels}
    there = dict(_shard_sizes(out))
    strangers = sorted(there.keys() - expected)
    known = {(clip.manipulation, clip.name) for part in parts for clip in part.clips}
    if strangers or by_clip.keys() - known:
        what = strangers[0] if strangers else "/".join(min(by_clip.keys() - known))
        raise UsageError(
            f"--out: {out} holds records of other clips or settings, e.g. {what}; "
            "name another folder"
        )
    written = {}
    for part in parts:
        keys = [(clip.manipulation, clip.name) for clip in part.clips]
        paths = [part.path(level) for level in settings.levels]
        if all(key in by_clip for key in keys) and all(
            path in by_path and there.get(path) == by_path[path].bytes for path in paths
        ):
            written[part.name] = shards.WrittenPart(
                tuple(by_path[path] for path in paths), tuple(by_clip[key] for key in keys)
            )
    return written


def _shard_sizes(out: Folder) -> Iterator[tuple[str, int]]:
    """The shards that are there, by their path below the folder, in bytes; removes leftovers."""
    if isinstance(out, Remote):
        for shard in out.below(2):
            if shard.name.endswith(".tfrecord"):
                yield str(shard).removeprefix(f"{out}/"), shard.size()
        return
    for leftover in out.glob("*/*/.*.partial"):
        leftover.unlink()
    for path in out.glob("*/*/*.tfrecord"):
        yield str(path.relative_to(out)), path.stat().st_size


def _reported(out: Folder, settings: Settings) -> tuple[list[ClipReport], list[Shard]]:
    """What the manifest, and the parts of a run that was cut short, say was written."""
    reports: list[ClipReport] = []
    shard_list: list[Shard] = []
    if (out / manifest.NAME).is_file():
        before = manifest.load(out)
        _same_settings(out, before.settings, settings)
        reports += before.clips
        shard_list += before.shards
    parts = out / _PARTS
    noted = parts.below(0) if isinstance(parts, Remote) else sorted(parts.glob("*.json"))
    for path in noted:
        body = json.loads(path.read_text())
        _same_settings(out, manifest.settings_from(body["settings"]), settings)
        reports += [ClipReport(**report) for report in body["reports"]]
        shard_list += [manifest.shard_from(shard) for shard in body["shards"]]
    return reports, shard_list


def _same_settings(out: Folder, before: Settings, now: Settings) -> None:
    for field in dataclasses.fields(Settings):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new:
            raise UsageError(
                f"--out: {out} was written with {field.name} {old}, not {new}; name another folder"
            )


def _versions() -> dict[str, str]:
    packages = ("tfforensics", "tensorflow", "mtcnn", "opencv-python-headless", "pillow", "jpeglib",
                "mozjpeg-lossless-optimization")  # fmt: skip
    return {name: importlib.metadata.version(name) for name in packages}
