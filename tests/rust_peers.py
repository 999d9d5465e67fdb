"""Peers with the Rust crate ``greentic-session``, as tests of the Redis backend drive them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import redis

from async_session_store import ReplyScope, SessionData, TenantCtx
from async_session_store.testing.contract.builders import CTX, data
from rust_process import RustStore


class RustPeer:
    """A stand-in that sends the commands of the Rust crate to Redis, one after the other."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self.client = self._redis = client
        self.namespace = self._namespace = namespace

    def register(
        self,
        key: str,
        scope: ReplyScope,
        document: bytes | str = "",
        *,
        of: TenantCtx = CTX,
        ttl: int | None = None,
    ) -> None:
        for _ in self.registering(key, scope, document, of=of, ttl=ttl):
            pass

    def registering(
        self,
        key: str,
        scope: ReplyScope,
        document: bytes | str = "",
        *,
        of: TenantCtx = CTX,
        ttl: int | None = None,
    ) -> Iterator[None]:
        """Register, with one command in each step of the iterator."""
        milliseconds = None if ttl is None else ttl * 1000
        document = document or data("rust", of=of).model_dump_json()
        yield from self._set(self.session(key), document, milliseconds)
        self._redis.sadd(self.user(of), key)
        yield
        previous = self._redis.get(self.scope(scope, of))
        yield from self._set(self.scope(scope, of), key, milliseconds)
        if previous is not None and previous.decode() != key:
            self._redis.srem(self.user(of), previous)
            yield

    def _set(self, name: str, value: bytes | str, milliseconds: int | None) -> Iterator[None]:
        self._redis.set(name, value)
        yield
        if milliseconds is not None:
            self._redis.pexpire(name, milliseconds)
            yield

    def update(self, key: str, *, of: TenantCtx = CTX) -> None:
        self._redis.set(self.session(key), data("rust", of=of).model_dump_json(), xx=True)

    def remove(self, key: str, *, of: TenantCtx = CTX) -> None:
        self._redis.delete(self.session(key))
        self._redis.srem(self.user(of), key)

    def clear(self, scope: ReplyScope, *, of: TenantCtx = CTX) -> None:
        key = self._redis.get(self.scope(scope, of))
        if key is not None:
            self._redis.delete(self.session(key.decode()))
            self._redis.delete(self.scope(scope, of))
            self._redis.srem(self.user(of), key)

    def find(self, scope: ReplyScope, *, of: TenantCtx = CTX) -> str | None:
        key = self._redis.get(self.scope(scope, of))
        found = key is not None and self._redis.exists(self.session(key.decode()))
        return key.decode() if found else None

    def listed(self, *, of: TenantCtx = CTX) -> list[str]:
        keys = [key.decode() for key in self._redis.smembers(self.user(of))]
        return sorted(key for key in keys if self._redis.exists(self.session(key)))

    def session(self, key: str) -> str:
        return f"{self._namespace}:session:{key}"

    def user(self, of: TenantCtx) -> str:
        return f"{self._namespace}:waits:user:{owner_text(of)}"

    def scope(self, scope: ReplyScope, of: TenantCtx) -> str:
        return f"{self._namespace}:waits:scope:{owner_text(of)}:{scope.scope_hash()}"

    def milliseconds(self, key: str) -> int:
        """Return the milliseconds left until a session's deadline, or -1 if it has none."""
        return self._redis.pttl(self.session(key))


def owner_text(of: TenantCtx) -> str:
    return f"{of.env}:{of.tenant_id}:{of.team_id or of.team or '-'}:{of.user_id or of.user}"


class CratePeer(RustPeer):
    """The crate itself, in its own process."""

    def __init__(self, client: redis.Redis, namespace: str, store: RustStore) -> None:
        super().__init__(client, namespace)
        self._store = store

    def register(
        self,
        key: str,
        scope: ReplyScope,
        document: bytes | str = "",
        *,
        of: TenantCtx = CTX,
        ttl: int | None = None,
    ) -> None:
        written = SessionData.model_validate_json(document) if document else data("rust", of=of)
        until = None if ttl is None else timedelta(seconds=ttl)
        self._store.register_wait(of, _user(of), scope, key, written, until)

    def update(self, key: str, *, of: TenantCtx = CTX) -> None:
        self._store.update_session(key, data("rust", of=of))

    def remove(self, key: str, *, of: TenantCtx = CTX) -> None:  # noqa: ARG002  # the crate reads the owner from the session
        self._store.remove_session(key)

    def clear(self, scope: ReplyScope, *, of: TenantCtx = CTX) -> None:
        self._store.clear_wait(of, _user(of), scope)

    def find(self, scope: ReplyScope, *, of: TenantCtx = CTX) -> str | None:
        return self._store.find_wait_by_scope(of, _user(of), scope)

    def listed(self, *, of: TenantCtx = CTX) -> list[str]:
        return sorted(self._store.list_waits_for_user(of, _user(of)))


def _user(of: TenantCtx) -> str:
    assert of.owner.user is not None
    return of.owner.user
