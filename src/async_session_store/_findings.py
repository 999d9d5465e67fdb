"""What a check of a storage finds, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB")


class Level(str, Enum):
    """How bad a finding is."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be checked, for example because the server forbids it."""
    WARNING = "warning"
    """Nothing is broken now, but something may be lost or fail later."""
    PROBLEM = "problem"
    """Sessions are lost or exposed, or calls fail, now or at the next restart."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject."""

    subject: str
    level: Level
    text: str
    fix: str = ""
    """What to do about it. Empty if there is nothing to do."""


def ok(subject: str, text: str) -> Finding:
    return Finding(subject, Level.OK, text)


def unknown(subject: str, text: str, fix: str) -> Finding:
    return Finding(subject, Level.UNKNOWN, text, fix)


def warning(subject: str, text: str, fix: str) -> Finding:
    return Finding(subject, Level.WARNING, text, fix)


def problem(subject: str, text: str, fix: str) -> Finding:
    return Finding(subject, Level.PROBLEM, text, fix)


def refusal(subject: str, error: Exception) -> Finding:
    """Return the problem that an error of the library describes: what is wrong, and what to do."""
    text, _, fix = str(error).removeprefix("Redis: ").removeprefix("SQLite: ").partition("; ")
    return problem(subject, text, fix)


def size_text(size: int) -> str:
    """Return a size in bytes for people: ``3.2 MB``."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{size} bytes" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
