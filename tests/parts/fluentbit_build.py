"""Builds Fluent Bit from its source, into the cache: about 15 minutes of one core. For the long tests only.

    make fluent-bit SOURCE=~/src/fluent-bit        # a checkout, or a (bare) git repository

Needs cmake, a C compiler, bison, flex and the headers of OpenSSL, libyaml and SQLite: it says which of them is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.parts.cache import cache_dir, lock
from tests.parts.process import Missing

TOOLS = ("cmake", "cc", "c++", "bison", "flex")
PLUGINS = ("IN_TAIL", "IN_KAFKA", "OUT_FORWARD", "OUT_HTTP", "OUT_KAFKA", "OUT_ES", "OUT_NULL", "OUT_STDOUT")
ON = (
    "RELEASE",
    "TLS",
    "KAFKA",
    "PARSER",
    "REGEX",
    "RECORD_ACCESSOR",
    "HTTP_SERVER",
    "PREFER_SYSTEM_LIB_SQLITE",
    *PLUGINS,
)
OFF = ("DEBUG", "EXAMPLES", "SHARED_LIB", "LUAJIT", "WASM", "PROXY_GO", "ZIG")
UNUSED = ":!lib/sqlite-amalgamation-*"
"""By far the largest file: the system's library is taken."""
BINARY = "bin/fluent-bit"


def built(source: Path, jobs: int) -> Path:
    """The program, once it is there. Raises Missing saying what the build lacks, CalledProcessError when it fails."""
    target = cache_dir() / "fluent-bit" / BINARY
    with lock("fluent-bit"):
        if os.access(target, os.X_OK):
            return target
        if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise Missing(f"to build Fluent Bit: {', '.join(lacking)}")
        with tempfile.TemporaryDirectory() as folder:
            tree = _tree(source, Path(folder) / "source")
            _build(tree, Path(folder) / "build", jobs)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(folder) / "build" / BINARY, target)
    return target


def _tree(source: Path, into: Path) -> Path:
    """A tree of files: of a git repository what its HEAD holds."""
    if (source / "CMakeLists.txt").is_file():
        return source
    into.mkdir()
    archive = ["git", f"--git-dir={source}", "archive", "HEAD", "--", ".", UNUSED]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as found:
        subprocess.run(["tar", "-x", "-C", into], stdin=found.stdout, check=True)
    if found.returncode or not (into / "CMakeLists.txt").is_file():
        raise Missing(f"{source} is no source of Fluent Bit")
    return into


def _build(tree: Path, into: Path, jobs: int) -> None:
    # Minimal leaves every plugin out but those named.
    options = ["-DFLB_MINIMAL=On", *(f"-DFLB_{name}=On" for name in ON), *(f"-DFLB_{name}=Off" for name in OFF)]
    subprocess.run(["cmake", "-S", tree, "-B", into, *options], check=True)
    subprocess.run(["cmake", "--build", into, "--target", "fluent-bit-bin", f"-j{jobs}"], check=True)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(built(Path(arguments[0]).expanduser(), os.cpu_count() or 1))
    except (Missing, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
