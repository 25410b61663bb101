"""One HTTPS request through the gateway, for where there is no `az`.

``python -m hoopgw.demo.fetch METHOD URL CA``, with the token in ``HOOPGW_TOKEN``. The name in the
URL is looked for on loopback, and in the certificate. An operation that goes on is asked after at
the address that the answer names, as Azure's clients do, if that is on the same host.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

_TIMEOUT: Final = 120.0
_POLLS: Final = 200
_PAUSE: Final = 1.0
"""Seconds between two polls, at most."""
_ENDS: Final = ("succeeded", "failed", "canceled")
"""States of a long operation in which it has ended (Azure Resource Manager, asynchronous ones)."""


class Named(HTTPAdapter):
    """Connects to an address, and wants the certificate of a name that no name server knows."""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Check the certificate for that name."""
        options |= {"assert_hostname": self._name, "server_hostname": self._name}
        super().init_poolmanager(*arguments, **options)


def send(method: str, url: str, ca: str, token: str) -> requests.Response:
    """Send one request, and return its answer.

    Raises:
        requests.RequestException: there is none.

    """
    parts = urlsplit(url)
    address = parts._replace(netloc=f"127.0.0.1:{parts.port or 443}").geturl()
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", Named(parts.hostname or ""))
        return session.request(
            method,
            address,
            headers={"Host": parts.netloc, "Authorization": f"Bearer {token}"},
            verify=ca,
            timeout=_TIMEOUT,
            allow_redirects=False,
        )


def finish(method: str, url: str, ca: str, token: str) -> tuple[requests.Response, bool]:
    """Send a request and ask until its operation has ended; say whether it ended well.

    Raises:
        requests.RequestException: there is no answer.

    """
    answer, place, state = send(method, url, ca, token), "", ""
    for _ in range(_POLLS):
        if answer.status_code != 202 and (not state or state in _ENDS):
            break
        fields = answer.headers
        place = fields.get("Azure-AsyncOperation") or fields.get("Location") or place
        if urlsplit(place).netloc != urlsplit(url).netloc:
            break
        time.sleep(min(float(fields.get("Retry-After", _PAUSE)), _PAUSE))
        answer = send("GET", place, ca, token)
        state = _state(answer)
    return answer, answer.ok and state in ("", "succeeded")


def main() -> int:
    """Do it; the status is 1 where it was refused, or failed."""
    method, url, ca = sys.argv[1:]
    answer, good = finish(method, url, ca, os.environ["HOOPGW_TOKEN"])
    print(answer.text, file=sys.stdout if good else sys.stderr)
    print(f"HTTP {answer.status_code}", file=sys.stderr)
    return 0 if good else 1


def _state(answer: requests.Response) -> str:
    """Return what Azure says of an operation, in lower case; nothing if it says nothing."""
    try:
        found = answer.json()
    except ValueError:
        return ""
    said = found.get("status", "") if isinstance(found, dict) else ""
    return str(said).lower()


if __name__ == "__main__":
    sys.exit(main())
