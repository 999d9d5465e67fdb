"""Documents as bytes: the JSON that the Rust crate writes, its size, and its etag."""

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
_CACHED_HEADS: Final = 1024
_CACHED_SCOPES: Final = 4096
_LARGEST_CACHED: Final = 2048  # bytes


class UnreadableDocumentError(Exception):
    """The stored bytes are not a valid document. The message quotes none of them."""


def encode(data: SessionData) -> bytes:
    """Encode a document as JSON.

    Raises ``InvalidInputError`` for data that was built bypassing validation.
    """
    return _encode(data, exclude=None)


def encode_head(data: SessionData) -> bytes:
    """Encode a document without its ``context_json``, which a backend may store apart, unescaped.

    Raises ``InvalidInputError`` for data that was built bypassing validation.
    """
    if not isinstance(data.context_json, str):
        raise bypassed_validation()
    ctx, flow_id, cursor = data.tenant_ctx, data.flow_id, data.cursor
    is_usual = type(ctx) is TenantCtx and type(flow_id) is FlowId and type(cursor) is SessionCursor
    if not is_usual or data.pack_id is not None or data.model_extra:
        return _encode(data, exclude=_CONTEXT)
    # The same bytes as _encode returns, in a third of the time.
    try:
        parts = (ctx.encoded, flow_id.encode(), cursor.encoded)
    except PydanticSerializationError as error:
        raise bypassed_validation() from error
    return b'{"tenant_ctx":%b,"flow_id":"%b","cursor":%b}' % parts


def bypassed_validation() -> InvalidInputError:
    """Return the error for data with a field of the wrong type (M7)."""
    return InvalidInputError(
        "data: was built bypassing validation and holds a value of the wrong type; use its "
        "constructor (M7)"
    )


def decode(document: bytes, maximum: int) -> SessionData:
    """Decode a document of up to ``maximum`` bytes. Raises ``UnreadableDocumentError``."""
    if len(document) > maximum:
        raise UnreadableDocumentError("it exceeds max_document_bytes")
    try:
        return SessionData.model_validate_json(document)
    except ValidationError as error:
        raise UnreadableDocumentError(_summary(error)) from error


def decode_split(head: bytes, context_json: str, maximum: int | None = None) -> SessionData:
    """Decode a document that is stored in two parts. Raises ``UnreadableDocumentError``.

    Args:
        head: The bytes from :func:`encode_head`.
        context_json: The context.
        maximum: The largest document, in bytes; None if its size was checked before.
    """
    data = _head(head).model_copy()
    # The copy is not shared yet, so it may change. This avoids escaping and parsing the context.
    vars(data)["context_json"] = context_json
    if maximum is not None and _may_exceed(head, context_json, maximum) and exceeds(data, maximum):
        raise UnreadableDocumentError("it exceeds max_document_bytes")
    return data


def check_split(head: bytes, context_json: str, maximum: int) -> None:
    """Raise the error that :func:`decode_split` would raise, without building the data."""
    if _may_exceed(head, context_json, maximum):
        decode_split(head, context_json, maximum)
    else:
        _head(head)


def with_cursor(data: SessionData, cursor: SessionCursor, context_json: str) -> SessionData:
    """Return a copy of the data with this cursor and context, which the caller has validated.

    ``model_copy(update=...)`` would validate every field again, which takes five times as long.
    """
    copied = data.__copy__()
    values = vars(copied)  # the copy is not shared yet
    values["cursor"], values["context_json"] = cursor, context_json
    values.pop("size_ceiling", None)
    values.pop("encoded", None)
    return copied


def _may_exceed(head: bytes, context_json: str, maximum: int) -> bool:
    return len(head) + len(_NO_CONTEXT) + LARGEST_ESCAPE * len(context_json) > maximum


def _head(head: bytes) -> SessionData:
    """Decode a head. The context of the returned data is empty."""
    return (_cached_head if len(head) <= _LARGEST_CACHED else _decode_head)(head)


def _decode_head(head: bytes) -> SessionData:
    document = head[:-1] + _NO_CONTEXT
    return decode(document, len(document))


# A document that was just read is usually written back, and the write validates it again.
_cached_head: Final = lru_cache(_CACHED_HEADS)(_decode_head)


def decode_scope(text: bytes) -> ReplyScope | None:
    """Decode a stored scope. Return None if it is damaged: routing does not depend on it."""
    return (_cached_scope if len(text) <= _LARGEST_CACHED else _decode_scope)(text)


def _decode_scope(text: bytes) -> ReplyScope | None:
    try:
        return ReplyScope.model_validate_json(text)
    except ValidationError:
        return None


# A user usually waits at one scope, turn after turn.
_cached_scope: Final = lru_cache(_CACHED_SCOPES)(_decode_scope)


def stored_owner(document: bytes) -> Owner | None:
    """Return the owner of a document that :func:`decode` refused, or None if it is unreadable."""
    try:
        ctx = from_json(document)["tenant_ctx"]
        return TenantCtx.model_validate_json(to_json(ctx)).owner
    except (ValueError, TypeError, LookupError):
        return None


def etag(*parts: bytes) -> str:
    """Return the SHA-1 of the stored bytes, not for security. Redis scripts can compute it too."""
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def exceeds(data: SessionData, maximum: int) -> bool:
    """Return whether the document exceeds ``maximum`` bytes. Check ``size_ceiling`` first."""
    return len(encode(data)) > maximum


def _encode(data: SessionData, exclude: set[str] | None) -> bytes:
    try:
        return _DOCUMENT.dump_json(data, exclude=exclude, warnings="error")
    except PydanticSerializationError as error:
        raise bypassed_validation() from error


def _summary(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return "it is not valid JSON"
    return f"{'.'.join(map(str, first['loc'][:2])) or 'it'}: {first['type']}"
