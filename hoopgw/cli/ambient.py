"""The token that a job or a workload runs with: ``hoopgw login --ci``.

===================  =========================================================================
``token``            ``HOOPGW_ID_TOKEN``, or the file that ``HOOPGW_ID_TOKEN_FILE`` names
``github-actions``   the runner's token service, for our audience
``azure-devops``     the pipeline's token for its service connection, exchanged at Entra ID
``kubernetes``       the token that is projected to ``/var/run/secrets/hoopgw/token``
``spiffe``           a JWT-SVID of the Workload API at ``SPIFFE_ENDPOINT_SOCKET``
``aks``              the pod's federated token (workload identity), exchanged at Entra ID
``managed-identity``  the identity endpoint of App Service and the like, or of the virtual machine
===================  =========================================================================

The first that is there is taken, in this order; ``--from`` chooses one, and a virtual machine's
endpoint is asked only then. The audience asked for is the one that the gateway's configuration
names, so what comes out is good for the gateway and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from hoopgw.cli.ambient_azure import federated, managed_identity, pipeline_token
from hoopgw.cli.ambient_http import Surroundings, github_token
from hoopgw.cli.ambient_spiffe import jwt_svid
from hoopgw.cli.failure import CommandError
from hoopgw.identity.login import IssuerToken, ambient_token

PROJECTED: Final = Path("/var/run/secrets/hoopgw/token")
"""Where docs/callers.md has Kubernetes project the token."""
_NAME: Final = "HOOPGW_ID_TOKEN"
_FILE: Final = "HOOPGW_ID_TOKEN_FILE"


@frozen
class Source:
    """One way to a token."""

    name: str
    types: tuple[str, ...]
    """Types of issuers that its tokens are of; the first that the gateway has counts."""
    is_here: Callable[[Surroundings], bool]
    fetch: Callable[[Surroundings], str]


def _has(*names: str) -> Callable[[Surroundings], bool]:
    return lambda around: all(around.environ.get(name) for name in names)


_SOURCES: Final = (
    Source(
        "github-actions",
        ("github-actions",),
        _has("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
        github_token,
    ),
    Source(
        "azure-devops", ("azure-devops", "entra"), _has("SYSTEM_OIDCREQUESTURI"), pipeline_token
    ),
    Source(
        "kubernetes",
        ("kubernetes",),
        lambda around: around.projected.is_file(),
        lambda around: ambient_token(around.projected, None, {}).token,
    ),
    Source("spiffe", ("spiffe",), _has("SPIFFE_ENDPOINT_SOCKET"), jwt_svid),
    Source(
        "aks",
        ("entra",),
        _has("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"),
        federated,
    ),
    Source(
        "managed-identity",
        ("entra",),
        _has("IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
        managed_identity,
    ),
)
NAMES: Final = ("token", *(source.name for source in _SOURCES))


@frozen(kw_only=True)
class Wanted:
    """What the person at the command said of it."""

    source: str | None = None
    alias: str | None = None
    ca: Path | None = field(default=None)
    """PEM file to trust for the issuer."""


def job_token(
    description: Mapping[str, Any],
    environ: Mapping[str, str],
    wanted: Wanted | None = None,
    projected: Path = PROJECTED,
) -> IssuerToken:
    """Return the token of the job or workload that this runs in.

    Args:
        description: the gateway's, with its issuers.
        environ: the environment.
        wanted: what is not to be found out.
        projected: where Kubernetes puts the token.

    Raises:
        CommandError: it cannot be had, or the gateway does not take it.
        LoginError: there is none.

    """
    wanted = wanted or Wanted()
    if wanted.source == "token" or (
        wanted.source is None and (environ.get(_NAME) or environ.get(_FILE))
    ):
        return _given(environ)
    source = _choose(wanted.source, Surroundings({}, environ, projected, wanted.ca))
    if source is None:
        return ambient_token(None, _NAME, environ)  # which says that there is none
    issuer = _issuer(description, source, wanted.alias)
    token = source.fetch(Surroundings(issuer, environ, projected, wanted.ca))
    where = f"the token of {source.name}"
    return ambient_token(None, where, {where: token})


def _given(environ: Mapping[str, str]) -> IssuerToken:
    file = environ.get(_FILE)
    if file and not environ.get(_NAME):
        return ambient_token(Path(file), None, environ)
    return ambient_token(None, _NAME, environ)


def _choose(name: str | None, around: Surroundings) -> Source | None:
    if name is None:
        return next((source for source in _SOURCES if source.is_here(around)), None)
    return next(source for source in _SOURCES if source.name == name)


def _issuer(description: Mapping[str, Any], source: Source, alias: str | None) -> Mapping[str, Any]:
    """Return the gateway's issuer that the tokens of a source are of."""
    known = [i for i in description.get("issuers", ()) if alias in (None, i.get("alias"))]
    for kind in source.types:
        found = [i for i in known if i.get("type") == kind and i.get("audiences")]
        if len(found) > 1:
            names = ", ".join(str(i.get("alias")) for i in found)
            raise CommandError(
                f"the gateway has several such issuers; choose with --issuer: {names}"
            )
        if found:
            chosen: Mapping[str, Any] = found[0]
            return chosen
    raise CommandError(
        f"the gateway does not take tokens of {source.name}: "
        f'its configuration needs an issuer with type = "{source.types[0]}"'
    )
