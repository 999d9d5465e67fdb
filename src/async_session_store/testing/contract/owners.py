"""F1, F2, F3, F3a: who owns a session, and who may write for whom."""

from __future__ import annotations

import json

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    SessionData,
    TenantCtx,
    TenantMismatchError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    STRANGERS,
    A,
    B,
    assert_waits_untouched,
    clear,
    context_of,
    ctx,
    data,
    find,
    listed,
    register,
    register_if_absent,
    stranger_contexts,
)
from async_session_store.testing.contract.hooks import Hooks


class Owners(Hooks):
    """F1, F2, F3, F3a: owners, users and services."""

    @pytest.mark.parametrize(
        "caller",
        [*STRANGERS.values(), SERVICE],
        ids=[*STRANGERS.keys(), "no user"],
    )
    async def test_f1_data_of_another_owner_is_refused(
        self, backend: Backend, store: AsyncSessionStore, caller: TenantCtx
    ) -> None:
        async with self.refused(backend, TenantMismatchError, r"ctx must have .*\(F1\)"):
            await store.create_session(caller, data())
        async with self.refused(backend, TenantMismatchError, r"ctx must have .*\(F1\)"):
            await store.register_wait(caller, "u1", A, "k", data())
        async with self.refused(backend, TenantMismatchError, r"ctx must have .*\(F1\)"):
            await store.register_wait_if_absent(caller, "u1", A, "k", data())

    async def test_f1_a_team_is_not_the_same_as_no_team(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.refused(backend, TenantMismatchError, "F1"):
            await store.create_session(CTX, data(of=ctx(team="blue")))

    @pytest.mark.parametrize(
        "caller",
        [ctx(env="test"), ctx(tenant="other"), ctx(team="blue")],
        ids=["another env", "another tenant", "another team"],
    )
    async def test_f1_data_without_a_user_of_another_team_is_refused(
        self, backend: Backend, store: AsyncSessionStore, caller: TenantCtx
    ) -> None:
        async with self.refused(backend, TenantMismatchError, "F1"):
            await store.create_session(caller, data(of=SERVICE))

    async def test_f1_a_user_may_create_a_session_without_a_user(
        self, store: AsyncSessionStore
    ) -> None:
        key = await store.create_session(CTX, data(of=SERVICE))
        assert await store.get_session(key) == data(of=SERVICE)

    @stranger_contexts
    async def test_f2_no_write_takes_over_a_key(
        self, backend: Backend, store: AsyncSessionStore, stranger: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine", ttl=600)
        await register(store, "theirs", A, of=stranger)
        before = await store.get_record("k")

        async with self.refused(backend, TenantMismatchError, "F2"):
            await register(store, "k", A, of=stranger, ttl=NEVER)
        async with self.refused(backend, TenantMismatchError, "F2"):
            await register(store, "k", B, of=stranger)
        async with self.refused(backend, TenantMismatchError, "F2"):
            await register_if_absent(store, "k", B, of=stranger)
        async with self.refused(backend, TenantMismatchError, "F2"):
            await store.update_session("k", data(of=stranger))

        after = await store.get_record("k")
        assert before is not None
        assert after is not None
        assert (after.data, after.etag) == (before.data, before.etag)
        assert after.expires_at is not None
        assert await find(store, A, of=stranger) == "theirs"
        await assert_waits_untouched(store)

    async def test_f2_a_user_is_neither_added_nor_removed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        without = await store.create_session(SERVICE, data("without", of=SERVICE))
        await register(store, "k", A, "mine")

        async with self.refused(backend, TenantMismatchError, "F2"):
            await store.update_session(without, data())
        async with self.refused(backend, TenantMismatchError, "F2"):
            await register(store, without, B)
        async with self.refused(backend, TenantMismatchError, "F2"):
            await store.update_session("k", data(of=SERVICE))

        assert await context_of(store, without) == "without"
        await assert_waits_untouched(store)

    async def test_f2_fields_that_are_not_part_of_the_owner_may_change(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        of = CTX.model_copy(update={"attempt": 1, "trace_id": "t", "attributes": {"a": "1"}})
        await store.update_session("k", data(of=of))
        assert await store.get_session("k") == data(of=of)

    async def test_f2_an_expired_session_does_not_hold_its_key(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        await self.advance(backend, 11)
        stranger = ctx(tenant="other")
        await register(store, "k", A, "theirs", of=stranger)
        assert await find(store, A) is None
        assert await listed(store) == []
        assert await find(store, A, of=stranger) == "k"
        assert not await clear(store, A)
        assert await context_of(store, "k") == "theirs"

    async def test_f3_the_user_must_be_the_one_in_the_data(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.refused(backend, TenantMismatchError, "F3"):
            await store.register_wait(CTX, "u2", A, "k", data())
        async with self.refused(backend, TenantMismatchError, "F3"):
            await store.register_wait(CTX, "u1", A, "k", data(of=SERVICE))
        async with self.refused(backend, TenantMismatchError, "F3"):
            await store.register_wait_if_absent(CTX, "u2", A, "k", data())

    async def test_f3a_a_service_cannot_register(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for of in (CTX, SERVICE):
            async with self.refused(backend, TenantMismatchError, "F1|F3"):
                await store.register_wait(SERVICE, "u1", A, "k", data(of=of))

    async def test_f3a_a_service_reads_and_clears_for_any_user(
        self, store: AsyncSessionStore
    ) -> None:
        for user in ("u1", "u2"):
            for scope in (A, B):
                await register(store, f"{user}{scope.conversation}", scope, of=ctx(user))

        assert await store.find_wait_by_scope(SERVICE, "u2", A) == "u2a"
        record = await store.get_wait(SERVICE, "u2", A)
        assert record is not None
        assert record.key == "u2a"
        assert await store.list_waits_for_user(SERVICE, "u1") == ["u1a", "u1b"]
        assert len(await store.list_wait_records(SERVICE, "u1")) == 2
        assert await store.clear_wait(SERVICE, "u1", A)
        assert await store.clear_waits_for_user(SERVICE, "u2") == 2
        assert await listed(store) == ["u1b"]

    async def test_f3a_a_service_has_no_right_outside_its_team(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        for service in (ctx(None, env="test"), ctx(None, tenant="other"), ctx(None, team="blue")):
            assert await store.find_wait_by_scope(service, "u1", A) is None
            assert await store.list_waits_for_user(service, "u1") == []
            assert not await store.clear_wait(service, "u1", A)
            assert await store.clear_waits_for_user(service, "u1") == 0
        await assert_waits_untouched(store)

    async def test_f2_m2_one_of_two_twins_names_the_same_owner(
        self, store: AsyncSessionStore
    ) -> None:
        document = data().model_dump(mode="json")
        del document["tenant_ctx"]["user_id"]
        await register(store, "k", A)
        await store.update_session("k", SessionData.model_validate_json(json.dumps(document)))
        assert await listed(store) == ["k"]
