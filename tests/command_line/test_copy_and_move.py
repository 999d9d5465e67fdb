"""Copying to another storage, and moving to a new id."""

from __future__ import annotations

from pathlib import Path

import pytest
from ran_commands import PLACE, TENANT, Command, ask, fill, in_store

from async_session_store import AsyncSessionStore


@pytest.mark.usefixtures("storage")
def test_copy_and_copy_again(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_store(fill)
    there = f"sqlite:///{tmp_path}/copy.db"
    ran = command("copy", "--to", there, "--json")
    assert (ran.code, ran.json["waits"], ran.json["written"]) == (0, 3, 3)
    assert ran.json["left_out"] == []
    assert command("copy", "--to", there).code == 2  # the copy is not empty

    async def change(store: AsyncSessionStore) -> None:
        await ask(store, "carol", "chat-3")
        await store.remove_session("others")

    in_store(change)
    ran = command("copy", "--to", there, "--again")
    assert (ran.code, ran.out) == (2, "")
    assert f"on sqlite {tmp_path}/copy.db. To do it, add --yes." in ran.err
    assert command("count", "--all-tenants", "--url", there).out == "3\n"
    monkeypatch.setenv("SESSION_COPY_URL", there)
    ran = command("copy", "--again", "--yes", "--json")
    assert (ran.code, ran.json["written"], ran.json["removed"]) == (0, 1, 1)
    keys = {each["key"] for each in command("waits", *TENANT, "--url", there, "--json").json_lines}
    assert keys == {"alice-chat-1", "bob-chat-2", "carol-chat-3"}


@pytest.mark.usefixtures("storage")
def test_move_a_user_and_a_conversation(command: Command) -> None:
    in_store(fill)
    command("break-claim", *PLACE, "--yes")
    options = ("move", *TENANT, "--user", "alice", "anna", "--conversation", "chat-1", "chat-9")
    ran = command(*options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("To do it, add --yes.\n")
    ran = command(*options, "--yes", "--json")
    assert (ran.code, ran.json["waits"], ran.json["is_complete"]) == (0, 1, True)
    place = (*TENANT, "--user", "anna", "--conversation", "chat-9")
    assert command("show", *place, "--json").json["key"] == "alice-chat-1"
    assert command("move", *TENANT, "--yes").code == 2


@pytest.mark.usefixtures("storage")
def test_move_leaves_what_is_in_use(command: Command) -> None:
    in_store(fill)  # a worker holds a claim on alice's wait
    ran = command("move", *TENANT, "--user", "alice", "anna", "--yes")
    assert ran.code == 1
    assert "in use         alice-chat-1" in ran.out
