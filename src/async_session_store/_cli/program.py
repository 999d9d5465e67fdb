"""The program: its commands, and how each of their errors ends it."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

import click
from pydantic import ValidationError
from typing_extensions import override

from async_session_store import __version__
from async_session_store._cli import exit_codes
from async_session_store._cli.changing import break_claim, compact, erase_user, purge
from async_session_store._cli.doctor import doctor
from async_session_store._cli.moving import copy, move
from async_session_store._cli.output import Output, ReaderGoneError
from async_session_store._cli.reading import count, explain, show, waits
from async_session_store._cli.safe_text import without_logins
from async_session_store.errors import (
    InvalidInputError,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)

_NAME: Final = "async-session-store"
_LOGGER: Final = logging.getLogger("async_session_store")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.pass_context
@click.version_option(__version__, prog_name=_NAME)
def program(context: click.Context) -> None:
    """Look after the sessions of bots: in memory, in a SQLite file, or on Redis.

    The storage is the one in the environment variable SESSION_STORE_URL, as for the bots, or the
    one in --url. A password is better kept in the variable, as others can see a process's
    arguments.

    Exit codes: 0 done, 1 not found or a problem found, 2 wrong usage or --yes is missing, 3 the
    storage is unavailable, 4 warnings only, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(exit_codes.USAGE)


for _command in (
    *(doctor, waits, count, show, explain),
    *(erase_user, break_claim, purge, compact, copy, move),
):
    program.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run a command. Return its exit code. An error becomes a line on stderr."""
    _escape_unencodable()
    output = Output(as_json=False)
    handler = _Warnings(output)
    _LOGGER.addHandler(handler)
    try:
        return _run(arguments, output)
    finally:
        _LOGGER.removeHandler(handler)


def _run(arguments: Sequence[str], output: Output) -> int:
    try:
        code = program.main([*arguments], prog_name=_NAME, standalone_mode=False)
    except click.ClickException as error:
        output.error(without_logins(error.format_message()))
        if isinstance(error, click.UsageError) and error.ctx is not None:
            output.hint(f"{error.ctx.command_path} --help lists what it takes.")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exit_codes.INTERRUPTED
    except ReaderGoneError:
        # Python flushes stdout when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.BROKEN_PIPE
    except (SessionStoreError, ValidationError, ImportError) as error:
        output.error(_text_of(error))
        return _exit_code_of(error)
    return code or exit_codes.DONE


def _text_of(error: Exception) -> str:
    if isinstance(error, ValidationError):
        (first, *_) = error.errors(include_url=False, include_input=False)
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _exit_code_of(error: Exception) -> int:
    if isinstance(error, (StoreUnavailableError, StoreTimeoutError)):
        return exit_codes.UNAVAILABLE
    if isinstance(error, (InvalidInputError, ValidationError, ImportError)):
        return exit_codes.USAGE
    return exit_codes.NOT_FOUND


def _escape_unencodable() -> None:
    """Let Python write an escape for a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Warnings(logging.Handler):
    """Prints the library's warnings on stderr."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._output.hint(f"Warning: {record.getMessage()}")
