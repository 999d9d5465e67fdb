"""Test the web chat: its server, which is killed and restarted, and its page in Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocketRoute, expect, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from redis_server import RedisServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "webchat" / "app.py"

BEGIN = "I would like a table."
ASK_NAME = "What name should the booking be under?"
ASK_DATE = "Hello Ann. What date would you like? Please write it like 2030-12-31."
CONFIRM = "A table for Ann on 2030-05-17. Shall I book it, yes or no?"
BOOKED = "Done! Your table is booked for Ann on 2030-05-17."
REMINDER = f"Are you still there? {ASK_NAME}"
LET_GO = "I haven't heard from you, so I've released your table."

expect.set_options(timeout=20_000)


# --- The server -------------------------------------------------------------------------------


@dataclass
class Server:
    """The example, as a user starts it, on a port that stays the same across restarts."""

    settings: dict[str, str]
    port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "--port", str(self.port)],
            env={**os.environ, **self.settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "Uvicorn running on" in line:
                return
        pytest.fail(f"the server did not start:\n{''.join(said)}")

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        self.process.stderr.close()


@contextmanager
def running(settings: dict[str, str]) -> Iterator[Server]:
    server = Server(settings, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def settings_of(request: pytest.FixtureRequest, storage: str) -> dict[str, str]:
    if storage == "sqlite":
        folder = request.getfixturevalue("tmp_path")
        return {"SESSION_STORE_URL": f"sqlite:///{folder}/webchat.db"}
    redis: RedisServer = request.getfixturevalue("redis_server")
    return {"SESSION_STORE_URL": redis.url, "SESSION_NAMESPACE": f"test:{uuid4()}"}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(settings_of(request, getattr(request, "param", "sqlite"))) as server:
        yield server


# --- The page ---------------------------------------------------------------------------------


@dataclass
class Visitor:
    """A user with their own browser, who finds things on the page by their accessible names."""

    page: Page

    def open(self, number: int = 1) -> Booking:
        button = "Book a table" if number == 1 else "New booking"
        self.page.get_by_role("button", name=button).click()
        booking = self.booking(number)
        booking.has_heard(ASK_NAME)
        return booking

    def booking(self, number: int) -> Booking:
        name = f"Booking {number}"
        return Booking(self.page, self.page.get_by_role("region", name=name, exact=True))

    def sees_status(self, status: str) -> None:
        expect(self.page.get_by_role("status")).to_have_text(status)

    @property
    def waits(self) -> Locator:
        return self.page.get_by_role("complementary", name="Waiting for your answer")

    def sees_waits(self, *waits: str) -> None:
        expect(self.waits.get_by_role("listitem")).to_contain_text(waits)
        expect(self.waits.get_by_role("listitem")).to_have_count(len(waits))


@dataclass
class Booking:
    page: Page
    region: Locator

    def say(self, text: str) -> None:
        field = self.region.get_by_role("textbox")
        field.fill(text)
        field.press("Enter")

    def has_heard(self, answer: str) -> None:
        expect(self.log.locator(".bot").last).to_contain_text(answer)

    def tell(self, text: str, answer: str) -> None:
        self.say(text)
        self.has_heard(answer)

    def shows(self, *said: str) -> None:
        expect(self.log.locator("p")).to_contain_text(said)
        expect(self.log.locator("p")).to_have_count(len(said))

    @property
    def log(self) -> Locator:
        return self.region.get_by_role("log")

    @property
    def id(self) -> str:
        return self.region.get_attribute("data-id")


@pytest.fixture(scope="module")  # while it is open, no other event loop can run in this thread
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("there is no chromium on the PATH; on Debian: apt-get install chromium")
    sandbox = os.geteuid() != 0  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=sandbox)
        yield browser
        browser.close()


@contextmanager
def visit(server: Server, browser: Browser, **options: object) -> Iterator[Visitor]:
    context = browser.new_context(**options)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    try:
        yield Visitor(page)
    finally:
        context.close()
    assert errors == []


@pytest.fixture
def ann(server: Server, browser: Browser) -> Iterator[Visitor]:
    with visit(server, browser) as visitor:
        yield visitor


@pytest.fixture
def bob(server: Server, browser: Browser) -> Iterator[Visitor]:
    with visit(server, browser) as visitor:
        yield visitor


# --- What it shows ----------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["sqlite", "redis"], indirect=True)
def test_the_flow_continues_after_the_server_was_killed_and_restarted(
    server: Server, ann: Visitor
) -> None:
    booking = ann.open()
    server.kill()
    ann.sees_status("Connecting…")
    server.start()
    ann.sees_status("Connected")
    booking.tell("Ann", ASK_DATE)

    server.kill()
    ann.sees_status("Connecting…")
    booking.say("2030-05-17")  # nobody is there to hear it
    expect(booking.log.locator(".unanswered")).to_have_count(1)
    server.start()
    booking.has_heard(CONFIRM)
    expect(booking.log.locator(".unanswered")).to_have_count(0)

    server.kill()
    server.start()
    booking.region.get_by_role("button", name="yes").click()
    booking.shows(BEGIN, ASK_NAME, "Ann", ASK_DATE, "2030-05-17", CONFIRM, "yes", BOOKED)
    ann.sees_waits()


def test_a_reloaded_page_shows_what_was_said(server: Server, ann: Visitor) -> None:
    ann.open().tell("Ann", ASK_DATE)
    server.kill()
    server.start()
    ann.page.reload()
    ann.booking(1).shows(BEGIN, ASK_NAME, "Ann", ASK_DATE)
    ann.booking(1).tell("2030-05-17", CONFIRM)


def test_a_page_without_its_local_storage_shows_the_open_question(ann: Visitor) -> None:
    ann.open().tell("Ann", ASK_DATE)
    ann.page.evaluate("localStorage.clear()")
    ann.page.reload()
    ann.booking(1).shows(ASK_DATE)
    ann.booking(1).tell("2030-05-17", CONFIRM)


def test_bookings_side_by_side_do_not_mix(ann: Visitor) -> None:
    one, two = ann.open(1), ann.open(2)
    two.tell("Bob", "Hello Bob.")
    one.tell("Ann", ASK_DATE)
    two.tell("2031-01-01", "A table for Bob on 2031-01-01. Shall I book it, yes or no?")
    ann.sees_waits("a date", "yes or no")
    one.tell("2030-05-17", CONFIRM)
    two.tell("no", "OK, I haven't booked anything.")
    ann.sees_waits("yes or no")
    one.tell("yes", BOOKED)
    ann.sees_waits()


def test_two_tabs_show_the_same(ann: Visitor) -> None:
    booking = ann.open()
    tab = ann.page.context.new_page()
    tab.goto(ann.page.url)
    Visitor(tab).booking(1).tell("Ann", ASK_DATE)
    booking.shows(BEGIN, ASK_NAME, "Ann", ASK_DATE)
    ann.sees_waits("a date")
    booking.tell("2030-05-17", CONFIRM)


def test_the_list_shows_each_wait_and_counts_down(ann: Visitor) -> None:
    expect(ann.waits).to_be_hidden()
    ann.open()
    ann.sees_waits("a name")
    expect(ann.waits.get_by_role("button")).to_contain_text("Booking 1")
    expect(ann.waits.get_by_role("button")).to_contain_text("reminder in")
    left = ann.waits.get_by_text(re.compile(r"^\d+:\d\d$"))
    for _ in range(3):
        before = left.inner_text()
        expect(left).not_to_have_text(before)
        assert "29:00" < left.inner_text() < before


def test_the_list_keeps_the_focus_while_it_changes(ann: Visitor) -> None:
    booking = ann.open()
    row = ann.waits.get_by_role("button")
    row.focus()
    booking.say("Ann")
    row.focus()
    expect(row).to_contain_text("a date")
    expect(row).to_be_focused()


def test_the_list_leads_to_the_booking(ann: Visitor) -> None:
    booking = ann.open(1)
    ann.open(2)
    ann.waits.get_by_role("button", name="Booking 1").press("Enter")
    expect(booking.region.get_by_role("textbox")).to_be_focused()


def test_the_list_is_folded_on_a_phone(server: Server, browser: Browser) -> None:
    with visit(server, browser, viewport={"width": 390, "height": 844}) as visitor:
        booking = visitor.open()
        expect(visitor.waits).to_contain_text("1")
        expect(visitor.page.locator("#waits")).to_be_hidden()
        visitor.waits.get_by_role("heading").click()
        visitor.sees_waits("a name")
        expect(visitor.page.locator("#waits")).to_be_visible()
        booking.tell("Ann", ASK_DATE)
        visitor.sees_waits("a date")


def test_the_page_is_centred_while_it_is_empty(ann: Visitor) -> None:
    box = ann.page.get_by_role("button", name="Book a table").bounding_box()
    assert abs(box["x"] + box["width"] / 2 - 1280 / 2) < 2


def test_another_user_sees_nothing_and_cannot_answer(ann: Visitor, bob: Visitor) -> None:
    booking = ann.open()
    bob.sees_status("Connected")
    bob.sees_waits()
    expect(bob.page.get_by_role("region")).to_have_count(0)

    user = ann.page.context.cookies()[0]["value"]
    assert tell_as(bob, booking.id, user, "Bob") == ASK_NAME  # his own flow, not hers
    bob.page.reload()
    bob.sees_waits("a name")
    booking.tell("Ann", ASK_DATE)
    booking.shows(BEGIN, ASK_NAME, "Ann", ASK_DATE)


def tell_as(visitor: Visitor, conversation: str, user: str, text: str) -> str:
    """Send a message that claims to come from another user. Return the bot's answer."""
    activity = {
        "type": "message",
        "id": uuid4().hex,
        "from": {"id": user},
        "conversation": {"id": conversation},
        "text": text,
    }
    return visitor.page.evaluate(
        """activity => new Promise((resolve) => {
            const socket = new WebSocket("ws://" + location.host + "/chat");
            socket.onopen = () => socket.send(JSON.stringify(activity));
            socket.onmessage = ({ data }) => {
                const frame = JSON.parse(data);
                if (frame.type === "message") resolve(frame.text);
            };
        })""",
        activity,
    )


def test_a_redelivered_message_is_handled_once(ann: Visitor) -> None:
    sent: list[str] = []
    lost: list[str] = []

    def lose_the_first_answer(line: WebSocketRoute) -> None:
        far_end = line.connect_to_server()

        def to_server(frame: str) -> None:
            if json.loads(frame).get("text") == "Ann":
                sent.append(json.loads(frame)["channelData"]["clientActivityID"])
            far_end.send(frame)

        def to_page(frame: str) -> None:
            if ASK_DATE in frame and not lost:
                lost.append(frame)
                line.close()
                return
            line.send(frame)

        line.on_message(to_server)
        far_end.on_message(to_page)

    ann.page.route_web_socket("**/chat", lose_the_first_answer)
    ann.page.reload()
    booking = ann.open()
    booking.tell("Ann", ASK_DATE)
    assert len(lost) == 1
    assert len(sent) == 2
    assert len(set(sent)) == 1
    booking.tell("2030-05-17", CONFIRM)
    booking.shows(BEGIN, ASK_NAME, "Ann", ASK_DATE, "2030-05-17", CONFIRM)


def test_a_message_is_sent_again_after_the_storage_was_unavailable(browser: Browser) -> None:
    with (
        RedisServer.start() as redis,
        running({"SESSION_STORE_URL": redis.url}) as server,
        visit(server, browser) as visitor,
    ):
        booking = visitor.open()
        os.kill(redis.pid, signal.SIGSTOP)
        booking.say("Ann")
        visitor.sees_status("Trying again…")
        os.kill(redis.pid, signal.SIGCONT)
        booking.has_heard(ASK_DATE)
        booking.shows(BEGIN, ASK_NAME, "Ann", ASK_DATE)
        visitor.sees_status("Connected")


def test_a_finished_booking_can_be_removed(ann: Visitor) -> None:
    booking = ann.open()
    remove = booking.region.get_by_role("button", name="Remove Booking 1")
    expect(remove).to_be_hidden()  # the bot still waits there
    booking.tell("Ann", ASK_DATE)
    booking.tell("2030-05-17", CONFIRM)
    booking.tell("no", "OK, I haven't booked anything.")
    remove.click()
    expect(ann.page.get_by_role("button", name="Book a table")).to_be_focused()
    ann.page.reload()
    ann.sees_status("Connected")
    expect(ann.page.get_by_role("region")).to_have_count(0)


@pytest.mark.parametrize("server", ["sqlite", "redis"], indirect=True)
def test_a_silent_user_is_reminded_once_and_then_the_table_is_released(
    server: Server, ann: Visitor
) -> None:
    restart(server, SESSION_WAIT_TTL_SECS="4")
    booking = ann.open()
    ann.sees_waits("a name")
    booking.shows(BEGIN, ASK_NAME, REMINDER)
    ann.sees_waits("Booking 1, reminded")
    expect(ann.waits.get_by_role("button")).to_contain_text("table held for")
    booking.shows(BEGIN, ASK_NAME, REMINDER, LET_GO)
    ann.sees_waits()
    expect(ann.waits).to_contain_text("No question is open.")
    booking.tell("Ann", ASK_NAME)
    booking.tell("Ann", ASK_DATE)


def test_a_reminder_has_the_buttons_and_its_answer_counts(server: Server, ann: Visitor) -> None:
    restart(server, SESSION_WAIT_TTL_SECS="4")
    booking = ann.open()
    booking.tell("Ann", ASK_DATE)
    booking.tell("2030-05-17", CONFIRM)
    booking.has_heard(f"Are you still there? {CONFIRM}")
    booking.region.get_by_role("button", name="yes").click()
    booking.has_heard(BOOKED)
    ann.sees_waits()


def test_a_page_that_was_closed_shows_the_reminder_and_that_the_table_was_released(
    server: Server, ann: Visitor
) -> None:
    restart(server, SESSION_WAIT_TTL_SECS="4")
    ann.open()
    address = ann.page.url
    ann.page.goto("about:blank")
    time.sleep(5)
    ann.page.goto(address)
    ann.booking(1).shows(BEGIN, ASK_NAME, REMINDER)
    ann.page.goto("about:blank")
    time.sleep(5)
    ann.page.goto(address)
    ann.booking(1).shows(BEGIN, ASK_NAME, REMINDER, LET_GO)
    ann.page.evaluate("localStorage.clear()")
    ann.page.reload()
    ann.sees_waits()
    expect(ann.page.get_by_role("region")).to_have_count(0)


def test_a_page_says_so_when_the_store_has_forgotten_its_question(
    server: Server, ann: Visitor
) -> None:
    restart(server, SESSION_STORE_URL="memory://")
    booking = ann.open()
    restart(server)
    booking.shows(BEGIN, ASK_NAME, "The time to answer is over.")
    ann.sees_waits()
    booking.tell("Ann", ASK_NAME)


def restart(server: Server, **settings: str) -> None:
    server.kill()
    server.settings.update(settings)
    server.start()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_and_every_control_has_a_name(
    server: Server, browser: Browser, width: int
) -> None:
    with visit(server, browser, viewport={"width": width, "height": 800}) as visitor:
        booking = visitor.open()
        booking.tell("Donaudampfschifffahrtsgesellschaft" * 4, "What date would you like?")
        assert visitor.page.evaluate("document.documentElement.scrollWidth") == width
        assert visitor.page.evaluate("document.querySelector('.log').scrollWidth") <= width
        for role in ("button", "textbox", "log", "region"):
            for control in visitor.page.get_by_role(role).all():
                assert control.aria_snapshot() != f"- {role}"


def test_a_socket_needs_the_cookie_and_our_page(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}/chat"
    cookie = {"Cookie": f"webchat_user={'a' * 43}"}
    with connect(address, origin=server.url, additional_headers=cookie) as line:
        assert json.loads(line.recv()) == {"type": "waits", "waits": [], "letGo": []}
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, origin=server.url)
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, origin="https://elsewhere.example", additional_headers=cookie)
