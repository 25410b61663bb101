"""The token endpoint and what describes it, as resources for `twisted.web`.

`token_resource` gives ``/sts/token`` and ``/sts/jwks.json``, and in ``/.well-known/`` the documents
``oauth-authorization-server`` and ``hoopgw``; `hoopgw.control.token_site` adds ``/sts/revoke`` and
``/sts/introspect``.

References: RFC 8414, RFC 8693, and those of `hoopgw.identity.forms`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.web.resource import Resource
from twisted.web.server import Request

from hoopgw.identity.dpop import ALGORITHMS
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.forms import FormCall, FormEndpoint, FormLimits
from hoopgw.identity.urns import GRANT, REFRESH_GRANT

TOKEN_PATH: Final = "/sts/token"  # noqa: S105  # a path
REVOKE_PATH: Final = "/sts/revoke"
INTROSPECT_PATH: Final = "/sts/introspect"
KEYS_PATH: Final = "/sts/jwks.json"


def token_resource(
    exchange: Exchange,
    url: str,
    root: Resource | None = None,
    limits: FormLimits | None = None,
) -> Resource:
    """Put the endpoint's resources into a tree.

    Args:
        exchange: what decides.
        url: of the gateway, as callers write it, without a slash at the end: the tokens' issuer.
        root: where to put them; without it a new resource is made.
        limits: shared with other endpoints; without it they are this endpoint's own.

    Returns:
        The root, which has the children ``sts`` and ``.well-known``.

    """
    root = Resource() if root is None else root
    sts, known = Resource(), Resource()

    async def answer(call: FormCall) -> Mapping[str, Any]:
        return await exchange.exchange(call.values, call.proved)

    endpoint = FormEndpoint(answer, url + TOKEN_PATH, exchange.parts.now, limits or FormLimits())
    sts.putChild(b"token", endpoint)
    sts.putChild(b"jwks.json", Document(lambda: exchange.parts.signer.jwks))
    known.putChild(b"oauth-authorization-server", Document(lambda: _metadata(url)))
    known.putChild(b"hoopgw", Document(lambda: _description(exchange, url)))
    root.putChild(b"sts", sts)
    root.putChild(b".well-known", known)
    return root


def _metadata(url: str) -> dict[str, Any]:
    return {
        "issuer": url,
        "token_endpoint": url + TOKEN_PATH,
        "jwks_uri": url + KEYS_PATH,
        "revocation_endpoint": url + REVOKE_PATH,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint": url + INTROSPECT_PATH,
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": ["ES256"],
        "grant_types_supported": [GRANT, REFRESH_GRANT],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
    }


def _description(exchange: Exchange, url: str) -> dict[str, Any]:
    """Say how to log in. It is public: only what a caller needs."""
    return {
        "gateway": url,
        "token_endpoint": url + TOKEN_PATH,
        "issuers": [
            {
                "alias": settings.alias,
                "type": settings.type,
                "issuer": settings.issuer,
                "client_id": settings.client_id,
                "audiences": sorted(settings.audiences),
                "wants_access": bool(settings.on_behalf_of),
            }
            for settings in exchange.parts.issuers.settings
        ],
    }


class Document(Resource):
    """A public JSON document, as it is now."""

    isLeaf = True

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        Resource.__init__(self)
        self._document = document

    def render_GET(self, request: Request) -> bytes:
        """Give it."""
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"max-age=60")
        return json.dumps(self._document()).encode()
