"""One target for the gateway leg: requests to operations, answers to what is shown of them. Pure.

What is masked follows from the request. Links in answers lead to the gateway; an answer that leads
elsewhere is not shown. The state of a long operation is asked for with the operation's own masks.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from attrs import define, evolve, field, frozen

from hoopgw.documents.detectors import DETECTORS, search
from hoopgw.documents.lookout import Linked
from hoopgw.documents.opening import (
    Document,
    MaskingOrder,
    has_lines,
    open_document,
    opens_as_json,
)
from hoopgw.documents.rules import Rule
from hoopgw.errors import DocumentError, DocumentLimitError
from hoopgw.http.messages import Headers, Pair, RequestHead, Response, ResponseHead
from hoopgw.http.model import Caller, ExceededError, Plan, Shown
from hoopgw.http.path import Locator, LocatorError, locate
from hoopgw.http.standing import Onward, Poll, Standing
from hoopgw.policy.decision import Sights
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw_azure import blob_masking, held, keeping, masking, refusals, storage
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import Call
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.exports import Bounded, Export, counting
from hoopgw_azure.kept import kept, kept_query
from hoopgw_azure.links import PARAMETER, Links, Origin, without_seal
from hoopgw_azure.operations import Service, forwarded, text
from hoopgw_azure.polls import is_state

_DROPPED: Final = frozenset(
    {
        *(b"set-cookie", b"www-authenticate", b"strict-transport-security", b"server"),
        *(b"alt-svc", b"refresh"),  # they lead past us
    }
)
"""Fields of an answer that are not the client's."""
_CHANGED: Final = frozenset(
    {
        *(b"content-encoding", b"content-length", b"etag", b"accept-ranges"),
        *(b"content-md5", b"digest", b"content-digest", b"repr-digest", b"x-ms-content-crc64"),
    }
)
"""Fields that are not true any more of a body that was changed; by a digest of what it was, who
knows the rest of it can try what was masked."""
_PARTS: Final = frozenset({b"range", b"x-ms-range"})
_READING: Final = _PARTS | {b"if-match", b"if-none-match"}
"""Fields of a request to read that do not go on where something is masked: tags may be digests."""
_CLUSTER: Final = (
    "credentials of a cluster lead past the gateway, so only who may see them in clear gets them; "
    "use the cluster as a target of the protocol kubernetes, where one is configured"
)
_BODYLESS: Final = frozenset({"GET", "HEAD"})
_POLLED: Final = (b"azure-asyncoperation", b"location", b"operation-location")
_LINKED: Final = (b"content-location",)
_LEADING: Final = frozenset({*_POLLED, *_LINKED, b"link"})
"""Fields of an answer that lead somewhere."""
UNREAD: Final = frozenset(
    {
        *(b"user-agent", b"accept-encoding", b"accept-language", b"commandname"),
        *(b"parametersetname", b"traceparent", b"tracestate", b"request-id", b"request-context"),
        *(b"x-ms-client-request-id", b"x-ms-correlation-request-id", b"x-ms-client-session-id"),
        *(b"x-ms-return-client-request-id", b"x-ms-request-id", b"x-ms-date", b"date"),
    }
)
"""Fields by which each request of a program differs from the last one, or which say who made it."""
_SIGNED: Final = (b"sig=", b"sig%3d", b"sharedaccess", b"accountkey")
"""What is in every field that holds a key, in small letters."""
_SEARCHED: Final = tuple((DETECTORS[name], "redact") for name in ("sas", "connection_string"))
_REMEMBERED: Final = 1024
"""Sessions whose ids are kept as header fields."""


@frozen(kw_only=True)
class _Known:
    """What `show` needs to know of a request."""

    call: Call
    origin: Origin
    listing: str
    """The list that the answer is a part of."""


@define(eq=False)
class AzureModel:
    """Implements `hoopgw.http.model.Model`.

    Args:
        service: the target.
        challenge: makes the field that says how to log in, for an authority.

    """

    service: Service
    links: Links
    challenge: Sequence[Pair] = ()
    key: bytes = field(default=b"", repr=False)
    """For masks that make joinable tokens."""

    @property
    def unread(self) -> frozenset[bytes]:
        """Names of fields that no plan depends on, and that are never forwarded."""
        return UNREAD

    def collects(self, head: RequestHead) -> int:
        """Return how many bytes of body must be there before the request can be read."""
        if head.method in _BODYLESS and (
            head.content_length or b"transfer-encoding" in head.headers
        ):
            # Some services read one, and nothing here has.
            text_ = f"a {head.method} with a body is not taken"
            raise RefusedError(Refusal(kind="malformed", text=text_))
        return self.service.collects(head.method)

    def plan(self, head: RequestHead, body: bytes | None, caller: Caller) -> Plan:
        """Read a request. Raises `RefusedError`."""
        try:
            place = locate(head.target)
            return self._plan(head, place, body or b"", caller)
        except (LocatorError, UnclearRequestError) as error:
            raise RefusedError(Refusal(kind="malformed", text=str(error))) from error

    def _plan(self, head: RequestHead, place: Locator, body: bytes, caller: Caller) -> Plan:
        sent = self.service.sent(head.headers, caller.authority)
        if sent is not head.headers:
            head = evolve(head, headers=sent)
        seal = place.parameter(PARAMETER)
        asked = Asked(
            method=head.method,
            segments=place.segments,
            slash=place.slash,
            query=tuple(pair for pair in place.query if pair[0].lower() != PARAMETER),
            target=self._target(place),
            headers=head.headers,
            body=body,
        )
        call = self.service.call(asked)
        origin = Origin(
            operation=call.operation,
            secrets=call.secrets,
            method=head.method,
            path=place.canonical,
        )
        chain = ("chain", "\0".join(caller.chain).encode())
        operation = self.service.operation(asked, call, caller.account, [chain])
        if seal is not None:
            if head.method != "GET":
                raise UnclearRequestError(f"{PARAMETER} is for GET")
            origin = Origin.opened(seal, caller.seal, place)
            if not call.poll:
                raise UnclearRequestError(f"{PARAMETER} is for the state of operations")
            # The operation itself was allowed to this principal: this is its answer.
            call = self.service.state(call, origin)
            connecting = self.service.connecting(caller.account)
            operation = evolve(
                connecting,
                action=call.operation,
                text=text(asked, call),
                digest=operation.digest,
            )
        shown = kept(body, _media(head), vault=self.service.kind == "keyvault")
        query = kept_query(asked.query)
        if shown != body or query != asked.query or call.body is not None:
            told = evolve(asked, body=shown, query=query)
            operation = evolve(operation, text=text(told, evolve(call, body=None)))
        fields = self.service.fields(call)
        return Plan(
            operation=operation,
            send=RequestHead(
                head.method,
                asked.target,
                # Of a blob nothing is masked, so a part of it is as good as all.
                self._fields(head, caller, whole=bool(fields) and self.service.kind != "storage"),
            ),
            body=call.body,
            kept=shown,
            fields=fields,
            model=_Known(call=call, origin=origin, listing=call.listing or _listing(origin, place)),
        )

    def show(
        self,
        plan: Plan,
        head: ResponseHead,
        sights: Sights,
        caller: Caller,
        max_items: int | None = None,
        *,
        counted: bool = False,
    ) -> Shown:
        """Say how an answer is shown. Raises `RefusedError`."""
        known: _Known = plan.model
        if head.status == 401:
            text_ = "Azure does not take the agent's credential for this account"
            raise RefusedError(Refusal(kind="withheld", text=text_))
        headers = self._rewritten(head, known, caller)
        if self.service.kind == "storage":
            headers = self._blob_fields(plan, headers, sights)
        plain = Shown(_with(head, headers))
        length = head.content_length
        if head.status in (204, 304) or length == 0:
            return plain
        is_head = plan.send.method == "HEAD"  # then a length is of what does not come
        export = Export() if is_head else self._export(known.call, head, max_items)
        try:
            export.check(length)
            rules = self._counting(head, export, counted=counted and not is_head)
            document = self._document(plan, head, sights, caller, export, rules)
        except DocumentLimitError as error:
            raise ExceededError(str(error)) from error
        except DocumentError as error:
            raise RefusedError(Refusal(kind="withheld", text=str(error))) from error
        listing = None
        if head.status < 400 and not is_head:
            listing = export.listing(self.service.target.name, known.listing)
        if document is not None:
            changed = _with(head, headers.without(_CHANGED))
            if isinstance(document, Linked):
                return Shown(changed, document, listing, document, plain.head)
            return Shown(changed, document, listing)
        if export.size is not None and length is None:
            plain = evolve(plain, transform=Bounded(export.size))
        return plain if listing is None else evolve(plain, listing=listing)

    def _blob_fields(self, plan: Plan, headers: Headers, sights: Sights) -> Headers:
        """Return an answer's header fields without what is masked of a blob or container."""
        rules = masking.rules(plan.fields, sights, blobs=True)
        if rules is None:
            return headers
        try:
            blob_masking.refuse_unclear(plan.model.call, plan.send, rules)
        except DocumentError as error:
            raise RefusedError(Refusal(kind="withheld", text=str(error))) from error
        return blob_masking.headers_shown(headers, plan.model.call, rules, self.key)

    def _export(self, call: Call, head: ResponseHead, max_items: int | None) -> Export:
        """Return how much of an answer may be shown."""
        export = self.service.export
        if max_items is not None:
            export = export.narrowed(max_items)
        if export.items is None:
            return export
        lists = self.service.kind != "storage" or blob_masking.has_document(call, "GET")
        return export if lists and head.status < 400 else evolve(export, items=None)

    def _counting(self, head: ResponseHead, export: Export, *, counted: bool) -> tuple[Rule, ...]:
        """Return the rules that count items: where they are limited, or somebody pays for them."""
        if export.items is None and not counted:
            return ()
        media = _text(head.headers.get(b"content-type"))
        lines = has_lines(media)
        readable = lines or _is_json(media) or self.service.kind == "storage"
        if export.items is None and not (counted and head.status < 400 and readable):
            return ()
        return tuple(counting(self.service.kind, lines=lines))

    def _document(
        self,
        plan: Plan,
        head: ResponseHead,
        sights: Sights,
        caller: Caller,
        export: Export,
        counted: tuple[Rule, ...],
    ) -> Document | Linked | None:
        """Return what changes or counts an answer; None: nothing does. Raises `DocumentError`."""
        service = self.service
        is_blobs = service.kind == "storage"
        if is_blobs and not blob_masking.has_document(plan.model.call, plan.send.method):
            return None  # a blob is shown as it is, or not at all
        content_type = _text(head.headers.get(b"content-type"))
        masked = any(masking.kind_of(each, sights) is not None for each in plan.fields)
        if not (masked or counted) and self._has_links_only(head, export):
            return Linked(lambda: self._linked(plan, caller, content_type))
        rules = masking.rules(
            plan.fields, sights, service.links, counted, service.detectors, blobs=is_blobs
        )
        if rules is None:
            return None
        if masked and head.status < 400 and plan.model.call.opens_cluster:
            raise DocumentError(_CLUSTER)
        if masked and head.status == 206:
            raise DocumentError("the answer is a part, and something in the whole is masked")
        if not masked and not counted and not _is_json(content_type):
            return None
        order = MaskingOrder(
            rules=rules,
            paths="xml" if is_blobs else "json",
            key=self.key,
            rewrite=self._rewriting(plan.model, caller.authority),
            limits=export.limits(),
        )
        return open_document(
            order,
            content_type,
            (head.headers.get(b"content-encoding") or b"").decode("latin-1"),
        )

    def _has_links_only(self, head: ResponseHead, export: Export) -> bool:
        """Say whether an answer is passed on as it is if it has no absolute links, and as it comes.

        Of a part, or of what is compressed, that cannot be told.
        """
        service, fields = self.service, head.headers
        return (
            bool(service.links)
            and not service.detectors
            and export.size is None
            and head.status != 206
            and b"content-encoding" not in fields.by_name
            and opens_as_json(_text(fields.get(b"content-type")))
        )

    def _linked(self, plan: Plan, caller: Caller, content_type: str | None) -> Document:
        """Return what rewrites the links of such an answer."""
        rules = masking.rules((), {}, self.service.links)
        assert rules is not None
        rewrite = self._rewriting(plan.model, caller.authority)
        return open_document(MaskingOrder(rules=rules, key=self.key, rewrite=rewrite), content_type)

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal as the target says its own."""
        more = tuple(self.challenge) if refusal.kind == "unauthenticated" else ()
        match self.service.kind:
            case "arm" | "keyvault":
                return refusals.of_arm(refusal, more)
            case "storage":
                refusal = storage.explained(head, refusal)
                return refusals.of_storage(refusal, more)
            case "rest":
                return refusals.of_rest(refusal, more)

    def lasts(self, plan: Plan) -> bool:
        """Say whether clients take a request for the beginning of a long operation."""
        return self._begins(plan) is not None

    def begun(self, plan: Plan, standing: Standing, worker: str, caller: Caller) -> Response:
        """Return the answer to one while it waits for people."""
        known: _Known = plan.model
        return held.begun(self._begins(plan) or 202, known.origin.path, standing, worker, caller)

    def follow(self, head: RequestHead, caller: Caller) -> Poll | None:
        """Return what a request asks after, if it does. Raises `RefusedError`."""
        return held.follow(head, caller) if self.service.kind == "arm" else None

    def stands(
        self, poll: Poll, standing: Standing, head: RequestHead, caller: Caller
    ) -> Response | Onward:
        """Say how a request stands, or where the target itself says it."""
        return held.Asking(poll, standing, head, caller).answer()

    def _begins(self, plan: Plan) -> int | None:
        known: _Known = plan.model
        if self.service.kind != "arm":
            return None
        return held.begins(known.origin.method, known.origin.path)

    def _target(self, place: Locator) -> str:
        query = without_seal(place.raw_query)
        return f"{place.canonical}?{query}" if query else place.canonical

    def _fields(self, head: RequestHead, caller: Caller, *, whole: bool) -> Headers:
        """Return what goes on to the target: allow-listed, with our ids for Azure's own logs.

        ``whole``: the answer must not begin in the middle, where a mask would not know its place,
        and not depend on what the client says of it: who knows the rest could try what is masked.
        """
        fields = forwarded(head.headers)
        if whole:
            fields = fields.without(_READING if head.method in _BODYLESS else _PARTS)
        return fields.added(*_stamps(caller.session))

    def _rewritten(self, head: ResponseHead, known: _Known, caller: Caller) -> Headers:
        """Return an answer's fields with links that lead to us, and without keys."""
        given = without_keys(head.headers)
        headers = given.without(_DROPPED)
        if _LEADING.isdisjoint(given.by_name):
            return headers
        for name in (*_POLLED, *_LINKED):
            values = given.all(name)
            if not values:
                continue
            said = values[0].decode("latin-1")
            if name in _POLLED and head.status in (200, 201, 202) and self._has_state(said):
                link = self.links.polled(said, caller.authority, known.origin, caller.seal)
            else:
                link = self.links.rewritten(said, caller.authority)
            if link is None or len(values) > 1:
                text_ = "the answer leads to another host than the target's"
                raise RefusedError(Refusal(kind="withheld", text=text_))
            headers = headers.replaced(name.title(), link.encode("latin-1"))
        said = ", ".join(value.decode("latin-1") for value in given.all(b"link"))
        if said:
            headers = headers.without((b"link",))
            shown = self.links.listed(said, caller.authority)
            if shown is not None:
                headers = headers.added((b"Link", shown.encode("latin-1")))
        return headers

    def _has_state(self, said: str) -> bool:
        """Say whether an address is that of an operation's state, and of nothing that is stored."""
        return self.service.kind == "arm" and is_state(urlsplit(said).path)

    def _rewriting(self, known: _Known, authority: str) -> Callable[[str, str], str]:
        """Return what makes of a text in a body what is shown: links, and what is kept."""
        asked = keeping.Request.of(known.origin.path, self.links.is_ours)

        def rewrite(path: str, said: str) -> str:
            if path in keeping.KEPT:
                return keeping.shown(path, said, asked)
            found = self.links.rewritten(said, authority)
            if found is None:
                raise DocumentError("the answer leads to another host than the target's")
            return found

        return rewrite


@lru_cache(_REMEMBERED)
def _stamps(session: str) -> tuple[Pair, ...]:
    """Return the fields by which Azure's own log joins ours."""
    correlation = str(uuid.uuid5(uuid.NAMESPACE_URL, f"hoopgw:{session}"))
    return (
        (b"User-Agent", b"hoopgw"),
        (b"x-ms-client-request-id", f"hoopgw-{session}".encode()),
        (b"x-ms-correlation-request-id", correlation.encode()),
    )


def without_keys(headers: Headers) -> Headers:
    """Return an answer's fields with what signs a request masked: who reads it need not hold it."""
    values = b"\n".join([value for _name, value in headers.pairs]).lower()
    if not any(each in values for each in _SIGNED):
        return headers
    return Headers.of(
        (name, search(_SEARCHED, value.decode("latin-1"), b"").encode("latin-1"))
        for name, value in headers
    )


def _listing(origin: Origin, place: Locator) -> str:
    """Return what all requests for one list have in common, whatever they ask of it.

    Names of resource groups may have any letters, and Azure compares those without case, too: so
    they are compared as they are read, and not as they are encoded.
    """
    asked = place if origin.path == place.canonical else locate(origin.path)
    return "/" + "/".join(asked.segments).casefold()


def _with(head: ResponseHead, headers: Headers) -> ResponseHead:
    return ResponseHead(head.status, headers, head.reason, head.version)


def _media(head: RequestHead) -> str:
    value = head.headers.get(b"content-type") or b""
    return value.partition(b";")[0].strip().lower().decode("latin-1")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _is_json(content_type: str | None) -> bool:
    media = (content_type or "").partition(";")[0].strip().lower()
    return media in ("application/json", "text/json") or media.endswith("+json")
