"""One cluster for the gateway leg: requests to operations, answers to what is shown of them. Pure.

What is masked follows from the request: a kind whose objects hold something secret is asked for in
forms that can be masked (`accepting`), and all that comes is read.
"""

from __future__ import annotations

from typing import Final

from attrs import define, evolve, field, frozen

from hoopgw.documents.limits import Limits
from hoopgw.documents.opening import Document, MaskingOrder, open_document
from hoopgw.errors import DocumentError, DocumentLimitError
from hoopgw.http.messages import Headers, Pair, RequestHead, Response, ResponseHead
from hoopgw.http.model import ITEMS, Caller, ExceededError, Plan, Shown
from hoopgw.http.path import Locator, LocatorError, locate
from hoopgw.http.standing import Onward, Poll, Standing
from hoopgw.policy.decision import Sights
from hoopgw.sessions.purses import Listing
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw_kubernetes import accepting, masking, refusals, requests
from hoopgw_kubernetes.errors import UnclearRequestError
from hoopgw_kubernetes.operations import SECRETS, TEXT_LIMIT, Cluster
from hoopgw_kubernetes.requests import STREAMS, ApiRequest

PREFIX: Final = "clusters"
"""Begins each path; the target's name follows, and then what the server gets."""
BODY_LIMIT: Final = 3 * 2**20 + 65_536
"""Bytes of a request; an API server takes 3 MiB."""
VALUE_LIMIT: Final = 2 * 2**20
"""Bytes of one value that is masked; a Secret has 1 MiB, and in base64 a third more."""
WINDOW: Final = 3_600.0
"""Seconds in which all pages of a list count together."""
FORWARDED: Final = frozenset({b"accept", b"content-type", b"content-encoding", b"if-match"})
"""Header fields that may go on to the server. All are in the digest."""
UNREAD: Final = frozenset(
    {b"user-agent", b"accept-encoding", b"kubectl-command", b"kubectl-session", b"traceparent"}
)
"""Fields that no plan depends on, and that are never forwarded."""
_DROPPED: Final = frozenset({b"set-cookie", b"www-authenticate", b"alt-svc", b"server", b"refresh"})
"""Fields of an answer that are not the client's."""
_CHANGED: Final = frozenset({b"content-encoding", b"content-length", b"etag", b"digest"})
_JSON_PATCH: Final = "application/json-patch+json"
_BODYLESS: Final = frozenset({"GET", "HEAD"})


@frozen(kw_only=True)
class _Known:
    """What `show` needs to know of a request."""

    request: ApiRequest


@define(eq=False)
class KubernetesModel:
    """Implements `hoopgw.http.model.Model`.

    Args:
        cluster: the target.
        key: for masks that make joinable tokens.

    """

    cluster: Cluster
    key: bytes = field(default=b"", repr=False)

    @property
    def unread(self) -> frozenset[bytes]:
        """Names of fields that no plan depends on, and that are never forwarded."""
        return UNREAD

    def collects(self, head: RequestHead) -> int:
        """Return how many bytes of body must be there before the request can be read."""
        if head.method not in _BODYLESS:
            return BODY_LIMIT
        if head.content_length or b"transfer-encoding" in head.headers:
            text = f"a {head.method} with a body is not taken"
            raise RefusedError(Refusal(kind="malformed", text=text))
        return 0

    def plan(self, head: RequestHead, body: bytes | None, caller: Caller) -> Plan:
        """Read a request. Raises `RefusedError`."""
        try:
            place = self._place(head.target)
            request = requests.read(head.method, place)
            self._check(request, head, body or b"")
        except (LocatorError, UnclearRequestError) as error:
            raise RefusedError(Refusal(kind="malformed", text=str(error))) from error
        if request.verb == "delete" or request.verb == "deletecollection":
            # The options of a body count, and those of the query do not then.
            request = evolve(request, dry_run=request.dry_run and not body)
        fields = self.cluster.fields(request)
        send = RequestHead(head.method, place.target, self._forwarded(head, request, bool(fields)))
        shown = b"" if request.kind == SECRETS else body or b""
        text = _text(head.method, place.target, shown)
        chain = ("chain", "\0".join(caller.chain).encode())
        parts = [chain, *_parts(send, body or b"")]
        return Plan(
            operation=self.cluster.operation(request, caller.account, text, parts),
            send=send,
            kept=shown,
            fields=fields,
            model=_Known(request=request),
            follows=_follows(request),
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
        if head.status == 401:
            text = "the server does not take the agent's credential for this account"
            raise RefusedError(Refusal(kind="withheld", text=text))
        headers = head.headers.without(_DROPPED)
        plain = Shown(ResponseHead(head.status, headers, head.reason, head.version))
        if head.status in (204, 304) or head.content_length == 0 or plan.send.method == "HEAD":
            return plain
        known: _Known = plan.model
        limited = max_items is not None and head.status < 400
        rules = masking.rules(plan.fields, sights, counted=limited or counted)
        if rules is None:
            return plain
        kinds = {masking.kind_of(each, sights) for each in plan.fields} - {None}
        order = MaskingOrder(
            rules=rules,
            key=self.key,
            # The masks of one kind of object may differ; what shows least counts.
            rewrite=lambda _path, said: masking.encoded(_least(kinds), said, self.key),
            limits=Limits(
                text=VALUE_LIMIT, counts={ITEMS: max_items} if max_items and limited else {}
            ),
        )
        try:
            document = self._opened(order, known.request, head)
        except DocumentLimitError as error:
            raise ExceededError(str(error)) from error
        except DocumentError as error:
            raise RefusedError(Refusal(kind="withheld", text=str(error))) from error
        changed = ResponseHead(head.status, headers.without(_CHANGED), head.reason, head.version)
        listing = None
        if limited:
            listing = Listing(
                target=self.cluster.target.name,
                name=f"{known.request.namespace}/{known.request.full}",
                rows=max_items,
                window=WINDOW,
            )
        return Shown(changed, document, listing)

    def _place(self, target: str) -> Locator:
        """Return what of a request's target the server gets. Raises `LocatorError`."""
        place = locate(target)
        if place.segments[:2] != (PREFIX, self.cluster.target.name):
            raise LocatorError("the path is of another cluster")
        segments = place.segments[2:]
        return evolve(place, segments=segments, slash=place.slash and bool(segments))

    def _opened(self, order: MaskingOrder, request: ApiRequest, head: ResponseHead) -> Document:
        media = (head.headers.get(b"content-type") or b"").decode("latin-1")
        if request.verb == "watch" and head.status < 400:
            # It is an object in each line, and the server does not say so.
            media = f"{media};stream=watch" if "stream=" not in media else media
        encoding = (head.headers.get(b"content-encoding") or b"").decode("latin-1")
        return open_document(order, media, encoding)

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal as the server says its own."""
        return refusals.refused(refusal)

    def lasts(self, plan: Plan) -> bool:
        """Say that no client takes an answer that names where to ask."""
        return False

    def begun(self, plan: Plan, standing: Standing, worker: str, caller: Caller) -> Response:
        """Never called, as nothing lasts."""
        raise NotImplementedError

    def follow(self, head: RequestHead, caller: Caller) -> Poll | None:
        """Say that no request asks after another one."""
        return None

    def stands(
        self, poll: Poll, standing: Standing, head: RequestHead, caller: Caller
    ) -> Response | Onward:
        """Never called, as nothing is asked after."""
        raise NotImplementedError

    def _check(self, request: ApiRequest, head: RequestHead, body: bytes) -> None:
        """Refuse what is never taken. Raises `UnclearRequestError`."""
        if head.upgrade or request.subresource in STREAMS:
            raise UnclearRequestError("streams into pods are not taken by this gateway yet")
        if not self.cluster.fields(request):
            return
        if _media(head) == _JSON_PATCH:
            # Its operations copy a value to where it is shown, or try whether it is a guess.
            raise UnclearRequestError(
                f"a JSON patch of {request.kind} is not taken: use a merge patch"
            )
        if request.kind == SECRETS and masking.is_ours(body):
            raise UnclearRequestError(
                "this Secret holds what hoopgw shows in place of values; it was not written"
            )

    def _forwarded(self, head: RequestHead, request: ApiRequest, masked: bool) -> Headers:
        fields = Headers.of((n, v) for n, v in head.headers.pairs if n.lower() in FORWARDED)
        if masked:
            accept = (head.headers.get(b"accept") or b"").decode("latin-1")
            wanted = accepting.maskable(accept, tables=request.kind == SECRETS)
            fields = fields.replaced(b"Accept", wanted.encode())
        agent: Pair = (b"User-Agent", b"hoopgw")
        return fields.added(agent)


def _follows(request: ApiRequest) -> bool:
    """Whether the answer goes on for as long as the client wants."""
    is_log = request.subresource == "log" and request.values("follow")[:1] not in ((), ("false",))
    return request.verb == "watch" or is_log


def _least(kinds: set[str | None]) -> str:
    """Return the one mask kind that is asked for, or what shows nothing."""
    (kind,) = kinds if len(kinds) == 1 else (masking.HIDDEN,)
    return kind or masking.HIDDEN


def _parts(send: RequestHead, body: bytes) -> list[tuple[str, bytes]]:
    """Return all that is sent, for the digest."""
    fields = b"\0".join(b"%s:%s" % (n.lower(), v) for n, v in sorted(send.headers.pairs))
    return [
        ("method", send.method.encode()),
        ("path", send.target.encode()),
        ("fields", fields),
        ("body", body),
    ]


def _text(method: str, target: str, body: bytes) -> str:
    """Return a request for people."""
    shown = body.decode("utf-8", "replace")[:TEXT_LIMIT] if body[:4] != b"k8s\0" else ""
    return f"{method} {target}\n\n{shown}" if shown else f"{method} {target}"


def _media(head: RequestHead) -> str:
    value = head.headers.get(b"content-type") or b""
    return value.partition(b";")[0].strip().lower().decode("latin-1")
