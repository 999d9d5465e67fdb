"""A Slack app with Bolt that books a table, and goes on where it was when it is restarted.

Make a Slack app with the bot scopes chat:write and im:history, subscribe it to message.im, and let
its Request URL, https://your-host/slack/events, lead to port 3000 here. From the root of the
repository:

    pip install . slack-bolt aiohttp
    export SLACK_BOT_TOKEN=xoxb-... SLACK_SIGNING_SECRET=... SESSION_STORE_URL=sqlite:///booking.db
    python examples/slack_bolt.py

Write to the app: it asks for a name, for a date, and for a yes. End it with Ctrl-C between any two
messages, start it again, and answer: it goes on. "help" is answered at any time. If you do not
answer for 30 minutes, it reminds you once; export SESSION_WAIT_TTL_SECS=10 to see it sooner.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

# This file has the name of the framework, which would be looked for here first.
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
    # A message is acknowledged when it has been answered: if that fails, Slack delivers it again.
    app = AsyncApp(process_before_response=True, **options)

    @app.event("message")
    async def on_message(body: dict[str, object], client: AsyncWebClient) -> None:
        try:
            inbound = channels.slack(body)
        except InvalidInputError:
            return  # an edit, a join, another bot: it answers nothing

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
    server.cleanup_ctx.append(with_store)  # until SIGTERM or Ctrl-C
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
