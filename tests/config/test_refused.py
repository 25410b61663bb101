"""Files that are refused: each wrong thing with its place, all of them at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from hoopgw.config import (
    ControlSettings,
    GatewayConfig,
    IdentitySettings,
    LimitSettings,
    LinkSettings,
    ListenerSettings,
    TlsSettings,
    check,
    load,
)
from hoopgw.errors import ConfigError
from hoopgw.identity.settings import AgentRule, IssuerSettings
from hoopgw.spi import TargetSettings
from tests.config.test_load import EXAMPLE, LEAST, FileCase

TARGET = '[[targets]]\nname="orders"\nprotocol="postgres"\nagent="local"\n'
ISSUER = '[[identity.issuers]]\nalias="corp"\nissuer="https://idp.example"\naudiences=["hoopgw"]\n'


class RefusedTests(FileCase):
    """What is said of bad files."""

    def assert_refused(self, text: str, *parts: str) -> None:
        """Each part is in what is said."""
        said = self.refused(text)
        for part in parts:
            self.assertIn(part, said)

    def test_all_errors_at_once(self) -> None:
        """One run tells everything, with the path to each key."""
        said = self.refused(
            'state = 5\n[link]\nlisten = "nowhere"\n'
            + TARGET
            + '[[targets]]\nname="X"\nprotocol="postgres"\nagent=7\n'
            + "[limits]\nsessions = true\n"
        )
        for part in (
            "6 errors",
            "state: found 5 (an integer); expected a path",
            "name: is missing; expected a string",
            "policy: is missing; expected a table",
            """link.listen: found 'nowhere' (a string); expected "host:port\"""",
            "targets[1].agent: found 7 (an integer); expected a string",
            "limits.sessions: found True (a boolean); expected an integer",
        ):
            self.assertIn(part, said)

    def test_unknown_keys(self) -> None:
        """A key that is not known is an error, and the nearest one is named."""
        self.assert_refused(
            LEAST + "[limits]\nsesions = 5\nx = 1\n",
            "limits.sesions: is not known here; did you mean 'sessions'?",
            "limits.x: is not known here; these are: sessions, sessions_per_principal",
        )

    def test_misspelt_keys_among_options(self) -> None:
        """Where a protocol's options stand too, what nearly is a key of ours is an error."""
        self.assert_refused(LEAST + TARGET + 'enviroment = "prod"\n', "did you mean 'environment'?")

    def test_the_file_cannot_name_itself(self) -> None:
        """``path`` is given by the loader, and is no key."""
        self.assert_refused('path = "x"\n' + LEAST, "path: is not known here")

    def test_doubled(self) -> None:
        """Names, aliases, issuers and ports are given once."""
        listener = '[[listeners]]\nprotocol="postgres"\nlisten="127.0.0.1:6432"\n'
        self.assert_refused(
            LEAST + TARGET * 2 + ISSUER * 2 + listener * 2,
            "targets[1].name: is 'orders' again, as in targets[0]",
            "identity.issuers[1].alias: is 'corp' again",
            "identity.issuers[1].issuer: is 'https://idp.example' again",
            "listeners[1].listen: is '127.0.0.1:6432' again",
        )

    def test_ports_of_two_services(self) -> None:
        """Control, the link and the listeners do not share a port."""
        self.assert_refused(
            LEAST + '[[listeners]]\nprotocol="postgres"\nlisten="127.0.0.1:8443"\n',
            "listeners[0].listen: is also control.listen",
        )
        self.assert_refused(
            LEAST + '[[listeners]]\nprotocol="postgres"\nlisten="127.0.0.1:7443"\n',
            "listeners[0].listen: is also link.listen",
        )
        self.assert_refused(
            LEAST + '[control]\nlisten="127.0.0.1:7443"\n', "link.listen: is also control.listen"
        )

    def test_a_protocol_that_is_not_there(self) -> None:
        """A protocol is installed, for listeners and targets."""
        self.assert_refused(
            LEAST
            + '[[listeners]]\nprotocol="postgress"\nlisten="127.0.0.1:6432"\n'
            + TARGET.replace("postgres", "mysql"),
            "listeners[0].protocol: found 'postgress', not installed here; did you mean 'postgres'",
            "targets[0].protocol: found 'mysql', not installed here; these are there: postgres",
        )

    def test_names(self) -> None:
        """Names are short, plain words."""
        for name in ("", "1st", "Orders", "a b", "a" * 64, "x/y", "ordérs"):
            with self.subTest(name):
                said = self.refused(LEAST + TARGET.replace('"orders"', f'"{name}"'))
                self.assertIn("targets[0].name: found", said)

    def test_unix_link_names_its_users(self) -> None:
        """Over a unix socket agents are known by their user; over TCP by certificate."""
        unix = LEAST.replace("127.0.0.1:7443", "unix:/run/hoopgw/link.sock")
        self.assert_refused(unix, "link.agent_uids: is missing")
        self.assert_refused(
            LEAST.replace("[policy]", "agent_uids = [5]\n[policy]"),
            "link.agent_uids: has no meaning over TCP",
        )
        self.assert_refused(
            unix.replace("[policy]", "agent_uids = [-1]\n[policy]"), "link.agent_uids: found -1"
        )

    def test_certificate_without_key(self) -> None:
        """Both or neither."""
        self.assert_refused(LEAST + '[tls]\ncertificate="a.crt"\n', "tls.key: is missing")
        self.assert_refused(LEAST + '[tls]\nkey="a.key"\n', "tls.certificate: is missing")

    def test_values_of_targets(self) -> None:
        """Durability, labels and environment are what we know."""
        self.assert_refused(
            LEAST
            + TARGET
            + 'durability="fast"\nenvironment="Prod!"\n[targets.labels]\n"a.b" = ["PII email"]\n',
            "targets[0].durability: found 'fast'; expected one of grouped, strict",
            "targets[0].environment: found 'Prod!'",
            "targets[0].labels.\"a.b\": found 'PII email'",
        )

    def test_numbers_out_of_range(self) -> None:
        """Limits have limits."""
        self.assert_refused(LEAST + "[reviews]\npatience = 0\n", "reviews.patience: found 0")
        self.assert_refused(LEAST + "[reviews]\npatience = inf\n", "finite number")
        self.assert_refused(LEAST + "[limits]\nsessions = -1\n", "limits.sessions: found -1")
        self.assert_refused(
            LEAST + "[limits]\nsessions = 5\n", "limits.sessions_per_principal: is above"
        )
        self.assert_refused(
            LEAST + "[identity]\ntoken_lifetime = 9000000\n", "identity.token_lifetime: found"
        )
        self.assert_refused(
            LEAST + "[identity]\ntoken_lifetime = 43200\n",
            "identity.token_lifetime: is above identity.login_lifetime",
        )

    def test_url(self) -> None:
        """Control is reached over https."""
        for url in (
            "http://a:1",
            "https://",
            "https://a/?x",
            "https://u@a",
            "https://a:99999",
            "x",
        ):
            with self.subTest(url):
                said = self.refused(LEAST + f'[control]\nurl = "{url}"\n')
                self.assertIn("control.url: found", said)

    def test_issuers_are_checked(self) -> None:
        """What the issuer's own class refuses is told with its place."""
        self.assert_refused(
            LEAST + ISSUER + 'algorithms = ["HS256"]\n',
            "identity.issuers[0].algorithms: found an array",
            "HS256",
        )
        self.assert_refused(
            LEAST + ISSUER.replace("https", "http"), "identity.issuers[0]", "is not https"
        )

    def test_secrets_are_not_written_inline(self) -> None:
        """A key that would hold a secret is refused, and its value is not repeated."""
        said = self.refused(LEAST + TARGET + 'password = "hunter2"\n')
        self.assertIn("targets[0].password: would be a secret in this file", said)
        self.assertNotIn("hunter2", said)
        said = self.refused(LEAST + TARGET + 'pool = [{ login = { password = "hunter2" } }]\n')
        self.assertIn("targets[0].pool[0].login.password: would be a secret", said)
        self.assertNotIn("hunter2", said)

    def test_values_that_may_be_secret_are_not_shown(self) -> None:
        """An error about a key that sounds secret does not repeat its value."""
        said = self.refused(LEAST + "[tls]\nkey = 31337\n")
        self.assertIn("tls.key: found an integer (not shown)", said)

    def test_files_that_are_no_toml(self) -> None:
        """Whatever is in the file, the error is ours and names the file."""
        for data in (
            b"\xff",
            b"a = ",
            b"a = " + b"[" * 100_000,
            b"a = " + b"1" * 5000,
            b"x" * 2**21,
        ):
            with self.subTest(data[:10]):
                self.refused(data)

    def test_nested_too_deep(self) -> None:
        """Dotted keys nest without the parser recursing; so are limited by us."""
        self.assert_refused(
            LEAST + TARGET + ".".join(["a"] * 2_000) + " = 1\n", "is nested too deep"
        )

    def test_control_characters(self) -> None:
        """They never reach a name or a path."""
        self.assert_refused(
            LEAST.replace('"state"', r'"st\u0000ate"'), "expected no control characters"
        )

    def test_a_file_that_is_not_there(self) -> None:
        """Is told as such."""
        error = self.assertRaises(ConfigError, load, Path("/nowhere/hoopgw.toml"))
        self.assertIn("/nowhere/hoopgw.toml: 1 error", str(error))
        self.assertIn("No such file", str(error))

    def test_a_state_folder_with_too_long_a_path(self) -> None:
        """The sockets in it must have a path that the system takes."""
        self.assert_refused(
            LEAST.replace('"state"', '"/' + "s" * 100 + '"'),
            "state: is too long for the sockets in it; expected a socket path of at most 107 bytes",
        )


class CheckTests(FileCase):
    """`check`, which also warns."""

    def test_warnings(self) -> None:
        """What works, but is hardly meant, is told as a warning."""
        found = check(self.written(LEAST + TARGET), {"postgres"})
        self.assertEqual({finding.severity for finding in found}, {"warning"})
        places = {finding.where for finding in found}
        self.assertEqual(
            places,
            {"targets[0]", "identity.issuers", "control.admins", "policy.directory", "state"},
        )

    def test_a_name_that_the_certificate_has_not(self) -> None:
        """Clients are sent to ``control.url``, and check its name."""

        def warned(names: str) -> bool:
            text = LEAST + '[control]\nurl="https://GW.example:8443"\n[tls]\nnames=' + names
            found = {finding.where for finding in check(self.written(text), {"postgres"})}
            return "control.url" in found

        self.assertTrue(warned('["db.example", "*.gw.example"]'))
        self.assertFalse(warned('["gw.example"]'))
        self.assertFalse(warned('["*.example"]'))

    def test_an_open_state_folder(self) -> None:
        """Others must not read it."""
        path = self.written(LEAST)
        (path.parent / "state").mkdir(mode=0o755)
        found = {finding.where: str(finding) for finding in check(path, {"postgres"})}
        self.assertIn("is open to others; chmod 0700", found["state"])
        (path.parent / "state").chmod(0o700)
        self.assertNotIn("state", {finding.where for finding in check(path, {"postgres"})})

    def test_errors(self) -> None:
        """Errors come as findings, and nothing is raised."""
        found = check(self.written("a = "), {"postgres"})
        self.assertEqual([finding.severity for finding in found], ["error"])


TABLES = (GatewayConfig, ControlSettings, ListenerSettings, TlsSettings, LinkSettings)
MORE_TABLES = (IdentitySettings, IssuerSettings, AgentRule, LimitSettings, TargetSettings)
keys = st.sampled_from(sorted({a.name for cls in TABLES + MORE_TABLES for a in attrs.fields(cls)}))
scalars = (
    st.sampled_from(["postgres", "127.0.0.1:1", "unix:/a", "https://a", "", "prod"])
    | st.text(max_size=8)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.datetimes()
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)


def toml(value: Any) -> str:
    """Write a value as TOML, inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000)
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(v)}" for key, v in value.items()) + "}"
    return str(value).replace("e+", "e") if isinstance(value, float) else str(value)


class AnyFileTests(FileCase):
    """Whatever is in a file, only `ConfigError` comes out."""

    @given(st.dictionaries(keys, values, max_size=8))
    def test_any_values(self, table: dict[str, Any]) -> None:
        """Any TOML values."""
        text = "\n".join(f"{key} = {toml(value)}" for key, value in table.items())
        self.assert_only_config_errors(text.encode())

    @given(st.data())
    def test_one_value_changed(self, data: st.DataObject) -> None:
        """The example, with any value at any one place."""
        table = tomllib.loads(EXAMPLE.read_text())
        place: Any = table
        while True:
            index = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else [0]))
            inner = place[index]
            if not (isinstance(inner, dict | list) and inner and data.draw(st.booleans())):
                break
            place = inner
        place[index] = data.draw(values)
        self.assert_only_config_errors(
            "\n".join(f"{key} = {toml(value)}" for key, value in table.items()).encode()
        )

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes."""
        self.assert_only_config_errors(data)

    def assert_only_config_errors(self, data: bytes) -> None:
        """Load it, and check it too."""
        path = self.written(data)
        try:
            load(path, {"postgres"})
        except ConfigError:
            self.assertTrue(check(path, {"postgres"}))
