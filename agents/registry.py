"""The agents there are: each module of this package that exports `NAME` and `register`, found by looking, in order."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence

import agents
from streams.errors import Fatal
from streams.worker import Worker

Register = Callable[[Worker], None]


def modules() -> Iterator[str]:
    """Names of this package's modules that may be agents, sorted; nothing is imported."""
    own = {"registry", "run"}
    return (name for name in sorted(info.name for info in pkgutil.iter_modules(agents.__path__)) if name not in own)


def agent_name(module: str) -> str:
    """`index_logs` -> `index-logs`: an agent is called like its file."""
    return module.replace("_", "-")


def chosen(names: Sequence[str]) -> dict[str, Register]:
    """The `register` functions of agents `names` (none: all), in the registry's order.

    Raises Fatal("unknown_agent") naming those that are unknown and those there are.
    """
    known = {agent_name(module): module for module in modules()}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise Fatal("unknown_agent", f"no agent called {', '.join(unknown)}; there are: {', '.join(known)}")
    return {name: _register(module) for name, module in known.items() if not names or name in names}


def _register(module: str) -> Register:
    agent = importlib.import_module(f"agents.{module}")
    if agent_name(module) != agent.NAME:
        raise Fatal("agent_name", f"agents/{module}.py calls itself {agent.NAME!r}: it must be {agent_name(module)!r}")
    register: Register = agent.register
    return register
