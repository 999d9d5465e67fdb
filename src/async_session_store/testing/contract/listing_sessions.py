"""O1, O4: an operator iterates over the waits and sessions of all users."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionRecord,
    StoreUsageError,
    TenantCtx,
    TenantMismatchError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    clear,
    ctx,
    data,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.expiry_builders import keep
from async_session_store.testing.contract.hooks import Hooks, SharedHooks
from async_session_store.testing.contract.unreadable_documents import OF_NO_ONE, OWNED

CALLERS: dict[str, tuple[TenantCtx | None, list[str]]] = {
    "a tenant": (SERVICE, ["k1", "k2", "k3"]),
    "a team": (ctx(None, team="blue"), ["k3"]),
    "another team": (ctx(None, team="red"), []),
    "another tenant": (ctx(None, tenant="other"), ["k4"]),
    "another env": (ctx(None, env="test"), ["k5"]),
    "a tenant whose id begins likewise": (ctx(None, tenant="acm"), []),
    "the host": (None, ["k1", "k2", "k3", "k4", "k5"]),
}
SOON = timedelta(minutes=10)
FILTERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "none": ({}, ["a", "b", "c", "d"]),
    "flow": ({"flow_id": "order"}, ["a", "b"]),
    "another flow": ({"flow_id": "orde"}, []),
    "node": ({"node": "size"}, ["b", "c"]),
    "conversation": ({"conversation": "chat"}, ["a", "b", "c"]),
    "deadline": ({"expires_before": SOON}, ["b"]),
    "an earlier deadline": ({"expires_before": timedelta()}, []),
    "several": ({"flow_id": "order", "node": "size", "conversation": "chat"}, ["b"]),
    "several that none fits": ({"flow_id": "order", "node": "size", "conversation": "x"}, []),
}
BAD: dict[str, dict[str, Any]] = {
    "flow_id": {"flow_id": "*"},
    "node": {"node": 7},
    "conversation": {"conversation": ReplyScope(conversation="a")},
    "expires_before: give a datetime": {"expires_before": 60},
    "expires_before: has no time zone": {"expires_before": datetime(2026, 1, 1)},  # noqa: DTZ001
    "page: give a whole number": {"page": 0},
    "page: must be at most 1000": {"page": 1001},
}


async def records(found: AsyncIterable[SessionRecord]) -> list[SessionRecord]:
    return [record async for record in found]


async def keys(found: AsyncIterable[SessionRecord]) -> list[str]:
    """Return the keys in order. A storage may return a record twice."""
    return sorted({str(record.key) async for record in found})


async def register_flow(
    store: AsyncSessionStore, key: str, flow: str, node: str, at: ReplyScope, **times: Any
) -> None:
    paused = SessionData(
        tenant_ctx=CTX, flow_id=flow, cursor=SessionCursor(node_pointer=node), context_json="{}"
    )
    await store.register_wait(CTX, "u1", at, key, paused, **times)


class ListingSessions(Hooks):
    """O1, O4: which records are returned."""

    @pytest.mark.parametrize(("caller", "expected"), CALLERS.values(), ids=CALLERS.keys())
    async def test_o4_f7_of_a_tenant_a_team_or_all(
        self, store: AsyncSessionStore, caller: TenantCtx | None, expected: list[str]
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", A, of=ctx("u2"))
        await register(store, "k3", A, of=ctx(team="blue"))
        await register(store, "k4", A, of=ctx(tenant="other"))
        await register(store, "k5", A, of=ctx(env="test"))
        assert await keys(store.iter_waits(caller)) == expected
        assert await keys(store.iter_sessions(caller)) == expected
        assert await store.count_waits(caller) == len(expected)

    async def test_o4_w8_the_records_are_those_of_other_calls(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        assert await records(store.iter_waits(SERVICE)) == [await store.get_record("k")]
        assert (await store.list_wait_records(CTX, "u1")) == await records(
            store.iter_waits(SERVICE)
        )

    async def test_o4_sessions_that_wait_nowhere(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        created = await store.create_session(CTX, data())
        of_no_user = await store.create_session(SERVICE, data(of=SERVICE))
        await register(store, "detached", A)
        await register(store, "waits", A)
        await register(store, "expired", B, ttl=10)
        await keep(store, "kept", C, ttl=10)
        await claim(store, A)
        await self.advance(backend, 11)
        assert await keys(store.iter_waits(SERVICE)) == ["waits"]
        assert await store.count_waits(SERVICE) == 1
        found = await keys(store.iter_sessions(SERVICE))
        assert found == sorted([str(created), str(of_no_user), "detached", "waits"])

    @pytest.mark.parametrize(("chosen", "expected"), FILTERS.values(), ids=FILTERS.keys())
    async def test_o4_filters(
        self, store: AsyncSessionStore, chosen: dict[str, Any], expected: list[str]
    ) -> None:
        if "expires_before" in chosen:
            deadline = datetime.now(timezone.utc) + chosen["expires_before"]
            chosen = {**chosen, "expires_before": deadline}
        threads = [ReplyScope(conversation="chat", thread=str(number)) for number in range(3)]
        await register_flow(store, "a", "order", "pizza", threads[0], ttl=3600)
        await register_flow(store, "b", "order", "size", threads[1], ttl=60)
        await register_flow(store, "c", "ticket", "size", threads[2], ttl=NEVER)
        await register_flow(store, "d", "ticket", "subject", B)
        assert await keys(store.iter_waits(SERVICE, **chosen)) == expected
        assert await keys(store.iter_sessions(SERVICE, **chosen)) == expected
        assert await store.count_waits(SERVICE, **chosen) == len(expected)

    @pytest.mark.parametrize("page", [1, 7, 64, 1000])
    async def test_o4_in_pages_of_any_size(self, store: AsyncSessionStore, page: int) -> None:
        expected = sorted(f"k{number}" for number in range(64))
        for key in expected:
            await register(store, key, ReplyScope(conversation=key))
        assert await keys(store.iter_waits(SERVICE, page=page)) == expected
        assert await keys(store.iter_waits(ctx(None, team="red"), page=page)) == []

    async def test_o4_large_documents(self, store: AsyncSessionStore) -> None:
        expected = sorted(f"k{number}" for number in range(12))
        for key in expected:
            await register(store, key, ReplyScope(conversation=key), "x" * 700_000)
        assert await keys(store.iter_waits(SERVICE)) == expected

    async def test_o4_f9_iterating_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        await keep(store, "kept", B, ttl=10)
        await self.advance(backend, 11)
        await register(store, "k2", C)
        before = sorted(await self.leftovers(backend))
        assert await keys(store.iter_sessions(None)) == ["k2"]
        assert sorted(await self.leftovers(backend)) == before

    async def test_o4_a_loop_may_be_left_and_begun_again(self, store: AsyncSessionStore) -> None:
        for key in ("k1", "k2", "k3"):
            await register(store, key, ReplyScope(conversation=key))
        async for _ in store.iter_waits(SERVICE, page=1):
            break
        found = store.iter_waits(SERVICE, page=1)
        assert len(await keys(found)) == 3
        assert await keys(found) == []

    async def test_o4_what_stays_is_returned_while_others_come_and_go(
        self, store: AsyncSessionStore
    ) -> None:
        stay = sorted(f"stays {number}" for number in range(60))
        for key in stay:
            await register(store, key, ReplyScope(conversation=key))
        is_over = anyio.Event()

        async def come_and_go(user: str) -> None:
            of = ctx(user)
            number = 0
            while not is_over.is_set():
                number += 1
                scope = ReplyScope(conversation=str(number % 5))
                await register(store, f"{user} {number}", scope, of=of)
                await store.update_session(f"stays {number % 60}", data(str(number)))
                await clear(store, ReplyScope(conversation=str((number + 2) % 5)), of=of)
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            for user in ("u2", "u3"):
                tasks.start_soon(come_and_go, user)
            for page in (1, 5, 20, 100):
                found: list[str] = []
                async for record in store.iter_waits(SERVICE, page=page):
                    found.append(str(record.key))
                    await checkpoint()
                assert sorted({key for key in found if key in stay}) == stay
            is_over.set()

    @pytest.mark.parametrize("caller", [CTX, ctx("u2")])
    async def test_o1_only_a_service_may_list(
        self, store: AsyncSessionStore, caller: TenantCtx
    ) -> None:
        with pytest.raises(TenantMismatchError, match="O1"):
            await keys(store.iter_waits(caller))
        with pytest.raises(TenantMismatchError, match="O1"):
            await keys(store.iter_sessions(caller))
        with pytest.raises(TenantMismatchError, match="O1"):
            await store.count_waits(caller)

    @pytest.mark.parametrize(("match", "chosen"), BAD.items(), ids=BAD.keys())
    async def test_o4_bad_arguments_are_refused(
        self, store: AsyncSessionStore, match: str, chosen: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=match):
            await keys(store.iter_waits(SERVICE, **chosen))
        with pytest.raises(InvalidInputError, match=match):
            await store.count_waits(SERVICE, **chosen)

    async def test_o4_r5_in_a_store_that_is_closed(self, backend: Backend) -> None:
        store = self.store_class(backend)
        with pytest.raises(StoreUsageError):
            await store.count_waits(SERVICE)
        async with store:
            await register(store, "k1", A)
            await register(store, "k2", B)
            found = store.iter_waits(SERVICE, page=1)
            async for _ in found:
                break
        with pytest.raises(StoreUsageError):
            await records(found)


class ListingUnreadable(SharedHooks):
    """O4, R2: documents that cannot be read."""

    @pytest.mark.parametrize(
        "document", [*OF_NO_ONE.values(), *OWNED.values()], ids=[*OF_NO_ONE, *OWNED]
    )
    async def test_o4_r2_unreadable_documents_are_left_out(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        document: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await register(store, "spoilt", A, "secret")
        await register(store, "sound", B)
        await self.overwrite(backend, "spoilt", document)
        with caplog.at_level(logging.WARNING, "async_session_store"):
            assert await keys(store.iter_sessions(None)) == ["sound"]
        assert "'spoilt' is left out" in caplog.text
        assert "secret" not in caplog.text
        assert await keys(store.iter_waits(SERVICE)) == ["sound"]
