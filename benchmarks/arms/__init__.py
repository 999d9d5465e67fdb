"""One pause and resume of a flow, as this library, bare drivers and other libraries do it.

Each arm opens what it needs and yields its cycle for one caller: register, find, get, update,
clear. A cycle returns what it read. The harness fails if that is empty, so no arm can win by
storing nothing.
"""
