"""The self-alert rules and the dashboard: valid, about metrics that exist, and firing on what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.reference import measures
from gateway.cluster import Span
from gateway.metrics import PlatformCollector
from tests.parts.process import Missing, program
from tests.parts.session import missing

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/eventsphere-rules.yaml"
DASHBOARD = ROOT / "deploy/grafana/eventsphere.json"
NAME = re.compile(r"\b(?:eventsphere|process|python)_[a-z0-9_]+|\bup\b")
OF_EVERY_TARGET = {"up"}
LABELS = re.compile(r"\{[^}]*\}|\b(?:by|without)\s*\([^)]*\)")


def registered() -> set[str]:
    """Names of the series our processes expose."""

    class Seen:
        known = None

    collector = PlatformCollector(Seen())  # type: ignore[arg-type]
    families = [*REGISTRY.collect(), *collector.collect()]
    names = set(OF_EVERY_TARGET)
    for family in families:
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def promql() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "expr"), list(promql()))
def test_every_metric_used_exists(title: str, expr: str) -> None:
    used = set(NAME.findall(LABELS.sub("", expr)))
    assert used, title
    assert used <= registered(), title


def test_platform_metrics_have_the_labels_the_rules_use() -> None:
    class Seen:
        class known:  # noqa: N801
            agents = ("index-logs",)
            committed = {"eventsphere.index-logs": {"logs": {0: 1}}}

            @staticmethod
            def held(_topic: str) -> int:
                return 2

            @staticmethod
            def produced(_topic: str) -> int:
                return Span(0, 3, 0).end

            @staticmethod
            def lag(_group: str, _topic: str) -> int:
                return 2

    found = {sample.name: sample.labels for family in PlatformCollector(Seen()).collect() for sample in family.samples}  # type: ignore[arg-type]
    assert found["eventsphere_group_lag_records"] == {"group": "eventsphere.index-logs", "topic": "logs"}
    assert "eventsphere_dead_letters_held" in found
    assert "eventsphere_searchable_seconds" in measures()


def test_the_dashboard_is_one_grafana_takes() -> None:
    """Of Grafana 10 and later: a schema version they migrate from, panels that do not overlap, unique ids."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 36
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["type"] in {"row", "stat", "timeseries"}
        cells = set(_cells(panel["gridPos"]))
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def _cells(at: dict[str, int]) -> Iterator[tuple[int, int]]:
    assert at["x"] + at["w"] <= 24
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            yield x, y


def test_promtool_takes_the_rules_and_they_fire_on_what_they_say(tmp_path: Path) -> None:
    try:
        promtool = program("promtool", package="prometheus")
    except Missing as error:
        missing("prometheus", str(error))
    shutil.copy(RULES, tmp_path)
    tests: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "rules.yaml").read_text())
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    for command in (["check", "rules", RULES.name], ["test", "rules", "tests.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
