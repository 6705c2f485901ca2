"""What each JPEG level makes of an image: a picture and a table for each encoder.

    python -m tfforensics.levels IMAGE --out FOLDER
    python -m tfforensics.levels records/NAME --out FOLDER [--face N]

Writes `levels.png`, `levels.md` and `levels.csv`. A record is a canonical crop; an image is taken
as it is, so that its sides may differ from those of a crop.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics import command, files, jpeg
from tfforensics.command import UsageError
from tfforensics.jpeg import ENCODERS, LEVELS, Encoder, Level

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Example:
    """An image at one level.

    Attributes:
        image: uint8 (H, W, 3), as the compressed file decodes.
        bytes: of that file.
        psnr: in dB, against the image that was compressed.
        ssim: at most 1, against the same.
    """

    encoder: Encoder
    level: Level
    image: Image
    bytes: int
    psnr: float
    ssim: float


def examples(
    image: Image, encoders: Sequence[Encoder] = ENCODERS, levels: Sequence[Level] = LEVELS[1:]
) -> list[Example]:
    """The image at each level by each encoder.

    Args:
        image: uint8 (H, W, 3) RGB, at least 11 pixels a side.
    """
    made = []
    for encoder in encoders:
        for level in levels:
            data = jpeg.encode(image, jpeg.quality_of(level), encoder)
            decoded = jpeg.decode(data)
            closeness = jpeg.psnr(image, decoded), jpeg.ssim(image, decoded)
            made.append(Example(encoder, level, decoded, len(data), *closeness))
    return made


def markdown(made: Sequence[Example]) -> str:
    """A Markdown table, a row a level, the encoders side by side."""
    from tfforensics import tables

    encoders = list(dict.fromkeys(one.encoder for one in made))
    by = {(one.level, one.encoder): one for one in made}
    head = ["level", "quality"]
    head += [f"{encoder} {what}" for encoder in encoders for what in ("PSNR, dB", "SSIM", "bytes")]
    rows = []
    for level in dict.fromkeys(one.level for one in made):
        row = [level, str(jpeg.quality_of(level))]
        for encoder in encoders:
            one = by[level, encoder]
            row += [f"{one.psnr:.1f}", f"{one.ssim:.3f}", f"{one.bytes:,}"]
        rows.append(row)
    return tables.markdown(head, rows) + "\n"


def csv_text(made: Sequence[Example]) -> str:
    """A row an example."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["encoder", "level", "quality", "psnr", "ssim", "bytes"])
    for one in made:
        figures = [f"{one.psnr:.4f}", f"{one.ssim:.6f}", one.bytes]
        rows.writerow([one.encoder, one.level, jpeg.quality_of(one.level), *figures])
    return out.getvalue()


def picture(image: Image, made: Sequence[Example]) -> bytes:
    """A PNG: a row an encoder, the image itself first in each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    encoders = list(dict.fromkeys(one.encoder for one in made))
    columns = 1 + len(made) // len(encoders)
    tall = image.shape[0] / image.shape[1]
    figure = Figure(
        figsize=(2.4 * columns, (2.4 * tall + 0.55) * len(encoders)), dpi=125, layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(encoders), columns, squeeze=False)
    for row, encoder in zip(grid, encoders, strict=True):
        shown = [(image, f"{encoder}: original\n{image.shape[1]} x {image.shape[0]}")]
        for one in made:
            if one.encoder == encoder:
                says = f"{one.psnr:.1f} dB, SSIM {one.ssim:.2f}, {one.bytes / 1000:.1f} kB"
                shown.append((one.image, f"{one.level}, Q{jpeg.quality_of(one.level)}\n{says}"))
        for axes, (pixels, title) in zip(row, shown, strict=True):
            axes.imshow(pixels)
            axes.set_title(title, fontsize=8)
            axes.set_axis_off()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _read(path: Path, face: int) -> Image:
    if not path.is_dir():
        from tfforensics.media import read_image

        return read_image(path)
    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics import example, manifest

    shards = [shard for shard in manifest.load(path).shards if shard.level == "c0"]
    total = sum(shard.count for shard in shards)
    if not 0 <= face < total:
        raise UsageError(f"--face: expected 0 to {total - 1}, got {face}")
    records = tf.data.TFRecordDataset([str(path / shard.path) for shard in shards if shard.count])
    (record,) = records.skip(face).take(1)
    return jpeg.decode(example.parse(record, ("encoded",))["encoded"].numpy())


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    parser = command.Parser(
        prog="python -m tfforensics.levels",
        description="Show what each JPEG level makes of an image: a picture and a table with "
        "PSNR, SSIM and bytes for each encoder.",
    )
    add = parser.add_argument
    add("image", type=Path, metavar="IMAGE", help="an image file, or a record folder")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    add("--face", type=int, default=0, metavar="N", help="which face of a record folder")
    add("--encoder", nargs="+", choices=ENCODERS, default=list(ENCODERS), metavar="ENCODER",
        help=f"of {', '.join(ENCODERS)} (default: both)")  # fmt: skip
    options = parser.parse_args(None if arguments is None else list(arguments))
    if not options.image.exists():
        raise UsageError(f"IMAGE: expected a file or a record folder, got {options.image}")
    image = _read(options.image, options.face)
    if min(image.shape[:2]) < 11:
        raise UsageError(
            f"IMAGE: expected at least 11 pixels a side, got {image.shape[1]} x {image.shape[0]}"
        )
    made = examples(image, list(dict.fromkeys(options.encoder)))
    table = markdown(made)
    options.out.mkdir(parents=True, exist_ok=True)
    files.write(options.out / "levels.png", picture(image, made))
    files.write(options.out / "levels.md", table)
    files.write(options.out / "levels.csv", csv_text(made))
    print(table, end="")


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.levels")
