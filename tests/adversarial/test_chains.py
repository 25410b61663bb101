"""Chains of delegation under attack: each is refused, by the check that is there for it.

Where one check alone stands in the way, it is taken out of a copy of the verifier, and the attack
succeeds: so no check is idle, and none of the attacks is refused for another reason than it seems.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity import chains
from hoopgw.identity.hops import prove
from hoopgw.identity.tokens import GATEWAY, TokenSigner, TokenVerifier, public_key_set
from tests.adversarial import chain_attacks, chain_claims
from tests.adversarial.chain_forging import Attack, Cut
from tests.identity.forge import NOW
from tests.identity.lineage import ORDERS, URL, Family, key

ATTACKS = (*chain_attacks.attacks(), *chain_claims.attacks())
FAMILY = Family()


@functools.cache
def without(cut: Cut) -> Any:
    """Return a copy of the verifier's module that lacks a check."""
    there, instead = cut
    source = inspect.getsource(chains)
    assert source.count(there) == 1, f"this check is not in the verifier: {there}"
    copy = types.ModuleType("chains_without_a_check")
    copy.__dict__["__file__"] = chains.__file__
    code = compile(source.replace(there, instead), "chains_without_a_check", "exec")
    exec(code, copy.__dict__)  # noqa: S102  # our own source, less one check
    return copy


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_refused(attack: Attack) -> None:
    """With an error for the log that names the right reason."""
    with pytest.raises(AuthenticationError, match=attack.why):
        chains.read_chain(attack.make(FAMILY), ORDERS, NOW, FAMILY.verifier)


@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if each.cut is not None], ids=lambda attack: attack.name
)
def test_would_succeed_without_its_check(attack: Attack) -> None:
    """Or break, where a value would go on that nothing behind it expects."""
    assert attack.cut is not None
    with contextlib.suppress(TypeError, ValueError, AttributeError):  # AuthenticationError is none
        without(attack.cut).read_chain(attack.make(FAMILY), ORDERS, NOW, FAMILY.verifier)


def test_enough() -> None:
    """They are distinct, and many."""
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert len(ATTACKS) >= 60


class MemoryTests(SynchronousTestCase):
    """What needs memory, or more than one gateway."""

    def setUp(self) -> None:
        self.family = FAMILY
        self.chain = self.family.chain("alice", "planner", "migrator")

    def test_replay(self) -> None:
        """A pop is good once; a chain as often as it is proved anew."""
        seen: set[str] = set()

        def used(name: str, _expires: float) -> bool:
            new = name not in seen
            seen.add(name)
            return new

        shown = self.family.shown(self.chain, "migrator")
        verify = functools.partial(
            chains.verify_chain,
            audience=ORDERS,
            now=NOW,
            verifier=self.family.verifier,
            used=used,
        )
        verify(shown)
        for again in (shown, shown):
            with self.assertRaisesRegex(AuthenticationError, "used before"):
                verify(again)
        verify(self.family.shown(self.chain, "migrator"))

    def test_another_signature_of_the_same_pop(self) -> None:
        """What is remembered is not the text: signing it anew does not make it new."""
        one = self.family.forged_pop(self.chain, "migrator", exp=int(NOW) + 60)
        two = self.family.forged_pop(self.chain, "migrator", exp=int(NOW) + 61)
        first, second = self.family.read(one).proof, self.family.read(two).proof
        assert first is not None
        assert second is not None
        self.assertNotEqual(one, two)
        self.assertEqual(first.id, second.id)

    def test_one_id_of_two_keys(self) -> None:
        """Nobody can use up another's pop by guessing its id."""
        mine = self.family.read(self.family.forged_pop(self.family.chain("alice", "x"), "x"))
        theirs = self.family.read(self.family.forged_pop(self.chain, "migrator"))
        assert mine.proof is not None
        assert theirs.proof is not None
        self.assertNotEqual(mine.proof.id, theirs.proof.id)

    def test_a_root_key_that_was_rotated_out(self) -> None:
        """Good as long as it is published, and not a moment longer."""
        shown = self.family.shown(self.chain, "migrator")
        both = TokenVerifier(public_key_set([key("new"), key("gateway")]), URL)
        chains.read_chain(shown, ORDERS, NOW, both)
        alone = TokenVerifier(TokenSigner(key("new"), URL).jwks, URL)
        with self.assertRaisesRegex(AuthenticationError, "not signed by a key"):
            chains.read_chain(shown, ORDERS, NOW, alone)

    def test_a_stolen_chain_is_of_no_use_without_its_key(self) -> None:
        """Without a pop, with the pop of somebody else, with a proof of another key."""
        for holder in (None, "", "x", key("alice").thumbprint(), key("planner").thumbprint()):
            with self.assertRaisesRegex(AuthenticationError, "nothing proves"):
                self.family.read(self.chain, holder=holder)
        self.family.read(self.chain, holder=key("migrator").thumbprint())

    def test_a_child_cannot_become_its_parent(self) -> None:
        """With all that it was given: the whole chain, its own key, any number of pops."""
        parts = self.family.shown(self.chain, "migrator").split("~")
        for end in range(1, 3):
            stump = "~".join(parts[:end])
            with self.assertRaises(AuthenticationError):
                self.family.read(stump)
            with self.assertRaises(AuthenticationError):
                self.family.read(f"{stump}~{parts[-1]}")
            with self.assertRaises(ValueError):
                prove(stump, key("migrator"), ORDERS, NOW)
            with self.assertRaisesRegex(AuthenticationError, "signature is wrong"):
                self.family.read(self.family.forged_pop(stump, "migrator"))

    def test_clocks(self) -> None:
        """A makers' clock may be off by half a minute, and no more."""
        for skew, good in ((-30, True), (30, True), (31, False), (-119, True), (-120, False)):
            shown = prove(self.chain, key("migrator"), ORDERS, NOW + skew)
            with self.subTest(skew=skew):
                if good:
                    self.family.read(shown)
                else:
                    self.assertRaises(AuthenticationError, self.family.read, shown)

    def test_a_pop_for_the_gateway_opens_no_target(self) -> None:
        """Nor the other way round."""
        for made, shown in ((GATEWAY, ORDERS), (ORDERS, GATEWAY)):
            token = prove(self.chain, key("migrator"), made, NOW)
            with self.assertRaisesRegex(AuthenticationError, "something else"):
                self.family.read(token, audience=shown)
            self.family.read(token, audience=made)

    @given(st.data())
    def test_any_change_of_one_character(self, data: st.DataObject) -> None:
        """There is one spelling of a chain, and no other is good."""
        shown = _SHOWN
        at = data.draw(st.integers(0, len(shown) - 1))
        other = data.draw(st.sampled_from("ABCz019-_.~= \n\0é"))
        if shown[at] != other:
            with self.assertRaises(AuthenticationError):
                self.family.read(shown[:at] + other + shown[at + 1 :])

    @given(st.permutations(range(4)), st.integers(1, 4))
    def test_any_other_order(self, order: list[int], count: int) -> None:
        """Parts in another order, or fewer of them, are refused."""
        parts = _SHOWN.split("~")
        if order[:count] != [0, 1, 2, 3]:
            with self.assertRaises(AuthenticationError):
                self.family.read("~".join(parts[number] for number in order[:count]))


_SHOWN = FAMILY.shown(FAMILY.chain("alice", "planner", "migrator"), "migrator")
