"""Redis over TLS: what is said when the two do not accept each other."""

from __future__ import annotations

import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from async_session_store import AsyncSessionStore, StoreUnavailableError
from async_session_store.testing.contract.builders import A, find, register
from redis_server import RedisServer
from tcp_proxy import tcp_proxy

pytestmark = pytest.mark.anyio

NOTHING = "nothing was written"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1. Return its file and that of its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *request, *names, *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def url(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[str]:
    """Yield the URL of a server behind TLS, whose certificate is server.crt."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*make_certificate(tmp_path, "server"))
    async with tcp_proxy(redis_server, tls=context) as proxy:
        yield proxy.url


async def refusal(url: str, options: str) -> str:
    """Return the text with which a store is refused at open."""
    with pytest.raises(StoreUnavailableError) as caught:
        await AsyncSessionStore.from_url(f"{url}?{options}").open()
    assert "sesame" not in "".join(traceback.format_exception(caught.value))
    assert NOTHING in str(caught.value)
    return str(caught.value)


async def test_a_certificate_that_is_trusted(url: str, tmp_path: Path, namespace: str) -> None:
    trusting = f"{url}?ssl_ca_certs={tmp_path}/server.crt"
    async with AsyncSessionStore.from_url(trusting, namespace=namespace) as store:
        await register(store, "k", A)
        assert await find(store, A) == "k"


async def test_r1_a_certificate_that_is_not_trusted_says_so(url: str, tmp_path: Path) -> None:
    make_certificate(tmp_path, "other")
    secret = url.replace("://", "://bot:sesame@")
    for options in ("", f"ssl_ca_certs={tmp_path}/other.crt"):
        text = await refusal(secret, options)
        assert "its TLS certificate was not accepted" in text
        assert "cannot be reached" not in text


async def test_r1_a_certificate_for_another_host_says_so(url: str, tmp_path: Path) -> None:
    elsewhere = url.replace("127.0.0.1", "localhost")
    text = await refusal(elsewhere, f"ssl_ca_certs={tmp_path}/server.crt")
    assert "its TLS certificate was not accepted" in text


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
async def test_r1_a_file_that_is_missing_says_so(url: str, tmp_path: Path, option: str) -> None:
    text = await refusal(url, f"{option}={tmp_path}/none.pem")
    assert "a file that the URL names (a socket, a certificate) is missing" in text
