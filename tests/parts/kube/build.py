"""Kubernetes' binaries, built once from the Go module proxy into the cache.

`k8s.io/kubernetes` replaces its staging modules by relative paths, which `go install` refuses; a module of our own
that requires it and replaces each staging module by its published version builds the same code. About ten CPU-minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

from tests.parts.cache import cache_dir, lock
from tests.parts.process import Missing, run

KUBERNETES = "1.34.4"
ETCD = "v3.6.4"
KWOK = "v0.7.0"
API = ("etcd", "kube-apiserver")
ALL = (*API, "kube-controller-manager", "kwok")
STAGED = re.compile(r"^\s*(k8s\.io/[a-z-]+) => \./staging/", re.MULTILINE)
ETCD_MAIN = """\
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
"""


def folder() -> Path:
    path = cache_dir() / "kube" / "bin"
    path.mkdir(parents=True, exist_ok=True)
    return path


def binaries(*names: str) -> dict[str, Path]:
    """Paths of built binaries. Raises Missing when one was not built yet (`python -m tests.parts` builds)."""
    found = {name: folder() / name for name in names}
    absent = [name for name, path in found.items() if not os.access(path, os.X_OK)]
    if absent:
        raise Missing(f"{', '.join(absent)} not built: with Go 1.24 or newer installed, `make parts` builds it once")
    return found


def build(*names: str) -> None:
    """Build what is not there. Raises Missing without a Go that can."""
    with lock("kube"):
        for name in names or ALL:
            if os.access(folder() / name, os.X_OK):
                continue
            print(f"building {name} (once) ...", file=sys.stderr, flush=True)
            if name == "etcd":
                _go_build(_etcd_module(), ".", folder() / name)
            elif name == "kwok":
                _go("install", "-trimpath", "-ldflags=-s -w", f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}", gobin=str(folder()))
            else:
                _go_build(_kubernetes_module(), f"k8s.io/kubernetes/cmd/{name}", folder() / name)


def _kubernetes_module() -> Path:
    """A module that requires Kubernetes with its staging modules at the matching published versions."""
    module = cache_dir() / "kube" / "src" / f"kubernetes-{KUBERNETES}"
    if (module / "go.sum").exists():
        return module
    module.mkdir(parents=True, exist_ok=True)
    origin = json.loads(_go("mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"))
    upstream = Path(origin["GoMod"]).read_text("utf-8")
    go_line = re.search(r"^go .*$", upstream, re.MULTILINE)
    staged = f"v0.{KUBERNETES.removeprefix('1.')}"
    replaced = "\n".join(f"replace {name} => {name} {staged}" for name in STAGED.findall(upstream))
    head = f"module eventsphere.test/kubernetes\n\n{go_line[0] if go_line else 'go 1.24.0'}\n"
    (module / "go.mod").write_text(f"{head}\nrequire k8s.io/kubernetes v{KUBERNETES}\n\n{replaced}\n", "utf-8")
    wanted = [name for name in ALL if name.startswith("kube-")]
    imports = "".join(f'import _ "k8s.io/kubernetes/cmd/{name}"\n' for name in wanted)
    (module / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}", "utf-8")
    _go("mod", "tidy", cwd=module)
    return module


def _etcd_module() -> Path:
    module = cache_dir() / "kube" / "src" / f"etcd-{ETCD}"
    if (module / "go.sum").exists():
        return module
    module.mkdir(parents=True, exist_ok=True)
    require = f"require go.etcd.io/etcd/server/v3 {ETCD}"
    (module / "go.mod").write_text(f"module eventsphere.test/etcd\n\ngo 1.24.0\n\n{require}\n", "utf-8")
    (module / "main.go").write_text(ETCD_MAIN, "utf-8")
    _go("mod", "tidy", cwd=module)
    return module


def _go_build(module: Path, package: str, target: Path) -> None:
    major, minor, _ = KUBERNETES.split(".")
    version = "k8s.io/component-base/version"
    stamps = f"-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    unfinished = target.with_suffix(".unfinished")
    _go("build", "-trimpath", f"-ldflags=-s -w {stamps}", "-o", str(unfinished), package, cwd=module)
    unfinished.rename(target)


def _go(*arguments: str, cwd: Path | None = None, gobin: str = "") -> str:
    """`go` in `cwd`, with cgo off: static binaries that need no C compiler."""
    go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/go/bin"]))
    if go is None:
        raise Missing("Go is not installed, so Kubernetes cannot be built")
    env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -modcacherw", "GOWORK": "off"}
    change = ["-C", str(cwd)] if cwd else []
    try:
        return run([go, *change, *arguments], timeout_s=3600, **env, **({"GOBIN": gobin} if gobin else {}))
    except RuntimeError as error:
        raise Missing(f"go could not build Kubernetes: {error}") from error
