"""Documents as Redis stores them: one JSON object, followed by a stamp.

Most of a document is its ``context_json``, which is JSON inside JSON. We write it as the last
field, as the Rust crate does. So its name can be found by a text search, and it can be cut off:
inside a JSON string, every quote has a backslash before it. orjson then encodes and decodes it in a
fraction of the time.

The scripts cut a large document in the same way, to read its owner from a bounded part of it
(``lua/documents.lua``). A large document that cannot be cut is unreadable for both. If one of them
read it as a whole, the two could find different owners.
"""

from __future__ import annotations

import re
from typing import Final

from async_session_store import _codec
from async_session_store.backends.redis import _stamps
from async_session_store.models import Owner, SessionData

try:
    import orjson
except ImportError as _missing:
    raise ImportError(
        "the Redis backend needs orjson; install async-session-store[redis]"
    ) from _missing

_CONTEXT: Final = b',"context_json":'
_TEXT: Final = _CONTEXT + b'"'
_SPACED_TEXT: Final = b", " + _TEXT[1:]
_LARGEST_WHOLE: Final = 16_384  # bytes, as in lua/documents.lua
_TAIL: Final = 64  # bytes, as in lua/documents.lua
_END: Final = re.compile(rb"\}([\t\n\r ]*)\Z")


def encode(data: SessionData, stamp: bytes) -> bytes:
    """Return the document. Raise ``InvalidInputError`` if the data bypassed validation."""
    head = _codec.encode_head(data)
    try:
        context = orjson.dumps(data.context_json)
    except orjson.JSONEncodeError as error:
        raise _codec.bypassed_validation() from error
    # An unknown field may hold an object with a field of that name, which decode would mistake for
    # the real one. A blank before the name keeps the two apart.
    return b"".join((head[:-1].replace(_TEXT, _SPACED_TEXT), _CONTEXT, context, b"}", stamp))


def decode(document: bytes, maximum: int) -> SessionData:
    """Return the data in a document of any program. Raise ``UnreadableDocumentError``."""
    stamp = _stamps.length(document)
    size = len(document) - stamp
    if size > maximum:
        raise _codec.UnreadableDocumentError("it is larger than max_document_bytes")
    cut = _cut(document, size, stamp)
    end = _end(document, size)
    if cut < 0 or end < 0:
        return _decode_whole(document, size)
    try:
        context_json: str = orjson.loads(document[cut + len(_CONTEXT) : end])
    except orjson.JSONDecodeError:
        return _decode_whole(document, size)
    return _codec.decode_split(document[:cut] + b"}", context_json)


def stored_owner(document: bytes) -> Owner | None:
    """Return the owner of a document that :func:`decode` refused, if that much can be read."""
    stamp = _stamps.length(document)
    size = len(document) - stamp
    if size <= _LARGEST_WHOLE:
        return _codec.stored_owner(document)
    cut = _cut(document, size, stamp)
    return None if cut < 0 else _codec.stored_owner(document[:cut] + b"}")


def _cut(document: bytes, size: int, stamp: int) -> int:
    """Return where the name of ``context_json`` begins, or -1 if it is not where it must be."""
    is_bounded = size > _LARGEST_WHOLE and not stamp  # only our own documents have a stamp
    return document.find(_TEXT, 0, _LARGEST_WHOLE if is_bounded else size)


def _end(document: bytes, size: int) -> int:
    """Return the position of the closing brace, or -1 if the document does not end with one."""
    if document.endswith(b"}", 0, size):
        return size - 1  # the common case
    found = _END.search(document, max(0, size - _TAIL), size)
    return -1 if found is None else found.start()


def _decode_whole(document: bytes, size: int) -> SessionData:
    if size > _LARGEST_WHOLE:
        raise _codec.UnreadableDocumentError("it is large, and context_json is not its last field")
    return _codec.decode(document[:size], size)
