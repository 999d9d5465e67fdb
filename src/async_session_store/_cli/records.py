"""How sessions look: in a table, as facts, and in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from async_session_store._cli.output import Column
from async_session_store.explanations import Explanation
from async_session_store.models import ReplyScope, SessionRecord

_COLUMNS: Final = (
    Column("tenant"),
    Column("team"),
    Column("user", folds=True),
    Column("flow", folds=True),
    Column("node", folds=True),
    Column("place", folds=True),
    Column("ends"),
    Column("key", folds=True),
)
_OPTIONAL: Final = {"tenant", "team"}
_LENGTHS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table_of(records: Sequence[SessionRecord]) -> tuple[list[Column], list[list[str]]]:
    """Return the columns and rows for waits. A tenant or team that all share is left out."""
    rows = [_row(record) for record in records]
    shown = [
        index
        for index, column in enumerate(_COLUMNS)
        if column.title not in _OPTIONAL or len({row[index] for row in rows}) > 1
    ]
    return [_COLUMNS[index] for index in shown], [[row[index] for index in shown] for row in rows]


def _row(record: SessionRecord) -> list[str]:
    owner = record.data.owner
    return [
        f"{owner.env}/{owner.tenant}",
        owner.team or "",
        owner.user or "",
        record.data.flow_id,
        record.data.cursor.node_pointer,
        "" if record.scope is None else place(record.scope),
        remaining(record.expires_at),
        record.key,
    ]


def place(scope: ReplyScope) -> str:
    """Return the fields of a scope in one line."""
    others = (
        ("thread", scope.thread),
        ("reply to", scope.reply_to),
        ("correlation", scope.correlation),
    )
    return ", ".join([scope.conversation, *(f"{name} {text}" for name, text in others if text)])


def remaining(deadline: datetime | None) -> str:
    """Return how long it is until a deadline, such as ``in 2 h 5 min``."""
    if deadline is None:
        return "never"
    seconds = max(0, round((deadline - datetime.now(timezone.utc)) / timedelta(seconds=1)))
    parts: list[str] = []
    for length, unit in _LENGTHS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}")
    return f"in {' '.join(parts[:2])}" if parts else "now"


def moment(when: datetime | None) -> str:
    """Return a time and how far away it is."""
    if when is None:
        return "never"
    return f"{when.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC, {remaining(when)}"


def iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def facts_of(record: SessionRecord, *, reveal: bool) -> list[tuple[str, str]]:
    """Return what there is to know about a session. Only ``reveal`` shows what it remembers."""
    data, owner = record.data, record.data.owner
    facts = [
        ("key", record.key),
        ("owner", f"{owner.env}/{owner.tenant}" + (f", team {owner.team}" if owner.team else "")),
        ("user", owner.user or "none"),
        ("flow", data.flow_id),
        ("node", data.cursor.node_pointer),
        ("waits at", "nowhere that is known" if record.scope is None else place(record.scope)),
        ("ends", moment(record.expires_at)),
        ("etag", record.etag),
    ]
    if not reveal:
        size = len(data.context_json.encode())
        return [*facts, ("context", f"{size} bytes, hidden; --reveal shows it")]
    return [*facts, ("context", data.context_json), ("caller", _caller(record))]


def _caller(record: SessionRecord) -> str:
    """Return the context of the call that stored the session, as JSON."""
    return json.dumps(record.data.tenant_ctx.model_dump(mode="json"), ensure_ascii=False)


def json_of(record: SessionRecord) -> dict[str, object]:
    """Return a session as JSON for programs, without what it remembers."""
    data, owner = record.data, record.data.owner
    return {
        "key": record.key,
        "env": owner.env,
        "tenant": owner.tenant,
        "team": owner.team,
        "user": owner.user,
        "flow": data.flow_id,
        "node": data.cursor.node_pointer,
        "scope": None if record.scope is None else scope_json(record.scope),
        "expires_at": iso(record.expires_at),
    }


def scope_json(scope: ReplyScope) -> dict[str, object]:
    return {
        "conversation": scope.conversation,
        "thread": scope.thread,
        "reply_to": scope.reply_to,
        "correlation": scope.correlation,
    }


def explanation_json_of(explanation: Explanation) -> list[dict[str, object]]:
    return [
        {
            "scope": scope_json(report.scope),
            "team": report.team,
            "status": report.status.value,
            "key": report.session_key,
            "expires_at": iso(report.expires_at),
            "claimed_until": iso(report.claimed_until),
        }
        for report in explanation.reports
    ]


def whole_json_of(record: SessionRecord, *, reveal: bool) -> dict[str, object]:
    """Return a session as JSON, with its etag and, if ``reveal``, with its document."""
    shown = {**json_of(record), "etag": record.etag}
    shown["context_bytes"] = len(record.data.context_json.encode())
    if reveal:
        shown["data"] = record.data.model_dump(mode="json")
    return shown
