"""Where a runner keeps its sessions, according to the environment variables that it reads."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from pydantic import ValidationError
from typing_extensions import Self

from async_session_store import _rules
from async_session_store._rules import NEVER, TimeToLive
from async_session_store.errors import InvalidInputError
from async_session_store.models import EnvId

_BACKEND: Final = "GREENTIC_RUNNER_SESSION_BACKEND"
_BACKEND_URL: Final = "GREENTIC_RUNNER_REDIS_URL"
_URL: Final = "GREENTIC_SESSION_REDIS_URL"
_NAMESPACE: Final = "GREENTIC_RUNNER_SESSION_NAMESPACE"
_WAIT_TTL: Final = "GREENTIC_RUNNER_SESSION_WAIT_TTL_SECS"
_ENV: Final = "GREENTIC_ENV"

_DEFAULT_ENV: Final = "local"
_DEFAULT_WAIT_TTL: Final = timedelta(hours=24)
_SECONDS: Final = re.compile(r"\+?0*([0-9]{1,20})")  # what Rust parses as a u64, and little more
_MAX_SECONDS: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Where a runner keeps its sessions, and for how long.

    Pass ``url``, ``namespace`` and ``wait_ttl`` to ``from_url`` of a store, the last one as its
    ``default_wait_ttl``.
    """

    url: str = field(repr=False)  # it may hold a password
    """The URL of the runner's Redis. The ``repr`` leaves it out."""
    namespace: str
    """The prefix of the runner's keys."""
    wait_ttl: TimeToLive
    """How long a wait lives."""
    env: EnvId
    """The environment in the runner's envelopes."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables of a runner, from ``os.environ`` or from ``environ``.

        A host that was given no storage reads ``GREENTIC_SESSION_REDIS_URL``
        (``StorageConfig::from_redis_url_env``). A host that asks for a storage reads
        ``GREENTIC_RUNNER_REDIS_URL`` if ``GREENTIC_RUNNER_SESSION_BACKEND`` is ``redis``
        (``StorageConfig::from_env``). Both take the namespace from
        ``GREENTIC_RUNNER_SESSION_NAMESPACE``, or else ``greentic:session:{GREENTIC_ENV}``. Both
        take the seconds that a wait lives from ``GREENTIC_RUNNER_SESSION_WAIT_TTL_SECS``: 24 hours
        if it is unset or not a number, forever if it is 0. Blank variables count as unset.

        Raises ``InvalidInputError`` if a runner would refuse to start or would keep its sessions in
        its own memory, or if the two URLs differ.
        """
        given = os.environ if environ is None else environ
        variables = {name: text for name, value in given.items() if (text := value.strip())}
        return cls(
            url=_url(variables),
            namespace=_namespace(variables),
            wait_ttl=_wait_ttl(variables),
            env=_env(variables),
        )


def _url(variables: Mapping[str, str]) -> str:
    unasked, asked = variables.get(_URL), _backend_url(variables)
    if unasked and asked and unasked != asked:
        raise InvalidInputError(
            f"{_BACKEND_URL}: differs from {_URL}, and the runner's program decides which one it "
            "uses; give this process only that one"
        )
    url = unasked or asked
    if url is None:
        raise InvalidInputError(
            f"{_URL}: must be set; without it a runner keeps its sessions in its own memory, where "
            "no other process finds them"
        )
    return url


def _backend_url(variables: Mapping[str, str]) -> str | None:
    backend = variables.get(_BACKEND, "memory")
    if backend == "memory":
        return None
    if backend != "redis":
        raise InvalidInputError(f"{_BACKEND}: must be 'memory' or 'redis'")
    if _BACKEND_URL not in variables:
        raise InvalidInputError(f"{_BACKEND_URL}: must be set, as {_BACKEND} is 'redis'")
    return variables[_BACKEND_URL]


def _namespace(variables: Mapping[str, str]) -> str:
    if _NAMESPACE in variables:
        return variables[_NAMESPACE]
    if _ENV in variables:
        return f"greentic:session:{variables[_ENV]}"
    raise InvalidInputError(f"{_NAMESPACE}: set it, or {_ENV}, as a runner needs one of them")


def _wait_ttl(variables: Mapping[str, str]) -> TimeToLive:
    text = variables.get(_WAIT_TTL, "")
    digits = _SECONDS.fullmatch(text)
    if digits is None or (seconds := int(digits[1])) > _MAX_SECONDS:
        return _DEFAULT_WAIT_TTL
    if seconds == 0:
        return NEVER
    _rules.milliseconds(_WAIT_TTL, seconds)
    return timedelta(seconds=seconds)


def _env(variables: Mapping[str, str]) -> EnvId:
    try:
        return EnvId(variables.get(_ENV, _DEFAULT_ENV))
    except ValidationError as error:
        raise InvalidInputError(f"{_ENV}: {EnvId.rule}") from error
