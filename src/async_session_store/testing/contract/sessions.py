"""S1 to S6: sessions by their keys."""

from __future__ import annotations

import uuid

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    SessionNotFoundError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    clear,
    context_of,
    ctx,
    data,
    find,
    find_by_user,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.hooks import Hooks

ODD_KEYS = {
    "colons": "tg:1::2:",
    "newline": "a\nb\n",
    "nul": "a\x00b",
    "blank": " ",
    "quotes": "';\"\\--",
    "glob": "[a-z]*?\\",
    "braces": "{tag}%s%%",
    "dots": "../..",
    "dash": "-",
    "1024 bytes": "k" * 1024,
    "1024 bytes of emoji": "😀" * 256,
    "unicode": "ключ\u2028\ufeff\uffff",
}

LOOK_ALIKES = ["a", "A", "a ", "\u00e9", "e\u0301", "1", "01", "1.0", "1e0", "None", "k", "k\x00"]


def of_size(size: int) -> str:
    """Return a context whose document has this size in bytes, as JSON."""
    rest = size - len(data("").model_dump_json())
    return "é" * (rest // 2) + "e" * (rest % 2)


class Sessions(Hooks):
    """S1 to S6: create, get, update and remove."""

    async def test_s1_create_returns_a_fresh_uuid4(self, store: AsyncSessionStore) -> None:
        keys = [await store.create_session(CTX, data()) for _ in range(10)]
        assert len(set(keys)) == 10
        for key in keys:
            assert uuid.UUID(key).version == 4
            assert str(uuid.UUID(key)) == key

    async def test_s1_a_created_session_waits_nowhere(self, store: AsyncSessionStore) -> None:
        await store.create_session(CTX, data())
        assert await listed(store) == []
        assert await store.list_wait_records(CTX, "u1") == []
        assert await store.clear_waits_for_user(CTX, "u1") == 0
        assert await find_by_user(store) is None

    async def test_s1_default_session_ttl_holds_where_no_ttl_is_given(
        self, backend: Backend
    ) -> None:
        async with self.store_class(backend, default_session_ttl=60, default_wait_ttl=10) as store:
            by_default = await store.create_session(CTX, data())
            longer = await store.create_session(CTX, data(), ttl=90)
            for_ever = await store.create_session(CTX, data(), ttl=NEVER)
            await self.advance(backend, 30)
            assert await store.get_session(by_default) is not None
            await self.advance(backend, 31)
            assert await store.get_session(by_default) is None
            assert await store.get_session(longer) is not None
            await self.advance(backend, 30)
            assert await store.get_session(longer) is None
            assert await store.get_session(for_ever) is not None

    async def test_s1_without_a_default_a_session_has_no_deadline(
        self, store: AsyncSessionStore
    ) -> None:
        record = await store.get_record(await store.create_session(CTX, data()))
        assert record is not None
        assert record.expires_at is None

    async def test_s1_a_created_session_can_wait(self, store: AsyncSessionStore) -> None:
        key = await store.create_session(CTX, data("new"), ttl=60)
        assert await register(store, key, A, "waiting") is None
        assert await find(store, A) == key
        assert await context_of(store, key) == "waiting"

    async def test_s2_get_returns_what_was_stored_or_none(self, store: AsyncSessionStore) -> None:
        key = await store.create_session(CTX, data("state"))
        assert await store.get_session(key) == data("state")
        assert await store.get_session("missing") is None
        assert await store.get_record("missing") is None

    @pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS.keys())
    async def test_s2_any_key_works(
        self, backend: Backend, store: AsyncSessionStore, key: str
    ) -> None:
        await register(store, key, A)
        await store.update_session(key, data("new"))
        await store.touch_session(key, 60)
        assert await context_of(store, key) == "new"
        assert await find(store, A) == key
        assert await listed(store) == [key]
        await store.remove_session(key)
        assert await find(store, A) is None
        assert await self.leftovers(backend) == []

    async def test_s2_keys_that_look_alike_are_kept_apart(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number, key in enumerate(LOOK_ALIKES):
            await register(store, key, A, key, of=ctx(f"u{number}"))
        for key in LOOK_ALIKES:
            assert await context_of(store, key) == key
            await store.remove_session(key)
            assert await store.get_session(key) is None
        assert await self.leftovers(backend) == []

    async def test_s3_update_replaces_the_data_and_keeps_wait_and_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await store.update_session("k", data("new"))
        assert await context_of(store, "k") == "new"
        assert await find(store, A) == "k"
        assert await listed(store) == ["k"]
        await self.advance(backend, 61)
        assert await store.get_session("k") is None

    async def test_s3_update_does_not_route_a_session_that_waits_nowhere(
        self, store: AsyncSessionStore
    ) -> None:
        key = await store.create_session(CTX, data())
        await store.update_session(key, data("new"))
        assert await context_of(store, key) == "new"
        assert await listed(store) == []

    async def test_s3_update_of_a_missing_session_fails(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.refused(backend, SessionNotFoundError, "'missing'"):
            await store.update_session("missing", data())
        with pytest.raises(SessionNotFoundError) as caught:
            await store.update_session("missing", data())
        assert caught.value.key == "missing"

    async def test_s4_remove_leaves_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        created = await store.create_session(CTX, data())
        await register(store, "k", A)
        await register(store, "k", B)
        await store.remove_session(created)
        await store.remove_session("k")
        assert await store.get_session("k") is None
        assert await find(store, A, B) is None
        assert await listed(store) == []
        assert await self.leftovers(backend) == []

    async def test_s4_remove_of_a_missing_session_fails(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await store.remove_session("k")
        async with self.refused(backend, SessionNotFoundError, "'k'"):
            await store.remove_session("k")

    async def test_s4_remove_leaves_other_sessions_alone(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        await register(store, "k2", B)
        await store.remove_session("k")
        assert await listed(store) == ["k2"]
        assert await find(store, B) == "k2"

    async def test_s5_an_update_does_not_bring_a_removed_session_back(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        read = await store.get_session("k")
        assert read is not None
        await store.remove_session("k")
        with pytest.raises(SessionNotFoundError):
            await store.update_session("k", read)
        with pytest.raises(SessionNotFoundError):
            await store.touch_session("k", 60)
        assert await store.get_session("k") is None
        assert await self.leftovers(backend) == []

    async def test_s6_a_document_of_the_largest_size_is_stored(self, backend: Backend) -> None:
        async with self.store_class(backend, max_document_bytes=5000) as store:
            await register(store, "k", A, of_size(5000))
            assert await context_of(store, "k") == of_size(5000)
            assert len(await store.list_wait_records(CTX, "u1")) == 1
            await store.update_session("k", data(of_size(5000)))

    async def test_s6_a_larger_document_is_refused(self, backend: Backend) -> None:
        async with self.store_class(backend, max_document_bytes=5000) as store:
            await register(store, "k", A, "small")
            for large in (of_size(5001), "\x00" * 1000):
                async with self.refused(backend, InvalidInputError, "data: .*5000.*S6"):
                    await store.create_session(CTX, data(large))
                async with self.refused(backend, InvalidInputError, "data: .*5000.*S6"):
                    await store.update_session("k", data(large))
                async with self.refused(backend, InvalidInputError, "data: .*5000.*S6"):
                    await register(store, "k", B, large)
                async with self.refused(backend, InvalidInputError, "data: .*5000.*S6"):
                    await register_if_absent(store, "k2", B, large)
            assert await context_of(store, "k") == "small"
            assert await clear(store, A)

    async def test_s6_the_default_is_8_mib(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        largest = of_size(8 * 1024 * 1024)
        key = await store.create_session(CTX, data(largest))
        assert await context_of(store, key) == largest
        async with self.refused(backend, InvalidInputError, "8388608"):
            await store.create_session(CTX, data(largest + "e"))
