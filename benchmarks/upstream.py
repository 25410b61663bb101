"""nginx, as an HTTPS server of two files and as the yardstick of what stands before it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.certificates import Pair
from tests.support.processes import Processes, Running, free_port

NAME: Final = "upstream.example"
"""In the server's certificate."""
SMALL: Final = "/v1/small"
LARGE: Final = "/v1/large"
SECRET: Final = "/v1/secret"
"""The same file as `LARGE`, under a rule that masks a field."""
LONG: Final = "/v1/long"
"""A list of 10 MB, each item of which has a field that is masked where `masked` says."""
LONGEST: Final = "/v1/longest"
"""The same with 100 MB."""
SMALL_SIZE: Final = 1024
LARGE_SIZE: Final = 2**20
_MASKED: Final = "-masked"
NGINX: Final = ("nginx", "nginx-light")
LONG_ITEMS: Final = {LONG: 25_000, LONGEST: 250_000}
FIELD: Final = "owner"
"""What is masked: it is in the last item, so that all before it is looked at."""
VALUE: Final = "somebody@example.org"


class NotInstalledError(Exception):
    """A program is not there; the text says which, and where it comes from."""


@frozen(kw_only=True)
class Web:
    """A running nginx."""

    running: Running
    port: int


def program(name: str, package: str) -> str:
    """Return the path of a program.

    Args:
        name: its own.
        package: of Debian that has it.

    Raises:
        NotInstalledError: it is not there.

    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstalledError(f"{name} is not installed (on Debian: {package})")
    return found


def masked(path: str) -> str:
    """Return where the same file is, under a rule that masks a field."""
    return path + _MASKED


def bare(path: str) -> str:
    """Return the path of the file where nothing of it is masked."""
    return path.removesuffix(_MASKED)


def start_server(processes: Processes, folder: Path, pair: Pair) -> Web:
    """Start what answers with files."""
    files = folder / "files"
    files.mkdir()
    (files / "small.json").write_bytes(small())
    (files / "large.json").write_bytes(large())
    names = {SMALL: "small", LARGE: "large", SECRET: "large"}
    for path, items in LONG_ITEMS.items():
        name = path.rpartition("/")[2]
        with (files / f"{name}.json").open("wb") as file:
            file.writelines(long_pieces(items, VALUE))
        names |= {path: name, masked(path): name}
    locations = "".join(
        f"location = {path} {{ default_type application/json; alias {files}/{name}.json; }}\n"
        for path, name in names.items()
    )
    return _start(processes, folder, "server", pair, locations)


def start_proxy(processes: Processes, folder: Path, pair: Pair, port: int, ca: Path) -> Web:
    """Start what passes on to a port, with TLS that is verified and connections that are kept."""
    upstream = f"upstream kept {{ server 127.0.0.1:{port}; keepalive 64; }}"
    location = f"""location / {{
      proxy_pass https://kept;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host {NAME};
      proxy_ssl_name {NAME};
      proxy_ssl_server_name on;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {ca};
    }}"""
    return _start(processes, folder, "proxy", pair, location, upstream)


def small() -> bytes:
    """Return a JSON document of 1 KB."""
    return _filled({"id": 4711, "name": "one", "state": "ready"}, SMALL_SIZE)


def large() -> bytes:
    """Return a list of 1 MB, one of whose items has the field that is masked."""
    items = [
        {
            "id": f"/v1/orders/{number}",
            "name": f"order {number}",
            "location": "westeurope",
            "properties": {"state": "Succeeded", "count": number, "paid": True},
        }
        for number in range(7000)
    ]
    items.append({FIELD: VALUE})
    return _filled({"value": items}, LARGE_SIZE)


def long_pieces(items: int, value: str) -> Iterator[bytes]:
    """Yield a list as Resource Manager would give it, 400 bytes an item, a field of it so."""
    item = {
        "id": "/subscriptions/0f5a3c1e-9d2b-4b7f-8a61-5c0e7d9b2f34/resourceGroups/rg1/providers/"
        "Microsoft.Storage/storageAccounts/account",
        "location": "westeurope",
        "tags": {"env": "prod", "cost": "4711", "filler": "x" * 90},
        "properties": {"state": "Succeeded", "size": 12.5, "paid": True, FIELD: value},
    }
    text = json.dumps(item).encode()
    yield b'{"value": [' + text
    for _ in range(items - 1):
        yield b", " + text
    yield b"]}"


def _filled(document: dict[str, object], size: int) -> bytes:
    """Return a document as JSON of exactly this size."""
    bare = len(json.dumps({"filler": "", **document}))
    return json.dumps({"filler": "x" * (size - bare), **document}).encode()


def _start(
    processes: Processes, folder: Path, name: str, pair: Pair, locations: str, before: str = ""
) -> Web:
    port = free_port()
    own = folder / name
    own.mkdir()
    temporary = "".join(
        f"{kind}_temp_path {own}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (own / "nginx.conf").write_text(
        f"""daemon off;
master_process off;
worker_processes 1;
pid {own}/pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  {temporary}
  {before}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {pair.certificate};
    ssl_certificate_key {pair.key};
    ssl_protocols TLSv1.3;
    {locations}
  }}
}}
"""
    )
    command = [program(*NGINX), "-p", own, "-c", own / "nginx.conf", "-e", "stderr"]
    running = processes.start(name, command)
    running.wait_for_port(port)
    return Web(running=running, port=port)
