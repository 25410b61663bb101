"""The log-in that `hoopgw login` has left in a folder, for programs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field
from joserfc.jwk import OKPKey

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError, NotLoggedInError, UnreachableError
from hoopgw.cli.home import Home, home_folder
from hoopgw.client.errors import NOT_LOGGED_IN, REFUSED, UNREACHABLE, Refused
from hoopgw.client.signers import ChildSigner, Root
from hoopgw.client.values import Target

REVOKE_PATH: Final = "/sts/revoke"


@define(eq=False)
class KeptLogins:
    """Implements `hoopgw.client.signers.Logins` on a folder of the command line."""

    home: Home
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> KeptLogins:
        """Return the one that an environment means, as the command line does."""
        folder = environ.get("HOOPGW_HOME")
        ca = environ.get("HOOPGW_CA")
        return cls(
            Home(
                folder=Path(folder) if folder else home_folder(environ),
                gateway=environ.get("HOOPGW_GATEWAY") or None,
                ca=Path(ca) if ca else None,
            )
        )

    def current(self) -> Root:
        """Return the log-in, good for a while."""
        with self._lock, _refusing():
            login = self.home.load()
            ca = self.home.ca_of(login)
            return Root(
                token=login.token,
                key=OKPKey.import_key(login.key),
                expires=login.expires,
                gateway=login.gateway,
                ca=None if ca is None else str(ca),
            )

    def targets(self) -> Sequence[Target]:
        """Ask the gateway for its targets."""
        with _refusing():
            gateway = self.home.load().gateway
            given = self.home.api().get("/v1/targets")
        return read_targets(given, urlsplit(gateway).hostname or "")

    def revoke(self, child: ChildSigner) -> None:
        """Revoke a delegation with all below it (RFC 7009), proving the child's own key."""
        with _refusing():
            login = self.home.load()
            api = GatewayApi(
                url=login.gateway, ca=self.home.ca_of(login), key=child.key, origin=login.origin
            )
            api.form(REVOKE_PATH, {"token": child.chain()})


def read_targets(given: Any, gateway: str) -> Sequence[Target]:
    """Read the gateway's list of targets.

    Args:
        given: its answer.
        gateway: the host name that it is reached by: it may listen on all addresses.

    """
    try:
        found = []
        for target in given["targets"]:
            host, _, port = str(target.get("listen") or "").rpartition(":")
            host = host.strip("[]")
            if host in ("", "0.0.0.0", "::"):  # noqa: S104  # compared, not bound
                host = gateway
            found.append(
                Target(
                    name=str(target["name"]),
                    protocol=str(target["protocol"]),
                    host=host if port else "",
                    port=int(port) if port else 0,
                    accounts=tuple(sorted(map(str, target.get("accounts") or ()))),
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(REFUSED, "the gateway's list of targets cannot be read") from error
    return found


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what the command line says to people into what programs are told."""
    try:
        yield
    except NotLoggedInError as error:
        raise Refused(NOT_LOGGED_IN, error.message) from error
    except UnreachableError as error:
        raise Refused(UNREACHABLE, error.message) from error
    except CommandError as error:
        raise Refused(REFUSED, error.message) from error
    except OSError as error:
        raise Refused(NOT_LOGGED_IN, f"the log-in cannot be read: {error.strerror}") from error
