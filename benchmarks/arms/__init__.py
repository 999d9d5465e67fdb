"""One pause and resume of a flow, as the store, bare drivers and other libraries do it.

Each arm opens what it needs and gives its cycle: register, find, get, update, clear for one
caller. A cycle returns what it got, so that an arm that stores nothing is noticed.
"""
