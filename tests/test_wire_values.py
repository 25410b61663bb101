"""Tests for `hoopgw.wire_values`."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Origin, Principal
from hoopgw.wire_values import (
    attributes_from_dict,
    hop_to_dict,
    principal_from_dict,
    principal_to_dict,
)

JOB = Hop(
    id="ci|42",
    name="acme/orders",
    kind="workload",
    attributes=(("ref", "refs/heads/main"), ("roles", ("a", "b"))),
)
PRINCIPAL = Principal(
    chain=(JOB,),
    session="s",
    expires=1.0,
    origin=Origin(persons=frozenset({"corp|alice"}), attributes=(("run", "7"),)),
)


class PrincipalTests(SynchronousTestCase):
    """Principals as plain values."""

    def test_attributes_and_origin_come_back(self) -> None:
        """What an issuer said of a root, and who stood behind it."""
        self.assertEqual(principal_from_dict(principal_to_dict(PRINCIPAL)), PRINCIPAL)
        hash(principal_from_dict(principal_to_dict(PRINCIPAL)))

    def test_nothing_is_written_for_nothing(self) -> None:
        """Most principals have neither."""
        plain = evolve(PRINCIPAL, chain=(evolve(JOB, attributes=()),), origin=Origin())
        self.assertNotIn("origin", principal_to_dict(plain))
        self.assertNotIn("attributes", hop_to_dict(plain.root))

    def test_order_does_not_matter(self) -> None:
        """The same values are the same key, as they came."""
        one = attributes_from_dict({"b": "1", "a": ["x"]})
        self.assertEqual(one, attributes_from_dict({"a": ["x"], "b": "1"}))

    def test_wrong_values(self) -> None:
        """Each is a `ValueError`."""
        good = principal_to_dict(PRINCIPAL)
        wrong: list[dict[str, Any]] = [
            {"origin": {"persons": "corp|alice"}},
            {"origin": {"attributes": ["x"]}},
            {"origin": []},
            {"chain": [hop_to_dict(JOB) | {"attributes": {"ref": 1}}]},
            {"chain": [hop_to_dict(JOB) | {"attributes": {"roles": [1]}}]},
            {"chain": [hop_to_dict(JOB) | {"attributes": "x"}]},
        ]
        for changes in wrong:
            self.assertRaises(ValueError, principal_from_dict, good | changes)
