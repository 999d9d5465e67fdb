"""Resume the flows that a Greentic runner parked, and park flows for it to resume.

A runner finds a parked flow only under the key, user and scope that it derives itself. This package
derives the same three, reads and writes the documents that a runner stores, and finds its Redis.
It follows the Rust crate ``greentic-runner-host`` 1.2.2: each docstring names the item of the crate
that decides. Nothing here does I/O; you use any store as usual.
"""

from async_session_store.greentic._envelope import IngressEnvelope
from async_session_store.greentic._records import FlowSnapshot, ParkedFlow, is_welcome_mark
from async_session_store.greentic._settings import RunnerSettings

__all__ = ["FlowSnapshot", "IngressEnvelope", "ParkedFlow", "RunnerSettings", "is_welcome_mark"]
