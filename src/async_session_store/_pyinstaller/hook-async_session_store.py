"""Data files and late imports, which PyInstaller cannot see in import statements.

PyInstaller reads the two names below. This module imports nothing of PyInstaller's, so it can be
imported without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1]

datas: Final = [
    (str(file), str(file.parent.relative_to(_PACKAGE.parent)))
    for suffix in ("lua", "sql")
    for file in sorted(_PACKAGE.rglob(f"*.{suffix}"))
]

hiddenimports: Final = [
    "async_session_store.backends.memory",
    "async_session_store.backends.redis",
    "async_session_store.backends.sqlite",
    "async_session_store.bridge",
    "async_session_store.sync",
]
