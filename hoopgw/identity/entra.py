"""Log in at Microsoft Entra ID through `msal`, which knows its brokers and its error codes.

The command line's side, blocking. Only the ID token is wanted: no access token of Azure is kept,
no refresh token is asked for, and msal's cache is in memory and gone with the process.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from hoopgw.identity.browser import PATIENCE
from hoopgw.identity.login import (
    DeviceCode,
    IssuerToken,
    LoginError,
    LoginIssuer,
    id_token,
    oauth_error,
    shown,
    subject_token,
)

_HOSTS: Final = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
    }
)


class Application(typing.Protocol):
    """The part of `msal.PublicClientApplication` that is used."""

    def initiate_device_flow(self, scopes: Sequence[str]) -> dict[str, Any]:
        """Ask for a device code."""
        ...

    def acquire_token_by_device_flow(self, flow: dict[str, Any]) -> dict[str, Any]:
        """Wait until it was entered."""
        ...

    def acquire_token_interactive(self, scopes: Sequence[str], timeout: float) -> dict[str, Any]:
        """Use the browser on this machine."""
        ...


def is_entra(issuer: LoginIssuer) -> bool:
    """Say whether an issuer is Microsoft Entra ID."""
    return issuer.type == "entra" or urlsplit(issuer.issuer).hostname in _HOSTS


def application(issuer: LoginIssuer) -> Application:
    """Return msal's application for an issuer.

    Raises:
        LoginError: Entra ID cannot be reached, or does not know the tenant.

    """
    # Here, because it takes a third of a second, and only Entra ID needs it.
    import msal  # type: ignore[import-untyped]  # msal has no type information

    authority = issuer.issuer.removesuffix("/").removesuffix("/v2.0")
    try:
        made: Application = msal.PublicClientApplication(
            issuer.client_id,
            authority=authority,
            exclude_scopes=["offline_access"],
            timeout=30,
            # The gateway's configuration says which authority it is: no other is asked about it.
            instance_discovery=False,
        )
    except Exception as error:  # msal raises ValueError, and what requests raises
        raise LoginError(f"{authority} cannot be used: {shown(error)}") from error
    return made


def log_in_at_entra(
    app: Application,
    issuer: LoginIssuer,
    show: Callable[[DeviceCode], None] | None = None,
) -> IssuerToken:
    """Log in at Entra ID.

    Args:
        app: from `application`.
        issuer: that it is for; says whether an access token for the gateway is wanted.
        show: shows a device code; without it, the browser on this machine is used.

    Raises:
        LoginError: refused, or not in time.

    """
    scopes = [f"{min(issuer.audiences)}/.default"] if _wants_access(issuer) else []
    try:
        if show is None:
            return _given(app.acquire_token_interactive(scopes, timeout=PATIENCE), issuer)
        flow = app.initiate_device_flow(scopes)
        if "user_code" not in flow:
            raise LoginError(f"Entra ID gave no device code: {oauth_error(flow)}")
        show(
            DeviceCode(
                url=shown(flow["verification_uri"]),
                code=shown(flow["user_code"]),
                url_with_code=None,
            )
        )
        return _given(app.acquire_token_by_device_flow(flow), issuer)
    except LoginError:
        raise
    except Exception as error:  # msal raises ValueError, and what requests raises
        raise LoginError(f"Entra ID does not answer ({type(error).__name__})") from error


def _wants_access(issuer: LoginIssuer) -> bool:
    return issuer.wants_access and bool(issuer.audiences)


def _given(answer: Mapping[str, Any], issuer: LoginIssuer) -> IssuerToken:
    if "error" in answer:
        raise LoginError(f"Entra ID refused: {oauth_error(answer)}")
    return subject_token(answer, issuer) if _wants_access(issuer) else id_token(answer)
