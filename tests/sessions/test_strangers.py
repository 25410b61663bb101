"""Who has to go when too many are logging in."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.sessions.strangers import Strangers


@define(eq=False)
class Caller:
    """A connection that notes when it is closed."""

    strangers: Strangers = field(repr=False)
    address: str
    is_away: bool = False

    def come(self) -> Caller:
        """Connect."""
        self.strangers.came(self.address, self)
        return self

    def turn_away(self) -> None:
        self.is_away = True
        self.strangers.left(self.address, self)


class StrangersTests(SynchronousTestCase):
    """Tests for `Strangers`."""

    def test_whoever_fills_the_house_loses(self) -> None:
        """The oldest of the crowd goes, and nobody else's."""
        strangers = Strangers(limit=4)
        other = Caller(strangers, "192.0.2.1").come()
        crowd = [Caller(strangers, "198.51.100.1").come() for _ in range(3)]
        late = Caller(strangers, "203.0.113.1").come()
        self.assertEqual([caller.is_away for caller in crowd], [True, False, False])
        self.assertFalse(other.is_away or late.is_away)
        self.assertEqual(len(strangers), 4)

    def test_one_host_alone(self) -> None:
        """Its newest is let in: a log-in gets through a flood of the silent."""
        strangers = Strangers(limit=2)
        first, second, third = (Caller(strangers, "192.0.2.1").come() for _ in range(3))
        self.assertEqual([first.is_away, second.is_away, third.is_away], [True, False, False])

    def test_a_limit_for_one_address(self) -> None:
        """Its own oldest goes, though there is room."""
        strangers = Strangers(limit=10, limit_per_address=2)
        other = Caller(strangers, "192.0.2.1").come()
        crowd = [Caller(strangers, "198.51.100.1").come() for _ in range(3)]
        self.assertEqual([caller.is_away for caller in crowd], [True, False, False])
        self.assertFalse(other.is_away)

    def test_a_host_with_many_addresses(self) -> None:
        """An IPv6 host is its network: it wears nobody else out, who takes minutes for a code."""
        strangers = Strangers(limit=10, limit_per_address=4)
        other = Caller(strangers, "2001:db8:1::1").come()
        crowd = [Caller(strangers, f"2001:db8:2::{n:x}").come() for n in range(20)]
        self.assertFalse(other.is_away)
        self.assertEqual(len(strangers), 1 + 4)
        for caller in crowd:
            strangers.left(caller.address, caller)
        self.assertEqual(len(strangers), 1)

    def test_to_leave_twice(self) -> None:
        """It counts once."""
        strangers = Strangers(limit=2)
        caller = Caller(strangers, "192.0.2.1").come()
        strangers.left("192.0.2.1", caller)
        strangers.left("192.0.2.1", caller)
        strangers.left("192.0.2.9", caller)
        self.assertEqual(len(strangers), 0)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
    def test_never_more_than_the_limit(self, steps: list[tuple[str, bool]]) -> None:
        """Whoever comes and goes: the count is right, and the newest is in."""
        strangers = Strangers(limit=3)
        inside: list[Caller] = []
        for address, leaves in steps:
            if leaves and inside:
                caller = inside.pop()
                strangers.left(caller.address, caller)
            else:
                inside.append(Caller(strangers, address).come())
                self.assertFalse(inside[-1].is_away)
            inside = [caller for caller in inside if not caller.is_away]
            self.assertEqual(len(strangers), len(inside))
            self.assertLessEqual(len(strangers), 3)
