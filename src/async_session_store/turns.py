"""A turn: a message comes in, the flow that waits for it goes on, and asks its next question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, cast

from typing_extensions import NamedTuple, override

from async_session_store import _codec, _rules
from async_session_store._memory import MemoryType, memory_type
from async_session_store._new_waits import NewWait
from async_session_store._plans import Plan
from async_session_store._rules import TimeToLive
from async_session_store.abc import KEEP, Keep
from async_session_store.claims import WaitClaim
from async_session_store.errors import FlowMemoryError, InvalidInputError
from async_session_store.models import (
    FlowId,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionRecord,
    TenantCtx,
    UserId,
)

__all__ = ["Incoming", "Turn"]

_I = TypeVar("_I", bound="Incoming")
_I_co = TypeVar("_I_co", bound="Incoming", covariant=True)
_M = TypeVar("_M")
_T = TypeVar("_T")


class Incoming(Protocol):
    """What a turn needs to know of a message. An ``Inbound`` of a channel is one."""

    @property
    def user_id(self) -> UserId | str:
        """Who wrote."""
        ...

    @property
    def scope(self) -> ReplyScope:
        """Where this user's next message is expected."""
        ...

    @property
    def delivery_id(self) -> str | None:
        """What the message has in common with its repetitions, and with nothing else."""
        ...

    @property
    def text(self) -> str | None:
        """What the user wrote."""
        ...

    def scopes(self) -> Sequence[ReplyScope]:
        """Return where the wait that this message answers may be, most specific first."""
        ...


class Turn(Generic[_I_co, _M]):
    """A user's turn in a flow.

    What the block says takes effect when it ends well, all in one step: :meth:`ask` the next
    question, :meth:`end` the flow, or :meth:`keep` the question as it is. What is said last counts.
    A turn that says nothing keeps the question; one that began a flow leaves nothing. In each case
    the message's delivery is remembered. A block that raises changes nothing. Once the block has
    ended well, saying anything raises ``InvalidInputError``.

    Attributes:
        flow: The flow that goes on or begins.
        node: The question that the message answers, as it was given to :meth:`ask`; None if the
            flow begins.
    """

    def __init__(self, inbound: _I_co, claim: WaitClaim, plan: TurnPlan[_M]) -> None:
        self._inbound = inbound
        self.flow: FlowId = plan.flow
        record = claim.record
        self.node: str | None = None if record is None else record.data.cursor.node_pointer
        self._claim = claim
        self._plan = plan

    @property
    def inbound(self) -> _I_co:
        """The message that came in, whole."""
        return self._inbound

    @property
    def text(self) -> str | None:
        """What the user wrote, or the value of what they chose."""
        return self._inbound.text

    @property
    def is_new(self) -> bool:
        """Whether no flow waited for this message, so that one begins."""
        return self._claim.is_new

    @property
    def record(self) -> SessionRecord | None:
        """The session that waits, as it was stored. None if :attr:`is_new`."""
        return self._claim.record

    @property
    def memory(self) -> _M:
        """What the flow remembers. Change or replace it; it is saved with the next question.

        Raises ``FlowMemoryError`` if it does not fit the turn's type, or if the flow is another one
        than the one the turn was opened for: read that one's by :meth:`memory_as`.
        """
        return self._plan.own_memory()

    @memory.setter
    def memory(self, memory: _M) -> None:
        self._plan.replace_memory(memory)

    def memory_as(self, memory: type[_T]) -> _T:
        """Return what the flow remembers, as another type than the turn's.

        For a bot with several flows. Raises like :attr:`memory`, and ``InvalidInputError`` if it
        was already read as another type.
        """
        return self._plan.memory_as(memory_type(memory))

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended, and another worker may have taken the turn over."""
        return self._claim.lost

    @property
    def superseded(self) -> bool:
        """Whether the turn changed nothing, as someone else cleared or replaced the wait meanwhile.

        Known once the block has ended.
        """
        return self._plan.superseded

    def ask(
        self, node: str, *, at: ReplyScope | None = None, ttl: TimeToLive | None = None
    ) -> None:
        """Save the memory, and wait for the answer to the next question.

        Args:
            node: The question: the next turn's :attr:`node`.
            at: Where the answer is expected: ``inbound.scope`` unless given.
            ttl: How long: as long as ``turn`` was told, unless given.
        """
        self._plan.check_unsettled()
        scope = self._inbound.scope if at is None else at
        _rules.scope_hash(scope)
        _rules.milliseconds("ttl", ttl)
        self._plan.said = _Question(_rules.cursor(node), scope, ttl)

    def end(self) -> None:
        """End the flow, and remove its session."""
        self._plan.check_unsettled()
        self._plan.said = None

    def keep(self) -> None:
        """Leave the question as it is, for the user to answer again. The memory is not saved."""
        self._plan.check_unsettled()
        self._plan.said = KEEP


class _Question(NamedTuple):
    """What :meth:`Turn.ask` was given."""

    cursor: SessionCursor
    at: ReplyScope
    ttl: TimeToLive | None


class TurnSetting(NamedTuple, Generic[_M]):
    """What ``turn`` was given, besides the message."""

    ctx: TenantCtx
    flow: FlowId | None
    """The flow that begins if none waits; None if none may begin."""
    memory: MemoryType[_M]
    ttl: TimeToLive | None


class TurnPlan(Plan, Generic[_M]):
    """What a turn said, and the memory to save with its question."""

    __slots__ = ("_memory", "_read_as", "_record", "_setting", "_user", "flow", "said")

    def __init__(
        self, setting: TurnSetting[_M], user: UserId, record: SessionRecord | None
    ) -> None:
        super().__init__()
        self._setting = setting
        self._user = user
        self._record = record
        self._memory: object = None
        self._read_as: MemoryType[object] | None = None
        self.flow: FlowId = record.data.flow_id if record else cast("FlowId", setting.flow)
        self.said: _Question | Keep | None = KEEP if record else None

    def own_memory(self) -> _M:
        """Return the memory of the flow that the turn was opened for."""
        self._check_flow()
        return self.memory_as(self._setting.memory)

    def replace_memory(self, memory: _M) -> None:
        """Let the flow that the turn was opened for remember something else."""
        self._check_flow()
        self._memory = memory
        self._read_as = cast("MemoryType[object]", self._setting.memory)

    def memory_as(self, kind: MemoryType[_T]) -> _T:
        """Return the memory, read once as a type."""
        if self._read_as is None:
            record = self._record
            self._memory = kind.read(self.flow, record.data.context_json) if record else kind.new()
            self._read_as = cast("MemoryType[object]", kind)
        if self._read_as.kind != kind.kind:
            raise InvalidInputError(
                f"memory: this turn has read it as {self._read_as.name} already, not {kind.name}"
            )
        return cast("_T", self._memory)

    def _check_flow(self) -> None:
        if self._setting.flow not in (None, self.flow):
            raise FlowMemoryError(
                self.flow,
                None,
                f"the turn was opened for the flow {self._setting.flow!r}; look at turn.flow, and "
                "read this one's memory by turn.memory_as(...)",
            )

    @override
    def then(self) -> NewWait | Keep | None:
        if not isinstance(self.said, _Question):
            return self.said
        cursor, at, ttl = self.said
        return NewWait(at, self._data(cursor), self._setting.ttl if ttl is None else ttl)

    def _data(self, cursor: SessionCursor) -> SessionData:
        if self._record is None and self._read_as is None:
            self.own_memory()
        if self._record is None:
            ctx, user = self._setting.ctx, self._user
            return SessionData(
                tenant_ctx=ctx if ctx.owner.user else ctx.model_copy(update={"user_id": user}),
                flow_id=self.flow,
                cursor=cursor,
                context_json=self._written(),
            )
        # A peer's fields that we do not know stay.
        data = self._record.data
        context = data.context_json if self._read_as is None else self._written()
        return _codec.moved_on(data, cursor, context)

    def _written(self) -> str:
        kind = cast("MemoryType[object]", self._read_as)
        return kind.write(self.flow, self._memory)


def begin_turn(
    setting: TurnSetting[_M], inbound: _I, user: UserId, claim: WaitClaim
) -> tuple[Turn[_I, _M], TurnPlan[_M]]:
    """Return a block's turn for a claim, and the plan that it shares with the block."""
    plan = TurnPlan(setting, user, claim.record)
    return Turn(inbound, claim, plan), plan
