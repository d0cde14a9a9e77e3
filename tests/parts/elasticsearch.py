"""Elasticsearch 9 (and 8, for the long tests), single node, security off: the official builds from Maven, without
modules such as ILM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts.cache import maven_artifact
from tests.parts.process import Missing, Process, answers, folder, free_ports, running, unprivileged

BUILD = "org.elasticsearch.distribution.integ-test-zip:elasticsearch"
VERSION = "9.5.3"
VERSION_8 = "8.19.3"
NEEDS_JAVA = 21
CONFIG = """\
cluster.name: eventsphere-tests
discovery.type: single-node
xpack.security.enabled: false
http.host: 127.0.0.1
http.port: {http}
transport.host: 127.0.0.1
transport.port: {transport}
path.data: {data}
path.logs: {logs}
cluster.routing.allocation.disk.threshold_enabled: false
ingest.geoip.downloader.enabled: false
"""


def fetch(version: str = VERSION) -> Path:
    """The zip in the cache. Raises Missing."""
    return maven_artifact(f"{BUILD}:{version}", "zip")


@contextmanager
def elasticsearch(version: str = VERSION) -> Iterator[str]:
    """Yields the URL. Raises Missing without the zip or a JDK of 21 or newer."""
    java, archive, user = java_home(NEEDS_JAVA), fetch(version), unprivileged()
    http, transport = free_ports(2)
    with folder("elasticsearch", user) as base:
        home = _unpack(archive, base)
        config = CONFIG.format(http=http, transport=transport, data=base / "data", logs=base / "logs")
        (home / "config" / "elasticsearch.yml").write_text(_known(config, home), "utf-8")
        (home / "config" / "jvm.options.d").mkdir(exist_ok=True)
        (home / "config" / "jvm.options.d" / "heap.options").write_text("-Xms1g\n-Xmx1g\n", "ascii")
        _give(base, user)
        env = {"ES_JAVA_HOME": str(java), "ES_TMPDIR": str(base / "tmp"), "HOME": str(base)}
        server = Process("elasticsearch", [home / "bin" / "elasticsearch"], base / "out.log", user=user, env=env)
        url = f"http://127.0.0.1:{http}"
        with running(server, answers(f"{url}/_cluster/health?wait_for_status=yellow&timeout=1s"), 110):
            yield url


def java_home(at_least: int) -> Path:
    """The home of an installed JDK of that version or newer. Raises Missing naming what was found instead."""
    seen: dict[int, Path] = {}
    for home in _candidates():
        java = home / "bin" / "java"
        if os.access(java, os.X_OK):
            done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
            if match := re.search(r'version "(\d+)', done.stderr):
                seen[int(match[1])] = home
    good = sorted(version for version in seen if version >= at_least)
    if not good:
        raise Missing(f"no JDK {at_least} or newer found (found: {', '.join(map(str, sorted(seen))) or 'none'})")
    return seen[good[-1]]


def _candidates() -> Iterator[Path]:
    for name in ("ES_JAVA_HOME", "JAVA_HOME"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    for parent in ("/usr/lib/jvm", "/opt", "/usr/local"):
        if Path(parent).is_dir():
            yield from sorted(path for path in Path(parent).iterdir() if (path / "bin" / "java").exists())
    if found := shutil.which("java"):
        yield Path(found).resolve().parent.parent


def _unpack(archive: Path, base: Path) -> Path:
    with zipfile.ZipFile(archive) as content:
        content.extractall(base)
    home = next(path for path in base.iterdir() if path.name.startswith("elasticsearch-"))
    for script in (home / "bin").iterdir():
        script.chmod(0o755)
    for helper in home.glob("modules/**/bin/*"):
        helper.chmod(0o755)
    (base / "tmp").mkdir()
    return home


def _known(config: str, home: Path) -> str:
    """Leave out settings of modules this build does not have: an unknown setting stops the start."""
    present = {path.name for path in (home / "modules").iterdir()}
    lines = config.splitlines()
    if "ingest-geoip" not in present:
        lines = [line for line in lines if not line.startswith("ingest.geoip")]
    if not any(name.startswith("x-pack-security") for name in present):
        lines = [line for line in lines if not line.startswith("xpack.security")]
    return "\n".join(lines) + "\n"


def _give(base: Path, user: str | None) -> None:
    if user:
        for path in (base, *base.rglob("*")):
            shutil.chown(path, user)
