"""Access to the Lua and SQL files of the backends."""

from __future__ import annotations

from importlib.resources import files

from async_session_store.errors import StoreUnavailableError


def read_resource(package: str, folder: str, name: str) -> str:
    """Return the text of a file in a folder of one of this library's packages.

    Raises ``StoreUnavailableError`` if the file is missing. A backend would take an ``OSError`` for
    a fault of the user's own database file.
    """
    try:
        return files(package).joinpath(folder).joinpath(name).read_text(encoding="utf-8")
    except OSError as error:
        raise StoreUnavailableError(
            f"async-session-store: its own file {folder}/{name} of {package} is missing; whatever "
            "packed this program must collect the library's .lua and .sql files too"
        ) from error
