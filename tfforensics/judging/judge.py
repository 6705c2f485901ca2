"""Files -> judgements, their faces judged in batches that reach across files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfforensics.calibration import Calibration
from tfforensics.faces import FaceFinder
from tfforensics.judging import pictures, stability, verdict
from tfforensics.judging.answers import Answers, Model, ask
from tfforensics.judging.subject import Sampling, Subject, look, look_at_crop
from tfforensics.judging.verdict import Judgement, Person
from tfforensics.media import Pixels

_PICTURES = 8  # of a person


@dataclass(frozen=True)
class Settings:
    """How files are judged.

    Attributes:
        sampling: of videos.
        batch: faces that go through the network at once.
        crops: the files are faces, cut out already: nobody is looked for.
        stability: also judge the faces at lower qualities.
        pictures: keep some small pictures of each person, for a report.
    """

    sampling: Sampling = field(default_factory=Sampling)
    batch: int = 32
    crops: bool = False
    stability: bool = True
    pictures: bool = False


class Judge:
    """A model and a face finder, ready for files.

    Args:
        model: what `serving.exported.load_export` gives.
    """

    def __init__(self, model: Model, settings: Settings | None = None) -> None:
        self.model = model
        self.settings = settings or Settings()
        self._finder = None if self.settings.crops else FaceFinder()

    def judge(self, paths: Iterable[Path]) -> Iterator[Judgement]:
        """A judgement of each file, in their order."""
        calibration = self.model.card.calibration
        subjects = ((subject, subject.pixels) for subject in map(self._look, paths))
        batch = self.settings.batch

        def called() -> Iterator[tuple[tuple[Subject, Judgement], Pixels]]:
            for subject, answers in ask(self.model, subjects, batch):
                found = _judge(subject, answers, calibration, self.settings, self._margin)
                again = np.zeros((0, 1, 1, 3), np.uint8)
                if self.settings.stability:
                    again = stability.re_encoded(subject, found)
                yield (subject, found), again

        for (subject, found), answers in ask(self.model, called(), batch):
            yield stability.with_stages(subject, found, calibration, answers["logit"])

    @property
    def _margin(self) -> float:
        return self.model.card.crop.margin

    def _look(self, path: Path) -> Subject:
        contract = self.model.card.crop
        if self._finder is None:
            return look_at_crop(path, contract)
        return look(path, self._finder, contract, self.settings.sampling)


def _judge(
    subject: Subject,
    answers: Answers,
    calibration: Calibration | None,
    settings: Settings,
    margin: float,
) -> Judgement:
    if subject.error:
        return Judgement(subject.path, subject.kind, "could not be read", subject.error)
    limits = verdict.thresholds(calibration, subject.quality)
    every = verdict.probabilities(calibration, answers["logit"], subject.quality)
    people = []
    for number in sorted({crop.track for crop in subject.crops}):
        own = [i for i, crop in enumerate(subject.crops) if crop.track == number]
        crops = [subject.crops[i] for i in own]
        frames = np.array([crop.frame for crop in crops], np.int64)
        side = float(np.median([crop.box[2] for crop in crops])) / margin
        probability = float(every[own].mean())
        call, reason = limits.call(probability), ""
        if side < verdict.SMALLEST:
            reason = f"the face is {side:.0f} pixels wide, at least {verdict.SMALLEST} are needed"
            call = "cannot tell"
        person = Person(
            number=number,
            call=call,
            probability=probability,
            interval=verdict.interval(every[own], limits.videos),
            reason=reason,
            side=side,
            frames=frames,
            seconds=frames / subject.rate if subject.rate else np.zeros(len(frames)),
            probabilities=every[own],
            pictures=_pictures(subject, own, every, answers) if settings.pictures else (),
        )
        people.append(person)
    call, deciding = verdict.of_people(tuple(people))
    return Judgement(
        path=subject.path,
        kind=subject.kind,
        call=call,
        reason=deciding.reason if deciding else "",
        quality=subject.quality,
        frames=subject.frames,
        people=tuple(people),
        deciding=deciding,
        thresholds=limits,
    )


def _pictures(
    subject: Subject, own: list[int], every: verdict.Floats, answers: Answers
) -> tuple[pictures.Picture, ...]:
    """Of evenly spaced frames of a person."""
    even = np.linspace(0, len(own) - 1, min(_PICTURES, len(own))).round().astype(int)
    found = []
    for index in (own[i] for i in even):
        crop = subject.crops[index]
        maps = answers.get("attention")
        found.append(
            pictures.Picture(
                crop.frame,
                crop.frame / subject.rate if subject.rate else 0.0,
                float(every[index]),
                pictures.small(crop.pixels),
                () if maps is None else pictures.overlays(crop.pixels, maps[index]),
            )
        )
    return tuple(found)
