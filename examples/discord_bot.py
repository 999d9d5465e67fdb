"""A Discord bot, written with discord.py, that books a table and survives restarts.

Get a token from Discord's developer portal. The bot needs no privileged intents. Then run,
from the root of the repository:

    pip install . discord.py
    export DISCORD_TOKEN=... SESSION_STORE_URL=sqlite:///booking.db
    python examples/discord_bot.py

Write to the bot in a direct message: it asks for a name, a date, and a final yes or no. Stop it
with Ctrl-C between any two messages, start it again, and answer: it continues where it left off.
It answers /help at any time.
"""

import asyncio
import json
import sys

try:
    import discord
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . discord.py")

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


class BookingBot(discord.Client):
    def __init__(self, store: AsyncSessionStore) -> None:
        intents = discord.Intents(guilds=True, dm_messages=True)
        # channels.discord() reads raw events. discord.py passes them on only as debug events.
        super().__init__(intents=intents, enable_debug_events=True)
        self.store = store

    async def on_socket_raw_receive(self, received: str) -> None:
        event = json.loads(received)
        if event["t"] == "MESSAGE_CREATE":
            await self.on_raw_message(event["d"])

    async def on_raw_message(self, message: dict[str, object]) -> None:
        try:
            inbound = channels.discord(message, bot_id=self.application_id)
        except InvalidInputError:
            return  # not a user's message: this bot's own answer, for example
        channel = self.get_partial_messageable(int(inbound.conversation))
        await booking.handle(self.store, inbound, channel.send)


async def main() -> None:
    token = booking.setting("DISCORD_TOKEN")
    discord.utils.setup_logging()
    async with AsyncSessionStore.from_env() as store, BookingBot(store) as bot:
        await bot.start(token)


if __name__ == "__main__":
    asyncio.run(main())
