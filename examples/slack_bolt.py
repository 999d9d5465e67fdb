"""A Slack app with Bolt that books a table, and goes on where it was when it is restarted.

Make a Slack app with the bot scopes chat:write and im:history, subscribe it to message.im, and let
its Request URL, https://your-host/slack/events, lead to port 3000 here. From the root of the
repository:

    pip install . slack-bolt aiohttp
    export SLACK_BOT_TOKEN=xoxb-... SLACK_SIGNING_SECRET=... SESSION_STORE_URL=sqlite:///booking.db
    python examples/slack_bolt.py

Write to the app: it asks for a name, for a date, and for a yes. End it with Ctrl-C between any two
messages, start it again, and answer: it goes on. "help" is answered at any time.
"""

import os
import sys
from functools import partial
from pathlib import Path

# This file has the name of the framework, which would be looked for here first.
sys.path.sort(key=str(Path(__file__).parent).__eq__)

from aiohttp import web
from slack_bolt.async_app import AsyncApp, AsyncSay
from slack_sdk.web.async_client import AsyncWebClient

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


def new_app(client: AsyncWebClient, signing_secret: str, store: AsyncSessionStore) -> AsyncApp:
    # Acknowledged when it is done, so what fails is delivered again. Slack waits for 3 seconds.
    app = AsyncApp(client=client, signing_secret=signing_secret, process_before_response=True)

    @app.event("message")
    async def on_message(body: dict[str, object], say: AsyncSay) -> None:
        try:
            inbound = channels.slack(body)
        except InvalidInputError:
            return  # an edit, a join, another bot: it answers nothing
        await booking.handle(store, inbound, partial(say, thread_ts=inbound.thread))

    return app


def main() -> None:
    store = AsyncSessionStore.from_env()
    client = AsyncWebClient(os.environ["SLACK_BOT_TOKEN"])
    server = new_app(client, os.environ["SLACK_SIGNING_SECRET"], store).web_app()
    server.on_startup.append(lambda _: store.open())
    server.on_cleanup.append(lambda _: store.aclose())
    web.run_app(server, port=3000)


if __name__ == "__main__":
    main()
