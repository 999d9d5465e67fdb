"""Move waits whose user or conversation has a new id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from async_session_store import _rules
from async_session_store._new_waits import check_size
from async_session_store.abc import (
    Backend,
    Fence,
    MovedWaits,
    Outcome,
    PlacedSession,
    SessionMove,
    Unreadable,
)
from async_session_store.errors import InvalidInputError
from async_session_store.models import Owner, ReplyScope, SessionData, SessionKey, UserId

_PAGE: Final = 100  # sessions read in one step
_MAX_PASSES: Final = 10  # so that a bot which goes on writing does not keep the call from ending


class _Left(Enum):
    """Why a session was not moved. The values are the fields of ``MovedWaits``."""

    TAKEN = "taken"
    IN_USE = "in_use"
    UNKNOWN_SCOPE = "unknown_scope"
    UNREADABLE = "unreadable"


_LEFT: Final = {
    Outcome.TAKEN: _Left.TAKEN,
    Outcome.CLAIMED: _Left.IN_USE,
    Outcome.CHANGED: _Left.IN_USE,
}


@dataclass(frozen=True, slots=True)
class IdChange:
    """The ids that change: of a user, of a conversation, or of both. Each is (old, new)."""

    user: tuple[UserId, UserId] | None = field(repr=False)
    conversation: tuple[str, str] | None = field(repr=False)

    @classmethod
    def checked(
        cls,
        user: tuple[UserId | str, UserId | str] | None,
        conversation: tuple[str, str] | None,
    ) -> IdChange:
        """Return the change. Raise ``InvalidInputError`` for ids that cannot be."""
        _rules.check_any_change(user, conversation)
        return cls(_rules.user_change(user), _rules.conversation_change(conversation))

    def is_of(self, owner: Owner | None) -> bool:
        """Return whether an owner's user changes. One that is not known may."""
        return self.user is not None and (owner is None or owner.user == self.user[0])

    def data(self, data: SessionData) -> SessionData:
        """Return a session's data with the new user id, if its user changes."""
        if self.user is None or not self.is_of(data.owner):
            return data
        ctx = data.tenant_ctx.model_copy(update={"user_id": self.user[1]})
        return data.model_copy(update={"tenant_ctx": ctx})

    def known_scope(self, placed: PlacedSession) -> ReplyScope | None:
        """Return the scope where a session waits, or None if only its hash is known.

        The hash routes, so a stored scope that has another one says nothing. The old conversation
        itself is recognized by its hash.
        """
        known = [placed.record.scope]
        if self.conversation is not None:
            known.append(ReplyScope(conversation=self.conversation[0]))
        fitting = (one for one in known if one is not None and one.digest == placed.scope_hash)
        return next(fitting, None)

    def new_scope(self, scope: ReplyScope | None) -> ReplyScope | None:
        """Return the scope in the new conversation, or None if it is not in the old one."""
        if scope is None or self.conversation is None or scope.conversation != self.conversation[0]:
            return None
        return scope.model_copy(update={"conversation": self.conversation[1]})


class MoveRun:
    """One call of ``move_waits``: passes over the storage, until a pass moves nothing more.

    The second pass finds what turns stored behind the first one, and waits that were claimed when
    the first one came to them.

    Args:
        backend: Returns the backend, if the store may be used.
        fence: The tenant, or one of its teams.
        change: The ids that change.
        max_document_bytes: The largest document.
    """

    def __init__(
        self,
        backend: Callable[[], Backend],
        fence: Fence,
        change: IdChange,
        max_document_bytes: int,
    ) -> None:
        self._backend = backend
        self._fence = fence
        self._change = change
        self._max_document_bytes = max_document_bytes
        self._counted: Counter[str] = Counter()
        # Of the present pass:
        self._left: dict[SessionKey, _Left] = {}
        self._moved: set[SessionKey] = set()
        self._has_changed = False

    async def run(self) -> MovedWaits:
        """Move everything. Return how much, and what was left in the last pass."""
        for number in range(_MAX_PASSES):
            await self._pass()
            if number and not self._moved and not self._has_changed:
                break
        return MovedWaits(
            waits=self._counted["waits"],
            sessions=self._counted["sessions"],
            expired_waits=self._counted["expired_waits"],
            taken=self._keys(_Left.TAKEN),
            in_use=self._keys(_Left.IN_USE),
            unknown_scope=self._keys(_Left.UNKNOWN_SCOPE),
            unreadable=self._keys(_Left.UNREADABLE),
        )

    def _keys(self, reason: _Left) -> tuple[SessionKey, ...]:
        return tuple(sorted(key for key, why in self._left.items() if why is reason))

    async def _pass(self) -> None:
        self._left, self._moved, self._has_changed = {}, set(), False
        cursor: object | None = None
        while True:
            page = await self._backend().read_places(self._fence, cursor, _PAGE)
            for unreadable in page.unreadable:
                self._note_unreadable(unreadable)
            for placed in page.sessions:
                await self._look_at(placed)
            cursor = page.cursor
            if cursor is None:
                return

    def _note_unreadable(self, found: Unreadable) -> None:
        # An unreadable session's scope may be in the conversation.
        if self._change.conversation is not None or self._change.is_of(found.owner):
            self._left[found.key] = _Left.UNREADABLE

    async def _look_at(self, placed: PlacedSession) -> None:
        change, key = self._change, placed.record.key
        is_theirs = change.is_of(placed.record.data.owner)
        if placed.waits and placed.scope_hash is None:
            # If a look-up finds it, its scope is on another page, before this one or after it.
            if (is_theirs or change.conversation is not None) and key not in self._moved:
                self._left.setdefault(key, _Left.UNKNOWN_SCOPE)
            return
        self._left.pop(key, None)
        scope = change.known_scope(placed)
        new_scope = change.new_scope(scope)
        if placed.waits and scope is None and change.conversation is not None:
            self._left[key] = _Left.UNKNOWN_SCOPE
        if is_theirs or new_scope is not None:
            await self._move(placed, new_scope)

    async def _move(self, placed: PlacedSession, new_scope: ReplyScope | None) -> None:
        record = placed.record
        data = self._change.data(record.data)
        try:
            _rules.owner_of_data(data)  # a Rust process may have stored the team "-"
            check_size(data, self._max_document_bytes)
        except InvalidInputError:
            self._left[record.key] = _Left.UNREADABLE
            return
        move = SessionMove(
            key=record.key,
            owner=record.data.owner,
            scope_hash=placed.scope_hash,
            etag=record.etag,
            data=data,
            new_scope_hash=placed.scope_hash if new_scope is None else new_scope.digest,
            new_scope=record.scope if new_scope is None else new_scope,
        )
        outcome = await self._backend().move_session(move)
        self._has_changed |= outcome is Outcome.CHANGED
        if outcome is Outcome.DONE:
            self._counted[_kind(placed)] += 1
            self._moved.add(record.key)
        elif outcome in _LEFT:
            self._left[record.key] = _LEFT[outcome]


def _kind(placed: PlacedSession) -> str:
    if placed.is_expired:
        return "expired_waits"
    return "waits" if placed.waits else "sessions"
