"""Chat platforms: from a webhook's payload to the scopes where a wait may be registered.

There is one pure function per platform. It takes the parsed JSON of a payload and imports no
framework. It returns an :class:`Inbound`. It raises ``InvalidInputError``, which names the field,
for a payload that lacks a required field, or that is not a user's turn: an edit, a join, a receipt,
a bot's message.
"""

from async_session_store.channels._discord import discord
from async_session_store.channels._google_chat import google_chat
from async_session_store.channels._line import line, split_line
from async_session_store.channels._matrix import matrix
from async_session_store.channels._mattermost import mattermost
from async_session_store.channels._messenger import messenger, split_messenger
from async_session_store.channels._slack import slack
from async_session_store.channels._teams import teams
from async_session_store.channels._telegram import telegram
from async_session_store.channels._telegram_threads import GENERAL_TOPIC as TELEGRAM_GENERAL_TOPIC
from async_session_store.channels._twilio import twilio
from async_session_store.channels._webchat import webchat
from async_session_store.channels._webex import webex
from async_session_store.channels._whatsapp import split_whatsapp, whatsapp
from async_session_store.channels.inbound import Inbound, Place, place
from async_session_store.channels.moves import Move, slack_moves, telegram_moves, whatsapp_moves
from async_session_store.channels.scope_text import scope_from_text, scope_to_text

__all__ = [
    "TELEGRAM_GENERAL_TOPIC",
    "Inbound",
    "Move",
    "Place",
    "discord",
    "google_chat",
    "line",
    "matrix",
    "mattermost",
    "messenger",
    "place",
    "scope_from_text",
    "scope_to_text",
    "slack",
    "slack_moves",
    "split_line",
    "split_messenger",
    "split_whatsapp",
    "teams",
    "telegram",
    "telegram_moves",
    "twilio",
    "webchat",
    "webex",
    "whatsapp",
    "whatsapp_moves",
]
