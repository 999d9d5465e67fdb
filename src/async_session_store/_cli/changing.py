"""The commands that change the storage: erase-user, purge, compact and break-claim."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import click

from async_session_store._cli import exit_codes
from async_session_store._cli.options import (
    Place,
    place_options,
    refuse,
    required,
    service,
    tenant_options,
    user_id,
    yes_option,
)
from async_session_store._cli.running import run_async
from async_session_store._cli.target import Target, target_options
from async_session_store._findings import size_text
from async_session_store.abc import ErasedUser
from async_session_store.models import TenantCtx, UserId

_SLICE: Final = 1000  # entries purged in one call, so that there is progress to show
_SQLITE: Final = "sqlite"


@click.command("erase-user", short_help="Erase all of a user.")
@target_options
@tenant_options
@click.argument("user")
@yes_option
def erase_user(target: Target, *, env: str, tenant: str, user: str, yes: bool) -> int:
    """Erase all that is stored of a USER in all teams of a tenant.

    Stop the user's messages first. It can be repeated after an error.
    """
    ctx, whose = service(env, tenant), user_id(user)
    if not yes:
        refuse(target, f"erase all that is stored of the user in all teams of {env}/{tenant}")
    erased = run_async(_erase(target, ctx, whose))
    if target.output.as_json:
        target.output.json({"erased": asdict(erased)})
    else:
        target.output.facts(
            (name.replace("_", " "), str(number)) for name, number in asdict(erased).items()
        )
    return exit_codes.DONE if erased else exit_codes.NOT_FOUND


async def _erase(target: Target, ctx: TenantCtx, user: UserId) -> ErasedUser:
    with target.output.progress("erasing"):
        async with target.opened() as store:
            return await store.erase_user(ctx, user)


@click.command(short_help="Reclaim what has expired.")
@target_options
@click.option("--limit", type=click.IntRange(min=1), help="At most so many entries.")
def purge(target: Target, limit: int | None) -> int:
    """Reclaim the storage of what has expired. No call sees that any more, so it needs no --yes."""
    purged = run_async(_purge(target, limit))
    if target.output.as_json:
        target.output.json({"purged": purged})
    else:
        target.output.line(f"expired entries reclaimed: {purged}")
    return exit_codes.DONE


async def _purge(target: Target, limit: int | None) -> int:
    purged = 0
    with target.output.progress("entries reclaimed") as advance:
        async with target.opened() as store:
            while limit is None or purged < limit:
                wanted = _SLICE if limit is None else min(_SLICE, limit - purged)
                found = await store.purge_expired(wanted)
                purged += found
                advance(purged)
                if found < wanted:
                    break
    return purged


@click.command(short_help="Make a SQLite file smaller.")
@target_options
@click.option(
    "--max-pause",
    type=click.FloatRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    help="How many seconds others' writes may wait. If it takes longer, nothing is changed.",
)
@yes_option
def compact(target: Target, *, max_pause: float, yes: bool) -> int:
    """Give the space that a SQLite file no longer needs back to the disk, and empty its log.

    Other processes may use the file meanwhile: they can read, but their writes wait.
    """
    if target.kind != _SQLITE:
        _say_freed(target, 0, f"{target.location}: there is nothing to do, it reuses its space")
        return exit_codes.DONE
    if not yes:
        refuse(target, f"rewrite the file and let others' writes wait for up to {max_pause:g} s")
    freed = run_async(_compact(target, max_pause))
    _say_freed(target, freed, f"{size_text(freed)} given back to the disk")
    return exit_codes.DONE


def _say_freed(target: Target, freed: int, text: str) -> None:
    if target.output.as_json:
        target.output.json({"freed_bytes": freed})
    else:
        target.output.line(text)


async def _compact(target: Target, max_pause: float) -> int:
    with target.output.progress("rewriting the file"):
        async with target.opened() as store:
            return await store.compact(max_pause=max_pause)


@click.command("break-claim", short_help="End a dead worker's claim.")
@target_options
@place_options
@yes_option
def break_claim(target: Target, place: Place | None, *, yes: bool) -> int:
    """End the claim that a dead worker holds on a scope, so that the next one gets its turn."""
    place = required(place)
    if not yes:
        refuse(
            target,
            "end the claim on the scope. If its holder is alive, what it does may happen twice",
        )
    was_held = run_async(_break(target, place))
    if target.output.as_json:
        target.output.json({"was_held": was_held})
    elif was_held:
        target.output.line("the claim has ended")
    else:
        target.output.error("no claim is held there; the command explain shows what is there")
    return exit_codes.DONE if was_held else exit_codes.NOT_FOUND


async def _break(target: Target, place: Place) -> bool:
    async with target.opened() as store:
        return await store.break_claim(place.ctx, place.user, place.scope)
