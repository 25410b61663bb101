"""The ways to an HTTPS server that are compared: direct, nginx, mitmproxy, hoopgw."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen

from benchmarks import mitmproxy, processors, upstream
from benchmarks.processors import ONE, OTHER
from tests.support import gateway
from tests.support.certificates import Authority, Pair
from tests.support.gateway import AGENT
from tests.support.processes import Processes, free_port

DOMAIN: Final = "gw.example"
POLICY: Final = """
@id("everybody")
permit (principal, action, resource)
unless { action == Rest::Action::"see" };
"""
USUAL: Final = "usual"
"""A target in the default configuration: links are looked for where most services have them."""
PLAIN: Final = "plain"
"""One whose answers have no links to its own pages, as its configuration says."""
_TARGETS: Final = {USUAL: "", PLAIN: "links = []"}
_TOKEN: Final = "bearer-that-only-the-agent-has"
_MASKED: Final = frozenset({upstream.SECRET, *map(upstream.masked, upstream.LONG_ITEMS)})
_PATHS: Final = (upstream.SMALL, upstream.LARGE, *upstream.LONG_ITEMS, *sorted(_MASKED))


@frozen(kw_only=True)
class Way:
    """One way to the files."""

    name: str
    port: int
    processes: Mapping[str, tuple[int, ...]]
    """Process ids between wrk and the server, by what they do."""
    fields: Callable[[str], Mapping[str, str]] = field(repr=False)
    """Returns what a request to a target says besides; tokens are new for each sample."""


def fetch(url: str, fields: Mapping[str, str]) -> bytes:
    """Return the body of an answer, whatever the certificate: as wrk, which verifies none."""
    command = ["curl", "-sS", "-k", "--max-time", "60", url]
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@frozen
class Compared:
    """The ways that are there."""

    ways: tuple[Way, ...]
    missing: str
    """Why one is not; empty if all are."""

    def __getitem__(self, name: str) -> Way:
        """Return a way by its name."""
        return next(way for way in self.ways if way.name == name)


@contextmanager
def opened() -> Iterator[Compared]:
    """Start the server, and before it nginx, mitmproxy and hoopgw, all on one processor.

    Raises:
        NotInstalledError: a program is not there; the text says which.

    """
    for name, package in (upstream.NGINX, ("wrk", "wrk"), ("curl", "curl")):
        upstream.program(name, package)
    processors.here(ONE)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        processes = Processes(folder)
        stack.callback(processes.stop)
        authority = Authority.make("bench CA")
        ca = authority.write(folder / "ca.crt")
        pair = authority.issue(folder, "web", (upstream.NAME, "127.0.0.1"))
        server = upstream.start_server(processes, folder, pair)
        proxy = upstream.start_proxy(processes, folder, pair, server.port, ca)
        other, missing = _mitmproxy(processes, folder, pair, server.port, ca)
        secret = folder / "token"
        secret.touch(mode=0o600)
        secret.write_text(_TOKEN)
        port = free_port()
        rig = gateway.start(
            policy=POLICY,
            link="unix",
            extra=_gateway_toml(port),
            agent_extra=_agent_toml(server.port, ca, secret),
        )
        stack.callback(rig.stop)

        def fields(target: str) -> Mapping[str, str]:
            return {
                "Host": f"{target}.{DOMAIN}:{port}",
                "Authorization": f"Bearer {rig.token(target, lifetime=7200.0)}",
            }

        processors.here(OTHER)
        nginx = {"proxy": (proxy.running.pid,)}
        yield Compared(
            (
                Way(name="direct", port=server.port, processes={}, fields=_nothing),
                Way(name="nginx", port=proxy.port, processes=nginx, fields=_nothing),
                *other,
                Way(name="hoopgw", port=port, processes=_roles(rig), fields=fields),
            ),
            missing,
        )


def _mitmproxy(
    processes: Processes, folder: Path, pair: Pair, port: int, ca: Path
) -> tuple[list[Way], str]:
    """Start the one yardstick that may not be had; else say why."""
    try:
        web = mitmproxy.start(processes, folder / "mitmproxy", pair, port, ca)
    except upstream.NotInstalledError as error:
        return [], f"; mitmproxy is not measured: {error}"
    pids = {"proxy": (web.running.pid,)}
    return [Way(name="mitmproxy", port=web.port, processes=pids, fields=_nothing)], ""


def _nothing(_target: str) -> Mapping[str, str]:
    return {}


def _roles(rig: gateway.GatewayRig) -> Mapping[str, tuple[int, ...]]:
    roles = processors.roles(rig)
    return {role: roles[role] for role in ("worker", "agent", "recorder")}


def _gateway_toml(port: int) -> str:
    rules = "".join(
        f"""
[[targets.operations]]
name = "{path.rpartition("/")[2]}"
method = "GET"
path = "{path}"
{f'secrets = ["**.{upstream.FIELD}"]' if path in _MASKED else ""}
"""
        for path in _PATHS
    )
    return f"""
[tls]
names = ["127.0.0.1", "*.{DOMAIN}"]
[[listeners]]
protocol = "azure"
listen = "127.0.0.1:{port}"
domain = "{DOMAIN}"
authority = "{DOMAIN}:{port}"
""" + "".join(
        f"""
[[targets]]
name = "{name}"
protocol = "azure"
agent = "{AGENT}"
service = "rest"
account = "reader"
{links}
{rules}"""
        for name, links in _TARGETS.items()
    )


def _agent_toml(port: int, ca: Path, secret: Path) -> str:
    targets = "".join(
        f"""
[[targets]]
name = "{name}"
protocol = "azure"
address = "127.0.0.1:{port}"
host = "{upstream.NAME}"
ca = "{ca}"
service = "rest"
[targets.accounts.reader]
source = "file:{secret}"
auth = "bearer"
"""
        for name in _TARGETS
    )
    return f"""{targets}
[[floor]]
targets = {json.dumps(list(_TARGETS))}
accounts = ["reader"]
mode = "read-only"
"""
