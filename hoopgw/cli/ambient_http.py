"""HTTP to the token services of runners and hosts: nothing that they say is repeated.

No redirect is followed, as a request carries a credential, and ``.netrc`` is not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests
from attrs import field, frozen
from requests.auth import AuthBase

from hoopgw.cli.failure import CommandError
from hoopgw.errors import AuthenticationError
from hoopgw.identity.jose import parse_object

TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and to wait for an answer."""
_BODY_LIMIT: Final = 256 * 1024
_ATTEMPTS: Final = 3
_PAUSE: Final = 1.0


@frozen
class Surroundings:
    """Where this runs, and which issuer of the gateway the token is to be of."""

    issuer: Mapping[str, Any]
    """Of the gateway's description."""
    environ: Mapping[str, str] = field(repr=False)
    projected: Path
    ca: Path | None = None
    """PEM file to trust for the issuer."""
    wait: Callable[[float], None] = time.sleep

    @property
    def audience(self) -> str:
        """What the token must be for."""
        return str(self.issuer["audiences"][0])

    def need(self, name: str, hint: str) -> str:
        """Return a variable of the environment, or say how it comes to be there."""
        value = self.environ.get(name, "").strip()
        if not value:
            raise CommandError(f"{name} is not set: {hint}")
        return value


@frozen
class Answer:
    """What came."""

    status: int
    body: Mapping[str, Any] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return a member that is text, or None."""
        value = self.body.get(name)
        return value if isinstance(value, str) and value else None


@frozen
class _Headers(AuthBase):
    """Adds headers; and keeps ``requests`` from adding what ``.netrc`` has for the host."""

    headers: Mapping[str, str] = field(repr=False)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add them."""
        request.headers.update(self.headers)
        return request


def ask(
    around: Surroundings,
    method: str,
    url: str,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None = None,
    *,
    direct: bool = False,
) -> Answer:
    """Ask for JSON, again if the other side has trouble.

    Args:
        around: where this runs.
        method: of HTTP.
        url: with the query.
        headers: as they go out.
        form: what to post.
        direct: by no proxy, as to the host's own endpoints.

    Raises:
        CommandError: there is no answer, or none in JSON.

    """
    place = url.partition("?")[0]
    for attempt in range(_ATTEMPTS):
        if attempt:
            around.wait(_PAUSE * attempt)
        try:
            found = _once(around, method, url, headers, form, direct=direct)
        except (requests.RequestException, OSError) as error:
            problem = f"{place} does not answer ({type(error).__name__})"
            continue
        except AuthenticationError:
            raise CommandError(f"{place} answered with something unreadable") from None
        if found.status < 500:
            return found
        problem = f"{place} answered {found.status}"
    raise CommandError(problem)


def _once(
    around: Surroundings,
    method: str,
    url: str,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None,
    *,
    direct: bool,
) -> Answer:
    with requests.Session() as session:
        session.trust_env = not direct
        with session.request(
            method,
            url,
            data=None if form is None else dict(form),
            timeout=TIMEOUT,
            verify=True if around.ca is None else str(around.ca),
            auth=_Headers({"Accept": "application/json", **headers}),
            allow_redirects=False,
            stream=True,
        ) as answer:
            body = answer.raw.read(_BODY_LIMIT + 1, decode_content=True)
            if answer.status_code >= 500:
                return Answer(answer.status_code, {})
            if len(body) > _BODY_LIMIT:
                raise AuthenticationError("too long")
            return Answer(answer.status_code, parse_object(body) if body else {})


def need_https(url: str, name: str) -> str:
    """Return a URL that a credential may go to, or say that it is none."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise CommandError(f"{name} is no https URL")
    return url


def with_query(url: str, **values: str) -> str:
    """Return a URL with more in its query."""
    return url + ("&" if urlsplit(url).query else "?") + urlencode(values)


def github_token(around: Surroundings) -> str:
    """Ask the runner's token service, as GitHub documents it.

    Reference: https://docs.github.com/actions/reference/security/oidc, "Methods for requesting the
    OIDC token".
    """
    hint = "the job needs `permissions: id-token: write`"
    name = "ACTIONS_ID_TOKEN_REQUEST_URL"
    url = need_https(around.need(name, hint), name)
    bearer = around.need("ACTIONS_ID_TOKEN_REQUEST_TOKEN", hint)
    asked = with_query(url, audience=around.audience)
    answer = ask(around, "GET", asked, {"Authorization": f"Bearer {bearer}"})
    token = answer.text("value")
    if answer.status != 200 or token is None:
        raise CommandError(f"GitHub gave no token ({answer.status}): {hint}")
    return token
