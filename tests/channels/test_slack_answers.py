"""X1: what users of Slack enter and choose, and which tenant that belongs to."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from platform_payloads import PAYLOADS, parse, payload

from async_session_store import InvalidInputError
from async_session_store.channels import slack

OPTION = {"text": {"type": "plain_text", "text": "Large"}, "value": "large"}
RICH = {
    "type": "rich_text",
    "elements": [
        {
            "type": "rich_text_section",
            "elements": [
                {"type": "text", "text": "a "},
                {"type": "text", "text": "large", "style": {"bold": True}},
                {"type": "emoji", "name": "pizza"},
            ],
        },
        {
            "type": "rich_text_list",
            "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "salad"}]}
            ],
        },
    ],
}
ONE = [
    ({"type": "button", "value": "large"}, "large"),
    ({"type": "static_select", "selected_option": OPTION}, "large"),
    ({"type": "external_select", "selected_option": OPTION}, "large"),
    ({"type": "overflow", "selected_option": OPTION}, "large"),
    ({"type": "radio_buttons", "selected_option": OPTION}, "large"),
    ({"type": "datepicker", "selected_date": "2026-01-02"}, "2026-01-02"),
    ({"type": "timepicker", "selected_time": "19:30"}, "19:30"),
    ({"type": "datetimepicker", "selected_date_time": 1767225600}, "1767225600"),
    ({"type": "users_select", "selected_user": "U0BEN"}, "U0BEN"),
    ({"type": "channels_select", "selected_channel": "C0LUNCH"}, "C0LUNCH"),
    ({"type": "conversations_select", "selected_conversation": "G0LUNCH"}, "G0LUNCH"),
    ({"type": "plain_text_input", "value": "large"}, "large"),
    ({"type": "email_text_input", "value": "ann@example.com"}, "ann@example.com"),
    ({"type": "url_text_input", "value": "https://example.com"}, "https://example.com"),
    ({"type": "number_input", "value": "2"}, "2"),
    ({"type": "rich_text_input", "rich_text_value": RICH}, "a large\nsalad"),
    ({"type": "static_select", "selected_option": None}, None),
    ({"type": "plain_text_input", "value": None}, None),
]
SEVERAL: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"type": "multi_static_select", "selected_options": [OPTION, OPTION]}, ("large", "large")),
    ({"type": "multi_external_select", "selected_options": [OPTION]}, ("large",)),
    ({"type": "checkboxes", "selected_options": []}, ()),
    ({"type": "multi_users_select", "selected_users": ["U0ANN", "U0BEN"]}, ("U0ANN", "U0BEN")),
    ({"type": "multi_channels_select", "selected_channels": ["C1", "C2"]}, ("C1", "C2")),
    ({"type": "multi_conversations_select", "selected_conversations": ["G1"]}, ("G1",)),
    ({"type": "file_input", "files": [{"id": "F0MENU"}]}, ("F0MENU",)),
]


@pytest.mark.parametrize(("element", "text"), ONE)
def test_x1_the_value_of_each_element_is_the_text(
    element: dict[str, Any], text: str | None
) -> None:
    action = {"action_id": "a", "action_ts": "1.2", **element}
    pressed = slack(payload("slack_block_action", actions=[action]))
    assert (pressed.text, pressed.values) == (text, ())
    submitted = slack(payload("slack_modal", view__state__values={"b": {"a": element}}))
    assert submitted.text == text
    assert submitted.options == (() if text is None else (("a", text),))


@pytest.mark.parametrize(("element", "values"), SEVERAL)
def test_x1_several_chosen_values_have_a_field_of_their_own(
    element: dict[str, Any], values: tuple[str, ...]
) -> None:
    action = {"action_id": "a", "action_ts": "1.2", **element}
    pressed = slack(payload("slack_block_action", actions=[action]))
    assert pressed.values == values
    assert pressed.text == (values[0] if values else None)
    submitted = slack(payload("slack_modal", view__state__values={"b": {"a": element}}))
    assert submitted.options == tuple(("a", value) for value in values)


def test_x1_a_form_encoded_body_is_a_mapping_of_its_fields() -> None:
    body = urlencode(PAYLOADS["slack_command"])
    assert slack(dict(parse_qsl(body, keep_blank_values=True))) == parse("slack_command")
    for name in ("slack_block_action", "slack_modal", "slack_shortcut"):
        form = dict(parse_qsl(urlencode({"payload": json.dumps(PAYLOADS[name])})))
        assert slack(form, bot_id="A0ORDERS") == parse(name)


def test_x1_an_error_shows_nothing_of_a_form_or_of_the_names_in_it() -> None:
    for wrong in ("secret", '{"type": "shortcut"', "[" * 100_000, "1" * 5000, "\udc80"):
        with pytest.raises(InvalidInputError, match=r"^payload\.payload") as caught:
            slack({"payload": wrong})
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
    state = {"secret": {"secret": {"type": "plain_text_input", "value": 7}}}
    with pytest.raises(InvalidInputError) as caught:
        slack(payload("slack_modal", view__state__values=state))
    assert "secret" not in str(caught.value)


def test_x1_a_shortcut_needs_the_app_that_it_does_not_name() -> None:
    for name in ("slack_shortcut", "slack_message_shortcut"):
        with pytest.raises(InvalidInputError, match=r"^payload\.api_app_id: is missing; pass bot"):
            slack(PAYLOADS[name])
    with pytest.raises(InvalidInputError, match=r"^bot_id: must not be empty"):
        slack(PAYLOADS["slack_message"], bot_id="")


def test_x1_a_message_in_a_persons_name_is_taken_if_the_host_says_so() -> None:
    sent = payload("slack_message", event__bot_id="B0OTHER", event__app_id="A0OTHER")
    assert slack(sent, allow_user_tokens=True) == parse("slack_message")
    for own in (
        payload("slack_message", event__bot_id="B0ORDERS", event__user="U0BOT"),
        payload("slack_message", event__bot_id="B0ORDERS", event__user=None),
    ):
        with pytest.raises(InvalidInputError, match=r"^payload\.event\.(user|bot_id): "):
            slack(own, allow_user_tokens=True)


def test_x1_each_event_of_one_message_has_one_tenant() -> None:
    message, mention = parse("slack_connect_message"), parse("slack_connect_mention")
    assert message.tenant_hint == mention.tenant_hint == "T0HOME"
    assert message.delivery_id == mention.delivery_id
    assert message.scopes() == mention.scopes()


def test_x1_an_organization_that_installed_the_app_is_the_tenant_of_all_its_payloads() -> None:
    org = ("slack_org_message", "slack_org_command", "slack_ephemeral_select")
    assert {parse(name).tenant_hint for name in org} == {"E0ACME"}


def test_x1_an_interaction_without_a_team_belongs_to_the_team_of_its_user() -> None:
    pressed = payload("slack_block_action", team=None)
    assert slack(pressed).tenant_hint == "T0ACME"
    opened = payload("slack_modal", team=None, view__app_installed_team_id="T0HOME")
    assert slack(opened).tenant_hint == "T0HOME"
