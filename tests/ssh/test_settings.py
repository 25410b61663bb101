"""What the configuration may say of SSH."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.spi import TargetSettings
from hoopgw_ssh.kept_files import files_kept
from hoopgw_ssh.settings import ListenerOptions, check_listener, check_target

WEB1 = TargetSettings(name="web1", protocol="ssh", agent="local")


class ListenerTests(SynchronousTestCase):
    """A listener's options."""

    def test_none(self) -> None:
        """There need not be any."""
        self.assertEqual(ListenerOptions.of({}).login_timeout, 120.0)

    def test_all(self) -> None:
        given: dict[str, Any] = {
            "login_timeout": 30,
            "attempts": 3,
            "strangers": 50,
            "strangers_per_address": 5,
        }
        self.assertEqual(ListenerOptions.of(given), ListenerOptions(**given))

    def test_device_codes(self) -> None:
        """Nobody is offered any, unless it is said; and perhaps not everybody."""
        self.assertFalse(ListenerOptions.of({}).offers_codes("10.0.0.1"))
        self.assertTrue(ListenerOptions.of({"device_code": "corp"}).offers_codes("192.0.2.7"))
        some = ListenerOptions.of(
            {"device_code": "corp", "device_code_from": ["10.0.0.0/8", "::1"]}
        )
        for address, offered in (
            ("10.1.2.3", True),
            ("::1", True),
            ("192.0.2.7", False),
            ("", False),
        ):
            self.assertEqual(some.offers_codes(address), offered, address)

    def test_wrong(self) -> None:
        """Each says which, and what is expected."""
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"banner": "hi"}, "banner: an SSH listener has no such option"),
            ({"attempts": 0}, "attempts: expected a number from 1 to 20"),
            ({"attempts": 2.5}, "attempts: expected a number"),
            ({"attempts": True}, "attempts: expected a number"),
            ({"login_timeout": "120"}, "login_timeout: expected a number from 5 to 600"),
            ({"strangers": 10**9}, "strangers: expected"),
            ({"device_code": True}, "device_code: expected the alias"),
            ({"device_code_from": ["10.0.0.0/8"]}, "device_code_from: expected"),
            ({"device_code": "a", "device_code_from": ["x"]}, "expected networks like"),
            ({"device_code": "a", "device_code_from": "10.0.0.0/8"}, "expected a list"),
        )
        for options, said in wrong:
            with self.subTest(options), self.assertRaises(ConfigError) as caught:
                check_listener(options)
            self.assertIn(said, str(caught.exception))


class TargetTests(SynchronousTestCase):
    """A target's table, on the gateway's side."""

    def test_good(self) -> None:
        check_target(WEB1)

    def test_what_is_for_the_agent(self) -> None:
        """Host keys are, and the error says so."""
        with self.assertRaises(ConfigError) as caught:
            check_target(evolve(WEB1, options={"host_keys": ["ssh-ed25519 AAAA"]}))
        self.assertIn("targets.web1.host_keys", str(caught.exception))
        self.assertIn("for the agent's configuration", str(caught.exception))

    def test_of_the_gateway(self) -> None:
        """What becomes of input, and where forwards may lead."""
        check_target(evolve(WEB1, options={"held_input": "open", "forwards": ["127.0.0.1:80"]}))
        for wrong in ({"held_input": "maybe"}, {"forwards": "db:5432"}, {"forwards": [5432]}):
            with self.subTest(wrong), self.assertRaises(ConfigError):
                check_target(evolve(WEB1, options=wrong))

    def test_kept_files(self) -> None:
        """One of four words, and none are kept where none is said."""
        self.assertEqual(files_kept(WEB1), "never")
        check_target(evolve(WEB1, options={"keep_files": "uploads"}))
        with self.assertRaisesRegex(ConfigError, r"web1.keep_files: expected one of never, up"):
            check_target(evolve(WEB1, options={"keep_files": True}))

    def test_labels(self) -> None:
        """There is nothing that they could name."""
        with self.assertRaises(ConfigError):
            check_target(evolve(WEB1, labels={"a.b": ("pii",)}))
