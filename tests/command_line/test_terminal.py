"""The program as a process: on a terminal, in a pipe, interrupted, and without its extra."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from functools import partial

import pytest
from ran_commands import TENANT, ask, fill, in_store

PROGRAM = (sys.executable, "-m", "async_session_store")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], check=False, capture_output=True, text=True)


def on_terminal(width: int, *arguments: str, **environment: str) -> str:
    """Run a command on a terminal of its own. Return all that it wrote there."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end has closed
            break
        if not some:
            break
        written += some
    os.close(ours)
    process.wait()
    return written.decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("sqlite_url")
def test_on_a_narrow_and_on_a_wide_terminal() -> None:
    in_store(fill)
    in_store(partial(ask, user="zoe", conversation="chat/" + "x" * 60))
    wide = on_terminal(160, "waits", *TENANT)
    shown = ESCAPE.sub("", wide)
    assert "TEAM  USER   FLOW   NODE" in shown
    assert "\x1b[1m" in wide  # the heading is bold
    narrow = ESCAPE.sub("", on_terminal(60, "waits", *TENANT))
    lines = [line.rstrip().rpartition("\r")[2] for line in narrow.split("\n")]
    assert lines[lines.index("user   alice") :][:2] == ["user   alice", "flow   order"]
    assert max(map(len, lines)) <= 60
    assert "".join(lines).count("x") == 2 * 60  # in the place and in the key: ids are not cut


@pytest.mark.usefixtures("sqlite_url")
def test_colours_only_where_they_are_wanted() -> None:
    in_store(fill)
    assert "\x1b[32mok" in on_terminal(80, "doctor")
    assert not re.search(r"\x1b\[3\dm", on_terminal(80, "doctor", NO_COLOR="1"))
    assert "\x1b" not in run("doctor").stdout


@pytest.mark.usefixtures("sqlite_url")
def test_a_program_gets_only_json_on_stdout() -> None:
    in_store(fill)
    ran = run("waits", "--all-tenants", "--json")
    assert ran.returncode == 0
    assert [json.loads(line)["key"] for line in ran.stdout.splitlines()] == [
        *("alice-chat-1", "bob-chat-2", "others")
    ]
    assert ran.stderr == ""


def test_ctrl_c_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://bot:secret@127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("SESSION_STORE_URL", url)
        with subprocess.Popen(
            [*PROGRAM, "count", "--all-tenants"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            connection.close()
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


@pytest.mark.usefixtures("sqlite_url")
def test_a_closed_pipe_ends_it_quietly() -> None:
    in_store(fill)
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [*PROGRAM, "waits", "--all-tenants"], check=False, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.usefixtures("sqlite_url")
def test_an_encoding_that_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    in_store(partial(ask, user="zoe", conversation="日本"))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ran = run("waits", *TENANT)
    assert ran.returncode == 0
    assert r"\u65e5\u672c" in ran.stdout


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_which_one(missing: str) -> None:
    program = (
        f"import sys; sys.modules['{missing}'] = None; "
        "from async_session_store.__main__ import main; sys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        'The command line needs click and rich: pip install "async-session-store[cli]"\n'
    )


@pytest.mark.usefixtures("sqlite_url")
def test_the_console_script_runs_it() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="async-session-store")
    assert script.value == "async_session_store.__main__:main"
