"""What TensorFlow says of a request that it refuses, for the one who sent it."""

from __future__ import annotations

import re


def reason(message: str) -> str:
    """One line, without the places in the graph at which the request failed."""
    asserted = re.search(r"assertion failed: \[(.*?)\]\s*(?:\[\[|\[Op:|$)", message, re.DOTALL)
    if asserted:
        return asserted[1]
    places = re.compile(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*?\]")
    lines = [places.sub("", line).strip() for line in message.splitlines()]
    # What TensorFlow says in Python begins with the place as well.
    return next((line for line in reversed(lines) if line), message.strip())
