"""X4: explaining the result of a look-up."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest

from async_session_store import (
    AsyncSessionStore,
    Explanation,
    InvalidInputError,
    ReplyScope,
    TenantCtx,
    WaitStatus,
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
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.hooks import Hooks

TEAM = ctx(team="blue")
LADDER = (A, B, C)


async def explain(
    store: AsyncSessionStore, *scopes: ReplyScope, by: TenantCtx = CTX, user: str = "u1"
) -> Explanation:
    return await store.explain(by, user, scopes or LADDER)


def statuses(explanation: Explanation) -> list[str]:
    return [report.status.value for report in explanation.reports]


class Explaining(Hooks):
    """X4: ``explain`` reports the state of each scope, and nothing but the caller's own waits."""

    async def test_x4_an_empty_scope_is_reported_as_nothing(self, store: AsyncSessionStore) -> None:
        found = await explain(store)
        assert statuses(found) == ["nothing"] * 3
        assert found.same_user
        for report, scope in zip(found.reports, LADDER, strict=True):
            assert report.scope == scope
            told = (report.team, report.session_key, report.expires_at, report.claimed_until)
            assert told == (None, None, None, None)

    async def test_x4_one_scope_may_be_given_by_itself(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        assert await store.explain(CTX, "u1", A) == await store.explain(CTX, "u1", [A])

    async def test_x4_a_live_wait_is_reported_with_its_key_and_deadline(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", B, ttl=60)
        await register(store, "endless", C)
        nothing, live, endless = (await explain(store)).reports
        assert nothing.status is WaitStatus.NOTHING
        assert (live.status, live.session_key) == (WaitStatus.LIVE, "k")
        assert (endless.status, endless.session_key) == (WaitStatus.LIVE, "endless")
        assert endless.expires_at is None
        record = await store.get_wait(CTX, "u1", B)
        assert record is not None
        assert record.expires_at is not None
        assert live.expires_at is not None
        assert abs(live.expires_at - record.expires_at) < timedelta(seconds=1)

    async def test_x4_a_wait_that_expired_moved_or_was_cleared_is_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expires", A, ttl=10)
        await register(store, "moves", B)
        await register(store, "cleared", C)
        await register(store, "moves", ReplyScope(conversation="elsewhere"))
        await clear(store, C)
        await self.advance(backend, 11)
        assert statuses(await explain(store)) == ["nothing"] * 3

    async def test_x4_a_claim_is_reported_with_its_end(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=3600)
        held = await claim(store, A, lease=60)
        (report,) = (await explain(store, A)).reports
        assert (report.status, report.session_key) == (WaitStatus.CLAIMED, "k")
        assert report.claimed_until is not None
        assert report.claimed_until.tzinfo is timezone.utc
        assert abs(report.claimed_until - held.lease_ends_at) < timedelta(seconds=1)
        await self.advance(backend, 61)
        (report,) = (await explain(store, A)).reports
        assert (report.status, report.claimed_until) == (WaitStatus.LIVE, None)

    async def test_x4_a_claim_that_has_ended_is_not_reported(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await (await claim(store, A)).release()
        assert statuses(await explain(store, A)) == ["live"]
        await (await claim(store, A)).complete()
        assert statuses(await explain(store, A)) == ["nothing"]

    async def test_x4_a_claim_that_outlives_its_wait_is_reported(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A)
        await clear(store, A)
        (report,) = (await explain(store, A)).reports
        assert (report.status, report.session_key) == (WaitStatus.NOTHING, None)
        assert report.claimed_until is not None

    async def test_x4_f7_explaining_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expired", A, ttl=10)
        await register(store, "k", B, ttl=600)
        held = await claim(store, B, lease=300)
        await self.advance(backend, 11)
        before = sorted(await self.leftovers(backend))
        for _ in range(3):
            await explain(store)
        assert sorted(await self.leftovers(backend)) == before
        assert await find(store, B) == "k"
        assert await held.complete()

    async def test_x4_f7_nothing_of_another_user_or_tenant_is_reported(
        self, store: AsyncSessionStore
    ) -> None:
        others = [
            *(ctx("u2"), ctx("u2", team="blue"), ctx(tenant="other"), ctx(env="test")),
            ctx(team="red"),
        ]
        for number, other in enumerate(others):
            await register(store, f"theirs-{number}", A, of=other)
            await store.claim_wait(other, other.owner.user or "", A)
        for by in (CTX, TEAM, SERVICE, ctx(None, team="blue")):
            for report in (await explain(store, A, by=by)).reports:
                assert (report.status, report.session_key) == (WaitStatus.NOTHING, None)
                assert report.claimed_until is None

    async def test_x4_f4_a_ctx_with_another_user_learns_nothing(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A)
        found = await explain(store, by=ctx("u2"))
        assert not found.same_user
        assert statuses(found) == ["nothing"] * 3
        assert all(report.claimed_until is None for report in found.reports)
        assert "another user" in str(found)

    async def test_x4_f3a_a_ctx_without_a_user_may_ask_for_any_user_of_its_team(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, of=ctx("u2"))
        found = await explain(store, A, by=SERVICE, user="u2")
        assert statuses(found) == ["live"]
        assert found.same_user

    async def test_x4_a_ctx_with_a_team_learns_of_waits_without_one(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "no team", A)
        await register(store, "team", B, of=TEAM)
        found = await explain(store, by=TEAM)
        assert statuses(found) == ["nothing", "live", "nothing", "live", "nothing", "nothing"]
        assert [report.team for report in found.reports] == ["blue"] * 3 + [None] * 3
        assert [report.scope for report in found.reports] == [*LADDER, *LADDER]
        assert statuses(await explain(store)) == ["live", "nothing", "nothing"]

    async def test_x4_its_text_names_the_states_and_nothing_private(
        self, store: AsyncSessionStore
    ) -> None:
        secret = ctx("secret", team="blue")
        private = ReplyScope(conversation="private", thread="private", correlation="private")
        await register(store, "private-key", private, "private", of=secret, ttl=60)
        await store.claim_wait(secret, "secret", private)
        found = await store.explain(secret, "secret", private)
        text = str(found)
        year = str(datetime.now(timezone.utc).year)
        for told in ("conversation + thread + correlation", "team blue: claimed", "team -", year):
            assert told in text
        for word in ("private", "secret", "\n"):
            assert word not in text

    async def test_x4_an_explanation_cannot_be_changed(self, store: AsyncSessionStore) -> None:
        found = await explain(store)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.same_user = False  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.reports[0].team = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        assert hash(found) == hash(await explain(store))

    async def test_x4_an_invalid_argument_is_refused(self, store: AsyncSessionStore) -> None:
        with pytest.raises(InvalidInputError, match="scope: give a ReplyScope"):
            await store.explain(CTX, "u1", [])
        with pytest.raises(InvalidInputError, match="user_id"):
            await store.explain(CTX, "no id:", A)
        with pytest.raises(InvalidInputError, match="team '-'"):
            await store.explain(ctx(team="-"), "u1", A)
