"""Forms that callers send to the token endpoint, with the proof of Alice's key.

Invariant: whatever the form, the answer is a refusal, or stands for Alice's log-in or something
below it, with every hop that was shown, and ends no later than the log-in.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final
from urllib.parse import parse_qsl, urlencode

from joserfc.jwk import OKPKey

from hoopgw.events import Hop, Principal
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.hops import HopClaims, mint_hop, prove, public_jwk
from hoopgw.identity.issuers import Issuers
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner, TokenVerifier
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, REFRESH_GRANT, SESSION_PASSWORD
from hoopgw.store.rows import LoginRow
from tests.identity.forge import run
from tests.identity.memory import KeptLogins, Passwords

ISSUER: Final = "https://gw.example"
NOW: Final = 1_800_000_000.0
END: Final = NOW + 600
_ALICE, _CHILD = (OKPKey.generate_key("Ed25519") for _ in range(2))
_PRINCIPAL: Final = Principal(
    chain=(Hop(id="corp|1", name="alice", kind="person", groups=frozenset({"dba"})),),
    session="s1",
    expires=END,
)
_SIGNER: Final = TokenSigner(OKPKey.generate_key("Ed25519"), ISSUER)
_VERIFIER: Final = TokenVerifier(_SIGNER.jwks, ISSUER)
_LOGIN: Final = _SIGNER.sign(
    GatewayToken(
        principal=_PRINCIPAL,
        audience=GATEWAY,
        issued=NOW,
        expires=NOW + 300,
        confirmation={"jkt": _ALICE.thumbprint(), "jwk": public_jwk(_ALICE)},
    )
)
_CHAIN: Final = prove(
    mint_hop(_LOGIN, _ALICE, _CHILD, HopClaims(name="planner", expires=END), NOW),
    _CHILD,
    GATEWAY,
    NOW,
)
_REFRESH: Final = "hgr1.s1.secret"
_EXCHANGE: Final = {"grant_type": GRANT, "subject_token_type": ACCESS_TOKEN}
_TERMS: Final = {
    "name": "planner",
    "cnf": json.dumps({"jwk": public_jwk(_CHILD)}),
    "caps": '[{"target":"orders","actions":["Postgres::read"]}]',
    "ttl": "60",
    "nest": "1",
    "budget": '{"rows":1}',
    "purpose": "p",
    "isolated": "true",
}
_ORDERS: Final = {
    "audience": "hoopgw:target:orders",
    "requested_token_type": SESSION_PASSWORD,
    "account": "app",
}
SEEDS: Final = tuple(
    urlencode(form).encode()
    for form in (
        _EXCHANGE | {"subject_token": _LOGIN} | _TERMS,
        _EXCHANGE | {"subject_token": _LOGIN} | _ORDERS,
        _EXCHANGE | {"subject_token": _CHAIN},
        _EXCHANGE | {"subject_token": _CHAIN, "name": "below"},
        {"grant_type": REFRESH_GRANT, "refresh_token": _REFRESH},
    )
)


class _New:
    """Takes everything for its first use. Implements `UsedTokens`."""

    def use(self, _id: str, _expires: float) -> bool:
        return True


def _exchange() -> tuple[Exchange, Passwords]:
    kept, passwords = KeptLogins(), Passwords()
    kept.keep(
        LoginRow(
            id="s1",
            principal=_PRINCIPAL,
            thumbprint=_ALICE.thumbprint(),
            refresh=hashlib.sha256(_REFRESH.encode()).digest(),
            began=NOW,
            groups_at=NOW,
            expires=END,
        )
    )
    parts = TokenParts(
        issuers=Issuers.of([], lambda: NOW),
        signer=_SIGNER,
        verifier=_VERIFIER,
        passwords=passwords,
        used=_New(),
        logins=kept,
        is_target=lambda target, _account: target == "orders",
        is_revoked=lambda _principal: False,
        revoke=lambda _node, _why, _by=None: None,
        end_token=lambda _token: None,
        is_ended_token=lambda _token: False,
        now=lambda: NOW,
    )
    return Exchange(parts), passwords


def fuzz(data: bytes) -> None:
    """Send a form."""
    form = dict(parse_qsl(data.decode("latin-1"), keep_blank_values=True))
    proved = ProvedKey(_ALICE.thumbprint(), "p", NOW + 60, public_jwk(_ALICE))
    exchange, passwords = _exchange()
    try:
        given = run(exchange.exchange(form, proved))
    except ExchangeError:
        return
    if "password" in given:
        principal = passwords.kept[given["handle"]][0].principal
    else:
        token = given["access_token"]
        audience = form.get("audience", GATEWAY)
        principal = _VERIFIER.read(token, audience, NOW).principal
    assert principal.chain[0] == _PRINCIPAL.chain[0]
    assert principal.session == "s1"
    assert principal.expires <= END
    if "refresh_token" in given:
        assert form["refresh_token"] == _REFRESH, "a refresh token that was not given is good"
        return
    hops = form["subject_token"].count("~") - 1 if "~" in form["subject_token"] else 0
    assert len(principal.nodes) == hops + ("node" in given)
