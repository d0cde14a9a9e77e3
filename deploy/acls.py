"""Who may do what on Kafka: the least each part of Eventsphere needs, and guests beside it, from the topic catalogue.

Written as Strimzi `KafkaUser`s and as commands of `kafka-acls.sh` (`python -m deploy.acls`, part of `make docs`). A
part sees (Describe) every topic, since it is ready only when all are there; it reads and writes by name, nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import yaml

from agents.registry import agent_name, modules
from schemas.catalogue import DLQ_SUFFIX, Topic, catalogue, dlq_name

FOLDER = Path("deploy/kubernetes/kafka")
STRIMZI, SCRIPT = "users.yaml", "acls.sh"
GROUPS = "eventsphere"
"""What the names of our consumer groups begin with."""
CLUSTER = "eventsphere"
"""The name of the Strimzi `Kafka`; change the label where yours is called otherwise."""


class Rule(NamedTuple):
    """`operations` on the resources of one kind, by name (`prefixed`: what begins with it)."""

    kind: str
    """`topic`, `group` or `cluster`."""
    names: tuple[str, ...]
    operations: tuple[str, ...]
    prefixed: bool = False


class User(NamedTuple):
    name: str
    what: str
    rules: tuple[Rule, ...]


def users() -> list[User]:
    """Every principal, parts first."""
    topics = catalogue()
    every = Rule("topic", tuple(topics), ("Describe", "DescribeConfigs"))
    state = [name for name in topics if name.startswith("state.")]
    agents = {agent_name(module) for module in modules()}
    watches = [topic for topic in topics.values() if "Kubernetes source" in (*topic.producers, *topic.consumers)]
    heard = [topic.name for topic in topics.values() if _of(topic.consumers, agents) or _every_worker(topic)]
    told = [
        t.name for t in topics.values() if _of(t.producers, agents) or {"batch source", "any agent"} & {*t.producers}
    ]
    letters = [name for name in topics if name.endswith(DLQ_SUFFIX)]
    took = [t.name for t in topics.values() if {"forward source", "sources", "Kubernetes source"} & {*t.producers}]
    published = [t.name for t in topics.values() if t.public and (t.publish or t.cleanup == "compact")]
    by_gateway = [t.name for t in topics.values() if "gateway" in t.producers or any(_by_http(p) for p in t.producers)]
    own_groups = Rule("group", (GROUPS,), ("Read", "Describe"), prefixed=True)
    return [
        User("eventsphere-topics", "creates topics: `eventsphere topics apply`", (
            Rule("cluster", (), ("Create", "Describe")),
            Rule("topic", tuple(topics), ("Describe", "DescribeConfigs")),
        )),
        User("eventsphere-worker", "runs the agents", (
            every, _reads(heard, state), _writes(told, letters, state, ["gaps"]), own_groups,
        )),
        User("eventsphere-sources", "takes in records: forward protocol, Kubernetes watches", (
            every,
            _reads([topic.name for topic in watches]),
            _writes(took, [dlq_name(name) for name in took if topics[name].dead_letters]),
        )),
        User("eventsphere-gateway", "HTTP API, streams and console", (
            every,
            _reads([name for name in topics if name not in state]),
            _writes(published, by_gateway, letters, [t.name for t in topics.values() if t.dead_letters]),
            own_groups,
            Rule("group", ("*",), ("Describe",)),
            Rule("cluster", (), ("Describe",)),
        )),
        reader("guest-reader", ["notifications", "notifications.outcomes", "alerts.state"]),
        publisher("guest-publisher", ["alerts", "cicd.events", "logs"]),
    ]  # fmt: skip


def reader(name: str, topics: Iterable[str]) -> User:
    """A guest that reads `topics` in groups whose names begin with its own and a dot."""
    rules = (_reads(topics, describe=True), Rule("group", (f"{name}.",), ("Read", "Describe"), prefixed=True))
    return User(name, "reads, in consumer groups named `" + name + ".*`", rules)


def publisher(name: str, topics: Iterable[str]) -> User:
    """A guest that writes to `topics`, also with idempotence."""
    return User(name, "publishes", (_writes(topics, describe=True),))


def _reads(*names: Iterable[str], describe: bool = False) -> Rule:
    return Rule("topic", _sorted(*names), ("Read", "Describe") if describe else ("Read",))


def _writes(*names: Iterable[str], describe: bool = False) -> Rule:
    return Rule("topic", _sorted(*names), ("Write", "Describe") if describe else ("Write",))


def _sorted(*names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for each in names for name in each}))


def _of(names: Iterable[str], agents: set[str]) -> bool:
    return not agents.isdisjoint(names)


def _every_worker(topic: Topic) -> bool:
    return any(name.startswith("every worker") for name in topic.consumers)


def _by_http(producer: str) -> bool:
    return producer.startswith(("POST ", "PUT "))


def script() -> str:
    """For `kafka-acls.sh`; what it is given goes to each command (`--bootstrap-server`, `--command-config`)."""
    lines = [
        "#!/bin/sh",
        "# Generated by `make docs`; do not edit. Rights of each part and of guests, for a Kafka with an authorizer:",
        "#   sh acls.sh --bootstrap-server kafka:9092 --command-config admin.properties",
        "# KAFKA_ACLS names the program where it is not on the path; the users are made before, with their passwords.",
        "set -eu",
        "acls() { ${KAFKA_ACLS:-kafka-acls.sh} \"$@\" --add --force; }",
    ]  # fmt: skip
    for user in users():
        lines += ["", f"# {user.name}: {user.what}"]
        lines += [f'acls "$@" --allow-principal User:{user.name} {_arguments(rule)}' for rule in user.rules]
    return "\n".join(lines) + "\n"


def _arguments(rule: Rule) -> str:
    out = [word for each in rule.operations for word in ("--operation", each)]
    if rule.kind == "cluster":
        return " ".join([*out, "--cluster"])
    if rule.prefixed:
        out += ["--resource-pattern-type", "prefixed"]
    return " ".join([*out, *(word for name in rule.names for word in (f"--{rule.kind}", quote(name)))])


def manifests() -> str:
    """Strimzi's `KafkaUser`s, each with a SCRAM password in a secret of its name."""
    note = "# Generated by `make docs`; do not edit. Needs Strimzi; else see acls.sh.\n"
    return note + "---\n".join(yaml.safe_dump(_manifest(user), sort_keys=False, width=110) for user in users())


def _manifest(user: User) -> dict[str, Any]:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {
            "name": user.name,
            "namespace": "eventsphere",
            "labels": {"strimzi.io/cluster": CLUSTER},
            "annotations": {"description": user.what},
        },
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": [acl for rule in user.rules for acl in _acls(rule)]},
        },
    }


def _acls(rule: Rule) -> Iterator[dict[str, Any]]:
    if rule.kind == "cluster":
        yield {"resource": {"type": "cluster"}, "operations": list(rule.operations)}
    for name in rule.names:
        pattern = "prefix" if rule.prefixed else "literal"
        resource = {"type": rule.kind, "name": name, "patternType": pattern}
        yield {"resource": resource, "operations": list(rule.operations)}


def files() -> dict[str, str]:
    return {STRIMZI: manifests(), SCRIPT: script()}


def write(folder: Path = FOLDER) -> None:
    for name, text in files().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
