"""The documents that a runner stores: parked flows, and marks for the users that it has greeted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, cast

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from async_session_store._wire import FrozenDict, Text, WireModel, optional
from async_session_store.errors import InvalidInputError
from async_session_store.models import FlowId, PackId, SessionData

_WELCOME_MARK: Final = re.compile(r"welcome-marker::[0-9a-f]{64}")


def _frozen_object(value: Mapping[str, object]) -> FrozenDict[object]:
    return FrozenDict({_checked_text(name): _frozen(item) for name, item in value.items()})


def _frozen(value: object) -> object:
    """Return an immutable copy. Refuse values that JSON cannot hold."""
    if isinstance(value, str):
        return _checked_text(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return _frozen_object(cast("Mapping[str, object]", value))
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return tuple(map(_frozen, cast("Sequence[object]", value)))
    raise PydanticCustomError("not_json", "holds a value that JSON cannot hold")


def _checked_text(value: object) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass  # the error would show the value
        else:
            return value
    raise PydanticCustomError("not_json", "holds a name or a text that JSON cannot hold")


_JsonObject = Annotated[Mapping[str, object], AfterValidator(_frozen_object)]


class FlowSnapshot(WireModel, frozen=True):
    """Where a flow continues, and with which state: ``runner::engine::FlowSnapshot``."""

    _shown: ClassVar[frozenset[str]] = frozenset(
        {"pack_id", "flow_id", "next_flow", "next_node", "awaiting_submit"}
    )

    pack_id: PackId
    """The pack of the flow."""
    flow_id: FlowId
    """The flow that was parked."""
    next_flow: Text | None = optional()
    """The flow that :attr:`next_node` is in. None if it is :attr:`flow_id`."""
    next_node: Text
    """The node that gets the reply."""
    awaiting_submit: bool = Field(default=False, strict=True)
    """Whether the node has shown a card and waits for it to be submitted."""
    state: _JsonObject
    """The engine's own state, an immutable mapping of JSON in which lists are tuples.

    It is ``runner::engine::ExecutionState``. Carry over fields that you do not know. A runner
    treats each field that is missing in it as empty.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            pack_id: PackId | str,
            flow_id: FlowId | str,
            next_flow: str | None = None,
            next_node: str,
            awaiting_submit: bool = False,
            state: Mapping[str, object],
        ) -> None: ...


class ParkedFlow(WireModel, frozen=True):
    """A flow that waits for a reply: ``FlowResumeRecord`` in ``engine/runtime.rs``.

    Its JSON is what a runner stores as ``context_json``.
    """

    snapshot: FlowSnapshot
    """Where the flow continues, and with which state."""
    reason: Text | None = None
    """Why the flow waits."""
    run: _JsonObject | None = optional()
    """The run under which the runner reports this flow's turns.

    It is ``run_outcome::turn::RunMarker``. Keep it when you park the flow again, as ``model_copy``
    does.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            snapshot: FlowSnapshot,
            reason: str | None = None,
            run: Mapping[str, object] | None = None,
        ) -> None: ...

    @classmethod
    def from_session(cls, data: SessionData) -> Self:
        """Read the flow that is parked in a session.

        Raises ``InvalidInputError`` if the session holds something else, such as a welcome mark.
        """
        try:
            return cls.model_validate_json(data.context_json)
        except ValidationError as error:
            raise InvalidInputError(
                "data: its context_json is not a flow that a Greentic runner parked; "
                "leave out welcome marks, and sessions of other programs in this namespace"
            ) from error


def is_welcome_mark(session_key: str) -> bool:
    """Return whether a key belongs to a welcome mark: ``marker_session_key`` in ``host.rs``.

    A runner marks each user that it has greeted on a messaging endpoint with a wait of 365 days,
    under the same user as the flows that it parks. So the mark is listed, and cleared, with that
    user's waits. It has the flow and the pack ``welcome-marker``, and waits for no reply.
    """
    return _WELCOME_MARK.fullmatch(session_key) is not None
