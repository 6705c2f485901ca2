"""TF_CONFIG: who the workers are, and every way to get it wrong. No TensorFlow."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tfforensics import cluster
from tfforensics.cluster import Cluster, from_environment
from tfforensics.command import UsageError

TWO = ["a:1", "b:2"]


def environment(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)


def task(workers: Any, index: Any, kind: str = "worker", **jobs: Any) -> dict[str, Any]:
    return {"cluster": {"worker": workers, **jobs}, "task": {"type": kind, "index": index}}


def test_without_it_or_alone_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert from_environment() is None
    for text in ("", " ", task(["a:1"], 0)):
        environment(monkeypatch, text)
        assert from_environment() is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (task(TWO, 1), Cluster(("a:1", "b:2"), 1)),
        (task(TWO, 0, chief=["c:3"]), Cluster(("c:3", "a:1", "b:2"), 1)),
        (task(TWO, 0, "chief", chief=["c:3"]), Cluster(("c:3", "a:1", "b:2"), 0)),
        (task(["[::1]:1", "b:2"], "0"), Cluster(("[::1]:1", "b:2"), 0)),
    ],
)
def test_workers_in_their_order(
    monkeypatch: pytest.MonkeyPatch, config: Any, expected: Cluster
) -> None:
    environment(monkeypatch, config)
    found = from_environment()
    assert found == expected
    assert found.chief is (expected.index == 0)
    assert found.address(0) == {"a:1": ("a", 1), "c:3": ("c", 3)}.get(found.workers[0], ("::1", 1))


@pytest.mark.parametrize(
    ("config", "got"),
    [
        ("{", "{"),
        ("[]", "[]"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}}', '{"cluster": {"worker": ["a:1", "b:2"]}}'),
        ({"cluster": {}, "task": {"type": "worker", "index": 0}}, "a cluster without workers"),
        (task(TWO, 2), "index 2 for 2 of type worker"),
        (task(TWO, -1), "index -1 for 2 of type worker"),
        (task(TWO, 0, "evaluator"), "a task of type 'evaluator'"),
        (task(TWO, 0, ps=["c:3"]), "a job ps: there are worker and chief alone"),
        (task(TWO, 0, chief=["c:3", "d:4"]), "2 chiefs"),
        (task(["a:1", "a:1"], 0), "the same address twice in a:1, a:1"),
        (task(["a:1", "b"], 0), "the address 'b'"),
        (task(["a:1", ":2"], 0), "the address ':2'"),
        (task(["a:1", "b:65536"], 0), "the address 'b:65536'"),
        (task(["a:1", 7], 0), "the address 7"),
    ],
)
def test_another_form_is_one_line_that_says_what_came(
    monkeypatch: pytest.MonkeyPatch, config: Any, got: str
) -> None:
    environment(monkeypatch, config)
    expected = re.escape(f"TF_CONFIG: expected {cluster._FORM}, got {got}")
    with pytest.raises(UsageError, match=f"^{expected}$"):
        from_environment()
