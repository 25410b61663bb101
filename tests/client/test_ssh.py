"""What OpenSSH's client is told."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.client.ssh import Choices, Plan, SshTarget, complete, make_plan, taken_names
from hoopgw.client.ssh_texts import (
    ClientFiles,
    config_text,
    is_usable,
    known_hosts_text,
    script_text,
)
from hoopgw.client.values import Target
from hoopgw.identity.certified import TARGETS_LIMIT
from hoopgw.identity.ssh_certificates import LOGINS_LIMIT

GATEWAY = "gw.example"


def target(name: str, *accounts: str, protocol: str = "ssh", port: int = 2222) -> Target:
    """Return a target as the gateway lists it."""
    return Target(name=name, protocol=protocol, host="gw.example", port=port, accounts=accounts)


def plan(*found: Target, before: Plan | None = None, **choices: object) -> Plan:
    """Return a plan."""
    return make_plan(found, GATEWAY, Choices(**choices), before)  # type: ignore[arg-type]  # a test's


class PlanTests(SynchronousTestCase):
    """Which targets there are, and what they are called."""

    def test_only_ssh(self) -> None:
        """Other protocols, and what nobody listens for, are left out."""
        found = plan(
            target("web1", "deploy"), target("db", protocol="postgres"), target("x", port=0)
        )
        self.assertEqual([each.name for each in found.targets], ["web1"])
        self.assertEqual(found.targets[0].names, ("web1", "deploy+web1"))

    def test_the_usual_account(self) -> None:
        """The only one; the person's own name; what was chosen, for one target or for all."""
        many = target("web1", "deploy", "root")
        self.assertEqual(plan(target("web1", "deploy")).targets[0].usual, "deploy")
        self.assertEqual(plan(many).targets[0].usual, "")
        self.assertEqual(plan(many).targets[0].names, ("deploy+web1", "root+web1"))
        self.assertEqual(plan(many, login="root").targets[0].usual, "root")
        self.assertEqual(plan(many, accounts={"*": "root"}).targets[0].usual, "root")
        self.assertEqual(plan(many, accounts={"*": "other"}).targets[0].usual, "")
        chosen = plan(many, accounts={"*": "root", "web1": "other"}).targets[0]
        self.assertEqual((chosen.usual, chosen.accounts), ("other", ("deploy", "other", "root")))

    def test_an_agent_that_is_away(self) -> None:
        """Leaves the accounts as they were."""
        before = plan(target("web1", "deploy"))
        self.assertEqual(plan(target("web1"), before=before), before)
        self.assertEqual(plan(target("web1")).targets[0].names, ())

    def test_names_that_are_taken(self) -> None:
        """Get another one beside the person's own."""
        found = plan(target("web1", "deploy"), taken=frozenset({"web1"}))
        self.assertEqual(found.targets[0].names, ("hoopgw-web1", "deploy+web1"))
        assert found.find("web1") is not None

    def test_names_that_ssh_would_read_otherwise(self) -> None:
        """Are not told at all."""
        found = plan(target("web*", "a"), target("!web", "a"), target("web1", "a b", "a\nb", "x@y"))
        self.assertEqual([each.name for each in found.targets], ["web1"])
        self.assertEqual(found.targets[0].accounts, ())

    def test_taken_names(self) -> None:
        """In all spellings of a ``Host`` line; patterns are no names."""
        text = 'Host web1 *.example "db 2"\n  HostName x\nhost=web2\nMatch host web3\nHOST web4'
        self.assertEqual(taken_names([text]), {"web1", "web2", "web4", "db", "2"})

    def test_kept(self) -> None:
        """As JSON, and read again."""
        made = plan(target("web1", "deploy", "root"), login="root").targets[0]
        self.assertEqual(SshTarget.from_dict(made.as_dict()), made)
        self.assertEqual(complete(Plan(gateway="", targets=(made,)))[0], "deploy+web1")


class BundleTests(SynchronousTestCase):
    """How many certificates are needed."""

    @given(
        st.lists(st.sets(st.integers(0, 60), max_size=40), max_size=50),
        st.lists(st.sets(st.integers(0, 60), max_size=40), max_size=50),
    )
    def test_each_fits_a_certificate(self, first: list[set[int]], then: list[set[int]]) -> None:
        """Whatever the accounts are, and whatever they were before."""
        before: Plan | None = None
        for sizes in (first, then):
            found = [target(f"t{i:02}", *(f"a{n}" for n in s)) for i, s in enumerate(sizes)]
            before = plan(*found, before=before)
            self.assertEqual(len(before.targets), len(found))
            for number in before.bundles:
                members = before.bundle(number)
                self.assertLessEqual(len(members), TARGETS_LIMIT)
                accounts = {account for each in members for account in each.accounts}
                self.assertLessEqual(len(accounts), LOGINS_LIMIT)

    def test_they_stay(self) -> None:
        """When others come and go: a running `ssh` names the bundle's files."""
        names = [f"web{i:03}" for i in range(80)]
        before = plan(*(target(name, "deploy") for name in names))
        self.assertEqual(before.bundles, (1, 2, 3))
        after = plan(*(target(name, "deploy") for name in ["a", *names[5:]]), before=before)
        was = {each.name: each.bundle for each in before.targets}
        for each in after.targets:
            self.assertEqual(each.bundle, was.get(each.name, 1))


class ConfigTests(SynchronousTestCase):
    """What the real client makes of it."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg ssh-"))
        self.addCleanup(lambda: subprocess.run(["rm", "-r", self.folder], check=True))
        self.files = ClientFiles(folder=self.folder)
        self.plan = plan(target("web1", "deploy", "root"), target("web2", "app"), login="deploy")
        self.files.config.write_text(config_text(self.plan, self.files))
        self.ran = self.folder / "ran"
        command = shlex.join(["sh", "-c", 'echo "$1" >> "$0"', str(self.ran)])
        self.files.renew.write_text(script_text(command, shlex.quote(str(self.folder))))

    def options(self, name: str, **env: str) -> dict[str, list[str]]:
        """Return what `ssh` would use for a name."""
        done = subprocess.run(
            ["ssh", "-T", "-G", "-F", self.files.config, name],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
        )
        self.assertEqual(done.stderr, "")
        found: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            option, _, value = line.partition(" ")
            found.setdefault(option, []).append(value)
        return found

    def test_a_target(self) -> None:
        """The account and the target in the user name; the gateway's CA, and nothing else."""
        for name, user in (("web1", "deploy"), ("root+web1", "root"), ("deploy+web1", "deploy")):
            found = self.options(name)
            self.assertEqual(found["user"], [f"{user}+web1"])
            self.assertEqual((found["hostname"], found["port"]), (["gw.example"], ["2222"]))
            self.assertEqual(found["hostkeyalias"], ["gw.example"])
            self.assertEqual(found["stricthostkeychecking"], ["true"])
            self.assertEqual(found["userknownhostsfile"], [str(self.files.known_hosts)])
            self.assertEqual(found["identityfile"], [str(self.files.key(1)), "none"])
            self.assertEqual(found["certificatefile"], [str(self.files.certificate(1))])
            self.assertEqual(found["identitiesonly"], ["yes"])
            self.assertNotIn("identityagent", found)

    def test_no_usual_account(self) -> None:
        """It is asked which, without a connection; the client's own question would be another's."""
        several = plan(target("web1", "deploy", "root"), target("web3"))
        self.files.config.write_text(config_text(several, self.files))
        for name, said in (
            ("web1", "ACCOUNT+web1, with deploy root"),
            ("web3", "one that is there"),
        ):
            done = subprocess.run(
                ["ssh", "-F", self.files.config, name, "true"],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(done.returncode, 255)
            self.assertIn(said, done.stderr)
        self.assertEqual(self.options("root+web1")["user"], ["root+web1"])
        self.assertNotIn("proxycommand", self.options("root+web1"))

    def test_others(self) -> None:
        """Are not touched."""
        found = self.options("elsewhere.example")
        self.assertNotIn("hostkeyalias", found)
        self.assertFalse(self.ran.exists())

    def test_inside_delegate(self) -> None:
        """The child's agent signs, and the parent's key is not used."""
        found = self.options("web1", HOOPGW_SSH_AGENT="/run/child/agent.sock")
        self.assertEqual(found["identityagent"], ["$HOOPGW_SSH_AGENT"])
        self.assertEqual(set(found["identityfile"]), {"none"})
        self.assertEqual(found["identitiesonly"], ["no"])
        self.assertNotIn("certificatefile", found)
        self.assertFalse(self.ran.exists())

    def test_without_a_certificate(self) -> None:
        """No other key is shown, and the client asks for no password."""
        self.files.renew.write_text("exit 1\n")
        found = self.options("web1")
        self.assertEqual(found["identityfile"], ["none"])
        self.assertEqual(found["identitiesonly"], ["yes"])
        self.assertEqual(found["preferredauthentications"], ["publickey"])

    def test_an_own_identity(self) -> None:
        """Takes the place of certificates that are renewed."""
        lines = ("IdentityAgent /x", "IdentityFile none", "IdentitiesOnly no")
        self.files.config.write_text(config_text(self.plan, self.files, lines))
        found = self.options("web2")
        self.assertEqual(found["identityagent"], ["/x"])
        self.assertEqual(found["identitiesonly"], ["no"])
        self.assertFalse(self.ran.exists())

    def test_many_targets(self) -> None:
        """Lines stay short, and each target finds its bundle."""
        many = plan(*(target(f"a-rather-long-name-{i:04}", "deploy") for i in range(100)))
        text = config_text(many, self.files)
        self.files.config.write_text(text)
        self.assertLess(max(map(len, text.splitlines())), 2_000)
        last = many.targets[-1]
        found = self.options(last.alias)
        self.assertEqual(found["certificatefile"], [str(self.files.certificate(last.bundle))])
        self.assertEqual(self.ran.read_text(), f"{last.bundle}\n")

    def test_known_hosts(self) -> None:
        """Every CA that is accepted."""
        text = known_hosts_text(GATEWAY, ["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"])
        self.assertEqual(text.count("@cert-authority gw.example ssh-ed25519"), 2)

    def test_paths_that_cannot_be_written(self) -> None:
        """In all versions of OpenSSH."""
        self.assertTrue(is_usable(Path("/srv/a b/.config")))
        for path in ("relative", "/a'b", '/a"b', "/a$b", "/a%h", "/a\\b", "/a\nb", "/a#b"):
            self.assertFalse(is_usable(Path(path)), path)


class ScriptTests(SynchronousTestCase):
    """When a certificate is renewed."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg ssh-"))
        self.addCleanup(lambda: subprocess.run(["rm", "-r", self.folder], check=True))
        self.files = ClientFiles(folder=self.folder)
        self.ran = self.folder / "ran"

    def run_script(self, bundle: int | str = 1, status: int = 0, **env: str) -> int:
        """Run it as `ssh` does; return its status once nothing of it runs any more."""
        command = shlex.join(["sh", "-c", f'echo "$1" >> "$0"; exit {status}', str(self.ran)])
        self.files.renew.write_text(script_text(command, shlex.quote(str(self.folder))))
        # Its end is the end of the pipe, which what it leaves in the background holds too.
        done = subprocess.run(
            [
                "sh",
                "-c",
                '"$@" 3>&1; echo "status $?"',
                "x",
                "/bin/sh",
                self.files.renew,
                str(bundle),
            ],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"], **env},
        )
        self.assertEqual(done.stderr, "")
        return int(done.stdout.split()[-1])

    def times(self, soft: float, hard: float) -> None:
        """Say when the certificate is renewed, and not used any more."""
        now = time.time()
        self.files.until(1).write_text(f"{int(now + soft)} {int(now + hard)}\n")

    def test_good(self) -> None:
        """Nothing is run."""
        self.times(600, 700)
        self.assertEqual(self.run_script(), 0)
        self.assertFalse(self.ran.exists())

    def test_about_to_end(self) -> None:
        """It is used, and renewed by one."""
        self.times(-1, 600)
        self.assertEqual(self.run_script(status=1), 0)
        self.assertEqual(self.ran.read_text(), "1\n")
        self.assertFalse(self.files.renewing(1).exists())
        self.files.renewing(1).mkdir()  # another one is at it
        self.assertEqual(self.run_script(), 0)
        self.assertEqual(self.ran.read_text(), "1\n")

    def test_over(self) -> None:
        """It is waited for the next one; if there is none, that is the answer."""
        for text in (None, "", "nonsense", "1 2\n", "$(touch x) 1\n"):
            if text is not None:
                self.files.until(1).write_text(text)
            self.assertEqual(self.run_script(), 0)
            self.assertEqual(self.run_script(status=3), 3)
        self.assertEqual(self.ran.read_text(), "1\n" * 10)

    def test_several_at_once(self) -> None:
        """One gets it; the others wait for that, and all say what goes wrong."""
        for status, said in ((0, ""), (3, "not logged in\n")):
            self.ran.unlink(missing_ok=True)
            until = self.files.until(1)
            work = f'echo "$1" >> {shlex.quote(str(self.ran))}; sleep 1; '
            if status:
                work += f"echo not logged in >&2; exit {status}"
            else:
                work += 'echo "$(($(date +%s) + 600)) $(($(date +%s) + 700))" > "$0"'
            command = shlex.join(["sh", "-c", work, str(until)])
            self.files.renew.write_text(script_text(command, shlex.quote(str(self.folder))))
            running = [
                subprocess.Popen(
                    ["/bin/sh", self.files.renew, "1"], stderr=subprocess.PIPE, text=True
                )
                for _ in range(5)
            ]
            for each in running:
                self.assertEqual(each.communicate()[1], said)
                self.assertEqual(each.returncode != 0, status != 0)
            if not status:  # who comes after a failure tries it anew
                self.assertEqual(self.ran.read_text(), "1\n")
            until.unlink(missing_ok=True)
            self.assertFalse(self.files.renewing(1).exists())

    def test_another_bundle(self) -> None:
        """Has times of its own."""
        self.times(600, 700)
        self.assertEqual(self.run_script(2), 0)
        self.assertEqual(self.ran.read_text(), "2\n")

    def test_inside_delegate(self) -> None:
        """A parent's certificate is neither used nor renewed; the child's agent is told of."""
        self.times(600, 700)
        self.assertEqual(self.run_script(HOOPGW_SSH_AGENT="/x"), 1)
        self.assertEqual(self.run_script("child", HOOPGW_SSH_AGENT="/x"), 0)
        self.assertEqual(self.run_script("child"), 1)
        self.assertFalse(self.ran.exists())
