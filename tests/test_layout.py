"""setup.cfg, the directories, the entry points and the arrows between the rooms agree."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from hoopgw import registry
from tests.support.processes import TOP

ROOTS = (TOP, TOP / "protocols", TOP / "plugins")
LINES_LIMIT = 500
TEST_LINES_LIMIT = 500
LONGER = {
    "protocols/hoopgw_postgres/session.py": "one state machine; its parts all share the session",
}
"""Files beyond the limit, each with the reason why it is not cut."""

# What the agent, which holds credentials, and the parser, which reads hostile text, must not load.
FORBIDDEN = {
    "hoopgw/link/agent.py": ("hoopgw.store", "hoopgw.control", "hoopgw.reviews", "hoopgw.cli"),
    "hoopgw/agent_tap.py": ("hoopgw.store", "hoopgw.control", "hoopgw.reviews", "hoopgw.cli"),
}
CREDENTIAL_ROOMS = ("hoopgw/link/", "hoopgw/credentials/", "hoopgw/agent_tap.py", "hoopgw/cli/")
"""Only these may import `hoopgw.credentials`: the gateway's own processes hold none."""

_PLACES = r"/work/|/root/|/home/[a-z]|/opt/pypi|\bfarm-"
_REGISTRIES = r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org"
FOREIGN = re.compile(f"{_PLACES}|{_REGISTRIES}")
"""Names of somebody's machine, and hosts of package registries."""


@cache
def tracked() -> tuple[str, ...]:
    """Name the files of this repository, or of an unpacked archive of it."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        names = listing.stdout.split("\0")
    else:
        names = [str(path.relative_to(TOP)) for path in TOP.rglob("*")]
    hidden = (".venv/", "build/", "dist/")
    return tuple(n for n in names if n and not n.startswith(hidden) and (TOP / n).is_file())


@cache
def imports_of(name: str) -> frozenset[str]:
    """Name the modules that a source file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((TOP / name).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def sources(*rooms: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Give the sources below some directories, with what they import."""
    for name in tracked():
        if name.endswith(".py") and name.startswith(rooms):
            yield name, imports_of(name)


def on_disk() -> set[str]:
    """Name every import package of ours that is there."""
    return {
        ".".join(init.parent.relative_to(root).parts)
        for root in ROOTS
        for init in root.glob("hoopgw*/**/__init__.py")
    }


def setup_cfg() -> ConfigParser:
    """Read setup.cfg."""
    config = ConfigParser()
    config.read(TOP / "setup.cfg")
    return config


def is_in(module: str, package: str) -> bool:
    """Say whether a module is a package or inside it."""
    return module == package or module.startswith(f"{package}.")


class PackagesTests(SynchronousTestCase):
    """What is installed."""

    def test_every_package_is_listed(self) -> None:
        """No directory is forgotten in setup.cfg, none is gone, and each has its root."""
        options = setup_cfg()["options"]
        listed = options["packages"].split()
        self.assertEqual(len(listed), len(set(listed)))
        self.assertEqual(set(listed) - {"twisted.plugins"}, on_disk())
        roots = dict(line.split(" = ") for line in options["package_dir"].strip().splitlines())
        for package in {name.partition(".")[0] for name in on_disk()}:
            self.assertTrue((TOP / roots[package] / "__init__.py").is_file(), package)

    def test_every_package_is_typed(self) -> None:
        """Each top-level package says that it has types."""
        for package in (path for root in ROOTS for path in root.glob("hoopgw*/__init__.py")):
            self.assertTrue((package.parent / "py.typed").is_file(), package)

    def test_data_files_are_packaged(self) -> None:
        """Every file in a package that is no source matches a pattern of ``package_data``."""
        table = setup_cfg()["options.package_data"]
        patterns = [p.strip() for value in table.values() for p in value.split(",")]
        for name in tracked():
            in_package = name.startswith(("hoopgw/", "protocols/hoopgw", "plugins/hoopgw"))
            if in_package and not name.endswith(".py"):
                path = Path(name)
                self.assertTrue(any(path.match(pattern) for pattern in patterns), name)

    def test_manual_and_examples_are_installed(self) -> None:
        """Every manual page and example matches a pattern of ``data_files``."""
        table = setup_cfg()["options.data_files"]
        patterns = [pattern for value in table.values() for pattern in value.split()]
        for name in tracked():
            if name.startswith(("man/", "conf/")):
                self.assertTrue(any(Path(name).match(pattern) for pattern in patterns), name)

    def test_entry_points_load(self) -> None:
        """Whatever we announce can be loaded, and is announced as setup.cfg says."""
        announced = setup_cfg()["options.entry_points"]
        for group in announced:
            installed = {entry.name: entry for entry in entry_points(group=group)}
            for line in announced[group].strip().splitlines():
                name, _, value = line.partition(" = ")
                with self.subTest(f"{group}: {name}"):
                    self.assertEqual(installed[name].value, value)
                    self.assertIsNotNone(installed[name].load())

    def test_protocols_load(self) -> None:
        """The registry takes every protocol that is installed."""
        names = registry.names(registry.PROTOCOLS)
        self.assertEqual(set(registry.load(names)), names)

    def test_twistd_knows_us(self) -> None:
        """``twistd hoopgw`` and ``twistd hoopgw-agent`` are there, once each."""
        for name in ("hoopgw", "hoopgw-agent"):
            ours = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == name]
            self.assertEqual(len(ours), 1, name)


class ArrowsTests(SynchronousTestCase):
    """Who may import whom."""

    def test_core_imports_no_protocol(self) -> None:
        """Nothing in hoopgw/ imports a package from protocols/ or plugins/, or the tests."""
        for name, imported in sources("hoopgw/"):
            for module in imported:
                top = module.partition(".")[0]
                self.assertFalse(top.startswith("hoopgw_") or top == "tests", (name, module))

    def test_protocols_do_not_know_one_another(self) -> None:
        """A protocol imports ``hoopgw`` and itself."""
        for name, imported in sources("protocols/", "plugins/hoopgw"):
            own = Path(name).parts[1]
            for module in imported:
                top = module.partition(".")[0]
                self.assertFalse(top.startswith("hoopgw_") and top != own, (name, module))
                self.assertNotEqual(top, "tests", name)

    def test_credentials_stay_with_the_agent(self) -> None:
        """The gateway's processes do not even load what fetches credentials."""
        for name, imported in sources("hoopgw/", "protocols/"):
            if not name.startswith(CREDENTIAL_ROOMS):
                for module in imported:
                    self.assertFalse(is_in(module, "hoopgw.credentials"), (name, module))

    def test_the_agent_is_small(self) -> None:
        """What runs beside the targets loads no store, no reviews, no command line."""
        for name, packages in FORBIDDEN.items():
            if name in tracked():
                for module in imports_of(name):
                    self.assertFalse(any(is_in(module, p) for p in packages), (name, module))

    def test_the_reactor_is_passed_in(self) -> None:
        """Nobody imports the global reactor at the top of a module: it would install one."""
        for name, _imported in sources("hoopgw/", "protocols/", "plugins/"):
            for node in ast.parse((TOP / name).read_bytes()).body:
                if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                    self.assertNotIn("reactor", {alias.name for alias in node.names}, name)


class FilesTests(SynchronousTestCase):
    """Every file of the repository."""

    def test_no_file_is_too_long(self) -> None:
        """A module beyond the limit is cut along a seam that has a name, or says why not."""
        for name in tracked():
            if name.endswith(".py") and name not in LONGER:
                lines = (TOP / name).read_bytes().count(b"\n")
                limit = TEST_LINES_LIMIT if name.startswith("tests/") else LINES_LIMIT
                self.assertLessEqual(lines, limit, name)
        self.assertEqual([name for name in LONGER if not (TOP / name).is_file()], [])

    def test_modules_say_what_they_are(self) -> None:
        """Each source begins with a docstring."""
        for name in tracked():
            if name.endswith(".py"):
                self.assertTrue(ast.get_docstring(ast.parse((TOP / name).read_bytes())), name)

    def test_nothing_is_of_one_machine(self) -> None:
        """No path of somebody's machine and no host of a package registry is written anywhere."""
        for name in tracked():
            if name != "tests/test_layout.py":
                text = (TOP / name).read_bytes().decode(errors="replace")
                found = FOREIGN.search(text)
                self.assertIsNone(found, f"{name}: {found and found[0]}")

    def test_directories_of_tests_are_packages(self) -> None:
        """Otherwise two files of one name hide each other, and mypy does not see them."""
        for name in tracked():
            if name.startswith("tests/") and name.endswith(".py"):
                self.assertTrue((TOP / name).with_name("__init__.py").is_file(), name)
