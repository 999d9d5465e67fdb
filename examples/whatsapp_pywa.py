"""A WhatsApp bot with pywa that books a table, and goes on where it was when it is restarted.

Meta's developer portal gives you a token and the app's secret; the verify token is any word. Let
the webhook of the app, with its field "messages", lead to port 8000 here. From the root of the
repository:

    pip install . pywa aiohttp
    export WHATSAPP_TOKEN=... WHATSAPP_APP_SECRET=... WHATSAPP_VERIFY_TOKEN=...
    export SESSION_STORE_URL=sqlite:///booking.db
    python examples/whatsapp_pywa.py

Write to the bot: it asks for a name, for a date, and for a yes. End it with Ctrl-C between any two
messages, start it again, and answer: it goes on. /help is answered at any time.
"""

import sys
from functools import partial

try:
    from aiohttp import web
    from pywa_async import WhatsApp, utils
    from pywa_async.types import RawUpdate
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . pywa aiohttp")

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


def new_client(store: AsyncSessionStore) -> WhatsApp:
    client = WhatsApp(
        token=booking.setting("WHATSAPP_TOKEN"),
        app_secret=booking.setting("WHATSAPP_APP_SECRET"),
        verify_token=booking.setting("WHATSAPP_VERIFY_TOKEN"),
        skip_duplicate_updates=False,  # the store knows them, also those of another process
    )

    @client.on_raw_update
    async def on_update(client: WhatsApp, update: RawUpdate) -> None:
        for one in channels.split_whatsapp(update):
            try:
                inbound = channels.whatsapp(one)
            except InvalidInputError:
                continue  # a reaction, say: it answers nothing
            send = partial(client.send_message, inbound.conversation, sender=inbound.bot_id)
            await booking.handle(store, inbound, send)

    return client


def new_app(client: WhatsApp) -> web.Application:
    """A webhook that acknowledges what is done; pywa's own server does so before it begins."""

    async def challenge(request: web.Request) -> web.Response:
        token, word = request.query.get(utils.HUB_VT), request.query.get(utils.HUB_CH)
        text, status = await client.webhook_challenge_handler(token, word)
        return web.Response(text=text, status=status)

    async def update(request: web.Request) -> web.Response:
        body, signature = await request.read(), request.headers.get(utils.HUB_SIG)
        refusal = await client.webhook_update_validator(body, signature)
        text, status = refusal or await client.webhook_update_handler(body)
        return web.Response(text=text, status=status)

    app = web.Application()
    app.add_routes([web.get("/", challenge), web.post("/", update)])
    return app


def main() -> None:
    store = AsyncSessionStore.from_env()
    app = new_app(new_client(store))
    app.on_startup.append(lambda _: store.open())
    app.on_cleanup.append(lambda _: store.aclose())
    web.run_app(app, port=8000)


if __name__ == "__main__":
    main()
