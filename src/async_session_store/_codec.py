"""Documents as bytes: JSON as the Rust crate writes it, their size, and their etag."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from async_session_store._wire import LARGEST_ESCAPE
from async_session_store.errors import InvalidInputError
from async_session_store.models import (
    FlowId,
    Owner,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
)

_DOCUMENT: Final = TypeAdapter(SessionData)
_CONTEXT: Final = {"context_json"}
_NO_CONTEXT: Final = b',"context_json":""}'
_REMEMBERED_HEADS: Final = 1024
_REMEMBERED_SCOPES: Final = 4096
_LARGEST_REMEMBERED: Final = 2048  # bytes


class UnreadableDocumentError(Exception):
    """Stored bytes are no document. Its text quotes nothing of them."""


def encode(data: SessionData) -> bytes:
    """The document as JSON. Raises ``InvalidInputError`` for data built bypassing validation."""
    return _encode(data, exclude=None)


def encode_head(data: SessionData) -> bytes:
    """The document without its ``context_json``, which a backend may store beside it, unescaped.

    Raises ``InvalidInputError`` for data built bypassing validation.
    """
    if not isinstance(data.context_json, str):
        raise bypassed_validation()
    ctx, flow_id, cursor = data.tenant_ctx, data.flow_id, data.cursor
    is_usual = type(ctx) is TenantCtx and type(flow_id) is FlowId and type(cursor) is SessionCursor
    if not is_usual or data.pack_id is not None or data.model_extra:
        return _encode(data, exclude=_CONTEXT)
    # The same as _encode gives, in a third of the time.
    try:
        parts = (ctx.encoded, flow_id.encode(), cursor.encoded)
    except PydanticSerializationError as error:
        raise bypassed_validation() from error
    return b'{"tenant_ctx":%b,"flow_id":"%b","cursor":%b}' % parts


def bypassed_validation() -> InvalidInputError:
    """The refusal of data that holds what no field may hold (M7)."""
    return InvalidInputError("data: holds a value of a wrong type (M7)")


def decode(document: bytes, maximum: int) -> SessionData:
    """The data in a document. Raises ``UnreadableDocumentError``."""
    if len(document) > maximum:
        raise UnreadableDocumentError("it is larger than max_document_bytes")
    try:
        return SessionData.model_validate_json(document)
    except ValidationError as error:
        raise UnreadableDocumentError(_summary(error)) from error


def decode_split(head: bytes, context_json: str, maximum: int | None = None) -> SessionData:
    """The data of a document in two parts. Raises ``UnreadableDocumentError``.

    Args:
        head: What :func:`encode_head` gave.
        context_json: The rest.
        maximum: The largest document, in bytes; None if the size was checked already.
    """
    data = _head(head).model_copy()
    # No one else holds the copy yet; this spares escaping and parsing its largest field.
    vars(data)["context_json"] = context_json
    if maximum is not None and _may_exceed(head, context_json, maximum) and exceeds(data, maximum):
        raise UnreadableDocumentError("it is larger than max_document_bytes")
    return data


def check_split(head: bytes, context_json: str, maximum: int) -> None:
    """Raise what :func:`decode_split` would raise."""
    if _may_exceed(head, context_json, maximum):
        decode_split(head, context_json, maximum)
    else:
        _head(head)


def moved_on(data: SessionData, cursor: SessionCursor, context_json: str) -> SessionData:
    """Return a copy of the data with another cursor and context.

    Both are validated already. ``model_copy(update=...)`` would validate everything again, which
    takes five times as long.
    """
    moved = data.__copy__()
    values = vars(moved)  # no one else holds the copy yet
    values["cursor"], values["context_json"] = cursor, context_json
    values.pop("size_ceiling", None)
    values.pop("encoded", None)
    return moved


def _may_exceed(head: bytes, context_json: str, maximum: int) -> bool:
    return len(head) + len(_NO_CONTEXT) + LARGEST_ESCAPE * len(context_json) > maximum


def _head(head: bytes) -> SessionData:
    """The data in a head, whose context is empty."""
    known = len(head) <= _LARGEST_REMEMBERED
    return (_remembered_head if known else _decode_head)(head)


def _decode_head(head: bytes) -> SessionData:
    document = head[:-1] + _NO_CONTEXT
    return decode(document, len(document))


# Who reads a document soon writes it, which reads it again to tell whether it is one.
_remembered_head: Final = lru_cache(_REMEMBERED_HEADS)(_decode_head)


def decode_scope(text: bytes) -> ReplyScope | None:
    """Return the scope in a stored text, or None if it is damaged: only the record needs it."""
    known = len(text) <= _LARGEST_REMEMBERED
    return (_remembered_scope if known else _decode_scope)(text)


def _decode_scope(text: bytes) -> ReplyScope | None:
    try:
        return ReplyScope.model_validate_json(text)
    except ValidationError:
        return None


# A user usually waits at one scope, turn after turn.
_remembered_scope: Final = lru_cache(_REMEMBERED_SCOPES)(_decode_scope)


def stored_owner(document: bytes) -> Owner | None:
    """The owner of a document that :func:`decode` refused, if that much of it can be read."""
    try:
        ctx = from_json(document)["tenant_ctx"]
        return TenantCtx.model_validate_json(to_json(ctx)).owner
    except (ValueError, TypeError, LookupError):
        return None


def etag(*parts: bytes) -> str:
    """SHA-1 of the stored bytes, which a Redis script can compute too. Not for security."""
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def exceeds(data: SessionData, maximum: int) -> bool:
    """Whether the document is of more than ``maximum`` bytes; ``size_ceiling`` tells most apart."""
    return len(encode(data)) > maximum


def _encode(data: SessionData, exclude: set[str] | None) -> bytes:
    try:
        return _DOCUMENT.dump_json(data, exclude=exclude, warnings="error")
    except PydanticSerializationError as error:
        raise bypassed_validation() from error


def _summary(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return "it is no valid JSON"
    return f"{'.'.join(map(str, first['loc'][:2])) or 'it'}: {first['type']}"
