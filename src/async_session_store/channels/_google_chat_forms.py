"""Google Chat: what a button carries, and what a user entered in its card or dialog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from async_session_store.channels._payload import Payload, as_id

_CORRELATION: Final = "correlation"
_MOMENTS: Final = ("dateTimeInput", "dateInput")

_Fields = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Form:
    """What a button carries, and what was entered."""

    correlation: str | None = None
    text: str | None = None
    values: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()


def read_form(details: Payload, common: Payload | None) -> Form:
    """Read the parameters of a button, and the inputs of its card or dialog.

    The text is the value of the only input, or else of the only parameter.
    """
    parameters = _parameters(details, common)
    inputs = () if common is None else tuple(_inputs(common))
    correlation = next((as_id(value) for name, value in parameters if name == _CORRELATION), None)
    others = tuple((name, (value,)) for name, value in parameters if name != _CORRELATION)
    only = _only(inputs or others)
    return Form(
        correlation=correlation or _function(details, common),
        text=only[0] or None if only else None,
        values=only if len(only) > 1 else (),
        options=tuple((name, value) for name, values in (*others, *inputs) for value in values),
    )


def _only(fields: _Fields) -> tuple[str, ...]:
    return fields[0][1] if len(fields) == 1 else ()


def _parameters(details: Payload, common: Payload | None) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a button. Older events have them only in the action."""
    parameters = None if common is None else common.optional_part("parameters")
    if parameters is not None:
        return parameters.named_values()
    action = details.optional_part("action")
    if action is None:
        return ()
    return tuple(
        (parameter.id("key"), value)
        for parameter in action.parts("parameters")
        for value in parameter.texts("value")
    )


def _function(details: Payload, common: Payload | None) -> str | None:
    """Return the function of a button. For an add-on over HTTP, it may be a URL."""
    found = None if common is None else common.correlation("invokedFunction")
    action = details.optional_part("action")
    return found or (None if action is None else action.correlation("actionMethodName"))


def _inputs(common: Payload) -> Iterator[tuple[str, tuple[str, ...]]]:
    inputs = common.optional_part("formInputs")
    for name, entered in [] if inputs is None else inputs.named_parts():
        yield name, _entered(entered)


def _entered(entered: Payload) -> tuple[str, ...]:
    strings = entered.optional_part("stringInputs")
    if strings is not None:
        return strings.texts("value")
    for name in _MOMENTS:
        moment = entered.optional_part(name)
        if moment is not None:
            return moment.texts("msSinceEpoch")
    time = entered.optional_part("timeInput")
    return () if time is None else (_time(time),)


def _time(time: Payload) -> str:
    """Return a time as ``07:30``. Google Chat leaves out a zero."""
    return ":".join((time.optional_id(name) or "").zfill(2) for name in ("hours", "minutes"))
