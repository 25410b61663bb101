"""Write ``lasting.tsv`` of `hoopgw_azure`: what clients take for long operations, and how.

Run it by hand from the top of the repository (``python -m tools.azure_lasting``) when the tests
have a newer `az`, and read the difference. It reads the source of Azure's own Python clients that
are installed for the tests, without running it.

Each line is a method, an operation as the rule of `hoopgw_azure.arm` makes it, and the status with
which a client lets such an operation begin: 202 where it takes that, else 201; ``-`` for a DELETE
that a client takes for short. What clients of different versions take differently is what all of
them take.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hoopgw_azure.arm import METHODS, ruled
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import parse
from tests.support import azure_cli

TABLE: Final = Path(__file__).parents[1] / "protocols" / "hoopgw_azure" / "lasting.tsv"
_BUILDER: Final = re.compile(r"build_\w+_request")
_SCOPE: Final = re.compile(r"^/\{(scope|resourceId|resourceUri|resourceScope)\}")
_BEGINNINGS: Final = ("202", "201")


def main() -> int:
    """Write the table."""
    taken: dict[tuple[str, str], list[frozenset[int] | None]] = {}
    folder = azure_cli.folder() / "azure" / "mgmt"
    for path in sorted(folder.rglob("*operations*.py")):
        if "aio" not in path.parts:
            for method, name, statuses in _operations(ast.parse(path.read_text("utf-8"))):
                taken.setdefault((method, name), []).append(statuses)
    lines = []
    for (method, name), said in sorted(taken.items(), key=lambda pair: pair[0][::-1]):
        found = "-" if None in said else _beginning(said)
        if found and (found != "-" or method == "DELETE"):
            lines.append(f"{method}\t{name}\t{found}\n")
    TABLE.write_text("method\toperation\tstatus\n" + "".join(lines), "ascii")
    print(f"{len(lines)} lines in {TABLE}")
    return 0


def _beginning(said: list[frozenset[int] | None]) -> str:
    shared = frozenset.intersection(*(each for each in said if each is not None))
    return next((each for each in _BEGINNINGS if int(each) in shared), "-")


def _operations(module: ast.Module) -> Iterator[tuple[str, str, frozenset[int] | None]]:
    """Yield method and operation of each call of a client, with its statuses if it may be long."""
    requests = {
        node.name: found
        for node in module.body
        if isinstance(node, ast.FunctionDef) and _BUILDER.fullmatch(node.name)
        if (found := _request(node)) is not None
    }
    for owner in module.body:
        if not isinstance(owner, ast.ClassDef):
            continue
        calls = [each for each in owner.body if isinstance(each, ast.FunctionDef)]
        for call in calls:
            built = next((name for name in _names(call) if name in requests), None)
            if built is None:
                continue
            is_long = call.name.endswith("_initial")
            yield (*requests[built], _statuses(call) if is_long else None)


def _request(builder: ast.FunctionDef) -> tuple[str, str] | None:
    """Return method and operation of what a function builds."""
    constants = [node.value for node in ast.walk(builder) if isinstance(node, ast.Constant)]
    texts = [each for each in constants if isinstance(each, str)]
    urls = [each for each in texts if each.startswith("/") and "{" in each]
    methods = [each for each in texts if each in METHODS and each not in ("GET", "HEAD")]
    if len(urls) != 1 or len(methods) != 1:
        return None
    url = _SCOPE.sub("/subscriptions/s/resourceGroups/g", urls[0])
    segments = tuple(re.sub(r"\{(\w+)\}", r"\1", url).strip("/").split("/"))
    try:
        return methods[0], ruled(methods[0], parse(segments)).lower()
    except UnclearRequestError:
        return None


def _names(call: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(call):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def _statuses(call: ast.FunctionDef) -> frozenset[int]:
    """Return the statuses that a call does not take for errors."""
    for node in ast.walk(call):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn):
            found = node.comparators[0]
            if isinstance(found, ast.List):
                values = [each.value for each in found.elts if isinstance(each, ast.Constant)]
                return frozenset(each for each in values if isinstance(each, int))
    return frozenset()


if __name__ == "__main__":
    sys.exit(main())
