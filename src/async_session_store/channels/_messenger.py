"""Meta's Messenger platform: webhooks of Facebook Messenger and of Instagram."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from async_session_store.channels._payload import Payload, only_value
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_PROVIDERS: Final = {"page": "messenger", "instagram": "instagram"}
_WATCHED: Final = "standby"


def messenger(payload: Mapping[str, object]) -> Inbound:
    """Read a webhook of Facebook Messenger or Instagram with one event.

    Use :func:`split_messenger` first. The event is a message, a button, an opt-in, an account that
    was linked, or a form with the customer's details. The provider is ``messenger`` or
    ``instagram``, and the bot is the page or the Instagram account.

    Raises ``InvalidInputError`` for an echo of the bot's own message, for an edit, a deletion, a
    reaction, a receipt, a referral and the like, for an event that the app only watches, and for
    several events at once.
    """
    fields = Payload("payload", payload)
    provider = _PROVIDERS.get(fields.id("object"))
    if provider is None:
        raise fields.refusal("object", "is neither page nor instagram")
    events = list(_events(fields))
    if len(events) != 1:
        raise fields.refusal("entry", "must hold one event; use split_messenger to split a webhook")
    entry, event = events[0]
    turn = _read(entry, event)
    user = _user(event.part("sender"))
    return Inbound(
        provider=provider,
        threads="none",
        bot_id=event.part("recipient").id("id"),
        user_id=UserId.encode(user),
        conversation=user,
        reply_to=turn.reply_to,
        correlation=turn.correlation,
        message_id=turn.message_id,
        delivery_id=turn.delivery_id,
        text=turn.text,
        options=turn.options,
    )


def split_messenger(payload: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Split a webhook of Messenger or Instagram into ones with one event, for :func:`messenger`.

    Receipts, reactions and the like are left out, and so are events that the app only watches. The
    result may be empty. Raises ``InvalidInputError`` for anything but such a webhook.
    """
    fields = Payload("payload", payload)
    return tuple(
        {**fields.values, "entry": [_with_one_event(entry, event)]}
        for entry, event in _events(fields)
        if _kind(event) is not None
    )


def _with_one_event(entry: Payload, event: Payload) -> Mapping[str, object]:
    others = {name: entry.values[name] for name in ("id", "time") if entry.has(name)}
    return {**others, "messaging": [event.values]}


def _events(fields: Payload) -> Iterator[tuple[Payload, Payload]]:
    """Yield each event with its entry. Some webhooks of Instagram have events as changes."""
    for entry in fields.parts("entry"):
        for event in entry.parts("messaging"):
            yield entry, event
        for change in entry.parts("changes"):
            watched = change.optional_id("field") == _WATCHED
            if not watched and isinstance(change.values.get("value"), Mapping):
                event = change.part("value")
                if event.has("sender"):  # a comment on a post, for example, has none
                    yield entry, event


@dataclass(frozen=True)
class _Turn:
    """What a user wrote, pressed or filled in."""

    delivery_id: str
    message_id: str | None = None
    reply_to: str | None = None
    correlation: str | None = None
    text: str | None = None
    options: tuple[tuple[str, str], ...] = ()


def _read(entry: Payload, event: Payload) -> _Turn:
    kind = _kind(event)
    if kind is None:
        raise event.refusal("message", "is missing, and so is every other kind of a user's turn")
    moment = event.optional_id("timestamp") or entry.id("time")
    return _READERS[kind](event.part(kind), moment)


def _kind(event: Payload) -> str | None:
    return next((name for name in _READERS if event.has(name)), None)


def _user(sender: Payload) -> str:
    """Return the user's id, or the reference that a plug-in on the business's website gave them."""
    return sender.optional_id("id") or sender.optional_id("user_ref") or sender.id("id")


def _message(message: Payload, _: str) -> _Turn:
    if message.flag("is_echo"):
        raise message.refusal("is_echo", "is true, so the bot sent the message")
    if message.flag("is_deleted"):
        raise message.refusal("is_deleted", "is true, so a message was deleted")
    quick_reply = message.optional_part("quick_reply")
    return _Turn(
        delivery_id=message.id("mid"),
        message_id=message.id("mid"),
        reply_to=_replied(message),
        correlation=None if quick_reply is None else quick_reply.correlation("payload"),
        text=message.text("text"),
    )


def _replied(message: Payload) -> str | None:
    """Return the message or the Instagram story that was replied to."""
    replied = message.optional_part("reply_to")
    if replied is None:
        return None
    story = replied.optional_part("story")
    return replied.optional_id("mid") or (None if story is None else story.optional_id("id"))


def _postback(postback: Payload, moment: str) -> _Turn:
    """Read a button. Its ``mid`` is the message with the button, however often it is pressed."""
    mid = postback.optional_id("mid")
    return _Turn(
        delivery_id=moment if mid is None else f"{moment}/{mid}",
        reply_to=mid,
        correlation=postback.correlation("payload"),
        text=postback.text("title") or postback.text("payload"),
    )


def _opt_in(opt_in: Payload, moment: str) -> _Turn:
    correlation = opt_in.correlation("payload") or opt_in.correlation("ref")
    return _Turn(moment, correlation=correlation, text=opt_in.text("title"))


def _account_link(link: Payload, moment: str) -> _Turn:
    options = tuple(("authorization_code", code) for code in link.texts("authorization_code"))
    return _Turn(moment, text=link.text("status"), options=options)


def _customer_details(form: Payload, moment: str) -> _Turn:
    options = tuple(
        (response.id("key"), value)
        for screen in form.parts("screens")
        for response in screen.parts("responses")
        for value in response.texts("value")
    )
    return _Turn(moment, text=only_value(options), options=options)


_READERS: Final[dict[str, Callable[[Payload, str], _Turn]]] = {
    "message": _message,
    "postback": _postback,
    "optin": _opt_in,
    "account_linking": _account_link,
    "messaging_customer_information": _customer_details,
}
"""How an event of each kind is read, given when it happened."""
