"""Tests for ``hoopgw keys`` and ``hoopgw certificate``, against a real control process."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import requests
from attrs import evolve
from cryptography import x509
from twisted.internet.threads import deferToThread

from hoopgw.cli.home import Home
from hoopgw.identity.key_kinds import KINDS
from hoopgw.identity.keybook import KeyBook
from tests.cli.support import Run, run
from tests.cli.test_gateway import CommandCase
from tests.control.gateway_case import ALICE


class KeysCase(CommandCase):
    """The gateway's owner, who needs no log-in, and Alice."""

    async def keys(self, *arguments: str | Path, text: str = "") -> Run:
        """Run ``hoopgw keys`` as the gateway's owner."""
        words = ("keys", *arguments, "--config", self.config.path)
        result: Run = await deferToThread(run, *words, text=text, env={"COLUMNS": "250"})
        return result

    def state(self, rows: list[dict[str, str]], key: str) -> list[str]:
        return [row["state"] for row in rows if row["key"] == key]


class ListTests(KeysCase):
    """``hoopgw keys list``."""

    async def test_all(self) -> None:
        """Every key, what it is for, and nothing of what is private."""
        listed = await self.keys("list")
        self.assertEqual(listed.status, 0, listed.errors)
        lines = listed.output.splitlines()
        there = [name for name, kind in KINDS.items() if not kind.optional]
        self.assertEqual([line.split()[0] for line in lines[1:]], there)
        for word in ("KEY", "KIND", "STATE", "MADE", "ENDS", "FINGERPRINT", "IN USE BY"):
            self.assertIn(word, lines[0])
        book = KeyBook(self.config.paths)
        self.assertIn(book.describe(KINDS["link"]).fingerprint, listed.output)
        as_json = await self.keys("list", "--json")
        self.assertEqual(len(as_json.json["keys"]), len(there))
        self.assertNotIn("PRIVATE", as_json.output)

    async def test_what_it_waits_for(self) -> None:
        await self.keys("rotate", "ssh-hosts")
        listed = await self.keys("list")
        self.assertIn("the next ssh-hosts key waits for your word", listed.output)


class RotateTests(KeysCase):
    """``hoopgw keys rotate`` and ``retire``."""

    async def test_rotated_and_retired(self) -> None:
        """Nobody is connected here, so there is nobody to wait for."""
        done = await self.keys("rotate", "callers")
        self.assertEqual((done.status, done.errors), (0, ""))
        self.assertIn("the next callers key signs from now on", done.output)
        rows = (await self.keys("list", "--json")).json["keys"]
        self.assertEqual(self.state(rows, "callers"), ["signs", "old"])
        asked = await self.keys("retire", "callers", text="n\n")
        self.assertEqual(asked.status, 1)
        gone = await self.keys("retire", "callers", "--yes")
        self.assertIn("1 old callers keys are refused", gone.output)

    async def test_with_the_operators_word(self) -> None:
        """Callers have to have the next CA first; both are to be had meanwhile."""
        begun = await self.keys("rotate", "listeners")
        self.assertIn("--switch", begun.output)
        url = f"{self.url}/pki/listeners.pem"
        ca = str(self.config.paths.ca_certificate)
        answer = await deferToThread(lambda: requests.get(url, verify=ca, timeout=60))
        self.assertEqual(len(x509.load_pem_x509_certificates(answer.content)), 2)
        again = await self.keys("rotate", "listeners")
        self.assertIn("under way", again.errors)
        before = self.served()
        switched = await self.keys("rotate", "listeners", "--switch", "--json")
        self.assertEqual(switched.json["waits_for"], [])
        self.assertNotEqual(await deferToThread(self.served), before)

    def served(self) -> str:
        """Return the certificate that the listener's file has now."""
        return ssl.PEM_cert_to_DER_cert(self.config.paths.gateway_certificate.read_text()).hex()

    async def test_the_log_needs_its_recorder(self) -> None:
        failed = await self.keys("rotate", "log")
        self.assertEqual(failed.status, 1)
        self.assertIn("the recorder is not connected", failed.errors)

    async def test_wrong_use(self) -> None:
        self.assertEqual((await self.keys("rotate", "root")).status, 2)
        other = self.folder / "other.toml"
        other.write_text(self.config.path.read_text().replace('"state"', '"elsewhere"'))
        away = await deferToThread(run, "keys", "list", "--config", other)
        self.assertEqual(away.status, 1)
        self.assertIn("is the gateway running", away.errors)


class CertificateTests(KeysCase):
    """``hoopgw certificate``."""

    async def test_files(self) -> None:
        """A key that was made here, readable for us alone, and its certificate."""
        out = self.folder / "mine"
        done = await self.hoopgw(ALICE, "certificate", "orders", "--out", out, "--account", "app")
        self.assertEqual(done.status, 0, done.errors)
        self.assertIn(f"sslkey={out}/client.key", done.output)
        self.assertIn("user=app", done.output)
        self.assertEqual(
            {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()},
            {"client.key": 0o600, "client.crt": 0o600, "root.crt": 0o600},
        )
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            out / "client.crt", out / "client.key"
        )
        self.assertEqual(
            (out / "root.crt").read_text(), self.config.paths.ca_certificate.read_text()
        )
        before = (out / "client.key").read_bytes()
        again = await self.hoopgw(ALICE, "certificate", "orders", "--out", out, "--json")
        self.assertEqual(again.json["connection"]["user"], "ACCOUNT")
        self.assertNotEqual((out / "client.key").read_bytes(), before)

    async def test_refused(self) -> None:
        """A target that is none; and a folder that cannot be."""
        none = await self.hoopgw(ALICE, "certificate", "nowhere", "--out", self.folder / "x")
        self.assertIn("there is no target", none.errors)
        file = self.folder / "file"
        file.write_text("")
        inside = await self.hoopgw(ALICE, "certificate", "orders", "--out", file / "x")
        self.assertEqual(inside.status, 1)
        self.assertIn("cannot be written", inside.errors)

    async def test_a_login_follows_the_listeners_ca(self) -> None:
        """While it is rotated, a log-in takes what the gateway says over what it trusts."""
        folder = self.home(ALICE)
        home = Home(folder=folder)
        kept = home.keep_ca(self.config.paths.ca_certificate)
        login = evolve(home.load(), ca=kept)
        await self.keys("rotate", "listeners")
        await deferToThread(home.follow_ca, login)
        pem = (folder / "gateway-ca.pem").read_bytes()
        self.assertEqual(len(x509.load_pem_x509_certificates(pem)), 2)
        await self.keys("rotate", "listeners", "--switch")
        await self.keys("retire", "listeners", "--yes")
        await deferToThread(home.follow_ca, login)
        self.assertEqual(
            (folder / "gateway-ca.pem").read_text(), self.config.paths.ca_certificate.read_text()
        )


class ListsTests(KeysCase):
    """``hoopgw keys crl`` and ``krl``."""

    async def test_fetched(self) -> None:
        """OpenSSL and OpenSSH read them; a newer one takes an older one's place."""
        crl, krl = self.folder / "callers.crl", self.folder / "users.krl"
        for name, out in (("crl", crl), ("krl", krl)):
            done = await self.hoopgw(ALICE, "keys", name, "--out", out)
            self.assertEqual((done.status, done.output), (0, ""), done.errors)
            told = await self.hoopgw(ALICE, "keys", name, "--out", out, "--json")
            self.assertEqual(told.json["size"], out.stat().st_size)
        x509.load_der_x509_crl(crl.read_bytes())
        shown = subprocess.run(
            ["ssh-keygen", "-Q", "-l", "-f", krl], capture_output=True, text=True, check=False
        )
        self.assertIn("# KRL version", shown.stdout)

    async def test_set_back(self) -> None:
        """A gateway that gives an older list than one has is not believed."""
        crl, krl = self.folder / "callers.crl", self.folder / "users.krl"
        await self.hoopgw(ALICE, "keys", "crl", "--out", crl)
        await self.hoopgw(ALICE, "keys", "krl", "--out", krl)
        data = bytearray(krl.read_bytes())
        data[12:20] = (2**62).to_bytes(8, "big")
        krl.write_bytes(bytes(data))
        failed = await self.hoopgw(ALICE, "keys", "krl", "--out", krl)
        self.assertIn("somebody has set it back", failed.errors)
        self.assertEqual(krl.read_bytes(), bytes(data))
        for path, name in ((crl, "crl"), (krl, "krl")):
            path.write_bytes(b"no list")
            self.assertIn(
                "this is no list", (await self.hoopgw(ALICE, "keys", name, "--out", path)).errors
            )
