"""The test provider as a process, and a person who logs in there."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

import requests
from attrs import define

from tests.oidc.install import HERE, install
from tests.support.processes import Processes

CLIENT: Final = "hoopgw-cli"
_TIMEOUT: Final = 20.0
_PAGES: Final = 12


@define(eq=False)
class TestProvider:
    """npm's oidc-provider, listening on loopback."""

    __test__ = False  # it is no test, whatever its name begins with

    url: str

    @classmethod
    def start(cls, processes: Processes) -> TestProvider:
        """Install it if need be, and start it."""
        running = processes.start(
            "oidc-provider", ["node", HERE / "provider.mjs", install()], env={"NO_COLOR": "1"}
        )
        return cls(running.wait_for_line(r"^listening on (\S+)$").group(1))

    def tell(self, command: str, **query: str) -> None:
        """Give a test command: ``rotate``, ``retire`` or ``fault``."""
        url = f"{self.url}/_test/{command}"
        requests.post(url, params=query, timeout=_TIMEOUT).raise_for_status()

    def client_token(self, client: str = "ci") -> str:
        """Return an access token of a client's own (client credentials)."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "client_secret": f"{client}-secret",
        }
        answer = requests.post(f"{self.url}/token", data=form, timeout=_TIMEOUT)
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token


def browse(url: str, account: str) -> str:
    """Go through a provider's pages as a person who logs in and agrees to everything.

    Returns:
        The text of the last page.

    """
    with requests.Session() as browser:
        page = browser.get(url, timeout=_TIMEOUT)
        for _ in range(_PAGES):
            form = re.search(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', page.text, re.S)
            if form is None:
                return page.text
            values = dict(re.findall(r'name="(\w+)"[^>]*value="([^"]*)"', form.group(2)))
            if 'name="login"' in form.group(2):
                values |= {"login": account, "password": "any"}
            page = browser.post(urljoin(page.url, form.group(1)), data=values, timeout=_TIMEOUT)
    raise AssertionError("the provider's pages have no end")
