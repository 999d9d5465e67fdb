"""A WhatsApp bot, written with pywa, that books a table and survives restarts.

Get a token and the app's secret from Meta's developer portal. The verify token can be any word.
Subscribe the app's webhook to the field "messages", and set its URL so that it leads to port 8000
here. Then run, from the root of the repository:

    pip install . pywa aiohttp
    export WHATSAPP_TOKEN=... WHATSAPP_APP_SECRET=... WHATSAPP_VERIFY_TOKEN=...
    export SESSION_STORE_URL=sqlite:///booking.db
    python examples/whatsapp_pywa.py

Write to the bot: it asks for a name, a date, and a final yes or no. Stop it with Ctrl-C between any
two messages, start it again, and answer: it continues where it left off. It answers /help at any
time.
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
        skip_duplicate_updates=False,  # the store does that, across processes
    )

    @client.on_raw_update
    async def on_update(client: WhatsApp, update: RawUpdate) -> None:
        for one in channels.split_whatsapp(update):
            try:
                inbound = channels.whatsapp(one)
            except InvalidInputError:
                continue  # not a message: a reaction, for example
            send = partial(client.send_message, inbound.conversation, sender=inbound.bot_id)
            await booking.handle(store, inbound, send)

    return client


def new_app(client: WhatsApp) -> web.Application:
    """Return a webhook that acknowledges an update once it has been handled.

    pywa's own server acknowledges it before that.
    """

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
