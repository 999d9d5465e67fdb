"""Where this library deliberately differs from the Rust crate. The documentation has the same list.

Each has a test that shows it with the crate, in ``tests/interop/test_rust_differences.py``.
"""

from __future__ import annotations

from typing import Final

DIFFERENCES: Final[dict[tuple[str, str], str]] = {
    ("M1", "types"): "a context without `attempt` cannot be read",
    ("M2", "types"): "twins may differ; `tenant` and `tenant_id` are both required",
    ("M3", "types"): "unknown fields are lost when a session is written back",
    ("M4", "types"): "a scope field may contain a newline, so two scopes can have the same hash",
    ("M7", "types"): "a session key may be empty, or longer than 1024 bytes",
    ("F2", "Redis"): "another owner can replace a session by registering under its key",
    ("F4", "both"): "a context with another user of the tenant finds, lists and clears",
    ("F6", "both"): "the team `-` is accepted; its Redis keys are those without a team",
    ("F8", "both"): "an error text names the environment, tenant and team of the stored session",
    ("S3", "memory"): "an expired session can be updated until someone reads it",
    ("S4", "memory"): "an expired session can be removed until someone reads it",
    ("S4", "Redis"): "a removed session's scope leads to whatever is stored under its key later",
    ("S6", "both"): "a document of any size is stored",
    ("W1", "Redis"): "an operation is several commands, and another client's can come in between",
    ("W2", "Redis"): "a session that was moved is still found at its old scope",
    ("W3", "memory"): "ending or moving a detached session unroutes the one that replaced it",
    ("W5", "both"): "lists are unordered",
    ("W6", "both"): "`clear_wait` has no `session_key`, so a late call deletes the next wait",
    ("W6", "Redis"): "clearing the old scope deletes a session that was moved",
    ("T1", "both"): "a TTL of zero or of over 100 years is accepted",
    ("T1", "memory"): "a huge TTL panics",
    ("T1", "Redis"): "a huge TTL fails after the session is written",
    ("T3", "Redis"): "an update drops the deadline",
    ("T4", "memory"): "an expired session keeps its key for its owner until someone reads it",
    ("T5", "memory"): "nothing is reclaimed until it is read",
    ("K1", "both"): "there are no claims, so two workers can both resume one wait",
    ("R2", "Redis"): "one corrupt document breaks finding, listing, updating and removing",
}
"""What the crate does, by the guarantee that it would break and the backend that does it."""
