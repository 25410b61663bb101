"""The demonstration's Azure as a process: Resource Manager, a key vault, and a managed identity.

``python -m hoopgw.demo.cloud FILE`` with the JSON of `Cloud`. It stands behind the agent, so it has
Azure's own names in its certificate and in its links, and believes nobody who does not bring the
token that the managed identity gives; that is on a port of its own and wants a secret, as at App
Service. What it was asked goes to standard output, a line each, without any header.
"""

from __future__ import annotations

import hmac
import json
import sys
import time
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen
from twisted.internet.endpoints import serverFromString
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from hoopgw.demo.azure_data import Secrets, exchanges
from hoopgw.demo.recorded import Replay

_HOUR = 3600


@frozen(kw_only=True)
class Cloud:
    """How it is to run."""

    port: int
    identity_port: int
    certificate: str
    """PEM files."""
    key: str
    token: str = field(repr=False)
    """What the managed identity gives, and Azure believes."""
    header: str = field(repr=False)
    """What who asks the managed identity must show."""
    secrets: Secrets = field(repr=False)

    def write(self, path: Path) -> None:
        """Write it to a file for us only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(attrs.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Cloud:
        """Read what `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_bytes())
        given = values.pop("secrets")
        return cls(**values, secrets=Secrets(keys=tuple(given["keys"]), value=given["value"]))


class Azure(Resource):
    """Gives what was recorded."""

    isLeaf = True

    def __init__(self, cloud: Cloud) -> None:
        Resource.__init__(self)
        self._replay = Replay(exchanges(cloud.secrets), cloud.token)

    def render(self, request: Request) -> bytes:
        """Answer a request."""
        method, path = request.method.decode("latin-1"), request.uri.decode("latin-1")
        host = request.getHeader("host") or ""
        found = self._replay.find(method, host, path, request.getHeader("authorization"))
        request.setResponseCode(found.status)
        for name, value in found.headers:
            request.setHeader(name, value)
        if not found.body:
            request.responseHeaders.removeHeader("content-type")
        print(f"{method} https://{host}{path} {found.status}", flush=True)
        return b"" if method == "HEAD" else found.body


class ManagedIdentity(Resource):
    """Gives the agent its token."""

    isLeaf = True

    def __init__(self, cloud: Cloud) -> None:
        Resource.__init__(self)
        self._cloud = cloud

    def render_GET(self, request: Request) -> bytes:
        """Answer as App Service does."""
        request.setHeader("content-type", "application/json")
        shown = request.getHeader("x-identity-header") or ""
        if not hmac.compare_digest(shown.encode(), self._cloud.header.encode()):
            request.setResponseCode(401)
            return b'{"error":"invalid_client"}'
        resource = (request.args or {}).get(b"resource", [b""])[0].decode("latin-1")
        print(f"a token for {resource}", flush=True)
        given = {
            "access_token": self._cloud.token,
            "expires_on": str(int(time.time()) + _HOUR),
            "resource": resource,
            "token_type": "Bearer",
        }
        return json.dumps(given).encode()


def serve(reactor: Any, cloud: Cloud) -> None:
    """Listen on loopback, and run until the process is stopped."""
    tls = f"ssl:{cloud.port}:interface=127.0.0.1:privateKey={cloud.key}:certKey={cloud.certificate}"
    plain = f"tcp:{cloud.identity_port}:interface=127.0.0.1"
    for description, resource in ((tls, Azure(cloud)), (plain, ManagedIdentity(cloud))):
        endpoint = serverFromString(reactor, description)
        site = Site(resource)
        site.noisy = False
        endpoint.listen(site).addErrback(_stop, reactor)
    reactor.run()


def main() -> None:
    """Read what to be from the file that is named, and be it."""
    from twisted.internet import reactor

    serve(reactor, Cloud.read(Path(sys.argv[1])))


def _stop(failure: Failure, reactor: Any) -> None:
    print(f"it cannot listen: {failure.getErrorMessage()}", flush=True)
    reactor.stop()


if __name__ == "__main__":
    main()
