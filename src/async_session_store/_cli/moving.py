"""The commands that put what is stored in another place: copy and move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from async_session_store._cli import exit_codes
from async_session_store._cli.options import (
    refuse,
    service,
    tenant_options,
    user_id,
    yes_option,
)
from async_session_store._cli.output import Output
from async_session_store._cli.running import run_async
from async_session_store._cli.target import Target, target, target_options
from async_session_store._copying import CopiedStore
from async_session_store.abc import MovedWaits
from async_session_store.models import TenantCtx, UserId


@click.command(short_help="Copy all to another storage.")
@target_options
@click.option(
    "--to",
    "to_url",
    envvar="SESSION_COPY_URL",
    required=True,
    help="The URL of the other storage. By default SESSION_COPY_URL.",
)
@click.option("--to-namespace", help="The namespace there, on Redis.")
@click.option(
    "--again",
    is_flag=True,
    help="Bring an earlier copy up to date. What only the copy holds is removed.",
)
@yes_option
def copy(source: Target, *, to_url: str, to_namespace: str | None, again: bool, yes: bool) -> int:
    """Copy all that is stored into another storage, which must be empty.

    The bots may run meanwhile. To move to the other storage, copy, stop the bots, copy --again, and
    let the bots use the other storage.
    """
    other = target(to_url, to_namespace, source.output)
    if again and not yes:
        refuse(other, f"remove all that {source.location} does not hold")
    copied = run_async(_copy(source, other, again=again))
    _print(source.output, asdict(copied))
    return exit_codes.NOT_FOUND if copied.left_out else exit_codes.DONE


async def _copy(source: Target, other: Target, *, again: bool) -> CopiedStore:
    with source.output.progress("copying"):
        async with source.opened() as store, other.opened(create=True) as copy_of_it:
            return await store.copy_to(copy_of_it, again=again)


@click.command(short_help="Follow an id that has changed.")
@target_options
@tenant_options
@click.option("--team", help="Only what is stored in this team.")
@click.option("--user", nargs=2, metavar="OLD NEW", help="A user's old and new id.")
@click.option("--conversation", nargs=2, metavar="OLD NEW", help="A conversation's ids.")
@yes_option
def move(
    target: Target,
    *,
    env: str,
    tenant: str,
    team: str | None,
    user: tuple[str, str] | None,
    conversation: tuple[str, str] | None,
    yes: bool,
) -> int:
    """Move the waits of a user, or in a conversation, that has a new id on its platform."""
    if user is None and conversation is None:
        raise click.UsageError("Give --user OLD NEW or --conversation OLD NEW, or both.")
    ctx = service(env, tenant, team)
    users = None if user is None else (user_id(user[0]), user_id(user[1]))
    if not yes:
        refuse(target, f"move what {env}/{tenant} has stored under the old id to the new one")
    moved = run_async(_move(target, ctx, users, conversation))
    _print(target.output, {**asdict(moved), "is_complete": moved.is_complete})
    return exit_codes.DONE if moved.is_complete else exit_codes.NOT_FOUND


async def _move(
    target: Target,
    ctx: TenantCtx,
    user: tuple[UserId, UserId] | None,
    conversation: tuple[str, str] | None,
) -> MovedWaits:
    with target.output.progress("moving"):
        async with target.opened() as store:
            return await store.move_waits(ctx, user=user, conversation=conversation)


def _print(output: Output, result: Mapping[str, int | bool | Sequence[str]]) -> None:
    """Print numbers, and below them the keys of the sessions that are named."""
    if output.as_json:
        output.json(result)
        return
    facts: list[tuple[str, str]] = []
    for field, value in result.items():
        name = field.replace("_", " ")
        if isinstance(value, bool):
            continue  # the lists say it
        if isinstance(value, int):
            facts.append((name, str(value)))
        else:
            facts += [(name, key) for key in value]
    output.facts(facts)
