"""Text from the storage, made safe to print.

Whoever talks to a bot can choose what ends up in conversations, keys and nodes. Printed as it is,
it could move the cursor, change the title of the window, or reorder what is on the line.
"""

from __future__ import annotations

import re
from typing import Final

_LOGIN: Final = re.compile(r"(\w+://)[^\s/@]*(?:@|:[^\s/@]*@)")


def safe(text: str) -> str:
    r"""Return the text with an escape such as ``\x1b`` for each character that is not printable.

    Those are control characters, line ends, marks that reverse the direction of writing, and code
    points that stand for nothing.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def without_logins(text: str) -> str:
    """Return the text without the user names and passwords in its URLs."""
    return _LOGIN.sub(r"\1***@", text)
