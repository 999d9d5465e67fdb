"""Slack: what a user entered or chose in an element of a message or modal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from async_session_store.channels._payload import Payload

_ONE: Final = (
    *("selected_date", "selected_time", "selected_date_time", "selected_user"),
    *("selected_channel", "selected_conversation"),
)
_MAX_LEVELS: Final = 5  # of a rich text
_SEVERAL: Final = ("selected_users", "selected_channels", "selected_conversations")


def chosen_values(element: Payload) -> tuple[tuple[str, ...], bool]:
    """Return the values of an element, and whether the element allows several."""
    several = _several(element)
    return (several, True) if several is not None else (_present(_one(element)), False)


def form_fields(view: Payload) -> list[tuple[str, tuple[str, ...]]]:
    """Return the action ids of a modal's elements, each with its values, in the modal's order."""
    state = view.optional_part("state")
    blocks = None if state is None else state.optional_part("values")
    if blocks is None:
        return []
    return [
        (action_id, chosen_values(element)[0])
        for _, block in blocks.named_parts()
        for action_id, element in block.named_parts()
    ]


def _several(element: Payload) -> tuple[str, ...] | None:
    if element.has("selected_options"):
        options = element.parts("selected_options")
        return tuple(text for one in options for text in _present(one.text("value")))
    if element.has("files"):
        return tuple(file.id("id") for file in element.parts("files"))
    return next((element.ids(name) for name in _SEVERAL if element.has(name)), None)


def _one(element: Payload) -> str | None:
    option = element.optional_part("selected_option")
    if option is not None:
        return option.text("value")
    if element.has("rich_text_value"):
        return _plain_text(element)
    selected = next((element.id(name) for name in _ONE if element.has(name)), None)
    return selected or element.text("value")


def _present(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)


def _plain_text(element: Payload) -> str | None:
    """Return the text of a rich text input without its format, one line for each section."""
    sections = element.part("rich_text_value").parts("elements")
    lines = ("".join(_pieces(section)) for section in sections)
    return element.checked_text("rich_text_value", "\n".join(line for line in lines if line))


def _pieces(item: Payload, levels: int = _MAX_LEVELS) -> Iterator[str]:
    yield item.text("text") or ""
    elements = item.parts("elements")
    if elements and not levels:
        raise item.refusal("elements", "are nested too deeply")
    for element in elements:
        yield from _pieces(element, levels - 1)
