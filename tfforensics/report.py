"""Reports as one HTML file each: pictures inside, no script, no request to anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image

from tfforensics import __version__, groups, tables
from tfforensics.comparison import Comparison, auc, verdict
from tfforensics.findings import RESAMPLES
from tfforensics.metrics import AVERAGES
from tfforensics.mistakes import Mistake
from tfforensics.plots import Picture
from tfforensics.published import SOURCES
from tfforensics.sweep import FIGURES, Sweep

_TEMPLATES = Path(__file__).parent / "templates"
_THUMBNAIL = 160  # pixels


@dataclass(frozen=True)
class Page:
    """What a report shows of one encoder.

    Attributes:
        result: as `findings.Findings.result` gives it.
        pictures: as `plots.of` draws them.
        mistakes: as `mistakes.worst` finds them.
    """

    result: dict[str, Any]
    pictures: Mapping[str, Picture]
    mistakes: Sequence[Mistake]


def render(template: str, **values: Any) -> str:
    """A page of `templates/`; what is put in is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": tables.percent,
        "uri": _uri,
        "thumbnail": _thumbnail,
        "points": _points,
    }
    environment.globals |= {"version": __version__, "dash": tables.DASH}
    return environment.get_template(template).render(values)


def evaluation(pages: Sequence[Page], curves: Picture | None) -> str:
    """The report of a run on a split.

    Args:
        pages: what there is to show of each encoder.
        curves: AUC by level, of all of them; None where there are no figures.
    """
    first = pages[0].result
    columns = list(first["figures"])
    return render(
        "evaluation.html",
        pages=pages,
        groups=groups,
        curves=curves,
        tiles=[column for column in columns if column in AVERAGES] or columns,
        averages=list(AVERAGES),
        titles=tables.TITLES,
        names=tables.names(first["figures"]),
        notes=list(dict.fromkeys(note for page in pages for note in page.result["notes"])),
        sources={row["source"]: SOURCES[row["source"]] for row in first["published"]},
        resamples=RESAMPLES,
    )


def comparison(found: Comparison, gains: Picture) -> str:
    """The report of several runs.

    Args:
        gains: as `plots.gains` draws them.
    """
    return render(
        "comparison.html",
        found=found,
        first=found.findings[0],
        gains=gains,
        auc=auc,
        verdict=verdict,
        units=tables.UNITS,
        resamples=RESAMPLES,
    )


def robustness(swept: Sweep, drawn: Picture) -> str:
    """The report of a sweep.

    Args:
        drawn: as `plots.robustness` draws its points.
    """
    return render(
        "robustness.html",
        swept=swept,
        drawn=drawn,
        figures=FIGURES,
        columns=list(dict.fromkeys(point.column for point in swept.points)),
        found={(point.compression.quality, point.column): point for point in swept.points},
        qualities=list(dict.fromkeys(point.compression.quality for point in swept.points)),
    )


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _thumbnail(image: npt.NDArray[np.uint8]) -> str:
    """A face, uint8 (H, W, 3), as a data URI."""
    out = io.BytesIO()
    small = Image.fromarray(image).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BICUBIC)
    small.save(out, "JPEG", quality=90, subsampling="4:4:4")
    return _uri(out.getvalue(), "jpeg")


def _uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
