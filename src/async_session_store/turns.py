"""Turns: a message resumes the flow that waits for it, and the flow asks again or ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Generic, Protocol, TypeVar, cast

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
_I_co = TypeVar("_I_co", bound="Incoming | None", covariant=True)
_M = TypeVar("_M")
_T = TypeVar("_T")


class Incoming(Protocol):
    """A message that can be passed to ``turn``. An ``Inbound`` of a channel is one.

    If it also has ``user_ids``, a sequence of all ids by which its user is known, as an ``Inbound``
    has, then ``turn`` takes them instead of :attr:`user_id` (K7).
    """

    @property
    def user_id(self) -> UserId | str:
        """The user who wrote the message."""
        ...

    @property
    def scope(self) -> ReplyScope:
        """Where this user's next message is expected."""
        ...

    @property
    def delivery_id(self) -> str | None:
        """The id of the delivery, the same if the message is delivered again. None if unknown."""
        ...

    @property
    def text(self) -> str | None:
        """The text that the user wrote or chose. None if there is neither, as in a photo."""
        ...

    def scopes(self) -> Sequence[ReplyScope]:
        """Return the scopes where a flow may wait for this message, most specific first."""
        ...


_NEEDED: Final = ("user_id", "scope", "scopes", "delivery_id")


class _KnownByIds(Protocol):
    """A message whose class knows all ids of its user."""

    @property
    def user_ids(self) -> Sequence[UserId | str]: ...


def users_of(inbound: Incoming) -> UserId | str | Sequence[UserId | str]:
    """Return all ids of a message's user, in order; the only one if its class has no others."""
    try:
        return cast("_KnownByIds", inbound).user_ids
    except AttributeError as error:
        if error.obj is not inbound or error.name != "user_ids":
            raise
        return inbound.user_id


def check_incoming(inbound: Incoming, error: AttributeError) -> None:
    """Raise ``InvalidInputError`` if ``inbound`` lacks an attribute that a message has."""
    if error.obj is inbound and error.name in _NEEDED:
        raise InvalidInputError(
            "inbound: give a message that a function of async_session_store.channels returned, or "
            f"an object with {', '.join(_NEEDED)} and text; a value of type "
            f"{type(inbound).__name__} has no {error.name}"
        ) from error


class Turn(Generic[_I_co, _M]):
    """A user's turn in a flow.

    Call :meth:`ask` to ask the next question, :meth:`end` to end the flow, or :meth:`keep` to leave
    the question as it is. The last call takes effect when the block ends without an exception, in
    one step. Without a call, a flow that was resumed keeps its question, and one that began leaves
    nothing. In each case the message's delivery is remembered. A block that raises changes nothing.
    Once the block has ended, these calls raise ``InvalidInputError``.

    In annotations, write ``Turn[Inbound, Order]`` if ``Order`` is the type of the memory, and
    ``Turn[None, Order]`` for an expired turn.

    If nobody answered in time, :attr:`is_expired` is True, and there is no message. Then, without a
    call, the flow ends; and after :meth:`keep` the expired wait is handed out again.
    """

    flow: FlowId
    """The flow that is resumed or begins."""
    node: str | None
    """The question that the message answers, or that nobody answered. None if the flow begins.

    It is the ``node`` that was passed to :meth:`ask`.
    """

    def __init__(
        self, inbound: _I_co, scope: ReplyScope | None, claim: WaitClaim, plan: TurnPlan[_M]
    ) -> None:
        self._inbound = inbound
        self._scope = scope
        self.flow = plan.flow
        record = claim.record
        self.node = None if record is None else record.data.cursor.node_pointer
        self._claim = claim
        self._plan = plan

    @override
    def __repr__(self) -> str:
        where = ", which begins" if self.node is None else f" at {self.node!r}"
        return f"<Turn of flow {str(self.flow)!r}{where}>"

    @property
    def user_id(self) -> UserId:
        """The user whose flow is resumed or begins (K7).

        A message may have several ids of its user. It is the one under which the flow waits, or
        else the first. The flow keeps it: :meth:`ask` registers the next question under it.
        """
        return self._claim.user_id

    @property
    def inbound(self) -> _I_co:
        """The incoming message itself; None if :attr:`is_expired`."""
        return self._inbound

    @property
    def text(self) -> str | None:
        """The text that the user wrote, or the value that they chose.

        None if there is neither, as in a photo.
        """
        return None if self._inbound is None else self._inbound.text

    @property
    def is_new(self) -> bool:
        """Whether a flow begins, because none waited for this message."""
        return self._claim.is_new

    @property
    def is_expired(self) -> bool:
        """Whether nobody answered in time, so that there is no message."""
        return self._claim.is_expired

    @property
    def record(self) -> SessionRecord | None:
        """The session that waits, as it was stored. None if :attr:`is_new`."""
        return self._claim.record

    @property
    def memory(self) -> _M:
        """The flow's memory. Change or replace it; it is saved with the next question.

        Raises ``FlowMemoryError`` if it does not fit the turn's type, or if this is another flow
        than the one that ``flow=`` names: use :meth:`memory_as` for that one.
        """
        return self._plan.own_memory()

    @memory.setter
    def memory(self, memory: _M) -> None:
        self._plan.replace_memory(memory)

    def memory_as(self, memory: type[_T]) -> _T:
        """Return the flow's memory as a type other than the turn's.

        Use it in a bot with several flows. Raises ``FlowMemoryError`` like :attr:`memory`, and
        ``InvalidInputError`` if the memory was already read as another type.
        """
        return self._plan.memory_as(memory_type(memory))

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended, so that another worker may have taken over.

        This makes no call, so check it often.
        """
        return self._claim.lost

    @property
    def superseded(self) -> bool:
        """Whether the turn had no effect, because someone else cleared or replaced the wait.

        Set when the block ends (N2).
        """
        return self._plan.superseded

    @property
    def is_overtaken(self) -> bool:
        """Whether the user has begun another flow where the expired one waited.

        Then :meth:`ask` has no effect, and the block should send nothing (Q2).
        """
        return self._claim.is_overtaken

    def ask(
        self,
        node: str,
        *,
        at: ReplyScope | None = None,
        ttl: TimeToLive | None = None,
        expired_ttl: timedelta | float | None = None,
    ) -> None:
        """Save the memory, and wait for the answer to the next question.

        Args:
            node: The question. It is the :attr:`node` of the turn that gets the answer.
            at: Where the answer is expected. The default is ``inbound.scope`` or, in an expired
                turn, the scope where the flow waited. If the flow waits under another id of the
                user than the first, it is ``inbound.scope`` in the conversation where the flow
                waited, because a message with that id alone looks only there.
            ttl: How long to wait for it. The default is the ``ttl`` of the turn.
            expired_ttl: How long to keep the wait for a worker if nobody answers within ``ttl``:
                see ``register_wait``.
        """
        self._plan.check_unsettled()
        scope = self._scope if at is None else at
        if scope is None:
            raise InvalidInputError(
                "at: the scope where this flow waited cannot be read; give one for the next answer"
            )
        _rules.scope_hash(scope, "at")
        _rules.milliseconds("ttl", ttl)
        _rules.expired_ttl("expired_ttl", expired_ttl)
        self._plan.requested = _Question(_rules.cursor(node), scope, ttl, expired_ttl)

    def end(self) -> None:
        """End the flow, and remove its session."""
        self._plan.check_unsettled()
        self._plan.requested = None

    def keep(self) -> None:
        """Leave the question as it is, for the user to answer again. Do not save the memory."""
        self._plan.check_unsettled()
        self._plan.requested = KEEP


class _Question(NamedTuple):
    """The arguments of :meth:`Turn.ask`."""

    cursor: SessionCursor
    at: ReplyScope
    ttl: TimeToLive | None
    expired_ttl: timedelta | float | None


class TurnSetting(NamedTuple, Generic[_M]):
    """The arguments of ``turn``, except the message."""

    ctx: TenantCtx
    flow: FlowId | None
    """The flow that begins if none waits; None if none may begin."""
    memory: MemoryType[_M]
    ttl: TimeToLive | None


class TurnPlan(Plan, Generic[_M]):
    """The plan of a turn: whatever it requested last, and the memory to save with a question."""

    __slots__ = ("_memory", "_read_as", "_record", "_setting", "_user", "flow", "requested")

    def __init__(self, setting: TurnSetting[_M], claim: WaitClaim) -> None:
        super().__init__()
        self._setting = setting
        self._user = claim.user_id
        self._record = record = claim.record
        self._memory: object = None
        self._read_as: MemoryType[object] | None = None
        self.flow: FlowId = record.data.flow_id if record else cast("FlowId", setting.flow)
        self.requested: _Question | Keep | None = None

    def own_memory(self) -> _M:
        """Return the memory of the flow that the turn was opened for."""
        self._check_flow()
        return self.memory_as(self._setting.memory)

    def replace_memory(self, memory: _M) -> None:
        """Replace the memory of the flow that the turn was opened for."""
        self._check_flow()
        self._memory = memory
        self._read_as = cast("MemoryType[object]", self._setting.memory)

    def memory_as(self, kind: MemoryType[_T]) -> _T:
        """Return the memory as a type. It is parsed only once, so the type is fixed after that."""
        if self._read_as is None:
            record = self._record
            self._memory = kind.read(self.flow, record.data.context_json) if record else kind.new()
            self._read_as = cast("MemoryType[object]", kind)
        if self._read_as.kind != kind.kind:
            raise InvalidInputError(
                f"memory: this turn already read it as {self._read_as.name}; it cannot read it as "
                f"{kind.name} too"
            )
        return cast("_T", self._memory)

    def _check_flow(self) -> None:
        if self._setting.flow not in (None, self.flow):
            raise FlowMemoryError(
                self.flow,
                None,
                f"the turn was opened for the flow {self._setting.flow!r}; check turn.flow first, "
                "and read this flow's memory with turn.memory_as(...)",
            )

    @override
    def then(self) -> NewWait | Keep | None:
        if not isinstance(self.requested, _Question):
            return self.requested
        cursor, at, ttl, expired_ttl = self.requested
        ttl = self._setting.ttl if ttl is None else ttl
        return NewWait(at, self._data(cursor), ttl, expired_ttl=expired_ttl)

    def _data(self, cursor: SessionCursor) -> SessionData:
        if self._record is None:
            if self._read_as is None:
                self.own_memory()  # a new flow's memory is saved even if nobody has read it
            ctx, user = self._setting.ctx, self._user
            return SessionData(
                tenant_ctx=ctx if ctx.owner.user else ctx.model_copy(update={"user_id": user}),
                flow_id=self.flow,
                cursor=cursor,
                context_json=self._written(),
            )
        # Keep the fields that a newer peer wrote and we do not know.
        data = self._record.data
        context = data.context_json if self._read_as is None else self._written()
        return _codec.with_cursor(data, cursor, context)

    def _written(self) -> str:
        kind = cast("MemoryType[object]", self._read_as)
        return kind.write(self.flow, self._memory)


def begin_turn(
    setting: TurnSetting[_M], inbound: _I, first: UserId, scope: ReplyScope, claim: WaitClaim
) -> tuple[Turn[_I, _M], TurnPlan[_M]]:
    """Return a block's turn for a claim, and the plan that the two share.

    ``first`` is the first of the message's users, to whom its ``scope`` belongs.
    """
    plan = TurnPlan(setting, claim)
    if claim.record is not None:
        plan.requested = KEEP
        if claim.user_id != first:
            scope = _in_conversation_of(claim.record, scope)
    return Turn(inbound, scope, claim, plan), plan


def _in_conversation_of(record: SessionRecord, scope: ReplyScope) -> ReplyScope:
    """Return a scope in the conversation where a session waits, if that is known."""
    if record.scope is None:
        return scope
    return scope.model_copy(update={"conversation": record.scope.conversation})


def begin_expired_turn(
    ttl: TimeToLive | None, memory: MemoryType[_M], claim: WaitClaim
) -> tuple[Turn[None, _M], TurnPlan[_M]]:
    """Return a block's turn for a claim on an expired wait, and the plan that the two share."""
    record = cast("SessionRecord", claim.record)
    ctx = record.data.tenant_ctx
    setting = TurnSetting(ctx, None, memory, ttl)
    plan = TurnPlan(setting, claim)
    return Turn(None, record.scope, claim, plan), plan
