"""The web console: templates, style and script, and the geometry of its pictures. It renders what it is given.

The gateway serves it (`gateway/api/console*.py`); it knows nothing of the bus. No build step, no inline script;
the pages work without JavaScript, which adds what is live.
"""
