"""The workers of a training run, as TF_CONFIG names them.

    {"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}

Worker 0 is the chief, or the one of a job "chief" where there is such a job.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from tfforensics.command import UsageError

_FORM = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'


@dataclass(frozen=True)
class Cluster:
    """The workers' addresses, the chief's first, and which of them this process is."""

    workers: tuple[str, ...]
    index: int

    @property
    def chief(self) -> bool:
        """Whether this process is the one that validates, writes and evaluates."""
        return self.index == 0

    def address(self, index: int) -> tuple[str, int]:
        """Host and port of a worker."""
        host, _, port = self.workers[index].rpartition(":")
        return host.strip("[]"), int(port)

    def name(self, index: int) -> str:
        """What messages call a worker."""
        return f"worker {index} ({self.workers[index]})"


def from_environment() -> Cluster | None:
    """What TF_CONFIG says; None where it is not set or names one worker alone.

    Raises:
        UsageError: it is not of the form that this module's head shows.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        given = json.loads(text)
        jobs = {job: list(addresses) for job, addresses in given["cluster"].items()}
        kind, index = given["task"]["type"], given["task"]["index"]
        index = int(index)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _wrong(text[:200]) from error
    chiefs, workers = jobs.pop("chief", []), jobs.pop("worker", [])
    if jobs:
        raise _wrong(f"a job {', '.join(sorted(jobs))}: there are worker and chief alone")
    everyone = [*chiefs, *workers]
    if not everyone:
        raise _wrong("a cluster without workers")
    if len(chiefs) > 1:
        raise _wrong(f"{len(chiefs)} chiefs")
    for address in everyone:
        if not _is_address(address):
            raise _wrong(f"the address {address!r}")
    if len(set(everyone)) < len(everyone):
        raise _wrong(f"the same address twice in {', '.join(everyone)}")
    job = {"chief": chiefs, "worker": workers}.get(kind)
    if job is None:
        raise _wrong(f"a task of type {kind!r}")
    if not 0 <= index < len(job):
        raise _wrong(f"index {index} for {len(job)} of type {kind}")
    place = index if kind == "chief" else len(chiefs) + index
    return Cluster(tuple(everyone), place) if len(everyone) > 1 else None


def _wrong(found: str) -> UsageError:
    return UsageError(f"TF_CONFIG: expected {_FORM}, got {found}")


def _is_address(address: object) -> bool:
    host, _, port = str(address).rpartition(":")
    return bool(host) and port.isdecimal() and port.isascii() and 0 < int(port) < 65536
