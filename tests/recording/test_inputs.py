"""What policy was asked comes back from its record exactly, or not at all."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Cap, ContextValue, Hop, HopKind, Resource
from hoopgw.recording import inputs
from hoopgw.recording.inputs import (
    AGAIN,
    INPUTS_LIMIT,
    BadInputError,
    InputBook,
    NotedInput,
    hop_of,
    hop_record,
    question_of,
)
from hoopgw.recording.records import DecisionInput, HopRecord, ResourceRecord, decode, encode
from hoopgw.wire_values import attributes_from_dict

words = st.text(max_size=6)
kinds: st.SearchStrategy[HopKind] = st.sampled_from(["person", "workload", "agent"])
caps = st.builds(Cap, target=words, actions=st.frozensets(words, min_size=1, max_size=3))
hops = st.builds(
    Hop,
    id=words,
    name=words,
    kind=kinds,
    groups=st.frozensets(words, max_size=3),
    caps=st.none() | st.lists(caps, max_size=2).map(tuple),
    attested=st.booleans(),
    isolated=st.booleans(),
    attributes=st.dictionaries(words, words | st.lists(words, max_size=2)).map(
        attributes_from_dict
    ),
)
resources = st.recursive(
    st.builds(Resource, type=words, id=words, labels=st.frozensets(words, max_size=2)),
    lambda inner: st.builds(
        Resource,
        type=words,
        id=words,
        parents=st.lists(inner, max_size=2).map(tuple),
        labels=st.frozensets(words, max_size=2),
    ),
    max_leaves=6,
)
accesses = st.lists(st.builds(Access, action=words, resource=resources), min_size=1, max_size=4)
values: st.SearchStrategy[ContextValue] = st.one_of(
    words,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(words, max_size=3).map(tuple),
)


def recorded(question: list[Access], context: dict[str, ContextValue]) -> DecisionInput:
    """Record a question, and read it as a log's reader does."""
    noted = NotedInput.of(question, context)
    assert noted is not None
    found = decode(encode(noted.record("s", 3, 7)))
    assert isinstance(found, DecisionInput)
    return found


class RoundTripTests(SynchronousTestCase):
    """Tests for `NotedInput` and `question_of`."""

    @given(accesses, st.dictionaries(words, values, max_size=4))
    def test_all_comes_back(self, question: list[Access], context: dict[str, ContextValue]) -> None:
        """With the types of all values: to Cedar, True is not 1."""
        found = question_of(recorded(question, context))
        self.assertEqual(found, (tuple(question), context))
        self.assertEqual(
            {name: type(value) for name, value in found[1].items()},
            {name: type(value) for name, value in context.items()},
        )

    @given(hops)
    def test_hops_come_back(self, hop: Hop) -> None:
        data = msgspec.msgpack.encode(hop_record(hop))
        self.assertEqual(hop_of(msgspec.msgpack.decode(data, type=HopRecord)), hop)

    def test_hops_of_older_logs(self) -> None:
        """What they do not say is as usual."""
        old = msgspec.msgpack.decode(
            msgspec.msgpack.encode(["a", "b", "agent", []]), type=HopRecord
        )
        self.assertEqual(hop_of(old), Hop(id="a", name="b", kind="agent"))
        with self.assertRaises(BadInputError):
            hop_of(HopRecord("a", "b", "king", []))

    def test_the_same_question_has_the_same_name(self) -> None:
        """In whatever order its context comes; another question has another."""
        one = Access(action="a", resource=Resource(type="T", id="x"))
        name = recorded([one], {"p": 1, "q": "v"}).id
        self.assertEqual(recorded([one], {"q": "v", "p": 1}).id, name)
        self.assertNotEqual(recorded([one], {"p": True, "q": "v"}).id, name)

    def test_what_has_no_form(self) -> None:
        """Policy refuses such a context; its record is made without."""
        one = Access(action="a", resource=Resource(type="T", id="x"))
        self.assertIsNone(NotedInput.of([one], {"big": 2**70}))


class ChangedTests(SynchronousTestCase):
    """A record that was changed is not taken for a question."""

    def setUp(self) -> None:
        above = Resource(type="T", id="above")
        one = Access(action="a", resource=Resource(type="T", id="x", parents=(above,)))
        self.good = recorded([one], {"p": 1})

    def test_each_part(self) -> None:
        question_of(self.good)
        changes: list[dict[str, object]] = [
            {"context": {"p": 2}},
            {"accesses": []},
            {"resources": [ResourceRecord("T", "x", [], [])]},
            {"id": bytes(16)},
        ]
        for change in changes:
            with self.assertRaises(BadInputError):
                question_of(msgspec.structs.replace(self.good, **change))

    def test_references_to_nowhere(self) -> None:
        """Also where the name fits, as whoever wrote it made it fit."""
        for rows in (
            [ResourceRecord("T", "x", [0], []), ResourceRecord("T", "y", [], [])],
            [ResourceRecord("T", "x", [-1], [])],
            [],
        ):
            name = inputs._digest(self.good.accesses, rows, {})
            record = DecisionInput("s", 0, 0, name, self.good.accesses, rows, {})
            with self.assertRaisesRegex(BadInputError, "not there"):
                question_of(record)


class BookTests(SynchronousTestCase):
    """Tests for `InputBook`."""

    def test_once_and_again_after_an_hour(self) -> None:
        book = InputBook()
        self.assertFalse(book.is_written(b"a", 5))
        book.wrote(b"a")
        self.assertTrue(book.is_written(b"a", AGAIN))
        self.assertFalse(book.is_written(b"a", 5 + AGAIN))

    def test_a_clock_that_is_set_back(self) -> None:
        """Is no reason to leave an input out for long."""
        book = InputBook()
        book.is_written(b"a", 10 * AGAIN)
        book.wrote(b"a")
        self.assertFalse(book.is_written(b"a", 1))

    def test_it_is_bounded(self) -> None:
        book = InputBook()
        book.is_written(b"", 1)
        for number in range(INPUTS_LIMIT + 1):
            book.wrote(number.to_bytes(4, "big"))
        self.assertFalse(book.is_written((0).to_bytes(4, "big"), 2))
        self.assertTrue(book.is_written(INPUTS_LIMIT.to_bytes(4, "big"), 2))
