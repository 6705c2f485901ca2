"""Is a record folder fit to train and to judge on? Exit status 1 where a check fails.

python -m tfforensics.audit records/NAME [--json FILE] [--frames N]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfforensics import command, manifest, staging, storage
from tfforensics.audit import Check, audit
from tfforensics.command import UsageError
from tfforensics.storage import Folder

_SHOWN = 10  # findings of a check; the JSON has all


def text(records: Folder, checks: Sequence[Check]) -> str:
    """The report as plain text."""
    lines = [f"Audit of {records}"]
    for check in checks:
        lines.append(f"{check.status:<8}{check.name}: {check.summary}")
        lines += [f"          {finding}" for finding in check.findings[:_SHOWN]]
        if len(check.findings) > _SHOWN:
            lines.append(f"          and {len(check.findings) - _SHOWN:,} more")
    failed = [check.name for check in checks if check.status == "failed"]
    lines.append(f"FAILED: {', '.join(failed)}" if failed else "every check passed")
    return "\n".join(lines)


def main(arguments: Iterable[str] | None = None) -> int:
    """The command."""
    parser = command.Parser(
        prog="python -m tfforensics.audit",
        description="Check a record folder for leakage between splits and for facts that give "
        "the label away. Exit status 1 where a check fails.",
    )
    parser.add_argument("records", metavar="RECORDS", help="record folder")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="default: audit.json in the record folder"
    )
    parser.add_argument(
        "--frames", type=int, default=4, metavar="N",
        help="faces of each clip that are looked at (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.frames < 1:
        raise UsageError(f"--frames: expected at least 1, got {options.frames}")
    place = storage.folder(options.records, "RECORDS")
    command.start_tensorflow()
    checks = audit(staging.local(options.records, "RECORDS"), frames=options.frames)
    failed = any(check.status == "failed" for check in checks)
    body = {
        "records": str(options.records),
        "passed": not failed,
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    manifest.write_json(options.json or place / "audit.json", body)
    print(text(place, checks))
    return int(failed)


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.audit")
