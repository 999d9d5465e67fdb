"""A Teams bot, written with the Microsoft 365 Agents SDK, that books a table and survives restarts.

You can try it without Teams: let it accept anonymous requests, and point a test tool at
http://localhost:3978/api/messages. To do so, run from the root of the repository:

    pip install . microsoft-agents-hosting-aiohttp microsoft-agents-authentication-msal
    export CONNECTIONS__SERVICE_CONNECTION__SETTINGS__ANONYMOUS_ALLOWED=True
    export SESSION_STORE_URL=sqlite:///booking.db
    python examples/teams_agents.py

For Teams, set ...__CLIENTID, ...__CLIENTSECRET and ...__TENANTID of an Azure Bot instead of
...__ANONYMOUS_ALLOWED, and set the bot's messaging endpoint to this server.

Write to the bot: it asks for a name, a date, and a final yes or no. Stop it with Ctrl-C between any
two messages, start it again, and answer: it continues where it left off. It answers /help at any
time.
"""

import os
import sys

try:
    from aiohttp import web
    from microsoft_agents.activity import load_configuration_from_env
    from microsoft_agents.authentication.msal import MsalConnectionManager
    from microsoft_agents.hosting.aiohttp import (
        CloudAdapter,
        jwt_authorization_middleware,
        start_agent_process,
    )
    from microsoft_agents.hosting.core import (
        AgentApplication,
        MemoryStorage,
        TurnContext,
        TurnState,
    )
except ModuleNotFoundError as missing:
    sys.exit(
        f"{missing.name} is missing: pip install . "
        "microsoft-agents-hosting-aiohttp microsoft-agents-authentication-msal"
    )

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


def new_app(store: AsyncSessionStore) -> web.Application:
    connections = MsalConnectionManager(**load_configuration_from_env(os.environ))
    adapter = CloudAdapter(connection_manager=connections)
    # The default handler shows the error to the user and acknowledges the message, which would
    # then not be delivered again.
    adapter.on_turn_error = None
    # The SDK requires a storage for its own state. This flow keeps nothing in it.
    agent = AgentApplication[TurnState](storage=MemoryStorage(), connection_manager=connections)

    @agent.activity("message")
    async def on_message(context: TurnContext, _state: TurnState) -> None:
        activity = context.activity.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            inbound = channels.teams(activity)
        except InvalidInputError:
            return  # not a user's message: another bot's, for example
        await booking.handle(store, inbound, context.send_activity)

    async def on_post(request: web.Request) -> web.Response:
        return await start_agent_process(request, agent, adapter)

    app = web.Application(middlewares=[jwt_authorization_middleware])
    app["agent_configuration"] = connections.get_default_connection_configuration()
    app.router.add_post("/api/messages", on_post)
    return app


def main() -> None:
    if not any(name.startswith("CONNECTIONS__") for name in os.environ):
        sys.exit("CONNECTIONS__... is not set: the first lines of this example say how")
    app = new_app(store := AsyncSessionStore.from_env())
    app.on_startup.append(lambda _: store.open())
    app.on_cleanup.append(lambda _: store.aclose())
    web.run_app(app, port=int(os.environ.get("PORT", "3978")))


if __name__ == "__main__":
    main()
