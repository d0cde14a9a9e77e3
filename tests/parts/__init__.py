"""The real servers the tests run against: one module a part, each a context manager that yields how to reach it.

A part starts on free loopback ports with its data in a folder of its own, and leaves nothing behind. What cannot be had
raises `Missing` with the reason; `tests/parts/session.py` makes a skip of it, or a failure where the part is required.
"""
