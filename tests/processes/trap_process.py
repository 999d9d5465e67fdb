"""Traps of threads and loops, each in a process that it may hang, kill or leave behind.

Run as ``python trap_process.py TRAPS URL NAMESPACE``, with the names of the traps separated by
commas. It prints "ready" where it waits for a signal.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from anyio.from_thread import start_blocking_portal

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionStore,
    StoreUsageError,
    SyncWaitClaim,
    TenantCtx,
    WaitClaimedError,
)
from async_session_store.backends.memory import MemoryBackend

CTX = TenantCtx(env="test", tenant_id="acme", user_id="u1")
A = ReplyScope(conversation="a")
LONG = 300.0
KEPT: list[object] = []
"""Keeps stores alive until the interpreter exits, as a global of a program does."""

_, _, URL, NAMESPACE = [*sys.argv, "", "", ""][:4]

# Python 3.12 warns about each fork in a process that has threads.
warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)


def new_store() -> SessionStore:
    return SessionStore.from_url(URL, namespace=NAMESPACE or None)


def data(text: str = "{}") -> SessionData:
    cursor = SessionCursor(node_pointer="ask")
    return SessionData(tenant_ctx=CTX, flow_id="flow", cursor=cursor, context_json=text)


def register(store: SessionStore) -> None:
    store.register_wait(CTX, "u1", A, "k", data(), 600)


def wait_for_a_turn(store: SessionStore) -> None:
    """Block in a call until another claim ends."""
    store.claim_wait(CTX, "u1", A, wait=LONG)


def hold(store: SessionStore) -> SyncWaitClaim:
    register(store)
    claim = store.claim_wait(CTX, "u1", A, lease=LONG)
    assert claim is not None
    return claim


def assert_alone() -> None:
    """Check that no other thread is left. Closing does not wait for SQLite's thread to end."""
    end = time.monotonic() + 5
    while threading.active_count() > 1:
        assert time.monotonic() < end, threading.enumerate()
        time.sleep(0.01)


# --- Exit -------------------------------------------------------------------------------------


def exit_with_an_open_store_and_block() -> None:
    store = new_store().open()
    register(store)
    block = store.resume_wait(CTX, "u1", A)
    assert block.__enter__() is not None
    KEPT.extend([store, block])


def exit_with_an_open_store_on_trio() -> None:
    import trio

    store = AsyncSessionStore.from_url(URL, namespace=NAMESPACE or None)

    async def main() -> None:
        await store.open()
        await store.register_wait(CTX, "u1", A, "k", data(), 600)

    trio.run(main)
    KEPT.append(store)


def exit_while_a_daemon_thread_is_in_a_call() -> None:
    # The exit cuts the call off. What the thread then raises or logs does not matter here.
    threading.excepthook = lambda _: None
    logging.disable()
    store = new_store().open()
    hold(store)
    threading.Thread(target=wait_for_a_turn, args=[store], daemon=True).start()
    time.sleep(0.1)


def exit_through_close() -> None:
    """Close at exit, once after the store's own hook. The hook registered last runs first."""
    store = new_store()
    atexit.register(store.close)
    store.open()
    atexit.register(new_store().open().close)


# --- Fork -------------------------------------------------------------------------------------


@contextmanager
def forked() -> Iterator[bool]:
    """Fork, and yield whether this is the child, which ends with the block.

    Both leave the block within seconds, or fail.
    """
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        begun = time.monotonic()
        yield True
        os._exit(time.monotonic() - begun > 8)
    yield False
    assert_ends_well(child)


def assert_ends_well(child: int) -> None:
    assert os.waitpid(child, 0)[1] == 0


def refused_after_fork(call: Callable[[], object]) -> None:
    try:
        call()
    except StoreUsageError as error:
        if "fork" not in str(error):
            raise
    else:
        raise AssertionError("the call was not refused")


def fork_and_use_the_store() -> None:
    with new_store() as store:
        register(store)
        claim = store.claim_wait(CTX, "u1", A)
        assert claim is not None
        with forked() as in_child:
            if in_child:
                refused_after_fork(lambda: store.get_session("k"))
                refused_after_fork(store.ping)
                refused_after_fork(store.resume_wait(CTX, "u1", A).__enter__)
                refused_after_fork(claim.complete)
                store.close()
                open_in_a_child()
        assert store.get_session("k") == data()
        assert claim.complete()


def fork_beside_an_idle_loop() -> None:
    """The child runs the parent's loop by hand, without its threads, and on its sockets."""
    loop = asyncio.new_event_loop()
    store = AsyncSessionStore.from_url(URL, namespace=NAMESPACE or None)
    loop.run_until_complete(store.open())

    async def write(*keys: str) -> None:
        calls = (store.register_wait(CTX, "u1", A, key, data(), 600) for key in keys)
        await asyncio.gather(*calls)

    for keys in ("k",), ("k", "k2"):
        with forked() as in_child:
            if in_child:
                refused_after_fork(lambda keys=keys: loop.run_until_complete(write(*keys)))
                if URL.startswith("sqlite"):
                    loop.run_until_complete(store.aclose())
        loop.run_until_complete(write(*keys))
    loop.run_until_complete(store.aclose())
    loop.close()


def open_in_a_child() -> SessionStore | None:
    """Open a store on storage that the parent has open. SQLite files do not survive a fork."""
    store = new_store()
    if URL.startswith("sqlite"):
        refused_after_fork(store.open)
        return None
    store.open()
    assert store.get_session("k") in {data(), None}
    return store


def fork_and_exit() -> None:
    """The child exits normally, once with the parent's store replaced and once without."""
    store = new_store().open()
    store.ping()
    KEPT.append(store)
    for replaces in (True, False):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            if replaces:
                del store
                KEPT[:] = [open_in_a_child()]
                gc.collect()
            return
        assert_ends_well(child)
        store.ping()


def fork_between_two_stores() -> None:
    """The parent closed its store before the fork, so the child may open the file."""
    with new_store() as store:
        register(store)
    with forked() as in_child:
        if in_child:
            with new_store() as store:
                assert store.get_session("k") == data()
                store.register_wait(CTX, "u1", A, "child", data(), 600)
    with new_store() as store:
        assert store.get_session("child") == data()


def fork_while_the_parent_closes() -> None:
    """The child outlives the parent's store, and hinders neither it nor later stores."""
    store = new_store().open()
    register(store)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os.read(reading, 1)
        refused_after_fork(new_store().open)
        os._exit(0)
    store.close()
    with new_store() as store:
        for number in range(40):
            store.register_wait(CTX, "u1", A, f"k{number}", data(), 600)
    os.write(writing, b"!")
    assert_ends_well(child)
    with new_store() as store:
        assert all(store.get_session(f"k{number}") for number in range(40))
    assert not Path(f"{URL.removeprefix('sqlite:///')}-wal").exists()


def fork_within_a_block() -> None:
    """The child leaves the parent's block by an exception, which must not release the claim."""
    with new_store() as store:
        register(store)
        parent, begun = os.getpid(), time.monotonic()
        try:
            with store.resume_wait(CTX, "u1", A, lease=LONG) as record:
                assert record is not None
                child = os.fork()
                if child == 0:
                    signal.alarm(20)
                    sys.exit()
                assert_ends_well(child)
                try:
                    store.claim_wait(CTX, "u1", A)
                except WaitClaimedError:
                    store.ping()
                else:
                    raise AssertionError("the child released the claim")
        except SystemExit:
            assert os.getpid() != parent
            assert time.monotonic() - begun < 8
            raise
        assert store.get_session("k") is None


def fork_while_other_threads_call() -> None:
    """Locks that these threads hold at the fork stay locked in the child for ever."""
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            store.get_session("k")

    with new_store() as store:
        register(store)
        users = [threading.Thread(target=use) for _ in range(3)]
        for user in users:
            user.start()
        for _ in range(20):
            with forked() as in_child:
                if in_child:
                    refused_after_fork(lambda: store.get_session("k"))
                    store.close()
        done.set()
        for user in users:
            user.join()


def fork_and_use_the_parents_portal() -> None:
    with start_blocking_portal() as portal:
        store = SessionStore(MemoryBackend(), portal=portal)
        with forked() as in_child:
            if in_child:
                refused_after_fork(store.open)
        with store:
            store.ping()


def fork_and_use_a_store_on_trio() -> None:
    import trio

    async def main() -> None:
        async with AsyncSessionStore.from_url(URL, namespace=NAMESPACE or None) as store:
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                try:
                    await store.ping()
                except StoreUsageError as error:
                    os._exit("fork" not in str(error))
                os._exit(2)
            assert_ends_well(child)
            await store.ping()

    trio.run(main)


# --- Signals ----------------------------------------------------------------------------------


def interrupt_a_call() -> None:
    """Wait for SIGINT in a call. The call is cancelled, and the store stays usable."""
    with new_store() as store:
        held = hold(store)
        print("ready", flush=True)
        try:
            wait_for_a_turn(store)
        except KeyboardInterrupt:
            held.release()
            time.sleep(0.5)  # longer than a caller in the queue pauses
            claim = store.claim_wait(CTX, "u1", A)
            assert claim is not None
            assert claim.complete()
        else:
            raise AssertionError("the call was not interrupted")
    assert_alone()


def interrupt_a_block() -> None:
    """Wait for SIGINT in a block, which gives the wait back."""
    with new_store() as store:
        register(store)
        try:
            with store.resume_wait(CTX, "u1", A, lease=LONG):
                print("ready", flush=True)
                time.sleep(LONG)
        except KeyboardInterrupt:
            claim = store.claim_wait(CTX, "u1", A)
            assert claim is not None
            claim.release()
    assert_alone()


def interrupt_a_stalled_call() -> None:
    """The test stops the server between the two lines, and continues it after the third."""
    with new_store() as store:
        register(store)
        print("ready", flush=True)
        sys.stdin.readline()
        print("calling", flush=True)
        try:
            store.get_session("k")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.stdin.readline()
        else:
            raise AssertionError("the call was not interrupted")
        assert store.get_session("k") == data()
        store.clear_wait(CTX, "u1", A)
    assert_alone()


def exit_from_a_handler() -> None:
    def end(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(7)

    signal.signal(signal.SIGTERM, end)
    with new_store() as store:
        hold(store)
        print("ready", flush=True)
        wait_for_a_turn(store)


def close_in_a_handler() -> None:
    """The handler runs while its thread is in a call, and again while it is in close()."""

    class SlowToClose(MemoryBackend):
        async def aclose(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            await super().aclose()

    closed = []

    def close(_signal: int, _frame: FrameType | None) -> None:
        store.close()
        closed.append(store)

    signal.signal(signal.SIGTERM, close)
    with SessionStore(SlowToClose()) as store:
        hold(store)
        print("ready", flush=True)
        try:
            wait_for_a_turn(store)
        except StoreUsageError:
            assert len(closed) == 2
    assert_alone()


def close_in_a_handler_while_opening() -> None:
    class SlowToOpen(MemoryBackend):
        async def open(self, *, max_document_bytes: int) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            await super().open(max_document_bytes=max_document_bytes)

    signal.signal(signal.SIGTERM, lambda *_: store.close())
    store = SessionStore(SlowToOpen())
    try:
        store.open()
        time.sleep(0.1)
        store.ping()
    except StoreUsageError:
        assert_alone()
    else:
        raise AssertionError("the store is open, though it was closed")


if __name__ == "__main__":
    for trap in sys.argv[1].split(","):
        globals()[trap]()
