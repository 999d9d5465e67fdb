"""X1: the tenant that a Slack payload belongs to is the installation that Bolt chooses for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_bolt.context import BoltContext
from slack_bolt.request.internals import build_context

from async_session_store import InvalidInputError
from async_session_store.channels import slack

FOLDER = Path(__file__).parents[1] / "channels" / "payloads"
PAYLOADS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("slack_*.json"))}
HOME = {"enterprise_id": None, "team_id": "T0HOME", "user_id": "U0BOT", "is_bot": True}
GUEST_TEAM = {"team_id": "T0GUEST", "context_team_id": "T0HOME"}
GUEST_ORG = {"team_id": "T0GUEST", "enterprise_id": "E0GUEST", "context_team_id": "T0HOME"}


def message(kind: str = "message", /, **outer: object) -> dict[str, Any]:
    event = {"type": kind, "user": "U0ANN", "channel": "C0LUNCH", "ts": "1.2", "text": "hi"}
    return {"type": "event_callback", "api_app_id": "A0ORDERS", "event": event, **outer}


# The shapes of bolt-python's tests/slack_bolt/request/test_internals.py: a shared channel, seen
# from the workspace that installed the app, and from the guest's, with and without an organization.
SHARED = [
    message(team_id="T0HOME", authorizations=[HOME], is_ext_shared_channel=True),
    message("app_mention", team_id="T0HOME", authorizations=[HOME], is_ext_shared_channel=True),
    message(**GUEST_TEAM, authorizations=[HOME], is_ext_shared_channel=True),
    message(**GUEST_ORG, authorizations=[HOME], is_ext_shared_channel=True),
    message("app_mention", **GUEST_ORG, authorizations=[HOME], is_ext_shared_channel=True),
    message(
        **GUEST_TEAM,
        authorizations=[{**HOME, "enterprise_id": "E0HOME"}],
        is_ext_shared_channel=True,
    ),
    message(**GUEST_TEAM, authorizations=[{**HOME, "is_enterprise_install": True}]),
    message(team_id="T0HOME", enterprise_id="E0HOME"),
    message(team_id="T0HOME", enterprise_id="E0HOME", authorizations=[]),
]


def tenant_of_bolt(payload: dict[str, Any]) -> str | None:
    """Return the organization or workspace whose installation Bolt looks up."""
    context = build_context(BoltContext(), payload)
    if context.get("is_enterprise_install") and context.enterprise_id:
        return context.enterprise_id
    return context.team_id or context.enterprise_id


def turns() -> list[Any]:
    found = [*PAYLOADS.values(), *SHARED]
    return [one for one in found if one.get("event", {}).get("type") != "channel_id_changed"]


@pytest.mark.parametrize("payload", turns())
def test_x1_a_payloads_tenant_is_bolts(payload: dict[str, Any]) -> None:
    assert slack(payload, bot_id="A0ORDERS").tenant_hint == tenant_of_bolt(payload)


TEAMS = st.sampled_from(["T0HOME", "T0GUEST"])
ENTERPRISES = st.sampled_from(["E0HOME", "E0GUEST"])
FLAGS = st.none() | st.booleans()
# No outer id is null: Bolt stops at a null, and would find no tenant where the user has one.
PLACES = {"team_id": TEAMS, "enterprise_id": ENTERPRISES, "is_enterprise_install": FLAGS}
AUTHORIZATION = {
    "team_id": st.none() | TEAMS,
    "enterprise_id": st.none() | ENTERPRISES,
    "is_enterprise_install": FLAGS,
}
AUTHORIZATIONS = st.lists(st.fixed_dictionaries({}, optional=AUTHORIZATION), max_size=2)


def given_by(base: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give the payload with any tenants in the fields where Slack may put them."""
    objects: dict[str, Any] = {
        "team": st.none() | st.fixed_dictionaries({"id": TEAMS}, optional={}),
        "enterprise": st.none() | st.fixed_dictionaries({"id": ENTERPRISES}),
    }
    places = {**PLACES, "authorizations": st.none() | AUTHORIZATIONS}
    if "event" not in PAYLOADS[base]:
        places |= objects
    return st.fixed_dictionaries({}, optional=places).map(lambda more: PAYLOADS[base] | more)


@pytest.mark.parametrize("base", ["slack_message", "slack_block_action", "slack_modal"])
@given(st.data())
def test_x1_wherever_the_tenant_is_it_is_bolts(base: str, draw: st.DataObject) -> None:
    payload = draw.draw(given_by(base))
    try:
        ours = slack(payload, bot_id="A0ORDERS").tenant_hint
    except InvalidInputError:
        return
    assert ours == tenant_of_bolt(payload)
