"""Where this library deliberately differs from the Rust crate. The documentation has the same list.

Each has a test that shows it with the crate, in ``tests/interop/test_rust_differences.py``.
"""

from __future__ import annotations

from typing import Final

DIFFERENCES: Final[dict[tuple[str, str], str]] = {
    ("M1", "types"): "a context without `attempt` cannot be read",
    ("M2", "types"): "twins may differ; `tenant` and `tenant_id` must both be there",
    ("M3", "types"): "fields that it does not know are lost when it writes a session back",
    ("M4", "types"): "a scope field may contain a newline, so two scopes can have one hash",
    ("M7", "types"): "a session key may be empty, or longer than 1024 bytes",
    ("F2", "Redis"): "another owner can replace a session by registering under its key",
    ("F4", "both"): "a context of another user of the tenant finds, lists and clears",
    ("F6", "both"): "the team `-` is accepted; on Redis its keys are those of no team",
    ("F8", "both"): "an error text names the environment, tenant and team of the stored session",
    ("S3", "memory"): "updating an expired session succeeds, until someone reads it",
    ("S4", "memory"): "removing an expired session succeeds, until someone reads it",
    ("S4", "Redis"): "a removed session's scope leads to whatever its key is used for later",
    ("S6", "both"): "a document of any size is stored",
    ("W1", "Redis"): "an operation is several commands, and others can come in between",
    ("W2", "Redis"): "a session that was moved is still found at its old scope",
    ("W3", "memory"): "the end or move of a detached session unroutes the one that replaced it",
    ("W5", "both"): "a list is in no order",
    ("W6", "both"): "a late `clear_wait` deletes the next wait: it has no `session_key`",
    ("W6", "Redis"): "clearing the old scope deletes the session that was moved",
    ("T1", "both"): "a TTL of zero is accepted, and one of over 100 years",
    ("T1", "memory"): "a huge TTL panics",
    ("T1", "Redis"): "a huge TTL fails after the session was written",
    ("T3", "Redis"): "an update drops the deadline",
    ("T4", "memory"): "an expired session keeps its key for its owner, until someone reads it",
    ("T5", "memory"): "nothing is reclaimed unless it is read",
    ("K1", "both"): "there are no claims: two workers both resume one wait",
    ("R2", "Redis"): "one corrupt document breaks finding, listing, updating and removing",
}
"""What the crate does, by the guarantee that it would break and the backend that does it."""
