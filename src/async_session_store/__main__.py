"""``python -m async_session_store``: the command line, if the extra ``cli`` is installed."""

from __future__ import annotations

import sys

_USAGE_ERROR = 2
_INTERRUPTED = 130


def main() -> int:
    """Run the command that the arguments of the process name. Return the exit code."""
    try:
        import click  # noqa: F401  # pyright: ignore[reportUnusedImport]  # for modules below
        import rich  # noqa: F401  # pyright: ignore[reportUnusedImport]  # for modules below
    except ImportError:
        sys.stderr.write(
            'The command line needs click and rich: pip install "async-session-store[cli]"\n'
        )
        return _USAGE_ERROR
    try:
        from async_session_store._cli.program import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
