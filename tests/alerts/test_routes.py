"""`routes test` says what the real amtool says."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from streams.alerting import load
from streams.routing import routes_of
from streams.settings import Alerting, Settings
from tests.alerts.test_like_alertmanager import Dice
from tests.parts.monitoring import amtool
from tests.parts.process import Missing
from tests.parts.session import missing


@pytest.mark.parametrize("seed", [7, pytest.param(8, marks=pytest.mark.long)])
def test_alerts_go_where_amtool_says(tmp_path: Path, seed: int) -> None:
    try:
        program = amtool()
    except Missing as error:
        missing("alertmanager", str(error))
    file = tmp_path / "am.yml"
    file.write_text(json.dumps(Dice(seed).config("http://x.test/")), "utf-8")
    root = load(Settings(alerting=Alerting(config=str(file)))).route
    rng = random.Random(seed)
    seen = set()
    for _ in range(20):
        labels = {"scenario": f"s{rng.randrange(32)}"}
        labels |= {name: rng.choice("123") for name in "abc" if rng.random() < 0.85}
        command = [
            program,
            "config",
            "routes",
            "test",
            f"--config.file={file}",
            *(f"{n}={v}" for n, v in labels.items()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        ours = ",".join(route.receiver for route in routes_of(root, labels))
        assert done.stdout.strip() == ours, labels
        seen.add(ours)
    assert len(seen) > 2, "everything went the same way: that compares little"


def test_receivers_are_verified(tmp_path: Path) -> None:
    file = tmp_path / "am.yml"
    route = {
        "receiver": "a",
        "routes": [{"matchers": ["x=1"], "receiver": "b", "continue": True}, {"match": {"x": "1"}}],
    }
    file.write_text(json.dumps({"route": route, "receivers": [{"name": "a"}, {"name": "b"}]}), "utf-8")

    def run(*arguments: str) -> int:
        return CliRunner().invoke(app, ["routes", "test", "--config-file", str(file), *arguments]).exit_code

    assert run("--verify-receivers", "b,a", 'x="1"') == 0
    assert run("--verify-receivers", "a", "x=1") == 1
    assert run("x=~1") == run("nonsense") == 2
