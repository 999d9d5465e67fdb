"""X1: whatever JSON comes, an Inbound or InvalidInputError comes out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from platform_payloads import MOVES, PARSERS, PAYLOADS, WEBEX_PAIRS, parser, paths

from async_session_store import InvalidInputError, ReplyScope
from async_session_store.channels import (
    Inbound,
    Move,
    slack,
    slack_moves,
    split_line,
    split_messenger,
    split_whatsapp,
    telegram,
    telegram_moves,
    webex,
    whatsapp_moves,
)

SURROGATES = st.text(st.characters(), max_size=5)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), SURROGATES)
NAMES = sorted({str(step) for one in PAYLOADS.values() for path in paths(one) for step in path})
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
TURNS = sorted(set(PAYLOADS) - set(WEBEX_PAIRS))
READ_MOVES: dict[str, Callable[[Any], tuple[Move, ...]]] = {
    "slack": slack_moves,
    "telegram": lambda update: telegram_moves(update, bot_id=4242),
    "whatsapp": whatsapp_moves,
}
SPLITS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "line": split_line,
    "messenger": split_messenger,
    "whatsapp": split_whatsapp,
}
SWITCHED: dict[str, Callable[[Any], Inbound]] = {
    "slack": lambda payload: slack(payload, bot_id="A0ORDERS", allow_user_tokens=True),
    "telegram": lambda update: telegram(update, bot_id=4242, discussion_group=True),
}

quickly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


def check(parse: Any, *arguments: object) -> None:
    try:
        inbound = parse(*arguments)
    except InvalidInputError:
        return
    assert isinstance(inbound, Inbound)
    assert all(isinstance(scope, ReplyScope) for scope in (*inbound.scopes(), inbound.scope))


def replaced(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    """Return a copy with another value at a path; ``...`` drops the field."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    if new is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return changed


@pytest.mark.parametrize("platform", PARSERS)
@quickly
@given(JSON)
def test_x1_any_json_is_accepted_or_refused(platform: str, value: object) -> None:
    check(PARSERS[platform], value)


@pytest.mark.parametrize("platform", SWITCHED)
@quickly
@given(st.data())
def test_x1_a_switch_changes_nothing_about_that(platform: str, draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from([one for one in TURNS if one.startswith(platform)]))
    path = draw.draw(st.sampled_from(sorted(paths(PAYLOADS[name]), key=str)))
    check(SWITCHED[platform], replaced(PAYLOADS[name], path, draw.draw(JSON)))


@pytest.mark.parametrize("platform", READ_MOVES)
@quickly
@given(st.data())
def test_x6_a_move_with_anything_in_it_is_read_or_refused(
    platform: str, draw: st.DataObject
) -> None:
    name = draw.draw(st.sampled_from([one for one in MOVES if one.startswith(platform)]))
    path = draw.draw(st.sampled_from(sorted(paths(PAYLOADS[name]), key=str)))
    try:
        moves = READ_MOVES[platform](replaced(PAYLOADS[name], path, draw.draw(JSON)))
    except InvalidInputError:
        return
    assert all(isinstance(move, Move) for move in moves)


def nested(depth: int, wrap: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(depth):
        inner = wrap(inner)
    return inner


DEEP = 20_000
HUGE = {
    "telegram_rich_message": ("message", "rich_message", "blocks"),
    "discord_command": ("data", "options"),
    "discord_modal_labels": ("data", "components"),
    "slack_modal": ("view", "state", "values", "b3", "note", "rich_text_value", "elements"),
}
WRAPS: dict[str, Callable[[Any], Any]] = {
    "telegram_rich_message": lambda inner: [{"type": "blockquote", "blocks": inner}],
    "discord_command": lambda inner: [{"type": 1, "name": "a", "options": inner}],
    "discord_modal_labels": lambda inner: [{"type": 1, "components": inner}],
    "slack_modal": lambda inner: [{"type": "rich_text_list", "elements": inner}],
}


@pytest.mark.parametrize("name", HUGE)
def test_x1_a_payload_is_read_in_bounded_time_however_deep_it_is(name: str) -> None:
    payload = copy.deepcopy(PAYLOADS[name])
    *outer, last = HUGE[name]
    holder = payload
    for step in outer:
        holder = holder.setdefault(step, {})
    holder[last] = nested(DEEP, WRAPS[name], [])
    begun = time.perf_counter()
    check(parser(name), payload)
    assert time.perf_counter() - begun < 5


@pytest.mark.one_python  # it takes a minute, and plain dictionaries are alike on each Python
@pytest.mark.parametrize("name", TURNS)
@quickly
@given(st.data())
def test_x1_a_payload_with_any_value_in_it_is_accepted_or_refused(
    name: str, draw: st.DataObject
) -> None:
    payload = PAYLOADS[name]
    for _ in range(draw.draw(st.integers(1, 2))):
        path = draw.draw(st.sampled_from(sorted(paths(payload), key=str)))
        payload = replaced(payload, path, draw.draw(JSON))
    check(parser(name), payload)


@pytest.mark.parametrize("name", TURNS)
def test_x1_a_payload_without_any_one_field_is_accepted_or_refused(name: str) -> None:
    payload = PAYLOADS[name]
    for path in paths(payload):
        if path:
            check(parser(name), replaced(payload, path, ...))
            for value in (None, True, 1.5, "", "\udc80", [], {}, "\n", 2**80):
                check(parser(name), replaced(payload, path, value))


@pytest.mark.parametrize("name", WEBEX_PAIRS)
@quickly
@given(st.data())
def test_x1_the_fetched_part_of_a_webex_payload_may_be_any_json(
    name: str, draw: st.DataObject
) -> None:
    fetched = PAYLOADS[name]
    path = draw.draw(st.sampled_from(sorted(paths(fetched), key=str)))
    check(webex, PAYLOADS[WEBEX_PAIRS[name]], replaced(fetched, path, draw.draw(JSON)))


@pytest.mark.parametrize("platform", SPLITS)
@quickly
@given(st.data())
def test_x1_a_webhook_with_several_events_is_split_or_refused(
    platform: str, draw: st.DataObject
) -> None:
    batch = PAYLOADS[f"{platform}_batch"]
    path = draw.draw(st.sampled_from(sorted(paths(batch), key=str)))
    try:
        parts = SPLITS[platform](replaced(batch, path, draw.draw(JSON)))
    except InvalidInputError:
        return
    for part in parts:
        check(PARSERS[platform], part)
