"""The attack corpus through a whole gateway: no byte that a client gets holds the secret.

`tests.adversarial.test_masking_vectors` judges the same vectors statement by statement; here they
go over TLS to a gateway with an agent and a server behind it, by both protocols and in both
formats, as six principals who see the column in six ways, and as one who sees it in clear: that one
shows that the corpus bites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import pytest
from attrs import define, field

from tests.adversarial.masked_gateway import CLEAR, KINDS, enter, extended, leaks, shown, simple
from tests.adversarial.vectors import ORDINARY, VECTORS, Vector
from tests.support.gateway import GatewayRig
from tests.support.raw_postgres import Message, RawClient

LEAST_LEAKS: Final = 200
"""So many vectors must deliver the secret to who may see it."""
Ask: TypeAlias = Callable[[RawClient, str], list[Message]]
WAYS: Final[dict[str, Ask]] = {
    "simple": simple,
    "text": lambda client, text: extended(client, text, 0),
    "binary": lambda client, text: extended(client, text, 1),
    "undescribed": lambda client, text: extended(client, text, 1, described=False),
}
TIDY: Final = "CLOSE ALL; DEALLOCATE ALL; UNLISTEN *"
"""What a vector that commits leaves behind."""


@define(eq=False)
class Attacker:
    """Runs vectors on one session, and begins another when that has been ended."""

    rig: GatewayRig
    target: str
    group: str
    ask: Ask
    received: int = 0
    """Bytes, all of which were looked at."""
    _client: RawClient | None = field(default=None, init=False)

    def run(self, statements: tuple[str, ...]) -> list[Message]:
        """Run statements in a transaction that is rolled back; return all that came."""
        if self._client is None:
            self._client = enter(self.rig, self.target, self.group)
        client = self._client
        found = simple(client, "BEGIN")
        for text in statements:
            found += self.ask(client, text)
        found += simple(client, "ROLLBACK")
        if "COMMIT" in statements:
            found += simple(client, TIDY)
        if not found or found[-1].kind != "Z":
            self.close()
        self.received += sum(len(got.body) for got in found)
        return found

    def close(self) -> None:
        """End the session."""
        if self._client is not None:
            self._client.close()
            self._client = None


def known(rig: GatewayRig, target: str) -> list[Vector]:
    """Return the vectors that a target's version knows."""
    version = rig.targets[target].server.version
    return [v for v in VECTORS if v.since <= version and version not in v.not_in]


@pytest.fixture
def attackers(masked_rig: GatewayRig) -> Iterator[Callable[[str, str, str], Attacker]]:
    """Make attackers: of a target, from a group, in a way."""
    made: list[Attacker] = []

    def make(target: str, group: str, way: str) -> Attacker:
        made.append(Attacker(masked_rig, target, group, WAYS[way]))
        return made[-1]

    yield make
    for attacker in made:
        attacker.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("target", ["pg15", "pg18"])
def test_nothing_leaks(
    masked_rig: GatewayRig,
    attackers: Callable[[str, str, str], Attacker],
    target: str,
    way: str,
) -> None:
    """Whatever way the statements go."""
    attacker = attackers(target, "last4", way)
    leaking = [v.name for v in known(masked_rig, target) if leaks(attacker.run(v.statements))]
    assert not leaking, "\n".join(leaking)
    assert attacker.received > 20_000


@pytest.mark.parametrize("group", [kind for kind in KINDS if kind != "last4"])
def test_nothing_leaks_whatever_the_mask(
    masked_rig: GatewayRig, attackers: Callable[[str, str, str], Attacker], group: str
) -> None:
    """Each mask, and a column that is hidden, in both formats."""
    for way in ("simple", "binary"):
        attacker = attackers("pg18", group, way)
        leaking = [v.name for v in known(masked_rig, "pg18") if leaks(attacker.run(v.statements))]
        assert not leaking, "\n".join(leaking)


@pytest.mark.parametrize("target", ["pg15", "pg18"])
def test_the_corpus_bites(
    masked_rig: GatewayRig, attackers: Callable[[str, str, str], Attacker], target: str
) -> None:
    """Who may see the column gets it by the same vectors on the same way."""
    attacker = attackers(target, CLEAR, "simple")
    # The others ask yes-or-no questions; one would leave a prepared transaction with its locks.
    vectors = [v for v in known(masked_rig, target) if v.leaks]
    silent = [v.name for v in vectors if not leaks(attacker.run(v.statements))]
    assert len(vectors) - len(silent) >= LEAST_LEAKS, "\n".join(silent)


@pytest.mark.parametrize("way", ["simple", "text"])
@pytest.mark.parametrize("target", ["pg15", "pg18"])
def test_ordinary_statements_run(
    masked_rig: GatewayRig, attackers: Callable[[str, str, str], Attacker], target: str, way: str
) -> None:
    """What only shows the column, or has nothing to do with it, runs; and shows no secret."""
    found = attackers(target, "last4", way).run(ORDINARY)
    assert [got.fields["M"] for got in found if got.kind == "E"] == []
    assert not leaks(found), shown(found)
