"""Tests for `hoopgw.identity.certified`."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.events import Cap, Hop
from hoopgw.identity.certified import SIZE_LIMIT, Certified, decode, encode
from tests.identity.chains_sample import ALICE, CERTIFIED, CHAIN, GATEWAY

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def changed(**members: Any) -> bytes:
    """Return the sample's form with other members, in the same spelling."""
    form = {**json.loads(encode(CERTIFIED)), **members}
    return json.dumps(
        {name: value for name, value in form.items() if value is not ...},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


class FormTests(SynchronousTestCase):
    """Tests for `encode` and `decode`."""

    def refused(self, data: bytes) -> None:
        self.assertRaises(AuthenticationError, decode, data, GATEWAY)

    def test_all_of_the_chain(self) -> None:
        """What comes back is what was certified: hops, caps, nodes, budgets, log-in, end."""
        self.assertEqual(decode(encode(CERTIFIED), GATEWAY), CERTIFIED)
        bound = evolve(CERTIFIED, account="reader", targets=frozenset({"orders", "stock"}))
        self.assertEqual(decode(encode(bound), GATEWAY), bound)

    @given(TEXT, TEXT, st.frozensets(TEXT, max_size=5), st.booleans())
    def test_any_names(
        self, name: str, group: str, actions: frozenset[str], isolated: bool
    ) -> None:
        """One chain has one form, whatever is in it."""
        caps = (Cap(target="*", actions=actions),) if actions else None
        root = Hop(id=f"corp|{name}", name=name, kind="person", groups=frozenset({group}))
        child = Hop(id="x", name="x", kind="agent", caps=caps, isolated=isolated)
        certified = evolve(CERTIFIED, principal=evolve(CHAIN, chain=(root, child)))
        data = encode(certified)
        self.assertEqual(decode(data, GATEWAY), certified)
        self.assertEqual(encode(decode(data, GATEWAY)), data)

    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def test_garbage(self, data: bytes) -> None:
        """Whatever it is, it is refused in one way."""
        self.refused(data)

    def test_another_spelling(self) -> None:
        """Spaces, order, escapes and doubled members are refused: one form, one signature."""
        good = encode(CERTIFIED)
        self.assertEqual(changed(), good)
        form = json.loads(good)
        for data in (
            good + b" ",
            json.dumps(form).encode(),
            json.dumps(dict(reversed(form.items())), separators=(",", ":")).encode(),
            json.dumps(form, sort_keys=True, separators=(",", ":")).encode(),  # \u00c5
            good.replace(b'"v":1', b'"v":1,"v":1'),
            good.replace(b'"v":1', b'"v":1.0'),
            good.replace(b'"v":1', b'"v":true'),
            good.replace(b'"end":1800007200', b'"end":1800007200.0'),
            good.replace(b'"end":1800007200', b'"end":"1800007200"'),
        ):
            self.assertNotEqual(data, good)
            self.refused(data)

    def test_members(self) -> None:
        """None may be missing, and none may be there that nobody knows."""
        for name in json.loads(encode(CERTIFIED)):
            if name != "nodes":  # the nodes are as many as the hops, which says another test
                self.refused(changed(**{name: ...}))
        for extra in ({"admin": True}, {"proved": True}, {"expires": 9e9}, {"groups": ["root"]}):
            self.refused(changed(**extra))

    def test_values(self) -> None:
        """Each has its kind and its bounds."""
        root = json.loads(encode(CERTIFIED))["chain"][0]
        wrong: tuple[dict[str, Any], ...] = (
            {"v": 2},
            {"iss": GATEWAY + "/"},
            {"iss": "https://other.example"},
            {"aud": []},
            {"aud": "orders"},
            {"aud": [1]},
            {"aud": [f"t{n}" for n in range(40)]},
            {"aud": ["stock", "orders"]},  # not sorted
            {"end": 0},
            {"end": -1},
            {"end": 10**12},
            {"end": None},
            {"session": ""},
            {"session": 7},
            {"account": None},
            {"chain": []},
            {"chain": [root]},  # a node without its hop
            {"nodes": []},  # a hop without its node
            {"chain": [root] * 9},
            {"chain": [{**root, "kind": "god"}]},
            {"chain": [{**root, "groups": "dev"}]},
            {"chain": "x"},
        )
        for members in wrong:
            self.refused(changed(**members))

    def test_too_long(self) -> None:
        """Whoever is in too many groups gets no certificate, and none that long is read."""
        many = evolve(ALICE, groups=frozenset(f"group-{n:05}" for n in range(2000)))
        principal = evolve(CHAIN, chain=(many, CHAIN.chain[1]))
        self.assertRaises(AuthenticationError, encode, evolve(CERTIFIED, principal=principal))
        self.refused(b" " * (SIZE_LIMIT + 1))

    def test_where(self) -> None:
        """Only for its targets, and for its account if it has one."""
        CERTIFIED.admits("orders", "anybody")
        self.assertRaises(AuthenticationError, CERTIFIED.admits, "stock", "anybody")
        bound: Certified = evolve(CERTIFIED, account="reader")
        bound.admits("orders", "reader")
        self.assertRaises(AuthenticationError, bound.admits, "orders", "writer")
