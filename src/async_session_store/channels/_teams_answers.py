"""Microsoft Teams: what a user wrote, or entered in a card, a dialog or a sign-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from async_session_store.channels._payload import Payload

_CORRELATION: Final = "correlation"


@dataclass(frozen=True)
class Answer:
    """What a user wrote, chose or filled in."""

    correlation: str | None = None
    text: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    repeated_id: str | None = None
    """An id that stays the same if several of the user's devices send the same invoke."""


def read_answer(activity: Payload) -> Answer:
    """Read a message or an invoke. Raises ``InvalidInputError`` for any other activity."""
    kind = activity.id("type")
    if kind == "message":
        found = _submitted(activity, "value")
        text = activity.text("text") or (None if found.fields else _plain_value(activity))
        return Answer(found.correlation, text, found.fields)
    if kind != "invoke":
        raise activity.refusal("type", "is neither message nor invoke")
    name = activity.optional_id("name")
    if name is None:  # a button of a card, from before invokes had names
        return _submitted(activity, "value")
    read = _INVOKES.get(name)
    if read is None:
        raise activity.refusal("name", "is not the name of an invoke that answers the bot")
    return read(activity.part("value"))


def _submitted(holder: Payload, name: str) -> Answer:
    """Read the data of an action. The bot may have put a correlation of its own into it."""
    if not isinstance(holder.values.get(name), Mapping):
        return Answer()
    data = holder.part(name)
    return Answer(data.optional_id(_CORRELATION), fields=_without_correlation(data))


def _without_correlation(data: Payload) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in data.named_values() if pair[0] != _CORRELATION)


def _plain_value(activity: Payload) -> str | None:
    return activity.text("value") if isinstance(activity.values.get("value"), str) else None


def _card_action(value: Payload) -> Answer:
    if value.optional_id("trigger") == "automatic":
        raise value.refusal("trigger", "is automatic, so no user acted")
    action = value.part("action")
    data = _submitted(action, "data")
    return Answer(action.optional_id("verb") or data.correlation, fields=data.fields)


def _dialog(value: Payload) -> Answer:
    return _submitted(value, "data")


def _file_consent(value: Payload) -> Answer:
    context = _submitted(value, "context")
    return Answer(context.correlation, value.text("action"), context.fields)


def _sign_in_code(value: Payload) -> Answer:
    return Answer(text=value.text("state"))


def _sign_in_token(value: Payload) -> Answer:
    """Read a single sign-on. Every device on which the user is active sends one, with one id."""
    return Answer(value.optional_id("connectionName"), repeated_id=value.id("id"))


def _connector_card(value: Payload) -> Answer:
    return Answer(value.optional_id("actionId"), value.text("body"))


_INVOKES: Final[dict[str, Callable[[Payload], Answer]]] = {
    "actionableMessage/executeAction": _connector_card,
    "adaptiveCard/action": _card_action,
    "fileConsent/invoke": _file_consent,
    "signin/tokenExchange": _sign_in_token,
    "signin/verifyState": _sign_in_code,
    "task/submit": _dialog,
}
