"""The attack corpus against the masking rules, on real servers, statement by statement.

First with no defence, to prove that the corpus bites; then with what the rules refuse left out, and
the rest masked. `tests/adversarial/vectors.py` has the statements; the gateway's own tests run the
same through a whole gateway.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import ClassVar

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.policy.decision import Sight
from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.catalog import answer, questions
from hoopgw_postgres.copy import CopyMasker
from hoopgw_postgres.masked import MaskedSet
from hoopgw_postgres.masking import Column, MaskPlan, RowMasker
from hoopgw_postgres.masking_rules import (
    ByIndex,
    MaskRule,
    Refused,
    Untouched,
    judge_facts,
)
from tests.adversarial.raw import Message, RawConnection
from tests.adversarial.vectors import FORMS, KEY, ORDINARY, PEOPLE_KEY, SCHEMA, VECTORS, Vector
from tests.support import postgres

ANALYSER = Analyser()
LEAST_LEAKS = 200
"""So many vectors must deliver the secret when nothing defends it."""
PSQL = (
    *(r"\d", r"\d+", r"\d shop.customers", r"\d+ shop.customers", r"\dt+ shop.*", r"\dv+ shop.*"),
    *(r"\dm shop.*", r"\di+", r"\ds", r"\df shop.*", r"\df+ shop.get_ssn", r"\l", r"\l+", r"\du"),
    *(r"\du+", r"\dn", r"\dn+", r"\dp", r"\dT", r"\do", r"\dx", r"\dD", r"\dC", r"\dE", r"\dF"),
    *(r"\drds", r"\dg", r"\db", r"\dc", r"\ddp", r"\dy", r"\dew", r"\des", r"\deu", r"\dL"),
    *(
        r"\dA",
        r"\dX",
        r"\dP+",
        r"\dRp",
        r"\sf shop.get_ssn",
        r"\sv shop.renamed",
        r"\z",
        r"\conninfo",
    ),
)


def leaks(messages: list[Message]) -> bool:
    """Whether the secret is in what a client would get."""
    everything = b"\n".join(message.body for message in messages)
    flat = everything.replace(b"\0", b"")
    return any(form in everything or form in flat for form in FORMS)


@define(eq=False)
class Defence:
    """What the gateway does to answers, as far as masking goes."""

    masked: MaskedSet
    plan: MaskPlan = field(init=False)
    tainted: bool = False

    def __attrs_post_init__(self) -> None:
        self.plan = MaskPlan(self.masked.masks, b"k" * 32)

    def judge(self, text: str) -> MaskRule:
        """Judge a text."""
        facts = ANALYSER.facts(text.encode())
        assert facts.understood, (text, facts.error)
        return judge_facts(facts, self.masked)

    def apply(self, rule: MaskRule, text: str, messages: list[Message]) -> Iterator[Message]:
        """Mask an answer."""
        self.tainted |= not isinstance(rule, Untouched)
        masker: RowMasker | CopyMasker | None = None
        for message in messages:
            if message.kind == b"T":
                masker = self.plan.for_row_description(message.body)
            elif message.kind == b"H" and isinstance(rule, ByIndex):
                masker = self._copy_masker(rule, text)
            if message.kind in (b"D", b"d") and masker is not None:
                data = masker.mask_rows(message.encode())[0]
                yield Message(message.kind, data[5:])
            elif message.kind in (b"E", b"N") and self.tainted:
                yield Message(message.kind, b"withheld")
            else:
                yield message

    def _copy_masker(self, rule: ByIndex, text: str) -> CopyMasker:
        copy = ANALYSER.facts(text.encode()).statements[0].copy
        assert copy is not None
        code = 1 if copy.format == "binary" else 0
        masks = {}
        for index, (attribute, mask) in rule.masks.items():
            column = Column(0, attribute.number, attribute.type, attribute.typmod, code)
            masks[index] = self.plan.compile(mask, column, code)
        return CopyMasker(copy.format, copy.header, rule.count, masks)


class VectorTests(SynchronousTestCase):
    """On PostgreSQL 18; `Vector15Tests` and `Vector17Tests` run the same."""

    maxDiff = None
    version: ClassVar[postgres.Version] = 18
    server: ClassVar[postgres.Server]
    database: ClassVar[str]
    masked: ClassVar[MaskedSet]

    @classmethod
    def setUpClass(cls) -> None:
        """Make the database, and learn what is masked in it."""
        cls.server = postgres.shared.get(cls.version)
        with cls.server.connect() as connection:
            roles = connection.execute("SELECT FROM pg_roles WHERE rolname = 'app'").fetchall()
            if not roles:
                connection.execute("CREATE ROLE app LOGIN PASSWORD 'app'")
        cls.database = cls.server.new_database(*SCHEMA, "CREATE SEQUENCE shop.s")
        cls.addClassCleanup(cls.server.drop_database, cls.database)
        with cls.server.connect(cls.database) as connection:
            for statement in (
                f"ALTER DATABASE {cls.database} SET search_path = shop, public",
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO app",
                "ALTER FUNCTION shop.get_ssn(int) OWNER TO app",
                "ALTER FUNCTION shop.tax_of(shop.customers) OWNER TO app",
                "ALTER FUNCTION shop.plus(int, int) OWNER TO app",
                "ALTER MATERIALIZED VIEW shop.kept OWNER TO app",
                f"GRANT ALL ON DATABASE {cls.database} TO app",
            ):
                connection.execute(statement.encode())
        with cls.connect() as raw:
            asked = b";".join(questions([KEY, PEOPLE_KEY])).decode()
            found = answer(list(_results(raw.simple(asked))))
        cls.masked = found.seen({KEY: Sight(mask="last4"), PEOPLE_KEY: Sight(mask="redact")})

    @classmethod
    def connect(cls) -> RawConnection:
        """Connect as an ordinary role, past the gateway."""
        return RawConnection(cls.server.connect(cls.database, user="app", password="app"))

    def vectors(self) -> list[Vector]:
        """Return those that this version knows."""
        return [vector for vector in VECTORS if vector.since <= self.version]

    def run_vector(self, vector: Vector, defence: Defence | None) -> tuple[bool, bool]:
        """Run one; return whether it leaks, and whether a statement was refused."""
        with self.connect() as raw:
            raw.simple("BEGIN")
            for text in vector.statements:
                rule: MaskRule = Untouched() if defence is None else defence.judge(text)
                if isinstance(rule, Refused):
                    return False, True
                messages = raw.binary(text) if vector.binary else raw.simple(text)
                if defence is not None:
                    messages = list(defence.apply(rule, text, messages))
                if leaks(messages):
                    return True, False
            return False, False

    def test_without_defence_the_secret_comes_out(self) -> None:
        """The corpus bites: whatever is said to leak does."""
        silent = [v.name for v in self.vectors() if v.leaks and not self.run_vector(v, None)[0]]
        self.assertEqual("\n".join(silent), "")
        biting = sum(vector.leaks for vector in self.vectors())
        self.assertGreater(biting, LEAST_LEAKS)

    def test_with_the_rules_it_does_not(self) -> None:
        """No vector shows the secret, and each that asks yes-or-no questions is refused."""
        leaking, answered = [], []
        for vector in self.vectors():
            leaked, refused = self.run_vector(vector, Defence(self.masked))
            if leaked:
                leaking.append(vector.name)
            if not vector.leaks and not refused:
                answered.append(vector.name)
        self.assertEqual("\n".join(leaking), "")
        self.assertEqual("\n".join(answered), "")

    def test_ordinary_statements_run(self) -> None:
        """What has nothing to do with the column, or shows it as it is, runs and is masked."""
        defence = Defence(self.masked)
        with self.connect() as raw:
            raw.simple("BEGIN")
            for text in ORDINARY:
                rule = defence.judge(text)
                self.assertFalse(isinstance(rule, Refused), f"{text}: {rule}")
                messages = raw.simple(text)
                errors = [message.body for message in messages if message.kind == b"E"]
                self.assertEqual(errors, [], text)
                self.assertFalse(leaks(list(defence.apply(rule, text, messages))), text)

    def test_rules_are_about_the_mask_only(self) -> None:
        """Where nothing is masked, none of it is refused by these rules' relation checks."""
        rule = Defence(self.masked).judge("SELECT upper(item) FROM shop.orders ORDER BY 1")
        self.assertIsInstance(rule, Untouched)

    def test_psql_still_describes(self) -> None:
        """The queries behind psql's backslash commands are not refused."""
        defence = Defence(self.masked)
        refused = []
        queries = self.queries_of_psql()
        self.assertGreater(len(queries), len(PSQL))
        for text in queries:
            rule = defence.judge(text)
            if isinstance(rule, Refused):
                refused.append(f"{rule.reason}: {text}")
        self.assertEqual("\n".join(refused), "")

    def queries_of_psql(self) -> list[str]:
        """Let psql say what it sends for each command."""
        programs = postgres.programs(self.version)
        assert programs is not None
        done = subprocess.run(
            [
                *(programs / "psql", "-X", "-E", "-h", "127.0.0.1", "-p", str(self.server.port)),
                *("-U", "app", "-d", self.database),
            ],
            input="\n".join(PSQL),
            env={"PGPASSWORD": "app", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        # PostgreSQL 17 and later write these lines as comments.
        return re.findall(r"\*{8,} QUERY \*{8,}/?\n(.*?)\n/?\*{20,}", done.stdout, re.DOTALL)


class Vector15Tests(VectorTests):
    """On PostgreSQL 15."""

    version = 15


class Vector17Tests(VectorTests):
    """On PostgreSQL 17."""

    version = 17


def _results(messages: list[Message]) -> Iterator[list[list[bytes | None]]]:
    """Yield the rows of each result of a simple query."""
    rows: list[list[bytes | None]] | None = None
    for message in messages:
        if message.kind == b"T":
            rows = []
        elif message.kind == b"D" and rows is not None:
            rows.append(list(_fields(message.body)))
        elif message.kind == b"C" and rows is not None:
            yield rows
            rows = None
        elif message.kind == b"E":
            raise AssertionError(message.body)


def _fields(body: bytes) -> Iterator[bytes | None]:
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        size = int.from_bytes(body[at : at + 4], "big", signed=True)
        yield None if size < 0 else body[at + 4 : at + 4 + size]
        at += 4 + max(size, 0)
