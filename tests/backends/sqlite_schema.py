"""Files of older versions, made by the scripts of the schema."""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from async_session_store._deliveries import delivery_digest


def run_scripts(database: sqlite3.Connection, until: int) -> None:
    """Return an empty database the schema of a version."""
    schema = files("async_session_store.backends.sqlite").joinpath("schema")
    database.create_function("delivery_digest", 2, delivery_digest)
    for version in range(1, until + 1):
        database.executescript(schema.joinpath(f"{version}.sql").read_text(encoding="utf-8"))
    database.execute(f"PRAGMA user_version = {until}")
