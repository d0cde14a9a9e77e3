"""Settings: from environment, TOML and secret files; whatever is wrong is named with what is expected instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.checks import require_files
from deploy.local.instance import CannotStart
from streams.settings import Rules, Settings, WrongSettings, environment, load


def wrong(environ: dict[str, str], config: str = "") -> str:
    with pytest.raises(WrongSettings) as failure:
        load(config or None, environ)
    return str(failure.value)


def test_environment_wins_over_the_file_and_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2\n")
    (tmp_path / "a.toml").write_text('[kafka]\nusername = "file"\npartitions = 3\n')
    given = load(
        str(tmp_path / "a.toml"),
        {"EVENTSPHERE_KAFKA__USERNAME": "env", "EVENTSPHERE_KAFKA__PASSWORD_FILE": str(tmp_path / "pw")},
    )
    assert (given.kafka.username, given.kafka.partitions) == ("env", 3)
    assert given.kafka.password.get_secret_value() == "hunter2"
    assert load(None, environment(given)) == given
    assert "hunter2" not in repr(given)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NOPE", "1", "EVENTSPHERE_NOPE: no such setting; here one of: alerting, archive"),
        ("KAFKA__NOPE", "1", "EVENTSPHERE_KAFKA__NOPE: no such setting; here one of: bootstrap_servers"),
        ("KAFKA__PARTITIONS", "many", "EVENTSPHERE_KAFKA__PARTITIONS (kafka.partitions): Input should be a valid int"),
        ("NOTIFY__MODE", "loud", "EVENTSPHERE_NOTIFY__MODE (notify.mode): Input should be 'live' or 'shadow'"),
        ("KAFKA__PASSWORD_FILE", "/none", "EVENTSPHERE_KAFKA__PASSWORD_FILE: cannot read '/none'"),
        ("SMTP__URL", "http://x", "EVENTSPHERE_SMTP__URL (smtp.url): expected smtp|smtp+starttls|smtps"),
        ("HOOKS", "x", "EVENTSPHERE_HOOKS: expected JSON"),
        ("HOOKS", '[{"kind": "gitlab", "secret": "s"}]', "EVENTSPHERE_HOOKS (hooks.0.id): Field required"),
        (
            "HOOKS",
            '[{"kind": "gitlab", "id": "a", "secret": "s", "x": 1}]',
            "(hooks.0.x): no such setting; here one of",
        ),
        ("INDEX__URL", "foo", "EVENTSPHERE_INDEX__URL (index.url): String should match pattern"),
        ("GATEWAY__PORT", "99999", "(gateway.port): Input should be less than or equal to 65535"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_expected(name: str, value: str, told: str) -> None:
    assert told in wrong({f"EVENTSPHERE_{name}": value})


@pytest.mark.parametrize(
    ("kubeconfig", "rules", "told"),
    [
        ("none", "", "EVENTSPHERE_KUBECONFIGS (kubeconfigs): {0}/none: no kubeconfig: No such file or directory"),
        ("empty.yaml", "", "no kubeconfig: it names no clusters"),
        ("", "none", "EVENTSPHERE_RULES__DIR (rules.dir): {0}/none: expected a folder with *.yaml files"),
    ],
)
def test_a_path_that_leads_nowhere_stops_the_start(tmp_path: Path, kubeconfig: str, rules: str, told: str) -> None:
    (tmp_path / "empty.yaml").write_text("{}\n")
    settings = Settings(
        kubeconfigs=[str(tmp_path / kubeconfig)] if kubeconfig else [],
        rules=Rules(dir=str(tmp_path / rules) if rules else ""),
    )
    with pytest.raises(CannotStart) as refused:
        require_files(settings)
    assert told.format(tmp_path) in str(refused.value)


def test_a_file_is_told_like_the_environment_all_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[kafka]\nfoo = 1\n[forward]\nport = "x"\n')
    told = wrong({}, str(file)).splitlines()
    assert told[0].startswith("EVENTSPHERE_KAFKA__FOO (kafka.foo): no such setting; here one of: bootstrap_servers, ")
    assert told[1].startswith("EVENTSPHERE_FORWARD__PORT (forward.port): Input should be a valid integer")
    file.write_text("x = = 1")
    assert f"{file}: cannot be read as TOML" in wrong({}, str(file))
    assert "cannot be read as TOML" in wrong({}, str(tmp_path / "none.toml"))


def test_a_wrong_secret_is_not_shown() -> None:
    assert "hunter2" not in wrong({"EVENTSPHERE_SMTP__URL": "smtp://user:hunter2@host:99999"})


def test_what_kubernetes_injects_is_not_ours() -> None:
    injected = {
        "EVENTSPHERE_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "EVENTSPHERE_GATEWAY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "EVENTSPHERE_SERVICE_PORT_HTTP": "80",
        "EVENTSPHERE_PORT": "tcp://10.0.0.1:80",
    }
    assert load(None, injected) == load(None, {})
