"""O7: giving space back changes nothing that is stored."""

from __future__ import annotations

import pytest

from async_session_store import AsyncSessionStore, InvalidInputError
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import A, B, C, find, register
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.expiry_builders import claim_one, keep
from async_session_store.testing.contract.hooks import Hooks


class Compacting(Hooks):
    """O7: what is stored stays as it is, in any state."""

    async def test_o7_what_is_stored_stays(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "expired", A, ttl=10)
        await self.advance(backend, 11)
        await register(store, "waits", B, "x" * 100_000)
        await register(store, "claimed", C)
        held = await claim(store, C)
        before = sorted(await self.leftovers(backend))
        assert await store.compact() >= 0
        assert sorted(await self.leftovers(backend)) == before
        assert await find(store, B) == "waits"
        assert await held.complete()
        assert (await claim_one(store)).record is not None

    @pytest.mark.parametrize("pause", [0, -1, float("inf")])
    async def test_o7_a_pause_must_end(self, store: AsyncSessionStore, pause: float) -> None:
        with pytest.raises(InvalidInputError, match="max_pause: must be positive and finite"):
            await store.compact(max_pause=pause)
