"""X7: a scope as the text that a platform gives back with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from platform_payloads import PAYLOADS, parse, payload

from async_session_store import InvalidInputError, ReplyScope, UserId
from async_session_store.channels import Inbound, scope_from_text, scope_to_text, slack

AWKWARD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PARTS = st.sampled_from(["thread", "reply_to", "correlation"])


def inbound(conversation: str) -> Inbound:
    return Inbound(
        provider="slack",
        bot_id="A0ORDERS",
        conversation=conversation,
        user_id=UserId("U0ANN"),
        delivery_id="1",
    )


@given(AWKWARD, PARTS, st.none() | AWKWARD)
def test_x7_a_text_gives_its_scope_back(conversation: str, name: str, part: str | None) -> None:
    scope = inbound(conversation).expecting(**({} if part is None else {name: part}))
    assert scope_from_text(scope_to_text(scope)) == scope


@given(AWKWARD, st.data())
def test_x7_a_text_that_was_cut_or_changed_is_refused(
    conversation: str, draw: st.DataObject
) -> None:
    text = scope_to_text(inbound(conversation).scope)
    at = draw.draw(st.integers(0, len(text) - 1))
    wrong = draw.draw(st.sampled_from([text[:at], text[at + 1 :], f"{text[:at]}x{text[at + 1 :]}"]))
    if wrong != text:
        with pytest.raises(InvalidInputError, match=r"^text: ") as caught:
            scope_from_text(wrong)
        assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("wrong", [None, 7, "", "scope:", '{"conversation":"slack/A/C"}'], ids=repr)
def test_x7_any_other_text_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^text: "):
        scope_from_text(wrong)


def test_x7_a_scope_that_no_inbound_made_has_no_text() -> None:
    with pytest.raises(InvalidInputError, match=r"^scope: does not come from an Inbound"):
        scope_to_text(ReplyScope(conversation="chat-42"))


@pytest.mark.parametrize(
    "expected",
    [{}, {"thread": "1.2"}, {"reply_to": "3.4"}, {"correlation": "order-7"}],
    ids=str,
)
def test_x7_a_modal_is_found_where_it_was_opened(expected: dict[str, str]) -> None:
    scope = parse("slack_thread").expecting(**expected)
    for name in ("slack_modal", "slack_modal_action"):
        modal = payload(name, view__private_metadata=scope_to_text(scope))
        assert scope in slack(modal).scopes()


def test_x7_a_modal_without_a_scope_is_found_by_its_callback_id() -> None:
    shortcut, modal = parse("slack_shortcut"), parse("slack_modal_alone")
    assert shortcut.expecting(correlation="order-form") in modal.scopes()
    assert shortcut.scope in modal.scopes()
    assert slack(payload("slack_modal_alone", view__private_metadata="")) == modal
    assert PAYLOADS["slack_modal_alone"]["view"]["private_metadata"] == "of the app's own"
