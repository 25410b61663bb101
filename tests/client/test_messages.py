"""What a broker and its clients say to each other."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.client.errors import Refused
from hoopgw.client.messages import (
    answer_of,
    decode,
    encode,
    standing_from_dict,
    standing_to_dict,
    terms_from_dict,
    terms_to_dict,
)
from hoopgw.client.signers import ChildTerms, Standing
from hoopgw.client.values import Target
from hoopgw.events import Budget, Cap

names = st.text("abcdefgh0._-", min_size=1, max_size=10)
actions = st.frozensets(st.sampled_from(["Postgres::read", "Postgres::select", "*"]), min_size=1)
caps = st.none() | st.lists(st.builds(Cap, target=names, actions=actions), max_size=3).map(tuple)
moments = st.integers(1, 10**10).map(float)
terms = st.builds(
    ChildTerms,
    name=names,
    expires=moments,
    caps=caps,
    nest=st.none() | st.integers(0, 5),
    budget=st.none() | st.builds(Budget, operations=st.integers(0, 10**6), rows=st.just(7)),
    purpose=st.text(max_size=20),
    isolated=st.booleans(),
    kind=st.sampled_from(["agent", "workload"]),
)
standings = st.builds(
    Standing,
    path=st.text(max_size=20),
    node=names,
    expires=moments,
    gateway=names,
    ca=st.none() | names,
    caps=caps,
    nest=st.integers(0, 5),
    isolated=st.booleans(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)

MEMBERS = [*terms_to_dict(ChildTerms(name="a", expires=1.0))]


class MessageTests(SynchronousTestCase):
    """Codecs."""

    @given(terms)
    def test_terms_go_round(self, sent: ChildTerms) -> None:
        """What is sent is what arrives."""
        self.assertEqual(terms_from_dict(decode(encode(terms_to_dict(sent)))), sent)

    @given(standings)
    def test_standings_go_round(self, sent: Standing) -> None:
        """What is sent is what arrives."""
        self.assertEqual(standing_from_dict(decode(encode(standing_to_dict(sent)))), sent)

    def test_targets_go_round(self) -> None:
        """What is sent is what arrives."""
        sent = Target(name="a", protocol="postgres", host="::1", port=1, accounts=("x", "y"))
        self.assertEqual(Target.from_dict(sent.as_dict()), sent)

    @given(st.binary(max_size=60))
    def test_garbage_is_refused(self, line: bytes) -> None:
        """No bytes raise anything else."""
        with contextlib.suppress(Refused):
            answer_of(line)

    @given(
        st.dictionaries(
            st.sampled_from([*terms_to_dict(ChildTerms(name="a", expires=1.0))]), json_values
        )
    )
    def test_strange_terms_are_refused(self, values: dict[str, object]) -> None:
        """Neither do members of the wrong kind; what is taken has the right ones."""
        for wrong in (values, {**terms_to_dict(ChildTerms(name="a", expires=1.0)), **values}):
            with contextlib.suppress(Refused):
                taken = terms_from_dict(wrong)
                self.assertIsInstance(taken.name, str)
                self.assertTrue(taken.nest is None or type(taken.nest) is int)

    def test_a_refusal_arrives_whole(self) -> None:
        """Code, hint and how to ask, for programs."""
        sent = Refused("not_in_caps", "no", hint="ask alice", ask={"target": "orders"})
        error = self.assertRaises(Refused, answer_of, encode(sent.as_dict()))
        self.assertEqual(error.as_dict(), sent.as_dict())
        self.assertEqual((error.code, error.ask), ("not_in_caps", {"target": "orders"}))


class DriverErrorTests(SynchronousTestCase):
    """`Refused.of`: what the gateway's refusals say in a driver's errors."""

    DETAIL = '{"code":"grant_required","grants":["read"],"target":"orders"}'

    def error(self, **members: object) -> Exception:
        """Return an error as asyncpg makes it."""
        error = ValueError("no policy permits this")
        for name, value in members.items():
            setattr(error, name, value)
        return error

    def test_what_can_be_asked_for(self) -> None:
        """Code, hint, and the rest as it is."""
        refused = Refused.of(self.error(detail=self.DETAIL, hint="hoopgw request ..."))
        assert refused is not None
        self.assertEqual(refused.code, "grant_required")
        self.assertEqual(refused.ask, {"grants": ["read"], "target": "orders"})
        self.assertEqual(refused.detail, "no policy permits this")
        self.assertEqual(refused.hint, "hoopgw request ...")

    def test_other_errors(self) -> None:
        """Say nothing about it."""
        for detail in (None, "", "Key (id)=(1) is there.", "[]", '{"code":5}', "{", "[" * 9999):
            self.assertIsNone(Refused.of(self.error(detail=detail)), detail)
        self.assertIsNone(Refused.of(ValueError()))
