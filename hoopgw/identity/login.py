"""How a caller gets a token of an issuer: the command line's side, blocking, with `requests`.

Three ways: a code that is typed in on another device (RFC 8628), the browser on this machine
(RFC 8252: code and PKCE on a loopback port), or a token that is there already, as in CI. What comes
out goes to the gateway's token endpoint and nowhere else: `exchange_form` makes that request.

Only public clients log in here, so there is no client secret. Entra ID goes through `msal`
(`hoopgw.identity.entra`). Nothing is written to disk, and no token is in any error text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import requests
from attrs import field, frozen
from requests.auth import AuthBase

from hoopgw.errors import AuthenticationError, HoopgwError
from hoopgw.identity.jose import parse, parse_object
from hoopgw.identity.settings import url_problem
from hoopgw.identity.tokens import target_audience
from hoopgw.identity.urns import (
    ACCESS_TOKEN,
    GRANT,
    ID_TOKEN,
    JWT,
    REFRESH_GRANT,
    SESSION_PASSWORD,
)
from hoopgw.terminal import clip, printable

TIMEOUT: Final = (10.0, 30.0)
"""Seconds to connect, and to wait for an answer."""
SCOPES: Final = ("openid", "profile", "email")
_BODY_LIMIT: Final = 256 * 1024
_TOKEN_FILE_LIMIT: Final = 64 * 1024
_INTERVAL: Final = 5.0
_PATIENCE_LIMIT: Final = 1800.0
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


class LoginError(HoopgwError):
    """The log-in did not come about. The text is for the person, and says what to do."""


@frozen(kw_only=True)
class LoginIssuer:
    """An issuer as the gateway describes it in ``/.well-known/hoopgw``."""

    alias: str
    issuer: str
    client_id: str
    type: str = "oidc"
    """As in the gateway's configuration."""
    audiences: frozenset[str] = frozenset()
    """What access tokens for the gateway have in ``aud``."""
    wants_access: bool = False
    """Whether an ID token is not enough: agents are to act on behalf of people."""

    @classmethod
    def choose(cls, description: Mapping[str, Any], alias: str | None = None) -> LoginIssuer:
        """Choose the issuer to log in with, out of the gateway's description.

        Raises:
            LoginError: there is none of that alias, or several and none was named.

        """
        try:
            known = [
                cls(
                    alias=str(i["alias"]),
                    issuer=str(i["issuer"]),
                    client_id=str(i["client_id"]),
                    type=str(i.get("type", "oidc")),
                    audiences=frozenset(map(str, i.get("audiences", ()))),
                    wants_access=i.get("wants_access") is True,
                )
                for i in description["issuers"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise LoginError("the gateway's description cannot be read") from error
        if alias is not None:
            known = [issuer for issuer in known if issuer.alias == alias]
        usable = [issuer for issuer in known if issuer.client_id]
        if len(usable) == 1:
            return usable[0]
        if usable:
            names = ", ".join(issuer.alias for issuer in usable)
            raise LoginError(f"the gateway has several issuers; choose one of: {names}")
        raise LoginError("the gateway has no such issuer that people can log in with")


@frozen(kw_only=True)
class IssuerToken:
    """What an issuer gave."""

    token: str = field(repr=False)
    kind: str
    """RFC 8693 token type."""
    nonce: str | None = None
    """Of the log-in; the gateway checks that the ID token repeats it."""


@frozen
class Provider:
    """An issuer's endpoints."""

    issuer: LoginIssuer
    metadata: Mapping[str, Any]
    ca: Path | None = None

    @classmethod
    def discover(cls, issuer: LoginIssuer, ca: Path | None = None) -> Provider:
        """Ask the issuer for its endpoints.

        Raises:
            LoginError: it does not answer, or is not the one that it should be.

        """
        if problem := url_problem(issuer.issuer, allow_http=True):
            raise LoginError(f"the issuer {issuer.alias} cannot be used: {problem}")
        url = issuer.issuer.removesuffix("/") + "/.well-known/openid-configuration"
        status, metadata = call("GET", url, ca)
        if status != 200 or metadata.get("issuer") != issuer.issuer:
            raise LoginError(f"{shown(url)} does not describe the issuer {issuer.alias}")
        return cls(issuer, metadata, ca)

    def endpoint(self, name: str) -> str:
        """Return an endpoint's URL. Raises `LoginError` if there is none."""
        url = self.metadata.get(name)
        if not isinstance(url, str):
            raise LoginError(f"the issuer {self.issuer.alias} offers no {name.replace('_', ' ')}")
        if problem := url_problem(url, allow_http=True):
            raise LoginError(f"the issuer {self.issuer.alias} cannot be used: {problem}")
        return url

    def redeem(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Ask the token endpoint, as a public client."""
        given = {"client_id": self.issuer.client_id, **form}
        return call("POST", self.endpoint("token_endpoint"), self.ca, given)


@frozen(kw_only=True)
class DeviceCode:
    """What a person types in on another device."""

    url: str
    code: str
    url_with_code: str | None


def log_in_with_device(
    provider: Provider,
    show: Callable[[DeviceCode], None],
    scopes: Sequence[str] = SCOPES,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> IssuerToken:
    """Log in on another device (RFC 8628).

    Args:
        provider: the issuer.
        show: shows the person where to go, and what to type.
        scopes: to ask for.
        wait: waits so many seconds.
        now: seconds of a clock that only goes forward.

    Raises:
        LoginError: refused, not in time, or the issuer does not offer it.

    """
    form = {"client_id": provider.issuer.client_id, "scope": " ".join(scopes)}
    url = provider.endpoint("device_authorization_endpoint")
    status, given = call("POST", url, provider.ca, form)
    if status != 200:
        raise LoginError(f"the issuer gave no device code: {oauth_error(given)}")
    try:
        device = str(given["device_code"])
        code = DeviceCode(
            url=web_url(given["verification_uri"]),
            code=shown(given["user_code"]),
            url_with_code=web_url(given["verification_uri_complete"])
            if "verification_uri_complete" in given
            else None,
        )
        interval = max(1.0, float(given.get("interval", _INTERVAL)))
        patience = min(float(given["expires_in"]), _PATIENCE_LIMIT)
    except (KeyError, TypeError, ValueError) as error:
        raise LoginError("the issuer's device code cannot be read") from error
    show(code)
    return _poll(provider, device, interval, now() + patience, wait, now)


def _poll(
    provider: Provider,
    device: str,
    interval: float,
    end: float,
    wait: Callable[[float], None],
    now: Callable[[], float],
) -> IssuerToken:
    while now() + interval < end:
        wait(interval)
        status, given = provider.redeem({"grant_type": DEVICE_GRANT, "device_code": device})
        if status == 200:
            return subject_token(given, provider.issuer)
        match given.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                interval += 5.0
            case "access_denied":
                raise LoginError("the log-in was refused at the issuer")
            case "expired_token":
                break
            case _:
                raise LoginError(f"the issuer refused: {oauth_error(given)}")
    raise LoginError("nobody entered the code in time; try again")


def ambient_token(
    path: Path | None, variable: str | None, environ: Mapping[str, str]
) -> IssuerToken:
    """Take a token that is there already: from a file, or from an environment variable.

    Raises:
        LoginError: there is none.

    """
    if path is not None:
        try:
            with path.open("rb") as file:
                text = file.read(_TOKEN_FILE_LIMIT).decode("ascii", "replace").strip()
        except OSError as error:
            raise LoginError(f"{path}: cannot be read: {error.strerror}") from error
        where = str(path)
    else:
        where = variable or "HOOPGW_ID_TOKEN"
        text = environ.get(where, "").strip()
    if not text:
        raise LoginError(f"{where}: there is no token")
    try:
        parse(text)
    except AuthenticationError as error:
        raise LoginError(f"{where}: is no JWT: {error}") from error
    return IssuerToken(token=text, kind=JWT)


def exchange_form(given: IssuerToken) -> dict[str, str]:
    """Return the form that logs in at the gateway's token endpoint."""
    form = {
        "grant_type": GRANT,
        "subject_token": given.token,
        "subject_token_type": given.kind,
    }
    return form if given.nonce is None else form | {"nonce": given.nonce}


def refresh_form(refresh: str) -> dict[str, str]:
    """Return the form that asks for the next token of a log-in."""
    return {"grant_type": REFRESH_GRANT, "refresh_token": refresh}


def revoke_form(token: str) -> dict[str, str]:
    """Return the form that ends what a token stands for."""
    return {"token": token}


def target_form(token: str, *targets: str, account: str = "") -> dict[str, str]:
    """Return the form that asks for a token for targets, and perhaps for an account on them."""
    named = {"account": account} if account else {}
    return named | {
        "grant_type": GRANT,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "audience": " ".join(map(target_audience, targets)),
    }


def password_form(token: str, target: str, account: str) -> dict[str, str]:
    """Return the form that asks for a session password."""
    more = {"requested_token_type": SESSION_PASSWORD, "account": account}
    return target_form(token, target) | more


def subject_token(
    given: Mapping[str, Any], issuer: LoginIssuer, nonce: str | None = None
) -> IssuerToken:
    """Return the token of an issuer's answer that the gateway can judge best.

    That is an access token, if it is a JWT for the gateway: issuers put groups there that their ID
    tokens lack. Otherwise it is the ID token, which is looked at in any case, as it proves that
    the answer is for this log-in.

    Raises:
        LoginError: there is no ID token, or it is of another log-in.

    """
    told = id_token(given, nonce)
    token = given.get("access_token")
    if not isinstance(token, str):
        return told
    try:
        audience = parse(token).claims.get("aud")
    except AuthenticationError:
        return told  # an opaque one, for the issuer's own use
    audiences = audience if isinstance(audience, list) else [audience]
    if issuer.audiences.isdisjoint(a for a in audiences if isinstance(a, str)):
        return told
    return IssuerToken(token=token, kind=ACCESS_TOKEN)


def id_token(given: Mapping[str, Any], nonce: str | None = None) -> IssuerToken:
    """Return the ID token of an issuer's answer.

    Raises:
        LoginError: there is none, or it is of another log-in.

    """
    token = given.get("id_token")
    if not isinstance(token, str):
        raise LoginError("the issuer gave no ID token")
    try:
        claims = parse(token).claims
    except AuthenticationError as error:
        raise LoginError(f"the issuer's ID token cannot be read: {error}") from error
    if nonce is not None and claims.get("nonce") != nonce:
        raise LoginError("the issuer's ID token is of another log-in; try again")
    return IssuerToken(token=token, kind=ID_TOKEN, nonce=nonce)


class _Nobody(AuthBase):
    """Keeps ``requests`` from adding what ``.netrc`` has for the host."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def call(
    method: str, url: str, ca: Path | None, form: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Ask an issuer, and return the status and the JSON of its answer.

    Raises:
        LoginError: there is no answer, or none in JSON.

    """
    try:
        with requests.request(
            method,
            url,
            data=None if form is None else dict(form),
            timeout=TIMEOUT,
            verify=True if ca is None else str(ca),
            auth=_Nobody(),
            allow_redirects=False,
            headers={"Accept": "application/json"},
            stream=True,
        ) as answer:
            body = answer.raw.read(_BODY_LIMIT + 1, decode_content=True)
            status = answer.status_code
    except (requests.RequestException, OSError) as error:
        raise LoginError(f"{shown(url)} does not answer ({type(error).__name__})") from error
    try:
        if len(body) > _BODY_LIMIT:
            raise AuthenticationError("too long")
        return status, parse_object(body)
    except AuthenticationError as error:
        raise LoginError(f"{shown(url)} answered {status} with something unreadable") from error


def oauth_error(given: Mapping[str, Any]) -> str:
    """Return what an OAuth error answer says, safe for a terminal."""
    said = [str(given[name]) for name in ("error", "error_description") if name in given]
    return shown(": ".join(said) or "no reason given")


def shown(value: object) -> str:
    """Return text from elsewhere as a terminal may show it."""
    return clip(printable(str(value)), 300)


def web_url(value: object) -> str:
    """Return a URL that a person is sent to; it may have a query."""
    url = str(value)
    if url_problem(url.partition("?")[0], allow_http=True) or not url.isprintable():
        raise ValueError("not a URL")
    return url
