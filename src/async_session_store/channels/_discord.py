"""Discord: messages from the gateway, and interactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_DEFAULT, _REPLY = "0", "19"  # types of messages
_COMMAND, _COMPONENT, _MODAL = "2", "3", "5"  # types of interactions
_SUBCOMMANDS: Final = ("1", "2")  # types of options: a subcommand, a group of them
_MAX_SUBCOMMANDS: Final = 2  # a group of subcommands, and one of its subcommands
_MAX_LEVELS: Final = 5  # of components in a modal
_EPHEMERAL: Final = 64  # a message's flag


def discord(payload: Mapping[str, object], *, bot_id: str | int) -> Inbound:
    """Read a Discord message or interaction.

    The payload is the ``d`` of a ``MESSAGE_CREATE`` or ``INTERACTION_CREATE`` event, or the body
    of an interaction sent over HTTP. ``bot_id`` is the application id. A thread is a channel of its
    own, so ``expecting(thread=...)`` takes the thread's channel id. Raises ``InvalidInputError``
    for the message of a bot or webhook, for a join, a pin and the like, and for an interaction with
    another application.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("payload", payload)
    return _message(bot, fields) if fields.has("author") else _interaction(bot, fields)


def _message(bot: str, message: Payload) -> Inbound:
    kind, author = message.id("type"), message.part("author")
    if kind not in (_DEFAULT, _REPLY):
        raise message.refusal("type", "is not the type of a user's message")
    if message.has("webhook_id"):
        raise message.refusal("webhook_id", "is present, so no user sent the message")
    if author.flag("bot"):
        raise author.refusal("bot", "is true, so a bot sent the message")
    reference = message.optional_part("message_reference") if kind == _REPLY else None
    return Inbound(
        provider="discord",
        threads="apart",
        bot_id=bot,
        tenant_hint=message.optional_id("guild_id"),
        user_id=UserId.encode(author.id("id")),
        conversation=message.id("channel_id"),
        reply_to=None if reference is None else reference.optional_id("message_id"),
        message_id=message.id("id"),
        delivery_id=message.id("id"),
        text=message.text("content"),
    )


def _interaction(bot: str, interaction: Payload) -> Inbound:
    kind = interaction.id("type")
    if kind not in (_COMMAND, _COMPONENT, _MODAL):
        raise interaction.refusal("type", "is not the type of a command, component or modal")
    if interaction.id("application_id") != bot:
        raise interaction.refusal("application_id", "differs from bot_id")
    data, message = interaction.part("data"), interaction.optional_part("message")
    values = data.ids("values")
    command, options = _command(data) if kind == _COMMAND else (None, tuple(_inputs(data)))
    return Inbound(
        provider="discord",
        threads="apart",
        bot_id=bot,
        tenant_hint=interaction.optional_id("guild_id"),
        user_id=UserId.encode(_user(interaction)),
        conversation=_channel(interaction),
        reply_to=_target(data) if message is None else message.id("id"),
        correlation=data.optional_id("custom_id"),
        delivery_id=interaction.id("id"),
        text=_text(values, options) if kind != _COMMAND else None,
        values=values,
        command=command,
        options=options,
        is_ephemeral=message is not None and message.has_bit("flags", _EPHEMERAL),
    )


def _text(values: tuple[str, ...], inputs: tuple[tuple[str, str], ...]) -> str | None:
    """Return the first value of a menu, or the text of a modal with a single field."""
    if values:
        return values[0]
    return inputs[0][1] or None if len(inputs) == 1 else None


def _channel(interaction: Payload) -> str:
    """Return the channel. ``channel_id`` repeats the id of ``channel``, for older applications."""
    channel = interaction.optional_part("channel")
    found = interaction.optional_id("channel_id")
    return found or (interaction.id("channel_id") if channel is None else channel.id("id"))


def _command(data: Payload) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a command's full name, and its options. Subcommands are nested as options."""
    names, holder = [data.id("name")], data
    for _ in range(_MAX_SUBCOMMANDS):
        options = holder.parts("options")
        if len(options) != 1 or options[0].optional_id("type") not in _SUBCOMMANDS:
            break
        holder = options[0]
        names.append(holder.id("name"))
    return " ".join(names), tuple(_values(holder.parts("options")))


def _values(options: list[Payload]) -> Iterator[tuple[str, str]]:
    for option in options:
        for value in option.texts("value"):
            yield option.id("name"), value


def _inputs(holder: Payload, levels: int = _MAX_LEVELS) -> Iterator[tuple[str, str]]:
    """Yield the fields of a modal that was submitted: each custom id, once for each value."""
    labelled = holder.optional_part("component")
    components = [*holder.parts("components"), *([] if labelled is None else [labelled])]
    if components and not levels:
        raise holder.refusal("components", "are nested too deeply")
    for component in components:
        name = component.optional_id("custom_id")
        if name is not None:
            for value in (*component.texts("value"), *component.texts("values")):
                yield name, value
        yield from _inputs(component, levels - 1)


def _target(data: Payload) -> str | None:
    """Return the message that a message command was used on."""
    resolved = data.optional_part("resolved")
    if resolved is None or not resolved.has("messages"):
        return None
    return data.optional_id("target_id")


def _user(interaction: Payload) -> str:
    """Return the id of the user: the member of a server, or the user of a direct message."""
    member = interaction.optional_part("member")
    return (interaction if member is None else member).part("user").id("id")
