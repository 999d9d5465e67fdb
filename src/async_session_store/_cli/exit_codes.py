"""The exit codes of all commands. Programs rely on them."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
"""Done, found, or nothing to complain about."""
NOT_FOUND: Final = 1
"""What was asked for is not there or cannot be read, or the doctor found a problem."""
USAGE: Final = 2
"""The command line is wrong, or a command that destroys something lacks ``--yes``."""
UNAVAILABLE: Final = 3
"""The storage cannot be reached, did not answer in time, or refused."""
WARNINGS: Final = 4
"""The doctor found warnings, but no problem."""
INTERRUPTED: Final = 130
"""Ctrl-C."""
BROKEN_PIPE: Final = 141
"""The reader of the output has gone, as in ``... | head``."""
