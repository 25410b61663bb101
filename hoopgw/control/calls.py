"""What data workers may call, over ``run/control.sock``, and what they are told.

One `WorkerCalls` for each connection. Bodies come from our own processes; still, what is malformed
is refused with a text and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from hoopgw.control.attendance import GONE, Attendance
from hoopgw.control.delegations import Delegations
from hoopgw.control.fleet import Fleet
from hoopgw.control.granting import Granting
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import AMOUNTS, Node
from hoopgw.grants.calls import RefusedCall
from hoopgw.identity.tokens import TokenSigner
from hoopgw.ipc import Body, Handler, Peer
from hoopgw.reviews.docket import Ask, Docket
from hoopgw.reviews.rules import groups_asked
from hoopgw.store.coding import context_from_dict, remedies_from_list
from hoopgw.store.rows import LINEAGE_KEPT, Request, SessionHead, Store, Vote
from hoopgw.wire_values import node_from_dict, principal_from_dict, principal_to_dict

log = Logger()

ENDED: Final = "the log-in was revoked, or has lost a group since"
ALIVE_LIMIT: Final = 10_000
"""Requests in one heartbeat."""
TAKE_TIMEOUT: Final = 5.0
"""Seconds in which a worker must have taken what it is told and waited for."""


def settled_body(request: Request, votes: tuple[Vote, ...] | list[Vote]) -> Body:
    """Return how a request ended, as it is told to workers."""
    return {
        "request": request.id,
        "outcome": request.state,
        "voters": [vote.person for vote in votes],
        "reason": request.note,
    }


@define(eq=False)
class WorkerCalls:
    """Serves one connection."""

    _store: Store
    _docket: Docket
    _attendance: Attendance
    _fleet: Fleet
    _delegations: Delegations
    _granting: Granting
    _signer: TokenSigner
    _now: Callable[[], float]
    worker: str = field(default="", init=False)
    """Its name, once it has greeted."""
    peer: Peer | None = field(default=None, init=False)

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be called, by name."""
        return {
            "hello": self._hello,
            "ping": self._checked(lambda _body: {"now": self._now()}),
            "session_password": self._checked(self._session_password),
            "chain_shown": self._checked(self._chain_shown),
            "grant_use": self._checked(self._grant_use),
            "grant_used": self._checked(self._grant_used),
            "call_refused": self._checked(self._call_refused),
            "budget_take": self._checked(self._budget_take),
            "budget_return": self._checked(self._budget_return),
            "review_ask": self._checked(self._review_ask),
            "review_alive": self._checked(self._review_alive),
            "review_consume": self._checked(self._review_consume),
            "held_standing": self._checked(self._held_standing),
            "review_withdraw": self._checked(self._review_withdraw),
            "session_opened": self._checked(self._session_opened),
            "session_closed": self._checked(self._session_closed),
            "agent_certificate": self._checked(self._agent_certificate),
            "agent_status": self._checked(self._agent_status),
            "metrics": self._checked(self._metrics),
        }

    def lost(self) -> None:
        """Take it that the worker is gone: nobody waits there, no session lives there."""
        for request in self._attendance.lost(self):
            self._docket.withdraw(request, GONE)
        if self.worker and self._fleet.left(self):
            self._store.drop_sessions(self.worker)

    def tell(self, name: str, body: Body) -> None:
        """Tell the worker."""
        if self.peer is not None:
            self.peer.tell(name, **body)

    async def call(self, name: str, body: Body) -> bool:
        """Tell the worker and wait; one that does not answer is disconnected, and comes back."""
        peer = self.peer
        if peer is None:
            return False
        try:
            await peer.call(name, TAKE_TIMEOUT, **body)
        except (UnavailableError, DeferredTimeoutError) as error:
            log.warn(
                "worker {worker} has not taken {name}, so it is disconnected: {why}",
                worker=self.worker,
                name=name,
                why=str(error) or type(error).__name__,
            )
            peer.close()
            return False
        return True

    async def ask(self, name: str, body: Body) -> Body:
        """Ask the worker something, and return its answer.

        Raises:
            UnavailableError: it has none, or none in time.

        """
        if self.peer is None:
            raise UnavailableError(f"worker {self.worker} is not connected")
        try:
            return await self.peer.call(name, TAKE_TIMEOUT, **body)
        except DeferredTimeoutError as error:
            raise UnavailableError(f"worker {self.worker} does not answer") from error

    def _checked(self, handler: Handler) -> Handler:
        """Refuse calls before the greeting, and bodies that are not as they should be."""

        def handle(body: Body) -> Any:
            if not self.worker:
                raise UnavailableError("say hello first")
            try:
                return handler(body)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UnavailableError(f"a malformed call: {type(error).__name__}") from error

        return handle

    def _hello(self, body: Body) -> Body:
        worker = body.get("worker")
        if not isinstance(worker, str) or not 0 < len(worker) <= 64:
            raise UnavailableError("a worker must say its name")
        self.worker = worker
        # What an earlier connection of the same name announced is announced again.
        self._store.drop_sessions(worker)
        self._fleet.joined(self)
        log.info("worker {worker} is connected", worker=worker)
        return {
            "token_keys": self._signer.jwks,
            "issuer": self._signer.issuer,
            "now": self._now(),
            "revoked": dict(self._store.revoked()),
            "grants": self._granting.in_force(),
        }

    def _session_password(self, body: Body) -> Body:
        row = self._store.password(str(body["handle"]))
        if row is None or row.expires <= self._now() or row.principal.expires <= self._now():
            raise AuthenticationError("there is no such session password")
        return {
            "target": row.target,
            "account": row.account,
            "principal": principal_to_dict(row.principal),
            "salt": row.salt,
            "iterations": row.iterations,
            "stored_key": row.stored_key,
            "server_key": row.server_key,
        }

    def _chain_shown(self, body: Body) -> Body:
        proof = body.get("proof")
        try:
            self._delegations.admit(
                principal_from_dict(body["principal"]),
                None if proof is None else str(proof),
                float(body.get("expires") or 0.0),
                tuple(map(float, body.get("ends", ()))),
            )
        except UnavailableError as error:  # not the caller's fault, and told apart by it
            return {"unavailable": str(error)}
        return {}

    def _grant_use(self, body: Body) -> Body:
        ok = self._granting.ledger.use(
            str(body["grant"]), str(body["session"]), bytes(body["digest"])
        )
        return {"ok": ok}

    def _grant_used(self, body: Body) -> Body:
        self._granting.ledger.was_used(str(body["grant"]), str(body["session"]))
        return {}

    def _call_refused(self, body: Body) -> Body:
        """Note what somebody may ask for as one call."""
        self._granting.calls.note(
            RefusedCall(
                principal=principal_from_dict(body["principal"]),
                target=str(body["target"]),
                action=str(body["action"]),
                digest=bytes(body["digest"]),
                text=bytes(body["text"]),
                at=self._granting.clock(),
            )
        )
        return {}

    def _budget_take(self, body: Body) -> Body:
        nodes, wanted = _budgeted(body["nodes"]), _amounts(body["wanted"])
        kept = body.get("kept")
        kept = LINEAGE_KEPT if kept is None else min(float(kept), LINEAGE_KEPT)
        taken = self._store.nodes.take(nodes, wanted, self._now() + kept)
        return {"given": dict(taken.given), "left": dict(taken.left), "short": dict(taken.short)}

    def _budget_return(self, body: Body) -> Body:
        self._store.nodes.give_back(_budgeted(body["nodes"]), _amounts(body["amounts"]))
        return {}

    def _review_ask(self, body: Body) -> Body:
        request = self._docket.file(
            Ask(
                principal=principal_from_dict(body["principal"]),
                session=str(body["session"]),
                protocol=str(body["protocol"]),
                target=str(body["target"]),
                action=str(body["action"]),
                text=bytes(body["text"]),
                digest=bytes(body["digest"]),
                context=context_from_dict(body["context"]),
                remedies=remedies_from_list(body["remedies"]),
                reason=str(body.get("reason") or ""),
                again=body.get("later") is True,
            )
        )
        filed: Body = {
            "request": request.id,
            "groups": groups_asked(request.remedies),
            "expires": request.expires,
        }
        if request.state == "approved":
            votes = list(self._store.votes(request.id))
            return {**filed, "settled": settled_body(request, votes)}
        self._attendance.seen(request.id, self)
        log.info("request {id} waits for approval", id=request.id, target=request.target)
        return filed

    def _review_alive(self, body: Body) -> Body:
        """Note who waits; say what was settled while the worker could not be told."""
        settled = []
        for name in list(body["requests"])[:ALIVE_LIMIT]:
            if self._attendance.is_waiting(str(name), self):
                self._attendance.seen(str(name), self)  # it is not settled, or it were forgotten
                continue
            request = self._store.request(str(name))
            if request is None:
                settled.append(_unknown(str(name)))
            elif request.state == "requested":
                self._attendance.seen(request.id, self)
            else:
                settled.append(settled_body(request, list(self._store.votes(request.id))))
        return {"settled": settled}

    def _review_consume(self, body: Body) -> Body:
        ok = self._docket.consume(str(body["request"]), bytes(body["digest"]))
        return {"ok": ok}

    def _review_withdraw(self, body: Body) -> Body:
        request = str(body["request"])
        if self._attendance.left(request, self):
            self._docket.withdraw(request, GONE)
        return {}

    async def _held_standing(self, body: Body) -> Body:
        """Ask the worker that keeps a request how it stands; else say it of its review."""
        worker, name = self._fleet.find(str(body["worker"])), str(body["request"])
        if worker is not None:
            told = await worker.ask("held_standing", {"request": name})
            if "standing" in told:
                return told
        request = self._store.request(name)
        if request is None:
            return {"state": "withdrawn", "note": ""}
        return {"state": request.state, "note": request.note}

    def _session_opened(self, body: Body) -> Body:
        principal = principal_from_dict(body["principal"])
        head = SessionHead(
            id=str(body["session"]),
            worker=self.worker,
            principal=principal,
            target=str(body["target"]),
            protocol=str(body["protocol"]),
            account=str(body.get("account") or ""),
            address=str(body.get("address") or ""),
            opened=float(body.get("opened") or self._now()),
        )
        self._store.open_session(head)
        if self._delegations.is_ended(principal):
            # A token that was given before a group was taken away opens sessions for minutes.
            self.tell("cut", {"session": head.id, "reason": ENDED})
        return {}

    def _session_closed(self, body: Body) -> Body:
        self._store.close_session(str(body["session"]))
        return {}

    def _agent_certificate(self, body: Body) -> Body:
        row = self._store.agent(str(body["name"]))
        serial = body["serial"]
        text = f"{serial:x}" if isinstance(serial, int) else str(serial).lower().lstrip("0")
        ok = row is not None and row.accepts(text) and row.expires > self._now()
        if ok and row is not None and row.previous and text == row.serial:
            # The agent has its new certificate: from here on, the one before is of use to thieves.
            self._store.put_agent(evolve(row, previous=""))
        if not ok:
            log.warn("agent {agent} is not enrolled with that certificate", agent=str(body["name"]))
        return {"ok": ok}

    def _agent_status(self, body: Body) -> Body:
        self._fleet.report_agents(self, body["agents"])
        return {}

    def _metrics(self, body: Body) -> Body:
        self._fleet.report_counters(self, body["values"])
        return {}


def _budgeted(values: Iterable[Mapping[str, Any]]) -> list[Node]:
    return [node_from_dict(value) for value in values]


def _amounts(values: Mapping[str, Any]) -> dict[str, int]:
    """Return amounts as a worker says them. Raises `ValueError`."""
    if any(name not in AMOUNTS or type(amount) is not int for name, amount in values.items()):
        raise ValueError("not amounts of a budget")
    return dict(values)


def _unknown(request: str) -> Body:
    reason = "control does not know this request any more"
    return {"request": request, "outcome": "withdrawn", "voters": [], "reason": reason}
