"""Files of recorded vectors: what Rust code does for fixed inputs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]


def as_text(value: bytes | set[bytes]) -> str | list[str]:
    """Return a value of a Redis key as JSON can hold it."""
    if isinstance(value, set):
        return sorted(member.decode() for member in value)
    return value.decode()


def write_vectors(file: Path, recorded: object, described: str) -> None:
    """Write what was recorded, and exit with an error if that changed the file."""
    text = json.dumps(recorded, indent=1, ensure_ascii=True) + "\n"
    before = file.read_text() if file.exists() else ""
    file.write_text(text)
    name = file.relative_to(TESTS.parent)
    if text != before:
        sys.exit(f"{name} was not {described}, and was rewritten: review the change")
    print(f"{name} is {described}")
