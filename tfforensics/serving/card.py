"""The model card: what a served model is, was trained on, is worth, and is not for.

As JSON for programs (`predict` crops faces and draws thresholds by it) and as Markdown for
people.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from tfforensics import groups, tables
from tfforensics.calibration import Calibration
from tfforensics.command import DataError

SCHEMA = 1


@dataclass(frozen=True)
class CropContract:
    """How a face must be cut out for the model to know what it sees.

    Attributes:
        detector: finds the box of a face.
        margin: side of the square crop over the larger side of that box.
        size: side of the network's input in pixels; other sizes are resized to it in the graph.
        border: how a crop is filled where it leaves the picture.
        resize: how.
    """

    detector: str
    margin: float
    size: int
    border: str = "edge pixels repeated"
    resize: str = "bilinear, antialiased where it shrinks"


@dataclass(frozen=True)
class DataFacts:
    """What the model was trained on.

    Attributes:
        dataset: name of the record folder.
        manipulations: those that were trained on.
        faces: of the training level, by split.
        videos: by split.
        source_compression: of the media, as their dataset names it.
        notice: what their maker says of them, such as that they are imitations.
        notes: what the record builder noted.
    """

    dataset: str
    manipulations: tuple[str, ...]
    faces: dict[str, int]
    videos: dict[str, int]
    source_compression: tuple[str, ...]
    notice: str
    notes: tuple[str, ...]

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> DataFacts:
        """Of JSON values, which have lists for tuples; TypeError where they do not fit."""
        return cls(**_tuples(plain))


@dataclass(frozen=True)
class ModelCard:
    """Everything that must be known of a model beside its graph.

    Attributes:
        name: under which it is served.
        detector: plain, multi_attention, meso4 or mesoinception4.
        backbone: of plain and multi_attention.
        weights: where they come from.
        crop: how faces are cut out.
        outputs: of the signatures.
        data: None where it is not known.
        training: the settings that decide what the model saw; empty where they are not known.
        evaluation: what `evaluate` measured on the test split; None where it did not.
        calibration: what `probability` was corrected by; None where it is sigmoid(logit).
        limits: one sentence each.
    """

    name: str
    detector: str
    backbone: str | None
    weights: str
    crop: CropContract
    outputs: tuple[str, ...]
    data: DataFacts | None
    training: dict[str, Any]
    evaluation: dict[str, Any] | None
    calibration: Calibration | None
    limits: tuple[str, ...]
    label: str = "1 = manipulated; probability = P(manipulated)"

    def to_json(self) -> str:
        """Read back by `from_json`."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("crop", "data"):
            plain[name] = plain[name] and dataclasses.asdict(plain[name])
        plain["calibration"] = self.calibration and json.loads(self.calibration.to_json())
        return json.dumps({"schema": SCHEMA, **plain}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """What `to_json` wrote.

        Raises:
            DataError: not a model card, or of another schema version.
        """
        try:
            plain = json.loads(text)
            schema = plain.pop("schema")
            if schema != SCHEMA:
                raise DataError(f"model card: expected schema {SCHEMA}, got {schema!r}")
            data, calibration = plain.pop("data"), plain.pop("calibration")
            return cls(
                crop=CropContract(**plain.pop("crop")),
                data=None if data is None else DataFacts.from_plain(data),
                calibration=calibration and Calibration.from_json(json.dumps(calibration)),
                **_tuples(plain),
            )
        except DataError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"model card: expected what to_json writes: {error!r}") from error

    def to_markdown(self) -> str:
        """For people."""
        network = self.detector if self.backbone is None else f"{self.detector} on {self.backbone}"
        crop = self.crop
        parts = [
            f"# {self.name}",
            f"A detector of manipulated faces: {network}, weights: {self.weights}.",
            "## Input",
            f"One face an image: a square of {crop.margin} x the larger side of the box that "
            f"{crop.detector} finds, {crop.border} beyond the picture's border, RGB. JPEG or PNG "
            f"of any size (`serving_default`), or uint8 pixels of {crop.size} x {crop.size} "
            f"(`pixels`). The graph resizes to {crop.size} x {crop.size}: {crop.resize}.",
            "## Output",
            f"{', '.join(f'`{name}`' for name in self.outputs)}. {self.label}.",
            *(["Attention maps show where the network looked, not evidence."] * self._has_maps),
            "## Probability and thresholds",
            *self._thresholds(),
            "## Data",
            *self._data(),
            "## Measured",
            *self._measured(),
            "## Limits",
            "\n".join(f"- {limit}" for limit in self.limits),
        ]
        return "\n\n".join(parts) + "\n"

    @property
    def _has_maps(self) -> bool:
        return "attention" in self.outputs

    def _thresholds(self) -> list[str]:
        if self.calibration is None:
            return [
                "Not calibrated: `probability` is the sigmoid of `logit`. It orders faces; as a "
                "probability it may be far too sure. No threshold was fitted."
            ]
        rows = [
            [
                f"{band.lowest} and above",
                f"{band.scale:.3f}",
                f"{band.offset:+.3f}",
                f"{band.real_below:.3f}",
                f"{band.manipulated_from:.3f}",
                str(band.videos) if band.videos else "none of its own",
            ]
            for band in self.calibration.bands
        ]
        head = [
            "JPEG quality", "scale", "offset", "real below", "manipulated from", "videos"
        ]  # fmt: skip
        return [
            "`probability` = sigmoid(scale x logit + offset), fitted on the validation split at "
            "even odds of real and manipulated, by the JPEG quality that is estimated from the "
            "face's pixels. Between the two thresholds the answer is 'cannot tell'; on the "
            f"validation split each holds an error of {100 * self.calibration.error_rate:g}%.",
            tables.markdown(head, rows),
        ]

    def _data(self) -> list[str]:
        if self.data is None:
            return ["Not known to the export."]
        data = self.data
        counts = ", ".join(
            f"{split}: {count:,} faces of {data.videos.get(split, 0):,} videos"
            for split, count in data.faces.items()
        )
        trained = f" and {', '.join(data.manipulations)}" if data.manipulations else " alone"
        facts = [
            f"`{data.dataset}`: real faces{trained}; {counts}. "
            f"Compression of the media: {', '.join(data.source_compression) or 'unknown'}."
        ]
        if data.notice:
            facts.append(f"**{data.notice}**")
        if data.notes:
            facts.append("\n".join(f"- {note}" for note in data.notes))
        if self.training:
            settings = (f"{name} {value}" for name, value in self.training.items())
            facts.append(f"Training: {'; '.join(settings)}.")
        return facts

    def _measured(self) -> list[str]:
        found = self.evaluation
        if found is None:
            return ["Nothing: these weights were exported before they were evaluated."]
        figures, intervals = found["figures"], found["intervals"]

        def cell(level: str, unit: str, figure: str) -> str:
            value, bounds = (
                (table[level][tables.ALL][unit] or {}).get(figure) for table in (figures, intervals)
            )
            return tables.with_interval(value, bounds)

        columns = [(unit, figure) for unit in tables.UNITS for figure in ("auc", "eer")]
        rows = [[level, *(cell(level, *column) for column in columns)] for level in figures]
        head = ["level", *(f"{unit} {tables.TITLES[figure]}" for unit, figure in columns)]
        return [
            f"On the {found['split']} split of `{found['records']}`: {found['faces']:,} faces of "
            f"{found['videos']:,} videos at each JPEG level (cNN is quality 100 - NN) by "
            f"{found['encoder']}; percent, with 95% intervals over identities; a video's score is "
            "the mean over its faces.",
            tables.markdown(head, rows),
            tables.overview(figures, "frame"),
            *self._groups(found.get("groups")),
        ]

    def _groups(self, found: groups.Plain | None) -> list[str]:
        if found is None:
            return []
        return [groups.NOTE, tables.markdown(groups.HEAD, list(groups.rows(found)))]


def _tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the card has tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
