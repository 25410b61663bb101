"""``type = "kubernetes"``: service accounts, by the tokens that a cluster projects into pods.

A cluster has an issuer URL of its own; two with the same one (many have
``https://kubernetes.default.svc.cluster.local``) are told apart by their keys alone, so only one of
them can be configured here. Names say nothing across clusters: the same namespace and account exist
in each. A token must be bound to a pod, unless the settings say ``unbound``, and must not also be
one for the cluster's own API server, which we would then hold.

Its header has no ``typ``.

References: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
("Bound service account tokens"), KEP-1205, KEP-4193 (node and jti).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hoopgw.errors import AuthenticationError
from hoopgw.identity.callers.caller import Caller, Problem
from hoopgw.identity.callers.plain import kind_by_rule
from hoopgw.identity.claims import kept, member, text
from hoopgw.identity.jose import Claims
from hoopgw.identity.settings import IssuerSettings

_CLAIM = "kubernetes.io"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ACCOUNT = re.compile(rf"{_LABEL}/(?:\*|{_LABEL}(?:\.{_LABEL})*)")


class KubernetesCaller:
    """Implements `hoopgw.identity.callers.caller.CallerType`."""

    def problems(self, settings: IssuerSettings) -> Iterable[Problem]:
        """Say what is wrong: the cluster's issuer, and which accounts, must be named."""
        if not settings.issuer:
            yield Problem(
                "issuer",
                "is missing",
                "expected the cluster's: kubectl get --raw /.well-known/openid-configuration",
            )
        if not settings.service_accounts:
            yield Problem(
                "service_accounts", "is missing", 'expected accounts, as ["orders/migrator"]'
            )
        for each in sorted(settings.service_accounts):
            if not _ACCOUNT.fullmatch(each):
                yield Problem(
                    "service_accounts",
                    f"has {each[:80]!r}",
                    'expected "namespace/account", or "namespace/*" for all of a namespace',
                )
        if settings.issuer in settings.audiences:
            yield Problem(
                "audiences", "has the cluster's own", "expected one that only the gateway has"
            )

    def read(self, claims: Claims, settings: IssuerSettings, *, is_id_token: bool) -> Caller:
        """Say who a token stands for."""
        bound = member(claims, _CLAIM)
        account = member(bound, "serviceaccount")
        namespace, name = text(bound, "namespace"), text(account, "name")
        subject = text(claims, "sub")
        if subject != f"system:serviceaccount:{namespace}:{name}":
            raise AuthenticationError("sub is another account than kubernetes.io says")
        audience = claims.get("aud")
        if settings.issuer in (audience if isinstance(audience, list) else [audience]):
            raise AuthenticationError("the token is for the cluster's API server too")
        allowed = {f"{namespace}/{name}", f"{namespace}/*"}
        if not allowed & settings.service_accounts:
            raise AuthenticationError(f"service account {namespace}/{name} is not allowed")
        pod = member(bound, "pod")
        if not pod and not settings.unbound:
            raise AuthenticationError("the token is not bound to a pod")
        return Caller(
            subject=subject,
            name=f"{namespace}/{name}",
            kind=kind_by_rule(claims, settings),
            has_groups=False,
            attributes={"namespace": namespace, "serviceAccount": name},
            origin=kept(claims, ("sub", "jti"))
            | _kept("serviceaccount", account, ("uid",))
            | _kept("pod", pod, ("name", "uid"))
            | _kept("node", member(bound, "node"), ("name", "uid")),
        )


def _kept(prefix: str, claims: Claims, names: Iterable[str]) -> dict[str, str]:
    return {f"{prefix}.{name}": value for name, value in kept(claims, names).items()}
