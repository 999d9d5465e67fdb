"""Generated JSON of the wire types, as the Rust crate reads it."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

# Any text that UTF-8 can encode.
texts: Final = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["", "\0", "a\nb", "\u2028", '"\\/', "\N{PILE OF POO}", "e\u0301", "x" * 5000, "\x7f\x1f"]
)
identifiers: Final = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)
# The whole range of an i128, with its ends and those of the number types of JSON parsers.
_EDGES: Final = [0, 2**31, 2**53, 2**63, 2**64, 2**127 - 1]
i128s: Final = st.integers(-(2**127), 2**127 - 1) | st.builds(
    lambda edge, step: max(-(2**127), min(edge + step, 2**127 - 1)),
    st.sampled_from([*_EDGES, *(-edge - 1 for edge in _EDGES)]),
    st.integers(-2, 2),
)
scope_texts: Final = texts.filter(lambda text: "\n" not in text)


def objects(
    required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects in which each optional field is given, null or absent."""
    maybe = {name: st.none() | strategy for name, strategy in optional.items()}
    return st.fixed_dictionaries(required, optional=maybe)


@st.composite
def twins(draw: st.DrawFn, name: str) -> dict[str, str | None]:
    """Draw an optional field with two names: one is given, or both with one value, or neither."""
    value = draw(identifiers)
    return draw(
        st.sampled_from(
            [
                {},
                {name: value},
                {f"{name}_id": value},
                {name: value, f"{name}_id": value},
                {name: None, f"{name}_id": value},
                {name: None, f"{name}_id": None},
            ]
        )
    )


impersonations: Final = objects({"actor_id": identifiers}, {"reason": texts})
deadlines: Final = st.fixed_dictionaries({"unix_millis": i128s})
_plain_contexts: Final = objects(
    {"env": identifiers, "attempt": st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**32 - 1])},
    {
        **dict.fromkeys(
            ("session_id", "flow_id", "node_id", "provider_id", "trace_id", "i18n_id"), texts
        ),
        "correlation_id": texts,
        "deadline": deadlines,
        "idempotency_key": texts,
        "impersonation": impersonations,
    },
)


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    tenant = draw(identifiers)
    fields = draw(_plain_contexts) | {"tenant": tenant, "tenant_id": tenant}
    fields |= draw(twins("team")) | draw(twins("user"))
    if draw(st.booleans()):
        fields["attributes"] = draw(st.dictionaries(texts, texts, max_size=3))
    return fields


cursors: Final = objects({"node_pointer": texts}, {"wait_reason": texts, "outbox_marker": texts})
sessions: Final = objects(
    {
        "tenant_ctx": contexts(),
        "flow_id": identifiers,
        "cursor": cursors,
        "context_json": texts,
    },
    {"pack_id": identifiers},
)
scopes: Final = objects(
    {"conversation": scope_texts},
    {"thread": scope_texts, "reply_to": scope_texts, "correlation": scope_texts},
)
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    **dict.fromkeys(("EnvId", "TenantId", "TeamId", "UserId", "FlowId", "PackId"), identifiers),
    "SessionKey": texts.filter(lambda text: 0 < len(text.encode()) <= 1024),
    "ErrorCode": st.sampled_from(
        [
            *("unknown", "invalid_input", "not_found", "conflict", "timeout", "unauthenticated"),
            *("permission_denied", "rate_limited", "unavailable", "internal"),
        ]
    ),
    "InvocationDeadline": deadlines,
    "Impersonation": impersonations,
    "TenantCtx": contexts(),
    "SessionCursor": cursors,
    "SessionData": sessions,
    "ReplyScope": scopes,
}
"""A strategy for each type, by its name, which is the same in Rust and in Python."""
