"""Telegram: what a user chooses outside of a chat: votes, payments, requests to join."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId


def read_query(bot: str, update: Payload) -> Inbound:
    """Read an update that names no chat as one in the user's private chat with the bot.

    A private chat has the id of its user.
    """
    for kind, read in _QUERIES.items():
        query = update.optional_part(kind)
        if query is not None:
            return read(bot, update.id("update_id"), query)
    raise update.refusal("message", "is missing, and so is every other kind of a user's turn")


def _vote(bot: str, delivery_id: str, vote: Payload) -> Inbound:
    voter = vote.optional_part("voter_chat") or vote.part("user")
    chosen = vote.ids("option_ids")
    return _private(
        *(bot, delivery_id, voter.id("id")),
        correlation=vote.id("poll_id"),
        text=chosen[0] if chosen else None,
        values=chosen,
    )


def _join_request(bot: str, delivery_id: str, request: Payload) -> Inbound:
    return _private(
        *(bot, delivery_id, request.part("from").id("id")),
        conversation=request.id("user_chat_id"),
        correlation=request.part("chat").id("id"),
    )


def _pre_checkout(bot: str, delivery_id: str, query: Payload) -> Inbound:
    return _private(
        *(bot, delivery_id, query.part("from").id("id")),
        correlation=query.id("invoice_payload"),
        text=query.text("shipping_option_id"),
    )


def _shipping(bot: str, delivery_id: str, query: Payload) -> Inbound:
    sender = query.part("from").id("id")
    return _private(bot, delivery_id, sender, correlation=query.id("invoice_payload"))


def _purchase(bot: str, delivery_id: str, purchase: Payload) -> Inbound:
    sender = purchase.part("from").id("id")
    return _private(bot, delivery_id, sender, correlation=purchase.id("paid_media_payload"))


def _inline_button(bot: str, delivery_id: str, query: Payload) -> Inbound:
    if not query.has("inline_message_id"):
        raise query.refusal("message", "is missing, and so is inline_message_id")
    return _private(
        *(bot, delivery_id, query.part("from").id("id")),
        reply_to=query.id("inline_message_id"),
        correlation=query.optional_id("data"),
        text=query.text("data"),
    )


_QUERIES: Final[dict[str, Callable[[str, str, Payload], Inbound]]] = {
    "callback_query": _inline_button,
    "chat_join_request": _join_request,
    "poll_answer": _vote,
    "pre_checkout_query": _pre_checkout,
    "purchased_paid_media": _purchase,
    "shipping_query": _shipping,
}


def _private(
    bot: str,
    delivery_id: str,
    user: str,
    *,
    conversation: str | None = None,
    reply_to: str | None = None,
    correlation: str | None = None,
    text: str | None = None,
    values: tuple[str, ...] = (),
) -> Inbound:
    return Inbound(
        provider="telegram",
        bot_id=bot,
        user_id=UserId.encode(user),
        conversation=conversation or user,
        reply_to=reply_to,
        correlation=correlation,
        delivery_id=delivery_id,
        text=text,
        values=values,
    )
