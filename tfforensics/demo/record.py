"""The demo's clips as records: what a configuration trains on that has no other data."""

from __future__ import annotations

import sys
from pathlib import Path

from tfforensics import command, manifest, record_folder, storage
from tfforensics.config import Config
from tfforensics.demo import folder
from tfforensics.ffpp import find_clips
from tfforensics.records import summary
from tfforensics.storage import Remote


def build(config: Config) -> None:
    """Builds the embedded default data where the configuration asks for it and it is not there."""
    records = storage.folder(config.data.records, "data.records")
    if not config.demo.build or isinstance(records, Remote) or (records / manifest.NAME).is_file():
        return
    settings = config.demo
    media = records.with_name(f"{records.name}-media")
    folder.build(
        media,
        identities={"train": settings.train, "val": settings.val, "test": settings.test},
        seconds=settings.seconds,
        fps=settings.fps,
        seed=settings.seed,
        portraits=None if settings.portraits is None else Path(settings.portraits),
        guests=None if settings.guests is None else Path(settings.guests),
    )
    stored = manifest.Settings(
        levels=settings.levels,
        encoder=config.evaluation.encoder,
        frames=(("", settings.frames),),
        size=settings.size,
    )
    done = record_folder.build(find_clips(media), records, stored, workers=command.cores())
    print(summary(done, records), file=sys.stderr)
