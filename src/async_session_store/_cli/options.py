"""The options that several commands share, and what the store takes in their place."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Concatenate, Final, NoReturn, ParamSpec

import click

from async_session_store._cli import exit_codes
from async_session_store._cli.safe_text import safe
from async_session_store._cli.target import Target
from async_session_store._store import AsyncSessionStore
from async_session_store.models import ReplyScope, SessionRecord, TenantCtx, UserId

_P = ParamSpec("_P")

_PAGE: Final = 500  # sessions read in one step
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"(\d{1,9})([smhd])")


# --- Whose ----------------------------------------------------------------------------------------


def tenant_options(command: Callable[_P, int]) -> Callable[_P, int]:
    """Give a command ``--env`` and ``--tenant``, which it needs."""
    command = click.option("--tenant", required=True, help="The tenant.")(command)
    return click.option("--env", required=True, help="The environment, such as prod.")(command)


def service(env: str, tenant: str, team: str | None = None) -> TenantCtx:
    """Return the context of an operator, who acts for no user."""
    return TenantCtx(env=env, tenant_id=tenant, team_id=team)


def user_id(text: str) -> UserId:
    """Return a user id as it is. Encode a platform's id that is none, as a bot does."""
    return UserId(text) if UserId.accepts(text) else UserId.encode(text)


# --- Where ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A scope of a user."""

    ctx: TenantCtx
    user: UserId
    scope: ReplyScope


def place_options(
    command: Callable[Concatenate[Target, Place | None, _P], int],
) -> Callable[..., int]:
    """Give a command the options that name a scope, and pass it the place, if there are any."""

    @click.option("--env", help="The environment, such as prod.")
    @click.option("--tenant", help="The tenant.")
    @click.option("--team", help="The team, if the wait has one.")
    @click.option("--user", help="The user: a user id, or the platform's own id.")
    @click.option("--conversation", help="The conversation of the scope.")
    @click.option("--thread", help="The thread of the scope.")
    @click.option("--reply-to", help="The message in the scope.")
    @click.option("--correlation", help="The correlation of the scope.")
    @functools.wraps(command)
    def with_place(
        target: Target,
        env: str | None,
        tenant: str | None,
        team: str | None,
        user: str | None,
        conversation: str | None,
        thread: str | None,
        reply_to: str | None,
        correlation: str | None,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> int:
        needed = (env, tenant, user, conversation)
        if not any((*needed, team, thread, reply_to, correlation)):
            return command(target, None, *args, **kwargs)
        if env is None or tenant is None or user is None or conversation is None:
            raise click.UsageError("Give all of --env, --tenant, --user and --conversation.")
        scope = ReplyScope(
            conversation=conversation, thread=thread, reply_to=reply_to, correlation=correlation
        )
        place = Place(service(env, tenant, team), user_id(user), scope)
        return command(target, place, *args, **kwargs)

    return with_place


def required(place: Place | None) -> Place:
    if place is None:
        raise click.UsageError("Give --env, --tenant, --user and --conversation.")
    return place


# --- Which ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """Which waits to list or count."""

    ctx: TenantCtx | None
    flow: str | None
    node: str | None
    conversation: str | None
    expires_before: datetime | None

    def waits(self, store: AsyncSessionStore) -> AsyncIterator[SessionRecord]:
        return store.iter_waits(
            self.ctx,
            flow_id=self.flow,
            node=self.node,
            conversation=self.conversation,
            expires_before=self.expires_before,
            page=_PAGE,
        )

    async def count(self, store: AsyncSessionStore) -> int:
        return await store.count_waits(
            self.ctx,
            flow_id=self.flow,
            node=self.node,
            conversation=self.conversation,
            expires_before=self.expires_before,
            page=_PAGE,
        )


def filter_options(
    command: Callable[Concatenate[Target, Filters, _P], int],
) -> Callable[..., int]:
    """Give a command the options that pick waits, and pass it the filters."""

    @click.option("--env", help="The environment, such as prod.")
    @click.option("--tenant", help="The tenant.")
    @click.option("--team", help="Only this team.")
    @click.option("--all-tenants", is_flag=True, help="All tenants, instead of one.")
    @click.option("--flow", help="Only waits of this flow.")
    @click.option("--node", help="Only waits at this node.")
    @click.option("--conversation", help="Only waits in this conversation.")
    @click.option(
        "--expires-before",
        help="Only waits that end before this time, or within 30m, 2h or 7d.",
    )
    @functools.wraps(command)
    def with_filters(
        target: Target,
        env: str | None,
        tenant: str | None,
        team: str | None,
        all_tenants: bool,  # noqa: FBT001  # click passes it by its name
        flow: str | None,
        node: str | None,
        conversation: str | None,
        expires_before: str | None,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> int:
        ctx = _service_or_host(env, tenant, team, all_tenants=all_tenants)
        before = None if expires_before is None else _moment(expires_before)
        filters = Filters(ctx, flow, node, conversation, before)
        return command(target, filters, *args, **kwargs)

    return with_filters


def _service_or_host(
    env: str | None, tenant: str | None, team: str | None, *, all_tenants: bool
) -> TenantCtx | None:
    """Return the context of an operator, or None for all tenants."""
    if all_tenants:
        if env is not None or tenant is not None or team is not None:
            raise click.UsageError("Give --all-tenants or a tenant, not both.")
        return None
    if env is None or tenant is None:
        raise click.UsageError("Give --env and --tenant, or --all-tenants.")
    return service(env, tenant, team)


def _moment(text: str) -> datetime:
    """Read a time in ISO 8601, in UTC unless it says otherwise, or a duration from now (``2h``)."""
    try:
        if duration := _DURATION.fullmatch(text):
            length = timedelta(**{_UNITS[duration[2]]: int(duration[1])})
            return datetime.now(timezone.utc) + length
        # Python 3.10 does not know the Z.
        moment = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
    except (ValueError, OverflowError) as error:
        raise click.UsageError(
            "--expires-before: give 2h, 30m or 7d, or a time such as 2030-01-31T12:00Z"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


# --- Whether --------------------------------------------------------------------------------------

yes_option = click.option("--yes", is_flag=True, help="Do it, instead of saying what would happen.")


class UnconfirmedError(click.ClickException):
    """A command that destroys something was called without ``--yes``."""

    exit_code = exit_codes.USAGE


def refuse(target: Target, what: str) -> NoReturn:
    """Say what a command would do, and that it needs ``--yes``."""
    raise UnconfirmedError(
        safe(f"nothing was done. This would {what}, on {target.location}. To do it, add --yes.")
    )
