"""X1: the lists of what a Telegram update and message hold are complete, as aiogram types them."""

from __future__ import annotations

from aiogram.types import Message, Update

from async_session_store import InvalidInputError
from async_session_store.channels import _telegram, _telegram_content, _telegram_queries, telegram

NO_TURNS = {
    *("business_connection", "chat_boost", "chat_member", "chosen_inline_result"),
    *("deleted_business_messages", "edited_business_message", "edited_channel_post"),
    *("edited_message", "inline_query", "managed_bot", "message_reaction"),
    *("message_reaction_count", "my_chat_member", "poll", "removed_chat_boost"),
    *("stopped_message_generation", "subscription"),
}


def names(model: type[Message | Update]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_x1_each_kind_of_update_is_a_turn_or_not_on_purpose() -> None:
    turns = {*_telegram._MESSAGES, *_telegram_queries._QUERIES}
    assert not turns & NO_TURNS
    assert names(Update) == {"update_id", *turns, *NO_TURNS}


def test_x1_each_field_of_a_message_is_content_an_event_or_its_envelope() -> None:
    lists = (_telegram_content._CONTENT, _telegram_content._EVENTS, _telegram_content._ENVELOPE)
    assert sum(map(len, lists)) == len(frozenset().union(*lists))
    assert names(Message) <= frozenset().union(*lists)


def test_x1_each_kind_of_content_is_a_turn_and_no_event_is() -> None:
    message = {
        "message_id": 1,
        "date": 1767225600,
        "from": {"id": 5551, "is_bot": False},
        "chat": {"id": 5551, "type": "private"},
    }
    for name in _telegram_content._CONTENT - {"text", "rich_message"}:
        update = {"update_id": 1, "message": {**message, name: {}}}
        assert telegram(update, bot_id=4242).text is None
    for name in _telegram_content._EVENTS:
        update = {"update_id": 1, "message": {**message, name: {}}}
        try:
            telegram(update, bot_id=4242)
        except InvalidInputError:
            continue
        raise AssertionError(name)
