"""The commands that look, and change nothing: waits, count, show and explain."""

from __future__ import annotations

from typing import Final

import click

from async_session_store._cli import exit_codes, records
from async_session_store._cli.options import (
    Filters,
    Place,
    filter_options,
    place_options,
    required,
)
from async_session_store._cli.output import Column
from async_session_store._cli.running import run_async
from async_session_store._cli.target import Target, target_options
from async_session_store.explanations import Explanation, WaitStatus
from async_session_store.models import SessionRecord

_IN_A_TABLE: Final = 1000  # waits, unless --limit says otherwise


@click.command(short_help="List waits.")
@target_options
@filter_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"At most so many. By default {_IN_A_TABLE} in a table, and all with --json.",
)
def waits(target: Target, filters: Filters, limit: int | None) -> int:
    """List the waits of a tenant, or of all tenants."""
    if target.output.as_json:
        return run_async(_list_as_json(target, filters, limit))
    return run_async(_list_in_table(target, filters, limit or _IN_A_TABLE))


async def _list_as_json(target: Target, filters: Filters, limit: int | None) -> int:
    number = 0
    async with target.opened() as store:
        async for record in filters.waits(store):
            target.output.json(records.json_of(record))
            number += 1
            if number == limit:
                break
    return exit_codes.DONE


async def _list_in_table(target: Target, filters: Filters, limit: int) -> int:
    found, is_more = list[SessionRecord](), False
    with target.output.progress("waits read") as advance:
        async with target.opened() as store:
            async for record in filters.waits(store):
                if len(found) == limit:
                    is_more = True
                    break
                found.append(record)
                advance(len(found))
    if not found:
        target.output.hint("no waits")
        return exit_codes.DONE
    target.output.table(*records.table_of(found))
    if is_more:
        target.output.hint(f"there are more than {limit}: use --limit, a filter, or --json")
    return exit_codes.DONE


@click.command(short_help="Count waits.")
@target_options
@filter_options
def count(target: Target, filters: Filters) -> int:
    """Count the waits that the command waits lists."""
    number = run_async(_count(target, filters))
    if target.output.as_json:
        target.output.json({"count": number})
    else:
        target.output.line(str(number))
    return exit_codes.DONE


async def _count(target: Target, filters: Filters) -> int:
    with target.output.progress("counting"):
        async with target.opened() as store:
            return await filters.count(store)


@click.command(short_help="Show one session.")
@target_options
@place_options
@click.argument("key", required=False)
@click.option("--reveal", is_flag=True, help="Also show what the flow remembers.")
def show(target: Target, place: Place | None, key: str | None, *, reveal: bool) -> int:
    """Show the session with a KEY, or the one that waits for a user at a scope."""
    if (key is None) == (place is None):
        raise click.UsageError(
            "Give the key of a session, or --env, --tenant, --user and --conversation."
        )
    record = run_async(_read(target, place, key))
    if record is None:
        target.output.error("there is no such session: it ended, or it was never stored")
        return exit_codes.NOT_FOUND
    if target.output.as_json:
        target.output.json(records.whole_json_of(record, reveal=reveal))
    else:
        target.output.facts(records.facts_of(record, reveal=reveal))
    return exit_codes.DONE


async def _read(target: Target, place: Place | None, key: str | None) -> SessionRecord | None:
    async with target.opened() as store:
        if place is not None:
            return await store.get_wait(place.ctx, place.user, place.scope)
        return await store.get_record(key or "")


@click.command(short_help="Explain a look-up.")
@target_options
@place_options
def explain(target: Target, place: Place | None) -> int:
    """Explain what a look-up at a scope finds: a wait, a claim, or nothing.

    With --team, it also looks without a team, where a bot may have registered the wait.
    """
    explanation = run_async(_explain(target, required(place)))
    if target.output.as_json:
        for report in records.explanation_json_of(explanation):
            target.output.json(report)
    else:
        target.output.table(_EXPLAINED, _explained(explanation))
    found = any(report.status is not WaitStatus.NOTHING for report in explanation.reports)
    return exit_codes.DONE if found else exit_codes.NOT_FOUND


_EXPLAINED: Final = (
    Column("status"),
    Column("team"),
    Column("ends"),
    Column("claimed until"),
    Column("key", folds=True),
)


def _explained(explanation: Explanation) -> list[list[str]]:
    return [
        [
            report.status.value,
            report.team or "none",
            "" if report.session_key is None else records.moment(report.expires_at),
            "" if report.claimed_until is None else records.moment(report.claimed_until),
            report.session_key or "",
        ]
        for report in explanation.reports
    ]


async def _explain(target: Target, place: Place) -> Explanation:
    async with target.opened() as store:
        return await store.explain(place.ctx, place.user, place.scope)
