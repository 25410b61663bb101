"""From requests to operations: what policy is asked about one, and what an approval is bound to.

A `Service` is one target of the configuration: Resource Manager, a key vault, a storage account, or
any other REST service. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import define, evolve, field

from hoopgw.documents.detectors import DETECTORS
from hoopgw.documents.paths import parse_path
from hoopgw.errors import ConfigError, PolicyError
from hoopgw.events import (
    Access,
    ContextValue,
    Operation,
    Resource,
    encode_part,
    operation_digest,
)
from hoopgw.http.messages import Headers
from hoopgw.http.path import locate
from hoopgw.spi import TargetSettings
from hoopgw_azure import arm, batch, bodies, keyvault, known, storage
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import Call, Touch
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.exports import Export
from hoopgw_azure.generic import Rules
from hoopgw_azure.links import Origin
from hoopgw_azure.resources import Place
from hoopgw_azure.strict_json import SIZE_LIMIT

Kind: TypeAlias = Literal["arm", "keyvault", "storage", "rest"]
KINDS: Final[dict[str, Kind]] = {
    "arm": "arm",
    "keyvault": "keyvault",
    "storage": "storage",
    "rest": "rest",
}
GENUINE: Final[Mapping[Kind, str]] = {
    "arm": "management.azure.com",
    "keyvault": "{name}.vault.azure.net",
    "storage": "{name}.blob.core.windows.net",
    "rest": "",
}
"""Hosts of the public cloud, by kind of target."""
LINKS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "arm": ("**.nextLink",),
    "keyvault": ("**.nextLink", "**.id", "**.kid", "**.sid", "**.recoveryId"),
    "storage": (),
    "rest": (
        *("next", "nextLink", "previous", "['@odata.nextLink']", "links.*", "links.*.href"),
        *("links[*].href", "_links.*.href", "_links.*[*].href"),
    ),
}
"""Where links are in answers, by kind of target; of REST services as most have them."""
PROTOCOL: Final = "azure"
SECRET_LABEL: Final = "azure.secret"  # noqa: S105  # the label of secrets, and none itself
CLUSTER_LABEL: Final = "azure.kubeconfig"
"""Of an answer that is the way into a cluster, besides."""
TEXT_LIMIT: Final = 16_384
"""Characters of a body that a reviewer is shown."""
_COMMON: Final = frozenset(
    {"service", "account", "hosts", "max_items", "max_bytes", "window", "detect"}
)
_OPTIONS: Final[dict[Kind, frozenset[str]]] = {
    "arm": _COMMON,
    "keyvault": _COMMON | {"name"},
    "storage": _COMMON | {"host", "name", "name_in_path"},
    "rest": _COMMON | {"operations", "links", "foreign_links"},
}

FORWARDED: Final = frozenset(
    {
        *(b"accept", b"content-type", b"content-encoding", b"content-language"),
        *(b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"),
        *(b"prefer", b"range", b"cache-control", b"x-ms-version", b"consistencylevel"),
        *(b"content-md5", b"content-disposition", b"x-ms-range", b"x-ms-copy-source"),
        *(b"x-ms-access-tier", b"x-ms-tags", b"x-ms-delete-snapshots", b"x-ms-requires-sync"),
        *(b"x-ms-blob-type", b"x-ms-encryption-scope", b"x-ms-proposed-lease-id"),
    }
)
"""Header fields that may go on to Azure, besides `FORWARDED_PREFIXES`. All are in the digest."""
FORWARDED_PREFIXES: Final = (
    *(b"x-ms-meta-", b"x-ms-blob-", b"x-ms-lease-", b"x-ms-source-", b"x-ms-if-"),
    *(b"x-ms-content-crc64", b"x-ms-copy-action"),
)
REFUSED: Final = frozenset(
    {
        *(b"x-http-method", b"x-http-method-override", b"x-method-override"),
        *(b"x-original-url", b"x-rewrite-url", b"x-original-method"),
    }
)
"""Header fields that would make another request of this one."""


@define(eq=False)
class Service:
    """One target, and how its requests are read."""

    target: TargetSettings
    kind: Kind
    place: Place
    name: str = ""
    """Of the vault or storage account, in lower case."""
    hosts: frozenset[str] = frozenset()
    """Names under which the target is known, for URLs in requests."""
    account: storage.Account | None = None
    rules: Rules | None = None
    export: Export = field(factory=Export)
    links: tuple[str, ...] = ()
    """Paths of links in its answers."""
    leaves_foreign: bool = False
    """Whether links to other hosts are shown."""
    detectors: tuple[str, ...] = ()
    """What is looked for in all strings of its answers."""
    labelled: Mapping[str, Mapping[str, frozenset[str]]] = field(factory=dict)
    """Type to JSON paths to labels, from labels of the form ``TYPE#PATH``."""

    @classmethod
    def of(cls, target: TargetSettings) -> Service:
        """Read a target's options and labels.

        Raises:
            ConfigError: they are not of the format.

        """
        options = target.options
        kind = KINDS.get(str(options.get("service")))
        if kind is None:
            raise ConfigError(f"options.service must be one of {', '.join(KINDS)}")
        strange = sorted(set(options) - _OPTIONS[kind])
        if strange:
            raise ConfigError(f"options.{strange[0]} is not known for service {kind!r}")
        if kind == "arm":
            known.prepare()
        name = str(options.get("name", target.name)).lower()
        hosts = frozenset(host.lower() for host in _texts(options, "hosts"))
        return cls(
            target=target,
            kind=kind,
            place=_place(target),
            name=name,
            hosts=hosts,
            account=_account(options, name, hosts) if kind == "storage" else None,
            rules=Rules.of(options.get("operations")) if kind == "rest" else None,
            export=Export.of(options),
            links=_links(options) if kind == "rest" else LINKS[kind],
            leaves_foreign=_leaves_foreign(options),
            detectors=_detectors(kind, options),
            labelled=_labelled(target),
        )

    def sent(self, headers: Headers, authority: str) -> Headers:
        """Return a request's fields as the target is to understand them.

        Args:
            headers: as they came.
            authority: by which the client reached us.

        """
        if self.account is None:
            return headers
        return storage.with_own_source(headers, self.account, authority)

    def collects(self, method: str) -> int:
        """Return how many bytes of body must be there before a request can be read."""
        # Blobs may be of any size, and what they hold says nothing of what is done.
        return 0 if self.kind == "storage" or method in ("GET", "HEAD") else SIZE_LIMIT

    def call(self, asked: Asked) -> Call:
        """Say what a request is.

        Raises:
            UnclearRequestError: it cannot be judged, or is not taken.

        """
        for name in REFUSED:
            if name in asked.headers:
                raise UnclearRequestError(f"the header {name.decode()} is not taken")
        if asked.header(b"authorization").split(" ")[0].lower() == "sharedkey":
            storage.refuse_signed(asked)
        if self.kind == "keyvault":
            return keyvault.call(asked, self.place, self.name)
        if self.account is not None:
            return storage.call(asked, self.place, self.account)
        if self.rules is not None:
            return self.rules.call(asked, self.place)
        if asked.slash and asked.segments:
            raise UnclearRequestError("this path ends in a slash where nothing can follow")
        if batch.is_batch(asked):
            return batch.call(asked, self.hosts, self._in_batch)
        return self._arm(asked)

    def state(self, poll: Call, origin: Origin) -> Call:
        """Return what the answer of an operation's state is: the operation's own.

        Raises:
            UnclearRequestError: the operation was none.

        """
        began = arm.call(arm.read(origin.method, locate(origin.path).segments, ()), self.place)
        return evolve(
            poll,
            operation=f"{origin.operation} (state)",
            secrets=origin.secrets,
            # What is labelled, and may be seen, goes by what was begun.
            type=began.type,
            touches=(*began.touches[:1], *poll.touches),
        )

    def _in_batch(self, asked: Asked) -> Call:
        call = self._arm(asked)
        if self.labelled.get(call.type.lower()):
            # Labels go by paths from the root of an answer, and here it is inside of another.
            raise UnclearRequestError(
                f"the answer for {call.type} has labelled fields: send it without a batch"
            )
        return call

    def _arm(self, asked: Asked) -> Call:
        return bodies.call(arm.read(asked.method, asked.segments, asked.query), asked, self.place)

    def operation(
        self,
        asked: Asked,
        call: Call,
        account: str,
        digested: Iterable[tuple[str, bytes]] = (),
    ) -> Operation:
        """Return the operation that a request is.

        Args:
            asked: the request.
            call: what it is, of `call`.
            account: whose identity is used at the target.
            digested: what else an approval is bound to: the chain.

        """
        space = "Rest" if self.kind == "rest" else "Azure"
        accesses = dict.fromkeys(
            Access(action=f"{space}::{touch.verb}", resource=touch.resource)
            for touch in call.touches
        )
        return Operation(
            protocol=PROTOCOL,
            target=self.target.name,
            action=call.operation,
            accesses=tuple(accesses),
            text=text(asked, call),
            context=self._context(asked.method, call, account),
            digest=operation_digest(
                (*self._parts(account), *request_parts(asked, call), *digested)
            ),
        )

    def connecting(self, account: str) -> Operation:
        """Return the operation that using the target at all is."""
        place, space = self.place, "Azure"
        match self.kind:
            case "arm":
                resource = place.tenant
            case "keyvault":
                resource = Resource(type="Azure::Vault", id=self.name, parents=(place.target,))
            case "storage":
                resource = Resource(type="Azure::Account", id=self.name, parents=(place.target,))
            case "rest":
                space = "Rest"
                route = f"{place.target.id}/connect"
                resource = Resource(type="Rest::Route", id=route, parents=(place.target,))
        return Operation(
            protocol=PROTOCOL,
            target=self.target.name,
            action="connect",
            accesses=(Access(action=f"{space}::connect", resource=resource),),
            text="",
            context=self._context("", Call(operation="connect", touches=()), account),
            digest=operation_digest((*self._parts(account), ("connect", b""))),
        )

    def fields(self, call: Call) -> tuple[Resource, ...]:
        """Return what of an answer policy is asked about: where secrets and labels are.

        The last word of an id, behind ``#``, is the JSON path; ``*`` is all of the answer.
        """
        if not call.touches:
            return ()
        space = "Rest" if self.kind == "rest" else "Azure"
        above = call.touches[0].resource
        paths = dict.fromkeys(call.secrets.paths, frozenset({SECRET_LABEL}))
        if call.secrets.everything:
            also = {CLUSTER_LABEL} if call.opens_cluster else set()
            paths = {"*": frozenset({SECRET_LABEL, *also})}
        for path, labels in self.labelled.get(call.type.lower(), {}).items():
            paths[path] = paths.get(path, frozenset()) | labels
        return tuple(
            Resource(
                type=f"{space}::Field", id=f"{above.id}#{path}", parents=(above,), labels=labels
            )
            for path, labels in paths.items()
        )

    def _parts(self, account: str) -> tuple[tuple[str, bytes], ...]:
        return (
            ("protocol", PROTOCOL.encode()),
            ("target", self.target.name.encode()),
            ("account", account.encode()),
        )

    def _context(self, method: str, call: Call, account: str) -> dict[str, ContextValue]:
        names = sorted({touch.operation for touch in call.touches})
        found: dict[str, ContextValue] = {
            "account": account,
            "method": method,
            "operation": names[0] if len(names) == 1 else "several" if names else "connect",
        }
        if self.kind == "rest":
            return {**found, "parameters": (), **dict(call.extra)}
        return {
            **found,
            "apiVersion": call.api_version,
            "operations": tuple(names),
            "mints": call.mints,
            "executes": call.executes,
            "grants": call.grants,
            **_NOTHING,
            **dict(call.extra),
        }


_NOTHING: Final[Mapping[str, ContextValue]] = {
    "opaque": (),
    "functions": (),
    "outputs": False,
    "roles": (),
    "principals": (),
    "principalTypes": (),
}


def check_target(target: TargetSettings) -> None:
    """Validate the protocol's part of a target; see `hoopgw.spi.ProtocolSpec`.

    Raises:
        ConfigError: it is not of the format.

    """
    Service.of(target)


def forwarded(headers: Headers) -> Headers:
    """Return the header fields that go on to Azure; credentials and ids are the agent's to add."""
    ours = headers.members(b"connection")  # what else concerns one connection is on no list
    return Headers.of(
        pair
        for pair in headers
        if ((name := pair[0].lower()) in FORWARDED or name.startswith(FORWARDED_PREFIXES))
        and name not in ours
    )


def request_parts(asked: Asked, call: Call) -> Iterable[tuple[str, bytes]]:
    """Yield all of a request that is sent, for its digest."""
    yield "method", asked.method.encode()
    yield "target", asked.target.encode()
    for name, value in forwarded(asked.headers):
        yield "header", encode_part(name.decode("latin-1").lower(), value)
    sent = asked.body if call.body is None else call.body
    yield "body", hashlib.sha256(sent).digest()


def text(asked: Asked, call: Call) -> str:
    """Return a request for people: its line, what it is, and what is in it. May hold secrets."""
    query = "&".join(f"{name}={value}" for name, value in asked.query)
    path = "/" + "/".join(asked.segments) + ("/" if asked.slash and asked.segments else "")
    lines = [f"{asked.method} {path}{'?' if query else ''}{query}", call.operation]
    lines += [_said(touch) for touch in call.touches[1:]]
    lines += call.notes
    opaque = next((value for name, value in call.extra if name == "opaque"), ())
    if isinstance(opaque, tuple) and opaque:
        lines.append(f"cannot be seen: {', '.join(opaque)}")
    sent = asked.body if call.body is None else call.body
    lines.append(sent[:TEXT_LIMIT].decode("utf-8", "backslashreplace"))
    return "\n".join(line for line in lines if line)


def _said(touch: Touch) -> str:
    return f"  {touch.verb}: {touch.operation} on {touch.resource.id}"


def _place(target: TargetSettings) -> Place:
    environment = target.environment
    above = (Resource(type="Hoopgw::Environment", id=environment),) if environment else ()
    return Place(
        target=Resource(type="Hoopgw::Target", id=target.name, parents=above),
        labels={
            name.rstrip("/").lower(): frozenset(each)
            for name, each in target.labels.items()
            if "#" not in name
        },
    )


def _account(options: Mapping[str, Any], name: str, hosts: frozenset[str]) -> storage.Account:
    in_path = options.get("name_in_path", False)
    if not isinstance(in_path, bool):
        raise ConfigError("options.name_in_path must be true or false")
    host = options.get("host", GENUINE["storage"].format(name=name))
    if not isinstance(host, str) or not host:
        raise ConfigError(
            "options.host must be the account's own host, with its port if it has one"
        )
    return storage.Account(name, in_path, hosts, host.lower())


def _labelled(target: TargetSettings) -> Mapping[str, Mapping[str, frozenset[str]]]:
    found: dict[str, dict[str, frozenset[str]]] = {}
    for name, labels in target.labels.items():
        kind, mark, path = name.partition("#")
        if mark and not (kind and path):
            raise ConfigError(f"labels: {name!r} is not TYPE#PATH, as microsoft.web/sites#name")
        if mark:
            found.setdefault(kind.lower(), {})[path] = frozenset(labels)
    return found


def _links(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of links in the answers of a REST service.

    Raises:
        ConfigError: one is no path.

    """
    if "links" not in options:
        return LINKS["rest"]
    paths = _texts(options, "links")
    for path in paths:
        try:
            parse_path(path)
        except PolicyError as error:
            raise ConfigError(f"options.links: {error}") from error
    return paths


def _leaves_foreign(options: Mapping[str, Any]) -> bool:
    said = options.get("foreign_links", "withhold")
    if said not in ("withhold", "leave"):
        raise ConfigError('options.foreign_links must be "withhold" or "leave"')
    return bool(said == "leave")


def _detectors(kind: Kind, options: Mapping[str, Any]) -> tuple[str, ...]:
    if "detect" not in options:
        return ("sas",) if kind == "arm" else ()
    names = _texts(options, "detect")
    unknown = sorted(set(names) - set(DETECTORS))
    if unknown:
        raise ConfigError(
            f"options.detect: {unknown[0]} is not known; these are: {', '.join(sorted(DETECTORS))}"
        )
    return names


def _texts(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = options.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(f"options.{name} must be a list of texts")
    return tuple(value)
