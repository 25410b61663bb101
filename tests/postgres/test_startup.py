"""What a client may ask for when it connects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres import wire
from hoopgw_postgres.startup import SETTINGS, StartupRefusedError, Wanted, wanted


def ask(**parameters: str) -> Wanted:
    """Ask for target orders, unless said otherwise."""
    given_ = {"user": "app", "database": "orders", **parameters}
    return wanted(wire.Startup(wire.PROTOCOL_3_0, given_), {"orders"})


class WantedTests(SynchronousTestCase):
    """Tests for `wanted`."""

    def refused(self, code: str, **parameters: str) -> StartupRefusedError:
        error = self.assertRaises(StartupRefusedError, ask, **parameters)
        self.assertEqual(error.code, code)
        assert isinstance(error, StartupRefusedError)
        return error

    def test_target_database_account(self) -> None:
        """They are read from dbname and user."""
        self.assertEqual(ask(), Wanted(target="orders", database="", account="app", handle=""))
        self.assertEqual(ask(database="orders/shop").database, "shop")
        self.assertEqual(ask(user="app~h4Tq9").handle, "h4Tq9")
        self.assertEqual(ask(user="a~b~h4Tq9").account, "a~b")

    def test_unknown_target(self) -> None:
        """The hint says how to name one."""
        self.assertIn("dbname=TARGET", self.refused("3D000", database="nope").hint or "")
        self.refused("3D000", database="nope host=evil")

    def test_replication_never_passes(self) -> None:
        """Neither physical nor logical."""
        for value in ("true", "database", "on", "1", "yes"):
            self.refused("0A000", replication=value)
        ask(replication="false")

    def test_options(self) -> None:
        """Allowed settings in any spelling; nothing else."""
        found = ask(options="-c statement_timeout=5s --TimeZone=UTC -cextra_float_digits=3")
        self.assertEqual(
            dict(found.settings),
            {"statement_timeout": "5s", "timezone": "UTC", "extra_float_digits": "3"},
        )
        self.assertEqual(
            ask(options=r"-c application_name=a\ b").settings["application_name"], "a b"
        )
        for options in ("-c role=postgres", "-c search_path=evil", "-d 5", "junk", "-c a"):
            self.refused("0A000", options=options)

    def test_dangerous_settings(self) -> None:
        """What changes who acts, what is loaded, or what bytes mean does not pass."""
        for name in (
            "role",
            "session_authorization",
            "search_path",
            "local_preload_libraries",
            "session_preload_libraries",
            "standard_conforming_strings",
            "client_min_messages",
            "debug_print_rewritten",
        ):
            self.refused("0A000", **{name: "x"})

    def test_encoding(self) -> None:
        """UTF8 in its spellings, and no other."""
        for value in ("UTF8", "utf-8", "'utf-8'", "UNICODE"):
            self.assertEqual(dict(ask(client_encoding=value).settings), {})
        for value in ("SJIS", "latin1", "SQL_ASCII"):
            self.refused("0A000", client_encoding=value)

    @given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
    def test_only_allowed_settings_come_out(self, parameters: dict[str, str]) -> None:
        """Whatever a client asks, the target is asked for allowed settings only."""
        try:
            found = ask(**parameters)
        except StartupRefusedError:
            return
        self.assertLessEqual(set(found.settings), SETTINGS)
