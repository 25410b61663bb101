"""The token that a CI job runs with: ``hoopgw login --ci``.

GitHub Actions gives one for whatever audience the job asks for (the job needs the permission
``id-token: write``); the audience asked for is the one that the gateway's configuration names for
that issuer. Everywhere else the job puts its token into ``HOOPGW_ID_TOKEN``; a Kubernetes service
account's is a file, for ``--token-file``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests

from hoopgw.cli.api import TIMEOUT, Proved
from hoopgw.cli.failure import CommandError
from hoopgw.identity.login import IssuerToken, ambient_token

_GITHUB: Final = "https://token.actions.githubusercontent.com"
_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
_BEARER: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_NAME: Final = "HOOPGW_ID_TOKEN"


def job_token(description: Mapping[str, Any], environ: Mapping[str, str]) -> IssuerToken:
    """Return the job's token.

    Args:
        description: the gateway's, with the audiences of its issuers.
        environ: the job's environment.

    Raises:
        CommandError: GitHub gives none, or the gateway does not know GitHub.
        LoginError: the environment has none.

    """
    if environ.get(_NAME) or not (environ.get(_URL) and environ.get(_BEARER)):
        return ambient_token(None, _NAME, environ)
    token = _from_github(environ[_URL], environ[_BEARER], _audience(description))
    return ambient_token(None, "GitHub's token", {"GitHub's token": token})


def _audience(description: Mapping[str, Any]) -> str:
    for issuer in description.get("issuers", ()):
        if issuer.get("issuer") == _GITHUB and issuer.get("audiences"):
            return str(issuer["audiences"][0])
    raise CommandError(
        f"the gateway does not take tokens of GitHub Actions: its configuration needs {_GITHUB}"
    )


def _from_github(url: str, bearer: str, audience: str) -> str:
    """Ask the runner's token service, as GitHub documents it (OpenID Connect reference)."""
    if urlsplit(url).scheme != "https":
        raise CommandError(f"{_URL} is no https URL")
    separator = "&" if urlsplit(url).query else "?"
    try:
        answer = requests.get(
            url + separator + urlencode({"audience": audience}),
            auth=Proved(None, bearer, ""),
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        answer.raise_for_status()
        return str(answer.json()["value"])
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"GitHub gave no token ({type(error).__name__}): "
            "does the job have the permission id-token: write?"
        ) from error
