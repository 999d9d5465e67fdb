"""What each command finds, prints and changes, and with which exit code it ends."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from ran_commands import PLACE, TENANT, Command, ask, fill, in_store

from async_session_store import AsyncSessionStore, SessionCursor, SessionData, TenantCtx, UserId

NASTY = "\x1b[2J\x1b]0;title\x07[bold]b[/bold]:smile:\u202e\x9b1m\r\n"
NASTY_KEY = f"k{NASTY}"
TEAMS_USER = str(UserId.encode("29:1abc"))


# --- Looking --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("storage")
def test_waits_in_a_table_and_as_json_lines(command: Command) -> None:
    in_store(fill)
    ran = command("waits", *TENANT)
    assert ran.code == 0
    heading, *rows = ran.out.splitlines()
    assert heading.split() == ["TEAM", "USER", "FLOW", "NODE", "PLACE", "ENDS", "KEY"]
    first, second = sorted(rows, key=lambda row: "bob" in row)
    assert first.split() == ["alice", "order", "take_size", "chat-1", "never", "alice-chat-1"]
    assert "chat-2, thread 7  in " in second
    assert ran.out == "\n".join(line.rstrip() for line in ran.out.split("\n"))

    found = {each["key"]: each for each in command("waits", *TENANT, "--json").json_lines}
    assert found["alice-chat-1"] == {
        "key": "alice-chat-1",
        "env": "prod",
        "tenant": "acme",
        "team": None,
        "user": "alice",
        "flow": "order",
        "node": "take_size",
        "scope": {"conversation": "chat-1", "thread": None, "reply_to": None, "correlation": None},
        "expires_at": None,
    }
    assert found["bob-chat-2"]["expires_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (TENANT, {"alice-chat-1", "bob-chat-2"}),
        (("--all-tenants",), {"alice-chat-1", "bob-chat-2", "others"}),
        ((*TENANT, "--team", "red"), {"bob-chat-2"}),
        ((*TENANT, "--node", "take_name"), {"bob-chat-2"}),
        ((*TENANT, "--flow", "ticket"), set()),
        ((*TENANT, "--conversation", "chat-1"), {"alice-chat-1"}),
        ((*TENANT, "--expires-before", "2h"), {"bob-chat-2"}),
        ((*TENANT, "--expires-before", "30m"), set()),
        ((*TENANT, "--expires-before", "2100-01-01T00:00Z"), {"bob-chat-2"}),
    ],
)
@pytest.mark.usefixtures("sqlite_url")
def test_filters(command: Command, options: tuple[str, ...], expected: set[str]) -> None:
    in_store(fill)
    found = command("waits", *options, "--json").json_lines
    assert {each["key"] for each in found} == expected
    assert command("count", *options).out == f"{len(expected)}\n"
    assert command("count", *options, "--json").json == {"count": len(expected)}


@pytest.mark.usefixtures("sqlite_url")
def test_a_limit(command: Command) -> None:
    in_store(fill)
    ran = command("waits", *TENANT, "--limit", "1")
    assert len(ran.out.splitlines()) == 2
    assert "more than 1" in ran.err
    assert len(command("waits", *TENANT, "--limit", "1", "--json").json_lines) == 1
    assert command("waits", *TENANT, "--limit", "2").err == ""


@pytest.mark.parametrize("by", [("alice-chat-1",), PLACE])
@pytest.mark.usefixtures("storage")
def test_show_hides_what_a_flow_remembers(command: Command, by: tuple[str, ...]) -> None:
    in_store(partial(ask, user="alice", conversation="chat-1", context='{"secret": 1}'))
    ran = command("show", *by)
    assert ran.code == 0
    assert "context   13 bytes, hidden; --reveal shows it" in ran.out
    shown = command("show", *by, "--json").json
    assert shown["key"] == "alice-chat-1"
    assert "data" not in shown
    assert "secret" not in ran.out + json.dumps(shown)
    assert '{"secret": 1}' in command("show", *by, "--reveal").out
    assert command("show", *by, "--reveal", "--json").json["data"]["context_json"] == (
        '{"secret": 1}'
    )


@pytest.mark.usefixtures("storage")
def test_show_nothing(command: Command) -> None:
    in_store(AsyncSessionStore.ping)
    ran = command("show", "missing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: there is no such session")


@pytest.mark.usefixtures("storage")
def test_explain(command: Command) -> None:
    in_store(fill)
    ran = command("explain", *PLACE, "--team", "red")
    assert ran.code == 0
    _, in_team, without = ran.out.splitlines()
    assert in_team.split() == ["nothing", "red"]
    assert without.split()[:2] == ["claimed", "none"]
    reports = command("explain", *PLACE, "--json").json_lines
    assert [report["status"] for report in reports] == ["claimed"]
    assert command("explain", *PLACE, "--thread", "x").code == 1


@pytest.mark.usefixtures("sqlite_url")
def test_a_platforms_own_user_id_is_encoded(command: Command) -> None:
    in_store(partial(ask, user=TEAMS_USER, conversation="chat-1", key="k"))
    place = [*PLACE]
    for user in ("29:1abc", TEAMS_USER):
        place[place.index("--user") + 1] = user
        assert command("show", *place, "--json").json["key"] == "k"


# --- Changing -------------------------------------------------------------------------------------

DESTRUCTIVE = {
    "erase-user": ("erase-user", "alice", *TENANT),
    "break-claim": ("break-claim", *PLACE),
    "compact": ("compact",),
}


@pytest.mark.parametrize("name", DESTRUCTIVE)
def test_what_destroys_something_needs_yes(storage: str, command: Command, name: str) -> None:
    in_store(fill)
    before = command("explain", *PLACE, "--json").json["claimed_until"]
    ran = command(*DESTRUCTIVE[name])
    if name == "compact" and storage == "redis":
        assert (ran.code, ran.err) == (0, "")  # there is nothing to do
    else:
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Error: nothing was done. This would ")
        assert ran.err.endswith("To do it, add --yes.\n")
    assert command("explain", *PLACE, "--json").json["claimed_until"] == before


@pytest.mark.usefixtures("storage")
def test_erase_user(command: Command) -> None:
    in_store(fill)
    ran = command("erase-user", "alice", *TENANT, "--yes", "--json")
    assert (ran.code, ran.json["erased"]["waits"], ran.json["erased"]["claims"]) == (0, 1, 1)
    kept = command("waits", "--all-tenants", "--json").json_lines
    assert {each["key"] for each in kept} == {"bob-chat-2", "others"}
    again = command("erase-user", "alice", *TENANT, "--yes")
    assert again.code == 1
    assert again.out.splitlines()[0].split() == ["waits", "0"]


@pytest.mark.usefixtures("storage")
def test_break_claim(command: Command) -> None:
    in_store(fill)
    ran = command("break-claim", *PLACE, "--yes")
    assert (ran.code, ran.out) == (0, "the claim has ended\n")
    assert command("explain", *PLACE, "--json").json["status"] == "live"
    again = command("break-claim", *PLACE, "--yes")
    assert (again.code, again.out) == (1, "")
    assert command("break-claim", *PLACE, "--yes", "--json").json == {"was_held": False}


def test_purge(storage: str, command: Command) -> None:
    async def expire(store: AsyncSessionStore) -> None:
        ctx = TenantCtx(env="prod", tenant_id="acme", user_id="alice")
        cursor = SessionCursor(node_pointer="ask")
        data = SessionData(tenant_ctx=ctx, flow_id="f", cursor=cursor, context_json="{}")
        for _ in range(3):
            await store.create_session(ctx, data, ttl=0.001)

    in_store(expire)
    purged = [command("purge", *more, "--json").json["purged"] for more in (["--limit", "1"], [])]
    assert purged == ([1, 2] if storage == "sqlite" else [0, 0])  # Redis drops them itself
    assert command("purge").out == "expired entries reclaimed: 0\n"


@pytest.mark.usefixtures("sqlite_url")
def test_compact_gives_space_back(path: Path, command: Command) -> None:
    async def fill_and_empty(store: AsyncSessionStore) -> None:
        await ask(store, "alice", "chat-1", context="x" * 1_000_000)
        await store.remove_session("alice-chat-1")

    in_store(fill_and_empty)
    assert path.stat().st_size > 1_000_000
    assert command("compact", "--yes", "--json").json["freed_bytes"] > 900_000
    assert path.stat().st_size < 100_000


# --- Errors ---------------------------------------------------------------------------------------


ERRORS: dict[str, tuple[Callable[[Path], tuple[str, ...]], int, str]] = {
    "no server": (
        lambda _: ("waits", "--all-tenants", "--url", "redis://bot:secret@127.0.0.1:1"),
        3,
        "Redis: it cannot be reached",
    ),
    "a server that the doctor cannot reach": (
        lambda _: ("doctor", "--url", "redis://bot:secret@127.0.0.1:1"),
        3,
        "Redis: it cannot be reached",
    ),
    "no file": (lambda _: ("count", "--all-tenants"), 3, "there is no file at this path"),
    "no such scheme": (
        lambda _: ("waits", "--all-tenants", "--url", "http://bot:secret@host"),
        2,
        "url: its scheme must be one of",
    ),
    "a URL without its option": (
        lambda _: ("doctor", "redis://bot:secret@host"),
        2,
        "redis://***@host",
    ),
    "no tenant": (lambda _: ("waits",), 2, "Give --env and --tenant, or --all-tenants."),
    "a bad tenant": (lambda _: ("waits", "--env", "a b", "--tenant", "t"), 2, "env: must be"),
    "half a place": (lambda _: ("show", "--user", "u"), 2, "Give all of --env, --tenant"),
    "neither key nor place": (lambda _: ("show",), 2, "Give the key of a session, or"),
    "a bad time": (
        lambda _: ("waits", *TENANT, "--expires-before", "soon"),
        2,
        "--expires-before: give 2h",
    ),
    "an unknown option": (lambda _: ("waits", "--tennant", "x"), 2, "--tenant"),
    "a folder": (
        lambda path: ("waits", "--all-tenants", "--url", f"sqlite:///{path.parent}"),
        3,
        "SQLite: ",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.usefixtures("sqlite_url")
def test_an_error_is_a_line_that_says_what_to_do(path: Path, command: Command, name: str) -> None:
    arguments, code, text = ERRORS[name]
    ran = command(*arguments(path))
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("Error: ")
    assert text in ran.err
    assert "secret" not in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 2  # the second says where the help is
    assert not path.exists()


def test_no_command_shows_the_help(command: Command) -> None:
    ran = command()
    assert (ran.code, ran.out) == (2, "")
    assert "doctor" in ran.err
    assert command("--help").code == command("waits", "--help").code == 0


def test_memory_is_named_as_what_it_is(command: Command) -> None:
    ran = command("count", "--all-tenants")
    assert (ran.code, ran.out) == (0, "0\n")
    assert "set SESSION_STORE_URL or --url" in ran.err


def test_an_option_counts_more_than_the_environment(
    sqlite_url: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_store(fill)
    monkeypatch.setenv("SESSION_STORE_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("SESSION_NAMESPACE", "shop")  # for the server, not for the file
    assert command("count", "--all-tenants", "--url", sqlite_url).out == "3\n"


@pytest.mark.usefixtures("sqlite_url")
def test_an_unreadable_document(path: Path, command: Command) -> None:
    in_store(fill)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE sessions SET document = 'x' WHERE key = 'alice-chat-1'")
    ran = command("show", "alice-chat-1")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: the document stored under 'alice-chat-1' cannot be read")
    ran = command("waits", *TENANT)
    assert "bob-chat-2" in ran.out
    assert ran.err == (
        "Warning: session 'alice-chat-1' is left out of the list: it cannot be read\n"
    )


# --- Text from the storage ------------------------------------------------------------------------


@pytest.mark.usefixtures("storage")
def test_text_from_the_storage_controls_no_terminal(command: Command) -> None:
    conversation = NASTY.replace("\n", "")
    in_store(
        partial(
            ask, user="eve", conversation=conversation, node=NASTY, key=NASTY_KEY, context=NASTY
        )
    )
    for options in (
        ("waits", *TENANT),
        ("show", NASTY_KEY),
        ("show", NASTY_KEY, "--reveal"),
        ("show", NASTY_KEY + "missing"),
        ("explain", *TENANT, "--user", "eve", "--conversation", conversation),
    ):
        ran = command(*options)
        printed = ran.out + ran.err
        assert all(each.isprintable() for line in printed.split("\n") for each in line), options
    shown = command("waits", *TENANT).out
    assert r"\x1b[2J\x1b]0;title\x07[bold]b[/bold]:smile:\u202e\x9b1m\r" in shown
    found = command("waits", *TENANT, "--json")
    assert found.out.isascii()
    assert found.json["node"] == NASTY
    assert found.json["key"] == NASTY_KEY
