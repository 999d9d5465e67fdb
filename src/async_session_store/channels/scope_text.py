"""A scope as text, for a platform's field that comes back with the answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from pydantic import ValidationError

from async_session_store.channels.inbound import place
from async_session_store.errors import InvalidInputError
from async_session_store.models import ReplyScope

__all__ = ["scope_from_text", "scope_to_text"]

_MARK: Final = "scope:"
_CHECK_LENGTH: Final = 12


def scope_to_text(scope: ReplyScope) -> str:
    """Return the text to put into a Slack modal's ``private_metadata``.

    ``slack`` then finds the scope when the modal is submitted. Raises ``InvalidInputError`` for a
    scope that does not come from an ``Inbound``.
    """
    place(scope)
    return f"{_MARK}{_check(scope)}:{scope.model_dump_json(exclude_none=True)}"


def scope_from_text(text: str) -> ReplyScope:
    """Return the scope in a text from :func:`scope_to_text`.

    Raises ``InvalidInputError`` for any other text, and for one that was cut or changed.
    """
    if not is_scope_text(text):
        raise InvalidInputError("text: does not come from scope_to_text")
    check, _, document = text.removeprefix(_MARK).partition(":")
    scope = _parsed(document)
    if scope is None or _check(scope) != check:
        raise InvalidInputError("text: was cut or changed, so it names no scope")
    place(scope)
    return scope


def is_scope_text(text: str) -> bool:
    """Return whether a text looks like one from ``scope_to_text``, even if it is damaged."""
    return isinstance(text, str) and text.startswith(_MARK)


def _check(scope: ReplyScope) -> str:
    return scope.scope_hash()[:_CHECK_LENGTH]


def _parsed(document: str) -> ReplyScope | None:
    with suppress(ValidationError, InvalidInputError):  # they hold the text
        return ReplyScope.model_validate_json(document)
    return None
