"""What PyInstaller cannot tell from import statements: files that are read, and late imports.

It reads the two names below. It needs nothing of PyInstaller, so it can be imported without it.
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
