"""Documents as bytes: JSON as the Rust crate writes it, their size, and their etag."""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from async_session_store.errors import InvalidInputError
from async_session_store.models import Owner, SessionData, TenantCtx

_DOCUMENT: Final = TypeAdapter(SessionData)
_CONTEXT: Final = {"context_json"}
_LARGEST_ESCAPE: Final = 6  # bytes of JSON for one character, as in \u001f
_FIELDS_CEILING: Final = 2048  # bytes of the names, numbers and punctuation of all known fields


class UnreadableDocumentError(Exception):
    """Stored bytes are no document. Its text quotes nothing of them."""


def encode(data: SessionData) -> bytes:
    """The document as JSON. Raises ``InvalidInputError`` for data built around validation."""
    return _encode(data, exclude=None)


def encode_head(data: SessionData) -> bytes:
    """The document without its ``context_json``, which a backend may store beside it, unescaped."""
    return _encode(data, exclude=_CONTEXT)


def decode(document: bytes, maximum: int) -> SessionData:
    """The data in a document. Raises ``UnreadableDocumentError``."""
    if len(document) > maximum:
        raise UnreadableDocumentError("it is larger than max_document_bytes")
    try:
        return SessionData.model_validate_json(document)
    except ValidationError as error:
        raise UnreadableDocumentError(_summary(error)) from error


def decode_split(head: bytes, context_json: str, maximum: int) -> SessionData:
    """The data of a document stored in two parts. Raises ``UnreadableDocumentError``."""
    data = decode(head[:-1] + b',"context_json":""}', maximum)
    # No one else holds the object yet; this spares escaping and parsing its largest field.
    data.__dict__["context_json"] = context_json
    if size(data, maximum) > maximum:
        raise UnreadableDocumentError("it is larger than max_document_bytes")
    return data


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


def size(data: SessionData, maximum: int) -> int:
    """The document's size in bytes; or an upper bound of it, if that is within ``maximum``."""
    ceiling = _FIELDS_CEILING + _LARGEST_ESCAPE * _characters(data)
    if ceiling <= maximum and not _has_unknown_fields(data):
        return ceiling
    return len(encode(data))


def _encode(data: SessionData, exclude: set[str] | None) -> bytes:
    try:
        return _DOCUMENT.dump_json(data, exclude=exclude, warnings="error")
    except PydanticSerializationError as error:
        raise InvalidInputError("data: holds a value of a wrong type (M7)") from error


def _characters(data: SessionData) -> int:
    ctx = data.tenant_ctx
    total = sum(len(name) + len(value) + 1 for name, value in ctx.attributes.items())
    for model in (data, ctx, data.cursor, ctx.impersonation):
        if model is not None:
            for value in model.__dict__.values():
                if isinstance(value, str):
                    total += len(value)
    return total


def _has_unknown_fields(data: SessionData) -> bool:
    ctx = data.tenant_ctx
    models = (data, ctx, data.cursor, ctx.deadline, ctx.impersonation)
    return any(model is not None and model.model_extra for model in models)


def _summary(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return "it is no valid JSON"
    return f"{'.'.join(map(str, first['loc'][:2])) or 'it'}: {first['type']}"
