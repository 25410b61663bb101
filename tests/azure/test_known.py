"""The rule and the tables agree, as far as the tables say so."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure import arm, known
from hoopgw_azure.ids import parse
from hoopgw_azure.kinds import returns_secrets


def rows() -> Iterator[tuple[known.Template, tuple[str, ...]]]:
    """Yield the rows of the map, with a path that fits each."""
    for template in known.templates():
        segments = tuple(word.replace("{}", "x") for word in template.segments)
        if template.segments[0] == "{}":  # stands for any scope
            segments = ("subscriptions", "s", *segments[1:])
        yield template, segments


class RuleTests(SynchronousTestCase):
    """The map from method and path to operations, against what we make of the same paths."""

    def test_the_rule_agrees_in_99_percent(self) -> None:
        """14,343 of 14,461: the exceptions are the rows that are marked, but one read better."""
        agreed, total, marks = 0, 0, list[str]()
        for template, segments in rows():
            total += 1
            made = arm.ruled(template.method, parse(segments)).lower()
            agrees = made in [name.lower() for name in template.operations]
            agreed += agrees
            if agrees != template.agrees:
                marks.append("/".join(template.segments))
        self.assertEqual((agreed, total), (14_343, 14_461))
        self.assertEqual(marks, ["subscriptions/{}/providers"])

    def test_with_the_exceptions_all_agree(self) -> None:
        """Each row's operation is found, but of the one row that would make any GET known."""
        missed = []
        for template, segments in rows():
            found = arm.read(template.method, segments, ())
            wanted = {name.lower().replace("{}/", "x/") for name in template.operations}
            if not found.known or wanted.isdisjoint((found.operation.lower(), *found.others)):
                missed.append("/".join(template.segments))
        self.assertEqual(missed, ["subscriptions/{}/resourcegroups/{}/providers/{}/{}/{}/{}"])

    def test_all_of_the_secret_actions_are_masked(self) -> None:
        """Each action that returns secrets by its name is known to, whoever marks it."""
        for (kind, action), paths in known.secrets().actions.items():
            if not paths and action != "action":
                self.assertTrue(returns_secrets(f"{kind}/{action}/action"), (kind, action))

    def test_names_that_only_sound_like_it(self) -> None:
        """What is ordinary stays ordinary."""
        for name in (
            "microsoft.compute/virtualmachines/start/action",
            "microsoft.storage/storageaccounts/read",
            "microsoft.storage/checknameavailability/action",
            "microsoft.keyvault/vaults/keys/read",
            "microsoft.compute/virtualmachines/write",
        ):
            self.assertFalse(returns_secrets(name), name)

    def test_holes_in_the_tables_are_filled(self) -> None:
        """A type that is known at all is read, written and deleted; actions are not guessed."""
        names = known.operations().spelling
        for name in ("web/sites/delete", "web/serverfarms/write", "network/privatednszones/a/read"):
            self.assertIn(f"microsoft.{name}", names)
        self.assertNotIn("microsoft.web/sites/explode/action", names)
        self.assertNotIn("microsoft.web/nothings/read", names)

    def test_tables_are_there(self) -> None:
        """The sizes that the data had; a smaller one would deny what was known."""
        tables = known.operations()
        self.assertGreater(len(tables.spelling), 14_000)
        self.assertEqual(sum(map(len, tables.exceptions.values())), 118)
        self.assertEqual(len(known.secrets().actions), 338)
        self.assertEqual(sum(map(len, known.secrets().fields.values())), 366)
        self.assertEqual(known.roles()["8e3af657-a8ff-443c-a75c-2fe8c4bcb635"], "Owner")
