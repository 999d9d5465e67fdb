from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from backend_hooks import RedisHooks
from redis.asyncio import Redis

from async_session_store import AsyncSessionStore
from async_session_store._deliveries import delivery_digest
from async_session_store.backends.redis import RedisBackend
from async_session_store.testing import SharedStorageSuite
from async_session_store.testing.contract.builders import A, ctx, data, register
from async_session_store.testing.contract.claim_builders import claim
from stored_keys import documents, stored_keys


class TestRedis(RedisHooks, SharedStorageSuite):
    @pytest.mark.parametrize("team", [None, "blue"])
    async def test_the_layout_is_that_of_the_rust_crate(
        self, store: AsyncSessionStore, team: str | None
    ) -> None:
        of = ctx(team=team)
        await register(store, "k", A, '{"a": 1}', of=of, ttl=60)
        owner = f"prod:acme:{team or '-'}:u1"
        found = stored_keys(self.behind, self.namespace)
        del found["meta:k"]
        document = data('{"a": 1}', of=of).model_dump_json().encode()
        assert documents(found) == {
            "session:k": (document, True),
            f"waits:user:{owner}": ({b"k"}, False),
            f"waits:scope:{owner}:{A.scope_hash()}": (b"k", True),
        }

    async def test_claims_and_deliveries_have_deadlines(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        place = f"prod:acme:-:u1:{A.scope_hash()}"
        claimed = await claim(store, A, lease=20, delivery_id="a:b", dedupe_ttl=100)
        key = f"{self.namespace}:claim:{place}"
        assert 19_000 < self.behind.pttl(key) <= 20_000
        await claimed.renew(200)
        assert 199_000 < self.behind.pttl(key) <= 200_000
        assert await claimed.complete()
        found = stored_keys(self.behind, self.namespace)
        digest = urlsafe_b64encode(delivery_digest(A.scope_hash(), "a:b")).decode()
        remembered = f"delivery:prod:acme:-:u1:{digest}"
        assert {key: value for key, (value, _) in found.items()} == {remembered: b"1"}
        assert len(digest) == 20
        assert 99_000 < self.behind.pttl(f"{self.namespace}:{remembered}") <= 100_000

    async def test_a_claim_leaves_the_layout_as_it_is(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, ttl=60)
        before = stored_keys(self.behind, self.namespace)
        claimed = await claim(store, A)
        during = stored_keys(self.behind, self.namespace)
        (added,) = during.keys() - before.keys()
        assert added.startswith("claim:")
        del during[added]
        assert during == before
        await claimed.release()
        assert stored_keys(self.behind, self.namespace) == before

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_r6_a_callers_client_stays_open(self) -> None:
        async with Redis.from_url(self.url) as client:
            async with AsyncSessionStore(RedisBackend(client, namespace=self.namespace)) as store:
                await register(store, "k", A)
            assert await client.exists(f"{self.namespace}:session:k")
