from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_session_store import (
    NEVER,
    InvalidInputError,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    TenantCtx,
    TenantMismatchError,
    UserId,
    _rules,
)
from async_session_store._deliveries import delivery_digest
from async_session_store.abc import Delivery

A_CENTURY = timedelta(days=36_525)
A = ReplyScope(conversation="a")
B = ReplyScope(conversation="b")


def ctx(
    user: str | None = "u1", *, env: str = "prod", tenant: str = "acme", team: str | None = None
) -> TenantCtx:
    return TenantCtx(env=env, tenant_id=tenant, team_id=team, user_id=user)


def data(of: TenantCtx) -> SessionData:
    cursor = SessionCursor(node_pointer="ask")
    return SessionData(tenant_ctx=of, flow_id="order", cursor=cursor, context_json="{}")


CTX = ctx()
SERVICE = ctx(None)
OTHERS = {
    "env": ctx(env="test"),
    "tenant": ctx(tenant="other"),
    "team": ctx(team="blue"),
    "user": ctx("u2"),
}
other_owners = pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())


class TestArguments:
    def test_text_becomes_its_own_type(self) -> None:
        assert type(_rules.session_key("k")) is SessionKey
        owner = _rules.owner_for_read(SERVICE, "u1")
        assert owner is not None
        assert type(owner.user) is UserId

    @pytest.mark.parametrize("value", ["", "k" * 1025, 7, None])
    def test_an_invalid_key_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^session_key: "):
            _rules.session_key(value)

    @pytest.mark.parametrize("value", ["", "a:b", "a\n", 7, None], ids=ascii)
    def test_an_invalid_user_id_is_named(self, value: Any) -> None:
        for check in (
            lambda: _rules.owner_for_read(CTX, value),
            lambda: _rules.owner_for_write(CTX, value),
            lambda: _rules.check_new_wait(CTX, value, data(CTX)),
        ):
            with pytest.raises(InvalidInputError, match=r"^user_id: "):
                check()

    @pytest.mark.parametrize(
        ("scopes", "expected"), [(A, [A]), ([A], [A]), ((B, A), [B, A]), ([A, A], [A, A])]
    )
    def test_scopes_are_one_or_a_sequence(self, scopes: Any, expected: list[ReplyScope]) -> None:
        hashes = [scope.scope_hash() for scope in expected]
        assert list(_rules.scope_hashes(scopes)) == hashes

    @pytest.mark.parametrize(
        "scopes", [None, 7, "a", b"a", [], (), [None], {A}, [A, "a"]], ids=repr
    )
    def test_a_value_that_is_not_a_scope_is_named(self, scopes: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^scope: "):
            _rules.scope_hashes(scopes)

    def test_k6_a_delivery(self) -> None:
        hashes = (A.scope_hash(), B.scope_hash())
        owners = (ctx("u1").owner, ctx("u2").owner)
        assert _rules.deliveries(owners, hashes, None, 60) == ()
        deliveries = _rules.deliveries(owners, hashes, "event", timedelta(hours=1))
        digests = [delivery_digest(one, "event") for one in hashes]
        assert deliveries == tuple(
            Delivery(owner, digest, 3_600_000) for owner in owners for digest in digests
        )

    def test_k6_a_digest_stays_as_it_was_and_has_a_fixed_size(self) -> None:
        # Processes of other versions look for it, and a migrated file holds it.
        digest = "4b27221d7c6bc44a4ea3792cd73da5"
        assert delivery_digest(A.scope_hash(), "event").hex() == digest
        ids = ["", "event", "event ", "e" * 1024, "é", "\x00", "\n"]
        digests = {delivery_digest(one.scope_hash(), text) for one in (A, B) for text in ids}
        assert len(digests) == 2 * len(ids)
        assert {len(one) for one in digests} == {15}

    @pytest.mark.parametrize("value", ["", "x" * 1025, "\ud800", 7, b"e", True], ids=ascii)
    def test_k6_an_invalid_delivery_id_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^delivery_id: "):
            _rules.deliveries([CTX.owner], [A.scope_hash()], value, 60)

    @pytest.mark.parametrize("ttl", [0, NEVER, None, math.nan], ids=repr)
    def test_k6_a_dedupe_ttl_is_checked_with_a_delivery_or_without(self, ttl: Any) -> None:
        for delivery_id in ("event", None):
            with pytest.raises(InvalidInputError, match=r"^dedupe_ttl: "):
                _rules.deliveries([CTX.owner], [A.scope_hash()], delivery_id, ttl)

    def test_e2_an_etag(self) -> None:
        assert _rules.etag("etag") == "etag"

    @pytest.mark.parametrize("value", ["", "x" * 1025, "\ud800", 7, b"etag", True], ids=ascii)
    def test_e2_an_invalid_etag_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^if_match: "):
            _rules.etag(value)

    @pytest.mark.parametrize("value", [0, -1, 2**63, True, 1.5, None, "1"], ids=repr)
    def test_an_invalid_number_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^limit: "):
            _rules.limit(value)
        with pytest.raises(InvalidInputError, match=r"^max_document_bytes: "):
            _rules.max_document_bytes(value)


class TestTime:
    @pytest.mark.parametrize(
        ("ttl", "milliseconds"),
        [
            (NEVER, None),
            (1, 1000),
            (0.0004, 1),
            (1e-300, 1),
            (1.2345, 1234),
            (timedelta(microseconds=1), 1),
            (timedelta(milliseconds=1500), 1500),
            (A_CENTURY, 3_155_760_000_000),
            (3_155_760_000, 3_155_760_000_000),
        ],
        ids=str,
    )
    def test_t1_a_ttl_in_milliseconds(self, ttl: Any, milliseconds: int | None) -> None:
        assert _rules.milliseconds("ttl", ttl) == milliseconds
        assert _rules.deadline_change(ttl) == milliseconds

    @pytest.mark.parametrize(
        "ttl",
        [
            *(0, -1, -0.0, 0.0, math.nan, math.inf, -math.inf, 10**400, -(10**400)),
            *(timedelta(0), timedelta(-1), timedelta.max, timedelta.min),
            *(A_CENTURY + timedelta(microseconds=1), 3_155_760_001),
            *(True, False, "60", b"60", [60], object),
        ],
        ids=lambda ttl: repr(ttl)[:40],
    )
    def test_t1_a_bad_ttl_is_named(self, ttl: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^ttl: "):
            _rules.deadline_change(ttl)
        with pytest.raises(InvalidInputError, match=r"^default_wait_ttl: "):
            _rules.milliseconds("default_wait_ttl", ttl)

    @given(st.timedeltas(timedelta(milliseconds=1), A_CENTURY))
    def test_t6_it_is_exact_to_the_millisecond(self, ttl: timedelta) -> None:
        milliseconds = _rules.milliseconds("ttl", ttl)
        assert milliseconds is not None
        assert abs(timedelta(milliseconds=milliseconds) - ttl) <= timedelta(milliseconds=1)
        assert _rules.milliseconds("ttl", ttl.total_seconds()) == milliseconds

    def test_t3_a_change_needs_a_ttl(self) -> None:
        with pytest.raises(InvalidInputError, match=r"^ttl: "):
            _rules.deadline_change(None)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("lease", "milliseconds"), [(30, 30_000), (0.2, 200), (A_CENTURY, 3_155_760_000_000)]
    )
    def test_k1_a_lease_in_milliseconds(self, lease: Any, milliseconds: int) -> None:
        assert _rules.duration("lease", lease) == milliseconds

    @pytest.mark.parametrize(
        "lease", [0, -1, math.nan, math.inf, NEVER, None, True, "30", 10**400, timedelta.max]
    )
    def test_k1_a_bad_lease_is_named(self, lease: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^lease: "):
            _rules.duration("lease", lease)

    @pytest.mark.parametrize(
        ("wait", "seconds"), [(0, 0), (1.5, 1.5), (timedelta(minutes=1), 60), (timedelta(0), 0)]
    )
    def test_k1_a_time_to_wait_in_seconds(self, wait: Any, seconds: float) -> None:
        assert _rules.wait_timeout(wait) == seconds

    @pytest.mark.parametrize(
        "wait",
        [
            *(-1, -0.001, math.nan, math.inf, -math.inf, 10**400, 3_155_760_001),
            *(timedelta(-1), timedelta.max, True, False, None, NEVER, "1"),
        ],
        ids=lambda wait: repr(wait)[:40],
    )
    def test_k1_a_bad_time_to_wait_is_named(self, wait: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^wait: "):
            _rules.wait_timeout(wait)


class TestWhoMayWrite:
    @pytest.mark.parametrize("of", [CTX, SERVICE], ids=["a user's", "no user's"])
    def test_f1_a_session_of_the_callers_own(self, of: TenantCtx) -> None:
        assert _rules.check_new_session(CTX, data(of)) == of.owner

    @other_owners
    def test_f1_a_session_of_another(self, other: TenantCtx) -> None:
        with pytest.raises(TenantMismatchError, match="F1"):
            _rules.check_new_session(CTX, data(other))
        with pytest.raises(TenantMismatchError, match="F1"):
            _rules.check_new_wait(CTX, UserId("u1"), data(other))

    def test_f1_a_session_of_a_user_needs_a_user(self) -> None:
        with pytest.raises(TenantMismatchError, match="F1"):
            _rules.check_new_session(SERVICE, data(CTX))

    def test_f3_a_wait_of_the_callers_own(self) -> None:
        assert _rules.check_new_wait(CTX, UserId("u1"), data(CTX)) == CTX.owner

    @pytest.mark.parametrize(
        ("caller", "user", "of"),
        [
            (CTX, "u2", CTX),
            (CTX, "u1", SERVICE),
            (SERVICE, "u1", SERVICE),
            (SERVICE, "u1", CTX),
            (CTX, "u2", ctx("u2")),
        ],
    )
    def test_f3_a_wait_of_another(self, caller: TenantCtx, user: str, of: TenantCtx) -> None:
        with pytest.raises(TenantMismatchError):
            _rules.check_new_wait(caller, UserId(user), data(of))

    @pytest.mark.parametrize("caller", [CTX, SERVICE], ids=["the user", "a service"])
    def test_f4_the_user_and_a_service_may_read_and_clear(self, caller: TenantCtx) -> None:
        assert _rules.owner_for_read(caller, UserId("u1")) == CTX.owner
        assert _rules.owner_for_write(caller, UserId("u1")) == CTX.owner

    def test_f4_another_user_may_not(self) -> None:
        assert _rules.owner_for_read(ctx("u2"), UserId("u1")) is None
        with pytest.raises(TenantMismatchError, match="F4"):
            _rules.owner_for_write(ctx("u2"), UserId("u1"))

    def test_f4_the_owner_is_of_the_callers_tenant(self) -> None:
        assert (
            _rules.owner_for_read(ctx(None, tenant="other"), UserId("u1"))
            == ctx(tenant="other").owner
        )

    @other_owners
    def test_f5_who_sees_what(self, other: TenantCtx) -> None:
        assert not CTX.owner.sees(other.owner)
        assert not other.owner.sees(CTX.owner)
        assert other.owner.sees(other.owner)

    def test_f5_no_user_is_any_user(self) -> None:
        assert CTX.owner.sees(SERVICE.owner)
        assert SERVICE.owner.sees(CTX.owner)
        assert not SERVICE.owner.sees(ctx(None, team="blue").owner)

    def test_f6_the_team_dash(self) -> None:
        dashed = ctx(team="-")
        for check in (
            lambda: _rules.owner_of(dashed),
            lambda: _rules.owner_for_read(dashed, UserId("u1")),
            lambda: _rules.owner_for_write(dashed, UserId("u1")),
            lambda: _rules.check_new_session(dashed, data(dashed)),
            lambda: _rules.check_new_wait(dashed, UserId("u1"), data(dashed)),
        ):
            with pytest.raises(InvalidInputError, match=r"^ctx: .*F6"):
                check()
        with pytest.raises(InvalidInputError, match=r"^data.tenant_ctx: .*F6"):
            _rules.check_new_session(CTX, data(dashed))

    @pytest.mark.parametrize("value", [None, 7, "ctx", {}], ids=repr)
    def test_a_value_that_is_not_a_context_or_data_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^ctx: "):
            _rules.owner_for_read(value, UserId("u1"))
        with pytest.raises(InvalidInputError, match=r"^data: "):
            _rules.check_new_session(CTX, value)
        with pytest.raises(InvalidInputError, match=r"^data: "):
            _rules.owner_of_data(value)

    def test_f8_a_refusal_names_only_the_callers_env_tenant_and_team(self) -> None:
        secret = ctx("secret", env="secret", tenant="secret", team="secret")
        refusals = [
            lambda: _rules.check_new_session(ctx("secret"), data(secret)),
            lambda: _rules.check_new_wait(ctx("secret"), UserId("secret2"), data(ctx("secret"))),
            lambda: _rules.owner_for_write(ctx("secret"), UserId("secret2")),
        ]
        for refusal in refusals:
            with pytest.raises(TenantMismatchError) as caught:
                refusal()
            assert "env=prod, tenant=acme, team=-, user present" in str(caught.value)
            assert "secret" not in str(caught.value)
        assert "user missing" in str(_rules._owner_change(data(SERVICE)))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda: _rules.milliseconds("ttl", -1), "ttl: must be positive and finite, or NEVER (T1)"),
        (lambda: _rules.duration("lease", -1), "lease: must be positive and finite (T1)"),
        (lambda: _rules.duration("lease", 1e10), "lease: must be at most 100 years (T1)"),
        (
            lambda: _rules.expired_ttl("expired_ttl", -1),
            "expired_ttl: must be positive and finite, or 0 (T1)",
        ),
    ],
)
def test_t1_q1_a_refusal_names_only_valid_alternatives(
    check: Callable[[], object], text: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check()
    assert str(refused.value) == text
