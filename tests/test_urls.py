from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import SSLConnection, UnixDomainSocketConnection

from async_session_store import NEVER, AsyncSessionStore, InvalidInputError, SessionStore
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend

VARIABLES = (
    "SESSION_STORE_URL",
    "SESSION_REDIS_URL",
    "SESSION_NAMESPACE",
    "SESSION_WAIT_TTL_SECS",
    "SESSION_EXPIRED_TTL_SECS",
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def backend_of(url: str, **options: Any) -> Backend:
    return AsyncSessionStore.from_url(url, **options)._storage


def pool_of(backend: Backend) -> Any:
    assert isinstance(backend, RedisBackend)
    return backend._client.connection_pool


def path_of(backend: Backend) -> str:
    assert isinstance(backend, SqliteBackend)
    return backend._path


def bound_of(backend: Backend) -> float:
    assert isinstance(backend, RedisBackend)
    return backend._timeout


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestFromUrl:
    @pytest.mark.parametrize("url", ["memory://", "MEMORY://"])
    def test_memory(self, url: str) -> None:
        assert isinstance(backend_of(url), MemoryBackend)

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///bot.db", "bot.db"),
            ("sqlite:///a/b.db", "a/b.db"),
            ("sqlite:////var/lib/bot.db", "/var/lib/bot.db"),
            ("sqlite:///with%20blank%3F%23%25.db", "with blank?#%.db"),
            ("sqlite:///ünï.db", "ünï.db"),
            ("sqlite://", ":memory:"),
        ],
    )
    def test_sqlite(self, url: str, path: str) -> None:
        assert path_of(backend_of(url)) == path

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.anyio
    async def test_sqlite_takes_a_path_relative_to_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for url in ("sqlite:///a.db", f"sqlite:///{tmp_path}/b.db", "sqlite://"):
            async with AsyncSessionStore.from_url(url) as store:
                await store.ping()
        assert files_in(tmp_path) == ["a.db", "b.db"]

    def test_redis(self) -> None:
        pool = pool_of(backend_of("redis://me:secret@host:7000/3"))
        kwargs = pool.connection_kwargs
        assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("host", 7000, 3)
        assert (kwargs["username"], kwargs["password"]) == ("me", "secret")

    def test_redis_over_tls_and_over_a_socket(self) -> None:
        assert pool_of(backend_of("rediss://host")).connection_class is SSLConnection
        pool = pool_of(backend_of("unix:///run/redis.sock?db=3"))
        assert pool.connection_class is UnixDomainSocketConnection
        assert (pool.connection_kwargs["path"], pool.connection_kwargs["db"]) == (
            "/run/redis.sock",
            3,
        )

    def test_redis_keeps_the_drivers_options(self) -> None:
        url = "redis://host?max_connections=7&socket_timeout=9&health_check_interval=1"
        backend = backend_of(url)
        pool = pool_of(backend)
        assert pool.max_connections == 7
        assert bound_of(backend) == 9
        assert pool.connection_kwargs["health_check_interval"] == 1

    def test_r4_redis_is_bounded_and_sends_nothing_twice(self) -> None:
        backend = backend_of("redis://host")
        kwargs = pool_of(backend).connection_kwargs
        assert bound_of(backend) == kwargs["socket_connect_timeout"] == 5
        assert kwargs["retry"].get_retries() == 0

    def test_redis_takes_a_namespace(self) -> None:
        backend = backend_of("redis://host", namespace="mine")
        assert isinstance(backend, RedisBackend)
        assert backend._namespace == "mine"
        by_default = backend_of("redis://host")
        assert isinstance(by_default, RedisBackend)
        assert by_default._namespace == "greentic:session"

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "bot.db",
            "/var/bot.db",
            "postgres://host",
            "sqlite:bot.db",
            "://",
            "memory",
            "redis:/h",
        ],
    )
    def test_an_unknown_scheme_lists_the_known_ones(self, url: str) -> None:
        with pytest.raises(InvalidInputError, match=r"^url: ") as caught:
            AsyncSessionStore.from_url(url)
        for scheme in ("memory://", "sqlite://", "redis://", "rediss://", "unix://"):
            assert scheme in str(caught.value)

    @pytest.mark.parametrize("url", [None, 7, b"memory://", Path("bot.db")], ids=repr)
    def test_a_value_that_is_not_text_is_refused(self, url: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^url: "):
            AsyncSessionStore.from_url(url)

    @pytest.mark.parametrize(
        "url",
        [
            "memory://x",
            "sqlite://bot.db",
            "sqlite://host/bot.db",
            "sqlite:///bot.db?mode=ro",
            "sqlite:///bot.db#x",
            "sqlite:///%00.db",
            "sqlite:///%ff.db",
            "sqlite://[abc/x.db",
            "memory://[",
        ],
    )
    def test_a_url_that_cannot_be_read_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidInputError, match=r"^(url|path): "):
            AsyncSessionStore.from_url(url)

    @pytest.mark.parametrize(
        "url",
        [
            "other://me:secret@host",
            "redis://me:secret@host:port",
            "redis://me:secret@[host",
            "redis://me:secret%ff@host",
            "redis://me:secret@host?db=x",
            "redis://me:secret@host?password=secret&foo=secret",
            "redis://:12?secret=1@host",
            "redis://:12/secret@host",
            "redis://:12#secret@host",
            "redis://me:secret\udcff@host",
            "rediss://host?ssl_min_version=secret",
            "rediss://host?ssl_ciphers=secret",
            "sqlite://me:secret@host/x",
            "sqlite://[secret/x",
            "sqlite:///secret%ff",
        ],
    )
    def test_f8_an_error_does_not_show_the_password(self, url: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            AsyncSessionStore.from_url(url)
        error: BaseException | None = caught.value
        while error is not None:
            assert "secret" not in f"{error} {error!r}"
            error = error.__cause__ or error.__context__

    @pytest.mark.parametrize(
        ("url", "named"),
        [
            ("redis://host:port", "port"),
            ("redis://host:0", "port"),
            ("redis://host:70000", "port"),
            ("redis://[::1", "host"),
            ("redis://host/one", "number of a database"),
            ("redis://host/-1", "number of a database"),
            ("redis://host/1/2", "number of a database"),
            ("redis://host#1", "%23"),
            ("redis://host?db=x", "'db'"),
            ("redis://host?db=-1", "'db'"),
            ("redis://host?db=1&db=2", "'db'"),
            ("redis://host?db=" + "9" * 5000, "'db'"),
            ("redis://host?unheard_of=1", "'unheard_of'"),
            ("redis://host?timeout=1", "'timeout'"),
            ("redis://host?ssl_ca_certs=ca.pem", "'ssl_ca_certs'"),
            ("unix:///run/redis?host=h", "'host'"),
            ("redis://host?retry=3", "'retry'"),
            ("redis://host?retry_on_error=x", "'retry_on_error'"),
            ("redis://host?parser_class=x", "'parser_class'"),
            ("redis://host?credential_provider=x", "'credential_provider'"),
            ("redis://host?protocol=9", "'protocol'"),
            ("redis://host?encoding=klingon", "'encoding'"),
            ("redis://host?encoding_errors=ignored", "'encoding_errors'"),
            ("redis://host?socket_timeout=soon", "'socket_timeout'"),
            ("redis://host?socket_timeout=", "'socket_timeout'"),
            ("redis://host?socket_timeout=0", "'socket_timeout'"),
            ("redis://host?socket_timeout=-1", "'socket_timeout'"),
            ("redis://host?socket_timeout=nan", "'socket_timeout'"),
            ("redis://host?socket_connect_timeout=inf", "'socket_connect_timeout'"),
            ("redis://host?max_connections=0", "'max_connections'"),
            ("redis://host?health_check_interval=-1", "'health_check_interval'"),
            ("rediss://host?ssl_cert_reqs=maybe", "'ssl_cert_reqs'"),
            ("rediss://host?ssl_min_version=9", "'ssl_min_version'"),
            ("rediss://host?ssl_ciphers=none", "'ssl_ciphers'"),
            ("unix://", "three slashes"),
            ("unix://run/redis.sock", "three slashes"),
        ],
    )
    def test_an_option_that_redis_py_does_not_accept_is_named(self, url: str, named: str) -> None:
        with pytest.raises(InvalidInputError, match=r"^url: ") as caught:
            AsyncSessionStore.from_url(url)
        assert named in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "REDIS://host/0/",
            "redis://[::1]:7000/",
            "redis://me:%3Fs%40%2F%23@host/1",
            "redis://host?password=a@b&username=me&client_name=bot&protocol=3",
            "redis://host?retry_on_timeout=yes&socket_keepalive=1&decode_responses=True",
            "rediss://host?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false",
            "rediss://host?ssl_min_version=771&ssl_ciphers=HIGH",
            "unix://me:pw@/run/redis.sock?db=1",
        ],
    )
    def test_options_that_redis_py_accepts_are_accepted(self, url: str) -> None:
        assert isinstance(backend_of(url), RedisBackend)

    @pytest.mark.parametrize("url", [None, 7, b"redis://host", "memory://", "host"], ids=repr)
    def test_a_redis_backend_takes_the_url_of_a_redis(self, url: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^url: "):
            RedisBackend.from_url(url)

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///bot.db"])
    def test_sqlite_takes_no_namespace(self, url: str) -> None:
        with pytest.raises(InvalidInputError, match=r"^namespace: "):
            AsyncSessionStore.from_url(url, namespace="mine")

    def test_options_are_checked(self) -> None:
        with pytest.raises(InvalidInputError, match=r"^default_wait_ttl: "):
            AsyncSessionStore.from_url("memory://", default_wait_ttl=0)
        with pytest.raises(InvalidInputError, match=r"^default_session_ttl: "):
            AsyncSessionStore.from_url("memory://", default_session_ttl=-1)
        with pytest.raises(InvalidInputError, match=r"^max_document_bytes: "):
            AsyncSessionStore.from_url("memory://", max_document_bytes=0)
        AsyncSessionStore.from_url(
            "memory://", default_wait_ttl=NEVER, default_session_ttl=60, max_document_bytes=1
        )

    @pytest.mark.parametrize("backend", [None, "memory://", MemoryBackend], ids=repr)
    def test_a_backend_is_an_instance(self, backend: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^backend: "):
            AsyncSessionStore(backend)

    def test_a_missing_driver_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in list(sys.modules):
            if module.startswith("async_session_store.backends.redis") or module == "redis.asyncio":
                monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "redis", None)
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        with pytest.raises(ImportError, match=r"async-session-store\[redis\]"):
            AsyncSessionStore.from_url("redis://host")


class TestFromEnv:
    @pytest.fixture
    def env(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def set_all(**settings: str) -> None:
            for name, value in settings.items():
                monkeypatch.setenv(f"SESSION_{name}", value)

        return set_all

    def test_nothing_set_means_memory(self) -> None:
        store = AsyncSessionStore.from_env()
        assert isinstance(store._storage, MemoryBackend)
        assert store._defaults.ttl is None

    def test_an_empty_variable_means_unset(self, env: Any) -> None:
        env(STORE_URL="", REDIS_URL="", NAMESPACE="", WAIT_TTL_SECS="")
        assert isinstance(AsyncSessionStore.from_env()._storage, MemoryBackend)

    def test_the_url(self, env: Any) -> None:
        env(REDIS_URL="redis://fallback")
        assert (
            pool_of(AsyncSessionStore.from_env()._storage).connection_kwargs["host"] == "fallback"
        )
        env(STORE_URL="sqlite:///bot.db")
        assert path_of(AsyncSessionStore.from_env()._storage) == "bot.db"

    def test_the_namespace(self, env: Any) -> None:
        env(STORE_URL="redis://host", NAMESPACE="mine")
        backend = AsyncSessionStore.from_env()._storage
        assert isinstance(backend, RedisBackend)
        assert backend._namespace == "mine"

    @pytest.mark.parametrize(("text", "seconds"), [("86400", 86400), ("0.5", 0.5), (" 60 ", 60)])
    def test_the_ttl_of_waits(self, env: Any, text: str, seconds: float) -> None:
        env(WAIT_TTL_SECS=text)
        assert AsyncSessionStore.from_env()._defaults.ttl == seconds * 1000

    @pytest.mark.parametrize(("text", "kept"), [("86400", 86_400_000), ("0.5", 500), ("0", None)])
    def test_q1_the_ttl_of_expired_waits(self, env: Any, text: str, kept: int | None) -> None:
        env(EXPIRED_TTL_SECS=text)
        assert AsyncSessionStore.from_env()._defaults.expired_ttl == kept
        assert SessionStore.from_env()._store._defaults.expired_ttl == kept

    @pytest.mark.parametrize("text", ["soon", "1h", "-1", "nan", "inf", "1e12"])
    @pytest.mark.parametrize("name", ["WAIT_TTL_SECS", "EXPIRED_TTL_SECS"])
    def test_a_bad_ttl_names_the_variable(self, env: Any, name: str, text: str) -> None:
        env(**{name: text})
        with pytest.raises(InvalidInputError, match=f"SESSION_{name}"):
            AsyncSessionStore.from_env()

    def test_t1_a_wait_ttl_of_nothing_is_none(self, env: Any) -> None:
        env(WAIT_TTL_SECS="0")
        with pytest.raises(InvalidInputError, match="SESSION_WAIT_TTL_SECS"):
            AsyncSessionStore.from_env()

    def test_a_bad_url_is_refused(self, env: Any) -> None:
        env(STORE_URL="postgres://me:secret@host")
        with pytest.raises(InvalidInputError, match="memory://") as caught:
            AsyncSessionStore.from_env()
        assert "secret" not in str(caught.value)
