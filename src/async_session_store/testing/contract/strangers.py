"""F4 to F8: callers who do not own a session see nothing of it, and can do nothing to it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest

from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    SessionNotFoundError,
    SessionStoreError,
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
    assert_waits_untouched,
    clear,
    ctx,
    data,
    find,
    find_by_user,
    listed,
    register,
    register_if_absent,
    stranger_contexts,
)
from async_session_store.testing.contract.hooks import Hooks

Call = Callable[[AsyncSessionStore, TenantCtx], Awaitable[object]]

WITH_CTX: dict[str, Call] = {
    "update": lambda store, ctx: store.update_session("k", data(), ctx=ctx),
    "touch": lambda store, ctx: store.touch_session("k", 60, ctx=ctx),
    "remove": lambda store, ctx: store.remove_session("k", ctx=ctx),
}

READS: dict[str, Call] = {
    "get_session": lambda store, ctx: store.get_session("k", ctx=ctx),
    "get_record": lambda store, ctx: store.get_record("k", ctx=ctx),
    "find_wait_by_scope": lambda store, ctx: store.find_wait_by_scope(ctx, "u1", A),
    "get_wait": lambda store, ctx: store.get_wait(ctx, "u1", [B, A]),
    "list_waits_for_user": lambda store, ctx: store.list_waits_for_user(ctx, "u1"),
    "list_wait_records": lambda store, ctx: store.list_wait_records(ctx, "u1"),
}

EVERY_CALL: dict[str, Call] = {
    **WITH_CTX,
    **READS,
    "create_session": lambda store, ctx: store.create_session(ctx, data(of=ctx)),
    "register_wait": lambda store, ctx: store.register_wait(ctx, "u1", A, "k", data(of=ctx)),
    "register_wait_if_absent": lambda store, ctx: store.register_wait_if_absent(
        ctx, "u1", A, "k", data(of=ctx)
    ),
    "clear_wait": lambda store, ctx: store.clear_wait(ctx, "u1", A),
    "clear_waits_for_user": lambda store, ctx: store.clear_waits_for_user(ctx, "u1"),
}


def one_team(team: str | None, env: str = "prod", tenant: str = "acme") -> TenantCtx:
    return ctx(team=team, env=env, tenant=tenant)


class Strangers(Hooks):
    """F4 to F8: other users, teams and tenants."""

    async def test_f4_another_user_finds_nothing(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "mine")
        stranger = ctx("u2")
        assert await store.find_wait_by_scope(stranger, "u1", A) is None
        assert await store.get_wait(stranger, "u1", A) is None
        assert await store.list_waits_for_user(stranger, "u1") == []
        assert await store.list_wait_records(stranger, "u1") == []
        assert await find_by_user(store, "u1", by=stranger) is None
        await assert_waits_untouched(store)

    async def test_f4_another_user_clears_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        async with self.refused(backend, TenantMismatchError, "F4"):
            await store.clear_wait(ctx("u2"), "u1", A)
        async with self.refused(backend, TenantMismatchError, "F4"):
            await store.clear_wait(ctx("u2"), "u1", A, session_key="k")
        async with self.refused(backend, TenantMismatchError, "F4"):
            await store.clear_waits_for_user(ctx("u2"), "u1")
        await assert_waits_untouched(store)

    @stranger_contexts
    async def test_f5_a_session_of_another_owner_does_not_exist(
        self, backend: Backend, store: AsyncSessionStore, stranger: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine")
        assert await store.get_session("k", ctx=stranger) is None
        assert await store.get_record("k", ctx=stranger) is None
        for call in WITH_CTX.values():
            async with self.refused(backend, SessionNotFoundError, "no live session"):
                await call(store, stranger)
        await assert_waits_untouched(store)

    @stranger_contexts
    async def test_f5_ownership_is_decided_before_any_other_check(
        self, backend: Backend, store: AsyncSessionStore, stranger: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine")
        async with self.refused(backend, SessionNotFoundError, "no live session"):
            await store.update_session("k", data(of=stranger), ctx=stranger)

    @pytest.mark.parametrize("viewer", [CTX, SERVICE], ids=["the user", "a service"])
    async def test_f5_its_owner_and_a_service_see_it(
        self, store: AsyncSessionStore, viewer: TenantCtx
    ) -> None:
        await register(store, "k", A)
        assert await store.get_session("k", ctx=viewer) == data()
        assert await store.get_record("k", ctx=viewer) is not None
        await store.update_session("k", data("new"), ctx=viewer)
        await store.touch_session("k", 60, ctx=viewer)
        await store.remove_session("k", ctx=viewer)
        assert await store.get_session("k") is None

    async def test_f5_a_session_without_a_user_is_seen_by_any_user(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        key = await store.create_session(SERVICE, data(of=SERVICE))
        assert await store.get_session(key, ctx=ctx("u2")) == data(of=SERVICE)
        assert await store.get_session(key, ctx=ctx(tenant="other")) is None
        async with self.refused(backend, TenantMismatchError, "F2"):
            await store.update_session(key, data(), ctx=CTX)
        await store.update_session(key, data("new", of=SERVICE), ctx=CTX)
        await store.touch_session(key, 60, ctx=CTX)
        await store.remove_session(key, ctx=ctx("u2"))

    @pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL.keys())
    async def test_f6_the_team_dash_is_refused(
        self, backend: Backend, store: AsyncSessionStore, call: Call
    ) -> None:
        await register(store, "k", A, "mine")
        async with self.refused(backend, InvalidInputError, "ctx: .*'-'.*F6"):
            await call(store, ctx(team="-"))
        await assert_waits_untouched(store)

    async def test_f6_the_team_dash_is_refused_in_data(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        dashed = data(of=ctx(team="-"))
        async with self.refused(backend, InvalidInputError, "'-'.*F6"):
            await store.update_session("k", dashed)
        async with self.refused(backend, InvalidInputError, "'-'.*F6"):
            await store.create_session(CTX, dashed)
        async with self.refused(backend, InvalidInputError, "'-'.*F6"):
            await store.register_wait(CTX, "u1", A, "k", dashed)
        await assert_waits_untouched(store)

    @pytest.mark.parametrize(
        ("one", "another"),
        [
            (one_team(None), one_team("none")),
            (one_team("null"), one_team("None")),
            (one_team("a"), one_team("A")),
            (one_team("1"), one_team("1.0")),
            (one_team("1"), one_team("01")),
            (one_team("a-b", tenant="c"), one_team("b", tenant="c-a")),
            (one_team(None, env="a", tenant="b-"), one_team(None, env="a-", tenant="b")),
            (one_team("x", tenant="y"), one_team("y", tenant="x")),
            (ctx("1e1"), ctx("10")),
            (ctx("u"), ctx("U")),
            (ctx("x", team="y"), ctx("y", team="x")),
            (ctx("9" * 30), ctx("9" * 29 + "8")),
        ],
        ids=lambda of: ".".join(part or "" for part in of.owner),
    )
    async def test_f7_owners_with_similar_names_are_kept_apart(
        self, store: AsyncSessionStore, one: TenantCtx, another: TenantCtx
    ) -> None:
        await register(store, "of one", A, of=one)
        assert await find(store, A, of=another) is None
        assert await register(store, "of another", A, of=another) is None
        assert await find(store, A, of=one) == "of one"
        assert await listed(store, of=one) == ["of one"]
        assert await listed(store, of=another) == ["of another"]
        assert await store.get_session("of one", ctx=another) is None
        assert await store.clear_waits_for_user(another, another.owner.user or "") == 1
        assert await find(store, A, of=one) == "of one"

    @stranger_contexts
    async def test_f7_reads_change_nothing_of_another_owner(
        self, backend: Backend, store: AsyncSessionStore, stranger: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine", ttl=600)
        before = await self.leftovers(backend)
        for read in READS.values():
            assert not await read(store, stranger)
        assert sorted(await self.leftovers(backend)) == sorted(before)
        await assert_waits_untouched(store)

    @stranger_contexts
    async def test_f7_a_stranger_clears_only_its_own_waits(
        self, store: AsyncSessionStore, stranger: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine")
        assert not await clear(store, A, of=stranger)
        assert not await clear(store, A, "k", of=stranger)
        assert await store.clear_waits_for_user(stranger, stranger.owner.user or "") == 0
        await assert_waits_untouched(store)

    async def test_f8_errors_and_logs_hold_no_secrets(
        self, store: AsyncSessionStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        mine = ctx("secret-me")
        foreign = ctx("secret-them", env="secret-env", tenant="secret-t", team="secret-team")
        payload = "secret-payload"
        await register(store, "theirs", A, payload, of=foreign)
        await register(store, "mine", A, payload, of=mine)
        dashed = ctx("secret-me", team="-")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.update_session("theirs", data(payload, of=mine)),
            lambda: store.update_session("theirs", data(payload, of=mine), ctx=mine),
            lambda: store.touch_session("theirs", 1, ctx=mine),
            lambda: store.remove_session("theirs", ctx=mine),
            lambda: store.update_session("gone", data(payload, of=mine)),
            lambda: register(store, "theirs", B, payload, of=mine),
            lambda: register_if_absent(store, "theirs", C, payload, of=mine),
            lambda: store.register_wait(CTX, "secret-me", A, "k", data(payload, of=mine)),
            lambda: store.register_wait(mine, "secret-them", A, "k", data(payload, of=mine)),
            lambda: store.create_session(mine, data(payload, of=foreign)),
            lambda: store.create_session(CTX, data(payload, of=foreign)),
            lambda: store.clear_wait(mine, "secret-them", A),
            lambda: store.clear_waits_for_user(mine, "secret:me"),
            lambda: store.create_session(dashed, data(payload, of=dashed)),
            lambda: store.create_session(mine, data(payload, of=mine), ttl=-1),
            lambda: store.create_session(mine, payload),  # type: ignore[arg-type]
            lambda: store.find_wait_by_scope(mine, "secret-me", payload),  # type: ignore[arg-type]
            lambda: store.find_wait_by_scope("secret", "u", A),  # type: ignore[arg-type]
        ]
        for call in calls:
            with pytest.raises(SessionStoreError) as caught:
                await call()
            error: BaseException | None = caught.value
            while error is not None:
                assert "secret" not in f"{error} {error!r}"
                error = error.__cause__ or error.__context__
        assert "secret" not in caplog.text

    async def test_f8_a_refusal_names_the_caller(self, store: AsyncSessionStore) -> None:
        await register(store, "theirs", A, of=ctx(tenant="other", team="red"))
        with pytest.raises(TenantMismatchError) as caught:
            await register(store, "theirs", A, of=ctx(team="blue"))
        assert "env=prod, tenant=acme, team=blue, user present" in str(caught.value)
        with pytest.raises(TenantMismatchError, match="team=-, user missing"):
            await store.create_session(SERVICE, data())
