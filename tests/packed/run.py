"""Run a program with the URL of a Redis server as its last argument.

Run as ``python run.py PROGRAM [ARGUMENT...]``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from redis_server import RedisServer


def main() -> None:
    with RedisServer.start() as server:
        sys.exit(subprocess.run([*sys.argv[1:], server.url], check=False).returncode)


if __name__ == "__main__":
    main()
