"""Tests for what the command line keeps and writes: `home`, `presentations`, `ambient`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli.ambient import job_token
from hoopgw.cli.failure import CommandError, NotLoggedInError
from hoopgw.cli.home import Home, home_folder
from hoopgw.cli.presentations import Access
from hoopgw.identity.login import LoginError
from tests.demo.test_demo_script import exported


def access(**changes: object) -> Access:
    values: dict[str, object] = {
        "protocol": "postgres",
        "host": "gw.example",
        "port": 6432,
        "target": "orders",
        "database": None,
        "user": "app~abcdefgh",
        "secret": "swordfish",
        "ca": Path("/etc/ca.crt"),
        "is_password": True,
    }
    return Access(**(values | changes))  # type: ignore[arg-type]  # names and types as above


class AccessTests(SynchronousTestCase):
    """Tests for `Access`."""

    @given(st.text(), st.text(), st.text(min_size=1))
    def test_a_url_holds_anything(self, user: str, secret: str, database: str) -> None:
        """Whatever is in them, the parts come out as they went in."""
        parts = urlsplit(access(user=user, secret=secret, database=database).url)
        self.assertEqual(unquote(parts.username or ""), user)
        self.assertEqual(unquote(parts.password or ""), secret)
        self.assertEqual(unquote(parts.path), f"/orders/{database}")
        self.assertEqual(parse_qs(parts.query)["sslmode"], ["verify-full"])

    @given(st.text(st.characters(exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
    def test_lines_are_safe_to_eval(self, secret: str) -> None:
        """A secret cannot end its quotes."""
        lines = access(secret=secret).lines()
        self.assertEqual(exported("\n".join(lines))["PGPASSWORD"], secret)

    def test_the_certificate_is_always_verified(self) -> None:
        """With a CA of the gateway's own, or the system's."""
        self.assertEqual(access().variables["PGSSLROOTCERT"], "/etc/ca.crt")
        self.assertEqual(access(ca=None).variables["PGSSLROOTCERT"], "system")

    def test_a_token_is_not_bound_to_the_channel(self) -> None:
        """It goes as a password, which SCRAM's binding has no place in."""
        self.assertNotIn("PGCHANNELBINDING", access(is_password=False).variables)
        self.assertNotIn("channel_binding", access(is_password=False).url)

    def test_an_address_of_version_6(self) -> None:
        """Is put into brackets."""
        self.assertIn("@[::1]:6432/", access(host="::1").url)

    def test_another_protocol(self) -> None:
        """Gets its token."""
        self.assertEqual(access(protocol="gopher").variables, {"HOOPGW_TOKEN": "swordfish"})

    def test_nothing_secret_in_repr(self) -> None:
        """So that no traceback shows it."""
        self.assertNotIn("swordfish", repr(access()))


class HomeTests(SynchronousTestCase):
    """Tests for `Home`."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_the_usual_folder(self) -> None:
        """As XDG says; a relative one does not count."""
        self.assertEqual(home_folder({"XDG_CONFIG_HOME": "/x"}), Path("/x/hoopgw"))
        self.assertEqual(home_folder({"XDG_CONFIG_HOME": "x"}).parts[-2:], (".config", "hoopgw"))

    def test_a_damaged_log_in(self) -> None:
        """Counts as none."""
        for content in ("", "[]", '{"gateway": 1}', "\0"):
            (self.folder / "login.json").write_text(content)
            self.assertRaises(NotLoggedInError, Home(folder=self.folder).load)

    def test_the_ca_is_kept(self) -> None:
        """A copy, so that the log-in works from every folder; none if none was given."""
        given = self.folder / "ca.crt"
        given.write_text("PEM")
        home = Home(folder=self.folder / "home")
        kept = home.keep_ca(given)
        assert kept is not None
        self.assertEqual(Path(kept).read_text(), "PEM")
        self.assertEqual(home.keep_ca(Path(kept)), kept)
        self.assertIsNone(home.keep_ca(None))


class JobTokenTests(SynchronousTestCase):
    """Tests for `job_token`."""

    def test_nothing_there(self) -> None:
        """The error names where it was looked for."""
        error = self.assertRaises(LoginError, job_token, {"issuers": []}, {})
        self.assertIn("HOOPGW_ID_TOKEN", str(error))

    def test_github_is_not_known(self) -> None:
        """No audience, no token."""
        job = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": "https://127.0.0.1:1/",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
        }
        error = self.assertRaises(CommandError, job_token, {"issuers": []}, job)
        self.assertIn("does not take tokens of github-actions", str(error))

    def test_github_does_not_answer(self) -> None:
        """Says what the job may lack; the runner's token is not in the text."""
        known = {"issuers": [{"type": "github-actions", "audiences": ["https://gw.example"]}]}
        for url in ("http://127.0.0.1:1/", "https://127.0.0.1:1/"):
            job = {
                "ACTIONS_ID_TOKEN_REQUEST_URL": url,
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "swordfish",
            }
            error = self.assertRaises(CommandError, job_token, known, job)
            self.assertNotIn("swordfish", str(error))
