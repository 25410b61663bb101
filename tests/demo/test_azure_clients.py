"""Tests for `hoopgw.demo.azure_clients`, `names` and `fetch`: asking Azure with what is here."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo import azure_cli
from hoopgw.demo.azure_clients import AzClient, PlainClient, find_az, find_client
from hoopgw.demo.azure_data import KEYS, SHOW_SECRET
from hoopgw.demo.fetch import finish
from hoopgw.demo.names import Names, find_names
from tests.support.certificates import Authority
from tests.support.lookalike import Asked, LookAlike, Told


class FindTests(SynchronousTestCase):
    """What is on the machine decides, and nothing is installed."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "path").mkdir()
        self.patch(os, "environ", {**os.environ, "PATH": str(self.folder / "path")})
        os.environ["HOOPGW_TEST_CACHE"] = str(self.folder / "cache")

    def test_no_az(self) -> None:
        """Plain requests, and no name need be known."""
        self.assertIsNone(find_az(self.folder))
        client = find_client(self.folder, 9443)
        self.assertEqual(client, PlainClient(port=9443))
        self.assertEqual(
            client.typed(SHOW_SECRET),
            "GET https://shop-kv.vault.cloud.localhost:9443/secrets/database/?api-version=7.4",
        )

    def test_az_of_the_machine(self) -> None:
        """By its name, as people type it."""
        (self.folder / "path" / "az").write_text("#!/bin/sh\n")
        (self.folder / "path" / "az").chmod(0o755)
        self.assertEqual(find_az(self.folder), "az")

    def test_az_of_the_cache(self) -> None:
        """By a program of ours that starts it."""
        azure_cli.folder().mkdir(parents=True)
        found = find_az(self.folder)
        assert found is not None
        self.assertIn(str(azure_cli.folder()), Path(found).read_text())
        self.assertTrue(os.access(found, os.X_OK))

    def test_the_line(self) -> None:
        """As somebody types it, wherever `az` is."""
        client = AzClient(program="/elsewhere/az", port=9443, variables={})
        self.assertEqual(
            client.typed(KEYS),
            "hoopgw azure run https://azure.cloud.localhost:9443 -- "
            "az storage account keys list -g shop -n shopdata",
        )


class NamesTests(SynchronousTestCase):
    """Tests for `find_names`."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_names_that_lead_here(self) -> None:
        """Nothing is needed."""
        self.assertEqual(find_names(self.folder, ["localhost"]), Names())
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_names_that_do_not(self) -> None:
        """A list of ours, for a library that reads it; or none, if that is not here."""
        found = find_names(self.folder, ["nowhere.invalid"])
        if found is not None:
            listed = Path(found.variables["NSS_WRAPPER_HOSTS"]).read_text()
            self.assertEqual(listed, "127.0.0.1 nowhere.invalid\n")
            self.assertTrue(Path(found.variables["LD_PRELOAD"]).exists())


class FetchTests(SynchronousTestCase):
    """Tests for `finish`."""

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        authority = Authority.make()
        pair = authority.issue(folder, "here", ("here.localhost",))
        self.ca = str(authority.write(folder / "ca.crt"))
        self.told: list[Told] = []
        self.server = LookAlike(self.answer, pair)
        self.addCleanup(self.server.stop)
        self.url = f"https://here.localhost:{self.server.server.server_address[1]}"

    def answer(self, asked: Asked) -> Told:
        self.assertEqual(asked.headers["authorization"], "Bearer good")
        self.assertEqual(f"https://{asked.headers['host']}", self.url)
        return self.told.pop(0)

    def ask(self, *told: Told) -> tuple[int, bool]:
        self.told = [*told]
        answer, good = finish("DELETE", f"{self.url}/group", self.ca, "good")
        return answer.status_code, good

    def going_on(self, name: str = "Location", place: str = "") -> Told:
        return Told(202, b"", {name: place or f"{self.url}/state", "Retry-After": "0"})

    def test_at_once(self) -> None:
        """Good and bad."""
        self.assertEqual(self.ask(Told(200, {})), (200, True))
        self.assertEqual(self.ask(Told(403, {"error": {}})), (403, False))

    def test_what_goes_on(self) -> None:
        """Is asked after until it has ended."""
        self.assertEqual(self.ask(self.going_on(), self.going_on(), Told(200, b"")), (200, True))
        states = [Told(200, {"status": each}) for each in ("InProgress", "Succeeded")]
        begun = self.going_on("Azure-AsyncOperation")
        self.assertEqual(self.ask(begun, *states), (200, True))
        self.assertEqual(self.ask(begun, Told(200, {"status": "Failed"})), (200, False))

    def test_a_state_elsewhere_is_not_asked(self) -> None:
        """The token goes to nobody else."""
        self.assertEqual(self.ask(self.going_on(place="https://elsewhere.example/")), (202, True))
