"""A chat platform on the loopback interface. It answers and records a bot's HTTP calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True)
class Call:
    """A call of the bot: its HTTP method, its path, and the fields of its body."""

    method: str
    path: str
    fields: dict[str, object]


Answer = Callable[[Call], object]


@dataclass
class Platform:
    """The server. ``answers`` maps the end of a path to a function that makes the JSON reply."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Platform]:
        platform = cls()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", platform._on_request)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            platform.url = f"http://{host}:{port}"
            yield platform
        finally:
            await runner.cleanup()

    def calls_to(self, end: str) -> list[Call]:
        return [call for call in self.calls if call.path.endswith(end)]

    async def _on_request(self, request: web.Request) -> web.Response:
        call = Call(request.method, request.path, await _fields(request))
        for end, answer in self.answers.items():
            if call.path.endswith(end):
                self.calls.append(call)
                return web.json_response(answer(call))
        raise web.HTTPNotFound(text=f"this platform has no {call.method} {call.path}")


async def _fields(request: web.Request) -> dict[str, object]:
    if request.content_type == "application/json":
        return json.loads(await request.read() or b"{}")
    return dict(await request.post())
