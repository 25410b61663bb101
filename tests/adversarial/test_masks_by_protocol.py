"""What only the protocol can do to see a masked column: `tests.adversarial.masked_attacks`.

Each attack runs at the server, which shows that it bites, and through the gateway as somebody who
sees the column masked: then no byte that is received holds the secret, and none that is kept.
"""

from __future__ import annotations

import pytest

from tests.adversarial import masked_attacks as attacks
from tests.adversarial.masked_attacks import ATTACKS, Attack, left
from tests.adversarial.masked_gateway import ACCOUNT, enter, extended, leaks, shown, simple
from tests.support.gateway import GatewayRig
from tests.support.raw_postgres import direct

TARGETS = ("pg15", "pg18")
each_attack = pytest.mark.parametrize("attack", [pytest.param(a, id=a.__name__) for a in ATTACKS])
DRIBBLED = (
    *(attacks.SHOW, "TABLE shop.customers", "SELECT tax_no FROM shop.renamed"),
    *("COPY (SELECT ssn, id FROM shop.customers) TO STDOUT", attacks.FAILING),
    "COPY shop.customers (id, ssn) TO STDOUT (FORMAT binary)",
)
each_target = pytest.mark.parametrize("target", TARGETS)


@each_attack
@each_target
def test_bites(masked_rig: GatewayRig, target: str, attack: Attack) -> None:
    """At the server itself, past the gateway, each of them delivers the secret."""
    with direct(masked_rig.targets[target], ACCOUNT) as client:
        got = attack(client)
        assert leaks(got), shown(got)


@each_attack
@each_target
@pytest.mark.parametrize("group", ["last4", "hash"])
def test_shows_nothing(masked_rig: GatewayRig, target: str, attack: Attack, group: str) -> None:
    """Who may see it masked does not."""
    with enter(masked_rig, target, group) as client:
        got = attack(client)
        assert not leaks(got), shown(got)
        assert not left(client)


@pytest.mark.parametrize("text", DRIBBLED)
def test_rows_in_pieces(masked_rig: GatewayRig, text: str) -> None:
    """However a server's answer comes, the client gets the same."""
    got = []
    for target in ("pg18", "pieces"):
        with enter(masked_rig, target, "last4") as client:
            got.append([simple(client, text), extended(client, text, 0), extended(client, text, 1)])
    assert got[0] == got[1]
    assert not leaks(each for answers in got for answer in answers for each in answer)
