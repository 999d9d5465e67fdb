"""M7, F5, W4, K1, K2, K6, E2, T5, S6: an invalid argument is refused by name, before any write."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ErrorCode,
    Impersonation,
    InvalidInputError,
    InvocationDeadline,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    UserId,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, B, data, find, register
from async_session_store.testing.contract.claim_builders import claim, is_claimed
from async_session_store.testing.contract.hooks import Hooks

Call = Callable[[AsyncSessionStore, Any], Awaitable[object]]


class _OwnCtx(TenantCtx, frozen=True):
    own: str = "own"


class _OwnData(SessionData, frozen=True):
    own: str = "own"


class _OwnCursor(SessionCursor, frozen=True):
    own: str = "own"


class _OwnDeadline(InvocationDeadline, frozen=True):
    own: str = "own"


class _OwnImpersonation(Impersonation, frozen=True):
    own: str = "own"


class _OwnScope(ReplyScope, frozen=True):
    own: str = "own"


def _with_ctx(**fields: Any) -> SessionData:
    return data(of=CTX.model_copy(update=fields))


OWN_CTX = _OwnCtx(**dict(CTX))
OWN_SCOPE = _OwnScope(conversation="a")
OWN_DATA: dict[str, SessionData] = {
    "data": _OwnData(**dict(data())),
    "data.tenant_ctx": data(of=OWN_CTX),
    "data.cursor": data().model_copy(update={"cursor": _OwnCursor(node_pointer="ask")}),
    "data.tenant_ctx.deadline": _with_ctx(deadline=_OwnDeadline(unix_millis=1)),
    "data.tenant_ctx.impersonation": _with_ctx(
        impersonation=_OwnImpersonation(actor_id=UserId("u2"))
    ),
}
"""Data that is or holds an instance of a subclass, by the argument that the error must name."""

BAD_USER_IDS: list[Any] = ["", "a:b", "a\nb", "a\n", "a b", "ü", "\u0661", "a\x00", 7, None, b"u1"]
BAD_KEYS: list[Any] = ["", "k" * 1025, "é" * 513, "\ud800", 7, None, b"k", ["k"]]
BAD_DATA: list[Any] = [7, None, "{}", {}, CTX]
BAD_CTX: list[Any] = [7, None, "ctx", {"env": "prod"}, data()]
BAD_SCOPES: list[Any] = [7, None, "a", {"conversation": "a"}, b"a"]
BAD_SEQUENCES: list[Any] = [[], (), [A, None], ["a"], frozenset([A]), iter([A]), "aa"]
BAD_DELIVERY_IDS: list[Any] = ["", "x" * 2000, "é" * 513, "\ud800", 7, b"event", ["event"], True]
BAD_LEASES: list[Any] = [
    *(0, -1, -0.0, math.nan, math.inf, -math.inf, 10**400, NEVER, None, "30", True, [30]),
    *(timedelta(0), timedelta(-1), timedelta.max, timedelta(days=36_526)),
]
BAD_WAITS: list[Any] = [
    *(-1, -0.001, math.nan, math.inf, -math.inf, 10**400, NEVER, None, "1", False, [1]),
    *(timedelta(-1), timedelta.max),
]
BAD_ETAGS: list[Any] = ["", "x" * 1025, "\ud800", 7, 7.0, b"etag", True, ["etag"]]
BAD_WHOLE_NUMBERS: list[Any] = [0, -1, 2**63, 1.5, True, None, "1"]

WITH_USER_ID: dict[str, Call] = {
    "register": lambda store, bad: store.register_wait(CTX, bad, A, "k", data()),
    "register_if_absent": lambda store, bad: store.register_wait_if_absent(
        CTX, bad, A, "k", data()
    ),
    "find": lambda store, bad: store.find_wait_by_scope(CTX, bad, A),
    "get_wait": lambda store, bad: store.get_wait(CTX, bad, A),
    "list": lambda store, bad: store.list_waits_for_user(CTX, bad),
    "list_records": lambda store, bad: store.list_wait_records(CTX, bad),
    "clear": lambda store, bad: store.clear_wait(CTX, bad, A),
    "clear_all": lambda store, bad: store.clear_waits_for_user(CTX, bad),
    "claim": lambda store, bad: store.claim_wait(CTX, bad, A),
    "resume": lambda store, bad: store.resume_wait(CTX, bad, A).__aenter__(),
}

WITH_KEY: dict[str, Call] = {
    "register": lambda store, bad: store.register_wait(CTX, "u1", A, bad, data()),
    "register_if_absent": lambda store, bad: store.register_wait_if_absent(
        CTX, "u1", B, bad, data()
    ),
    "get": lambda store, bad: store.get_session(bad),
    "get_record": lambda store, bad: store.get_record(bad),
    "update": lambda store, bad: store.update_session(bad, data()),
    "touch": lambda store, bad: store.touch_session(bad, 60),
    "remove": lambda store, bad: store.remove_session(bad),
    "edit": lambda store, bad: store.edit_session(bad, lambda old: old),
}

WITH_DATA: dict[str, Call] = {
    "create": lambda store, bad: store.create_session(CTX, bad),
    "update": lambda store, bad: store.update_session("k", bad),
    "register": lambda store, bad: store.register_wait(CTX, "u1", A, "k", bad),
    "register_if_absent": lambda store, bad: store.register_wait_if_absent(CTX, "u1", B, "k", bad),
    "edit": lambda store, bad: store.edit_session("k", lambda _: bad),
    "update if it matches": lambda store, bad: store.update_session("k", bad, if_match="x"),
}

WITH_CTX: dict[str, Call] = {
    "create": lambda store, bad: store.create_session(bad, data()),
    "register": lambda store, bad: store.register_wait(bad, "u1", A, "k", data()),
    "register_if_absent": lambda store, bad: store.register_wait_if_absent(
        bad, "u1", B, "k", data()
    ),
    "find": lambda store, bad: store.find_wait_by_scope(bad, "u1", A),
    "get_wait": lambda store, bad: store.get_wait(bad, "u1", A),
    "list": lambda store, bad: store.list_waits_for_user(bad, "u1"),
    "list_records": lambda store, bad: store.list_wait_records(bad, "u1"),
    "clear": lambda store, bad: store.clear_wait(bad, "u1", A),
    "clear_all": lambda store, bad: store.clear_waits_for_user(bad, "u1"),
    "claim": lambda store, bad: store.claim_wait(bad, "u1", A),
    "resume": lambda store, bad: store.resume_wait(bad, "u1", A).__aenter__(),
}

WITH_OPTIONAL_CTX: dict[str, Call] = {
    "get": lambda store, bad: store.get_session("k", ctx=bad),
    "get_record": lambda store, bad: store.get_record("k", ctx=bad),
    "update": lambda store, bad: store.update_session("k", data(), ctx=bad),
    "touch": lambda store, bad: store.touch_session("k", 60, ctx=bad),
    "remove": lambda store, bad: store.remove_session("k", ctx=bad),
    "edit": lambda store, bad: store.edit_session("k", lambda old: old, ctx=bad),
}

WITH_SCOPE: dict[str, Call] = {
    "register": lambda store, bad: store.register_wait(CTX, "u1", bad, "k", data()),
    "register_if_absent": lambda store, bad: store.register_wait_if_absent(
        CTX, "u1", bad, "k", data()
    ),
    "clear": lambda store, bad: store.clear_wait(CTX, "u1", bad),
}

WITH_SCOPES: dict[str, Call] = {
    "find": lambda store, bad: store.find_wait_by_scope(CTX, "u1", bad),
    "get_wait": lambda store, bad: store.get_wait(CTX, "u1", bad),
    "claim": lambda store, bad: store.claim_wait(CTX, "u1", bad),
    "resume": lambda store, bad: store.resume_wait(CTX, "u1", bad).__aenter__(),
}

WITH_LEASE: dict[str, Call] = {
    "claim": lambda store, bad: store.claim_wait(CTX, "u1", A, lease=bad),
    "resume": lambda store, bad: store.resume_wait(CTX, "u1", A, lease=bad).__aenter__(),
}

WITH_DEDUPE_TTL: dict[str, Call] = {
    "claim": lambda store, bad: store.claim_wait(CTX, "u1", A, delivery_id="e", dedupe_ttl=bad),
    "claim without a delivery": lambda store, bad: store.claim_wait(CTX, "u1", A, dedupe_ttl=bad),
    "resume": lambda store, bad: store.resume_wait(CTX, "u1", A, dedupe_ttl=bad).__aenter__(),
}

WITH_WAIT: dict[str, Call] = {
    "claim": lambda store, bad: store.claim_wait(CTX, "u1", A, wait=bad),
    "resume": lambda store, bad: store.resume_wait(CTX, "u1", A, wait=bad).__aenter__(),
}

WITH_DELIVERY_ID: dict[str, Call] = {
    "claim": lambda store, bad: store.claim_wait(CTX, "u1", A, delivery_id=bad),
    "resume": lambda store, bad: store.resume_wait(CTX, "u1", A, delivery_id=bad).__aenter__(),
}


def calls(table: dict[str, Call]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", table.values(), ids=table.keys())


class BadInput(Hooks):
    """M7, F5, W4, K1, K2, K6, E2, T5, S6: invalid arguments, except those of ``TimesToLive``."""

    async def _assert_refused(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        call: Call,
        bad_values: list[Any],
        argument: str,
    ) -> None:
        await register(store, "k", A)
        for bad in bad_values:
            async with self.refused(backend, InvalidInputError, f"^{argument}: "):
                await call(store, bad)
        assert await find(store, A) == "k"

    @calls(WITH_USER_ID)
    async def test_m7_a_bad_user_id_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_USER_IDS, "user_id")

    @calls(WITH_KEY)
    async def test_m7_a_bad_key_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_KEYS, "session_key")

    async def test_m7_a_bad_session_key_is_refused_when_clearing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        def call(store: AsyncSessionStore, bad: Any) -> Awaitable[object]:
            return store.clear_wait(CTX, "u1", A, session_key=bad)

        bad_keys = [bad for bad in BAD_KEYS if bad is not None]
        await self._assert_refused(backend, store, call, bad_keys, "session_key")

    @calls(WITH_DATA)
    async def test_m7_a_value_that_is_not_session_data_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_DATA, "data")

    @calls(WITH_CTX)
    async def test_m7_a_value_that_is_not_a_context_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_CTX, "ctx")

    @pytest.mark.parametrize(("argument", "own"), OWN_DATA.items(), ids=OWN_DATA.keys())
    @calls(WITH_DATA)
    async def test_m7_data_of_a_subclass_is_refused(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        call: Call,
        argument: str,
        own: SessionData,
    ) -> None:
        await self._assert_refused(backend, store, call, [own], argument)
        with pytest.raises(InvalidInputError, match=r"subclass _Own.* put them into .*\(M7\)"):
            await call(store, own)

    @calls({**WITH_CTX, **WITH_OPTIONAL_CTX})
    async def test_m7_a_context_of_a_subclass_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, [OWN_CTX], "ctx")
        with pytest.raises(InvalidInputError, match="put them into attributes"):
            await call(store, OWN_CTX)

    @calls({**WITH_SCOPE, **WITH_SCOPES})
    async def test_m7_a_scope_of_a_subclass_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, [OWN_SCOPE, [B, OWN_SCOPE]], "scope")

    @calls(WITH_OPTIONAL_CTX)
    async def test_f5_a_value_that_is_not_a_context_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        bad_contexts = [bad for bad in BAD_CTX if bad is not None]
        await self._assert_refused(backend, store, call, bad_contexts, "ctx")

    @calls(WITH_SCOPE)
    async def test_m7_a_value_that_is_not_a_scope_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, [*BAD_SCOPES, [A]], "scope")

    @calls(WITH_SCOPES)
    async def test_w4_a_value_that_is_not_a_sequence_of_scopes_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, [*BAD_SCOPES, *BAD_SEQUENCES], "scope")

    @calls(WITH_LEASE)
    async def test_k1_a_bad_lease_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_LEASES, "lease")
        assert not await is_claimed(store, A)

    async def test_k2_a_bad_lease_is_refused_when_renewing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        for bad in BAD_LEASES:
            if bad is not None:
                async with self.refused(backend, InvalidInputError, "^lease: "):
                    await claimed.renew(bad)
        assert await claimed.complete()

    @calls(WITH_WAIT)
    async def test_k1_a_bad_time_to_wait_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_WAITS, "wait")
        assert not await is_claimed(store, A)

    @calls(WITH_DELIVERY_ID)
    async def test_k6_a_bad_delivery_id_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_DELIVERY_IDS, "delivery_id")
        assert not await is_claimed(store, A)

    @calls(WITH_DEDUPE_TTL)
    async def test_k6_a_bad_dedupe_ttl_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await self._assert_refused(backend, store, call, BAD_LEASES, "dedupe_ttl")
        assert not await is_claimed(store, A)

    async def test_e2_a_bad_etag_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        def call(store: AsyncSessionStore, bad: Any) -> Awaitable[object]:
            return store.update_session("k", data("new"), if_match=bad)

        await self._assert_refused(backend, store, call, BAD_ETAGS, "if_match")
        assert await store.get_session("k") == data()

    async def test_t5_a_bad_limit_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await self._assert_refused(
            backend, store, lambda store, bad: store.purge_expired(bad), BAD_WHOLE_NUMBERS, "limit"
        )

    @pytest.mark.parametrize("size", BAD_WHOLE_NUMBERS)
    async def test_s6_a_bad_size_is_refused(self, backend: Backend, size: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^max_document_bytes: ") as caught:
            self.store_class(backend, max_document_bytes=size)
        assert isinstance(caught.value, ValueError)
        assert caught.value.code is ErrorCode.INVALID_INPUT
