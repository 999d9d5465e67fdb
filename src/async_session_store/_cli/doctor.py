"""The command doctor: does the storage answer, and is it set up so that nothing is lost?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import click

from async_session_store import _urls
from async_session_store._cli import exit_codes
from async_session_store._cli.running import run_async
from async_session_store._cli.target import Target, target_options
from async_session_store._findings import Finding, Level, ok, refusal, warning
from async_session_store.errors import StoreTimeoutError, StoreUnavailableError

_STYLES: Final = {
    Level.OK: "green",
    Level.UNKNOWN: "cyan",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
}
_EXIT_CODES: Final = {
    Level.OK: exit_codes.DONE,
    Level.UNKNOWN: exit_codes.DONE,
    Level.WARNING: exit_codes.WARNINGS,
    Level.PROBLEM: exit_codes.NOT_FOUND,
}
_BY_SEVERITY: Final = tuple(Level)
_LOGGER: Final = logging.getLogger("async_session_store")


@click.command(short_help="Check the storage.")
@target_options
@click.option("--integrity", is_flag=True, help="Also read the whole file, on SQLite.")
def doctor(target: Target, *, integrity: bool) -> int:
    """Check the storage, and say what to do about each finding.

    Exits with 0 if all is well, 1 if there is a problem, 4 if there are only warnings, and 3 if the
    storage does not answer.
    """
    findings = _check(target, integrity=integrity)
    worst = max((finding.level for finding in findings), key=_BY_SEVERITY.index)
    if target.output.as_json:
        target.output.json(_as_json(target, worst, findings))
    else:
        target.output.line(target.location)
        for finding in findings:
            _print(target, finding)
    return _EXIT_CODES[worst]


def _check(target: Target, *, integrity: bool) -> list[Finding]:
    if target.kind == "memory":
        return [
            warning(
                "storage",
                "the memory of this process: nobody shares it, and it ends with the process",
                "set SESSION_STORE_URL, or pass --url",
            )
        ]
    with target.output.progress("checking"):
        if target.kind == "sqlite":
            return _check_sqlite(target, integrity=integrity)
        return _check_redis(target)


def _check_sqlite(target: Target, *, integrity: bool) -> list[Finding]:
    from async_session_store.backends.sqlite._checkup import check_file

    findings = [*check_file(_urls.sqlite_path(target.url), whole=integrity)]
    is_current = any(each.subject == "schema" and each.level is Level.OK for each in findings)
    # Opening a file with an older schema would migrate it, which nobody has asked for.
    return findings + (_check_opening(target, findings) if is_current else [])


def _check_redis(target: Target) -> list[Finding]:
    from async_session_store.backends.redis import DEFAULT_NAMESPACE
    from async_session_store.backends.redis._checkup import check_server

    target.backend()  # checks the URL and the namespace as a bot does
    findings = run_async(check_server(target.url, target.namespace or DEFAULT_NAMESPACE))
    return findings + _check_opening(target, findings)


def _check_opening(target: Target, findings: Sequence[Finding]) -> list[Finding]:
    """Open the storage as a bot does, unless it is clear why that would fail."""
    if any(finding.level is Level.PROBLEM for finding in findings):
        return []
    _LOGGER.disabled = True  # the findings say already what it would warn about
    try:
        run_async(_open(target))
    except (StoreUnavailableError, StoreTimeoutError) as error:
        return [refusal("opening", error)]
    finally:
        _LOGGER.disabled = False
    return [ok("opening", "a store opens, and answers")]


async def _open(target: Target) -> None:
    async with target.opened() as store:
        await store.ping()


def _print(target: Target, finding: Finding) -> None:
    texts = [finding.text] + ([f"Fix: {finding.fix}"] if finding.fix else [])
    level = finding.level
    target.output.labelled(level.value, _STYLES[level], finding.subject, texts)


def _as_json(target: Target, worst: Level, findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "storage": target.location,
        "level": worst.value,
        "findings": [
            {
                "subject": each.subject,
                "level": each.level.value,
                "text": each.text,
                "fix": each.fix or None,
            }
            for each in findings
        ],
    }
