"""Tickets as an agent gets them.

Invariant: no bytes verify unless the gateway's key signed them for this agent and connection, and
nothing but `TicketError` comes out; what verified once never does again.
"""

from __future__ import annotations

from typing import Final

from joserfc import jws
from joserfc.jwk import OKPKey

from hoopgw.errors import TicketError
from hoopgw.events import Hop, Principal
from hoopgw.link.tickets import ALGORITHM, TYPE, Ticket, TicketSigner, TicketVerifier, key_id

NOW: Final = 1_800_000_000.0
_KEY: Final = OKPKey.generate_key("Ed25519")
_NONCE: Final = b"n" * 32
_GOOD: Final = TicketSigner(_KEY, lambda: NOW).sign(
    Ticket(
        agent="local",
        nonce=_NONCE,
        target="orders",
        account="reader",
        session="s1",
        session_end=NOW + 600,
        principal=Principal(
            chain=(Hop(id="corp|1", name="alice", kind="person"),), session="l1", expires=NOW + 600
        ),
    )
)
_PAYLOAD: Final = b"""{"jti":"j","iat":1800000000,"exp":1800000030,"aud":"local","use":"open",
"nonce":"%s","target":"orders","account":"reader","sid":"s1","end":1800000600.0,"principal":
{"chain":[{"id":"corp|1","name":"alice","kind":"person","groups":[]}],"session":"l1",
"expires":1800000600.0},"digest":null,"exporter":null}""" % _NONCE.hex().encode()
SEEDS: Final = (b"\0" + _GOOD.encode(), b"\1" + _PAYLOAD)


def fuzz(data: bytes) -> None:
    """Verify the bytes as a ticket, or claims of the bytes signed with the gateway's key."""
    if not data:
        return
    if data[0] % 2:
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key_id(_KEY)}
        text = jws.serialize_compact(header, data[1:], _KEY, [ALGORITHM])
    else:
        text = data[1:].decode("latin-1")
    verifier = TicketVerifier("local", {key_id(_KEY): _KEY}, lambda: NOW)
    try:
        ticket = verifier.verify(text, _NONCE)
    except TicketError:
        return
    assert (ticket.agent, ticket.nonce) == ("local", _NONCE)
    assert data[0] % 2 or text == _GOOD, "a ticket of another is good"
    try:
        verifier.verify(text, _NONCE)
    except TicketError:
        return
    raise AssertionError("a ticket was good twice")
