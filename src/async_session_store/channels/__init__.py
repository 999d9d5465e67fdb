"""From a chat platform's payload to the scopes where a wait may be.

One pure function a platform, on the mapping that its JSON parses to; no framework is imported. Each
returns an :class:`Inbound`, or raises ``InvalidInputError``, which names the field, for a payload
that lacks what is needed or that is no user's turn: an edit, a join, a receipt, a bot's message.
"""

from async_session_store.channels._discord import discord
from async_session_store.channels._slack import slack
from async_session_store.channels._teams import teams
from async_session_store.channels._telegram import telegram
from async_session_store.channels._webchat import webchat
from async_session_store.channels._webex import webex
from async_session_store.channels._whatsapp import split_whatsapp, whatsapp
from async_session_store.channels.inbound import Inbound, Place, place

__all__ = [
    "Inbound",
    "Place",
    "discord",
    "place",
    "slack",
    "split_whatsapp",
    "teams",
    "telegram",
    "webchat",
    "webex",
    "whatsapp",
]
