"""A Slack app, written with Bolt, that books a table and survives restarts.

Create a Slack app with the bot scopes chat:write and im:history, subscribe it to message.im, and
set its Request URL to https://your-host/slack/events, which must lead to port 3000 here. Then run,
from the root of the repository:

    pip install . slack-bolt aiohttp
    export SLACK_BOT_TOKEN=xoxb-... SLACK_SIGNING_SECRET=... SESSION_STORE_URL=sqlite:///booking.db
    python examples/slack_bolt.py

Write to the app: it asks for a name, a date, and a final yes or no. Stop it with Ctrl-C between any
two messages, start it again, and answer: it continues where it left off. It answers "help" at any
time. If you do not answer within 30 minutes, it reminds you once. To see that after 10 seconds,
export SESSION_WAIT_TTL_SECS=10.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

# This file is named like the framework. Search this folder last, so that the framework is found.
sys.path.sort(key=str(Path(__file__).parent).__eq__)

try:
    from aiohttp import web
    from slack_bolt.async_app import AsyncApp
    from slack_sdk.web.async_client import AsyncWebClient
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . slack-bolt aiohttp")

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


def new_app(store: AsyncSessionStore, **options: object) -> AsyncApp:
    # Acknowledge a message only after it has been answered. If that fails, Slack delivers it again.
    app = AsyncApp(process_before_response=True, **options)

    @app.event("message")
    async def on_message(body: dict[str, object], client: AsyncWebClient) -> None:
        try:
            inbound = channels.slack(body)
        except InvalidInputError:
            return  # not a user's message: an edit, a join, another bot

        async def send(text: str) -> None:
            await client.chat_postMessage(
                channel=inbound.conversation, thread_ts=inbound.thread, text=text
            )

        await booking.handle(store, inbound, send)

    return app


def new_server(app: AsyncApp, store: AsyncSessionStore) -> web.Application:
    async def remind(place: channels.Place, text: str) -> None:
        await app.client.chat_postMessage(
            channel=place.conversation, thread_ts=place.thread, text=text
        )

    async def with_store(_server: web.Application) -> AsyncIterator[None]:
        async with store, booking.reminders(store, "slack", remind):
            yield

    server = app.web_app()
    server.cleanup_ctx.append(with_store)  # runs until SIGTERM or Ctrl-C
    return server


def main() -> None:
    store = AsyncSessionStore.from_env()
    app = new_app(
        store,
        token=booking.setting("SLACK_BOT_TOKEN"),
        signing_secret=booking.setting("SLACK_SIGNING_SECRET"),
    )
    web.run_app(new_server(app, store), port=3000)


if __name__ == "__main__":
    main()
