"""`eventsphere demo`: a bad rollout, played through the real pipeline as any outside program would play it.

`scenario` says which records (pure), `forward` sends logs and waits for acks, `api` speaks HTTP, `chaos` kills
processes, `play` puts them in order and counts what arrived. Everything is marked `demo` and lives in a namespace of
its own.
"""
