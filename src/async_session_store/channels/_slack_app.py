"""Slack: which app a payload is for, and which tenant its message belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from async_session_store.channels._payload import Payload


def app_id(given: str | None, payload: Payload) -> str:
    """Return the app's id, which shortcuts lack."""
    sent = payload.optional_id("api_app_id")
    if sent is None and given is None:
        raise payload.refusal("api_app_id", "is missing; pass bot_id for this kind of payload")
    if sent is not None and given is not None and sent != given:
        raise payload.refusal("api_app_id", "differs from bot_id")
    return sent or given or payload.id("api_app_id")


def tenant(payload: Payload) -> str | None:
    """Return the organization or workspace that installed the app.

    In a channel that workspaces share, the outer ``team_id`` may be the sender's, and it differs
    between a message and the mention in it. So ``authorizations`` comes first, as in Bolt.
    """
    enterprise = _enterprise(payload)
    if enterprise is not None and _is_enterprise_install(_first_authorization(payload) or payload):
        return enterprise
    return _team(payload) or enterprise


def _team(payload: Payload) -> str | None:
    view = payload.optional_part("view")
    found = None if view is None else view.optional_id("app_installed_team_id")
    if found is not None:
        return found
    if payload.has("team"):
        return _id_in(payload, "team")
    authorized = _first_authorization(payload)
    if authorized is not None:
        return authorized.optional_id("team_id")
    return payload.optional_id("team_id") or _team_of_user(payload)


def _team_of_user(payload: Payload) -> str | None:
    """Return the workspace of the user. An interaction in an organization may have no other."""
    for name in ("user", "view"):
        if isinstance(payload.values.get(name), Mapping):
            return payload.part(name).optional_id("team_id")
    return None


def _enterprise(payload: Payload) -> str | None:
    found = _id_in(payload, "enterprise")
    if found is not None:
        return found
    authorized = _first_authorization(payload)
    if authorized is not None:
        return authorized.optional_id("enterprise_id")
    found = payload.optional_id("enterprise_id")
    if found is None and payload.has("team"):
        return payload.part("team").optional_id("enterprise_id")
    return found


def _is_enterprise_install(payload: Payload) -> bool:
    """Return the flag. A form has it as text."""
    if payload.values.get("is_enterprise_install") in ("true", "false"):
        return payload.text("is_enterprise_install") == "true"
    return payload.flag("is_enterprise_install")


def _first_authorization(payload: Payload) -> Payload | None:
    return next(iter(payload.parts("authorizations")), None)


def _id_in(payload: Payload, name: str) -> str | None:
    inner = payload.optional_part(name)
    return None if inner is None else inner.optional_id("id")
