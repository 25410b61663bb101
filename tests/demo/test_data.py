"""Tests for `hoopgw.demo.data`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo.data import (
    CANCELLED,
    CUSTOMERS,
    customers,
    database_script,
    luhn_digit,
    orders,
)


class DataTests(SynchronousTestCase):
    """The rows are realistic, harmless and always the same."""

    def test_deterministic(self) -> None:
        """Two runs give the same rows, another seed others."""
        self.assertEqual(customers(), customers())
        self.assertEqual(orders(customers()), orders(customers()))
        self.assertNotEqual(customers(), customers(seed=9))

    def test_customers(self) -> None:
        """Unique addresses in the domains for examples, and ids of an area that is never issued."""
        people = customers()
        self.assertEqual(len(people), CUSTOMERS)
        self.assertEqual(len({person.email for person in people}), CUSTOMERS)
        for person in people:
            self.assertRegex(person.email, r"^[a-z.]+\d+@example\.(com|net|org)$")
            self.assertRegex(person.national_id, r"^666-\d{2}-\d{4}$")

    def test_cards(self) -> None:
        """Cards are Luhn-valid, with 16 digits and a prefix that is published for tests."""
        for person in customers():
            self.assertEqual(len(person.card), 16)
            self.assertEqual(luhn_digit(person.card[:-1]), person.card[-1])
            self.assertIn(person.card[:6], {"411111", "424242", "555555", "510510"})

    def test_luhn(self) -> None:
        """A number that payment providers publish (4111 1111 1111 1111), and ISO's example."""
        self.assertEqual(luhn_digit("411111111111111"), "1")
        self.assertEqual(luhn_digit("7992739871"), "3")

    def test_orders(self) -> None:
        """Every order has a customer, and a known number is cancelled."""
        people = customers()
        rows = orders(people)
        self.assertEqual(sum(row.status == "cancelled" for row in rows), CANCELLED)
        self.assertTrue({row.customer for row in rows} <= {person.id for person in people})
        self.assertEqual([row.id for row in rows], list(range(1, len(rows) + 1)))

    def test_a_password_cannot_break_out(self) -> None:
        """Nothing is written for a password with a quote in it."""
        self.assertRaises(ValueError, list, database_script({"app_reader": "x'; --"}))
