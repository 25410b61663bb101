"""Tests for `hoopgw_postgres.settings`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.settings import refused_setting

ANALYSER = Analyser()


class SettingTests(SynchronousTestCase):
    """Tests for `refused_setting`."""

    def test_refused(self) -> None:
        for text in (
            "SET client_encoding = 'SJIS'",
            "SET NAMES 'latin1'",
            "SET LOCAL standard_conforming_strings TO off",
            "SET standard_conforming_strings = 0",
            'SET "Standard_Conforming_Strings" = off',
            "SELECT set_config('client_encoding', 'GBK', false)",
            "SELECT set_config('client_' || 'encoding', 'GBK', false)",
            "SELECT pg_catalog.set_config($1, $2, false)",
            "SELECT 1; SET ROLE x",
            "SET SESSION AUTHORIZATION x",
            "SELECT set_config('role', 'x', true)",
            "SET backslash_quote = on",
        ):
            self.assertIsNotNone(refused_setting(ANALYSER.facts(text.encode())), text)

    def test_allowed(self) -> None:
        for text in (
            "SET client_encoding TO 'UTF8'",
            "SET NAMES 'utf-8'",
            "SET standard_conforming_strings = on",
            "SET search_path = a, b",
            "RESET ALL",
            "RESET ROLE",
            "SET client_encoding TO DEFAULT",
            "SELECT set_config('search_path', '', false)",
            "SELECT 1",
        ):
            self.assertIsNone(refused_setting(ANALYSER.facts(text.encode())), text)
