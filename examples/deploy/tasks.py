"""A Celery worker whose processes each open a store: ``celery -A tasks worker``."""

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from async_session_store import SessionStore, TenantCtx

app = Celery("tasks")
store = SessionStore.from_env()  # not opened: Celery forks its pool after the import

CTX = TenantCtx(env="prod", tenant_id="acme")


@worker_process_init.connect
def open_store(**_: object) -> None:
    store.open()


@worker_process_shutdown.connect
def close_store(**_: object) -> None:
    store.close()


@app.task
def count_waits() -> int:
    return store.count_waits(CTX)
