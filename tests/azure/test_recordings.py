"""What the real Azure CLI sent is understood, all of it."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.opening import MaskingOrder, open_document
from hoopgw.documents.rules import Rules
from hoopgw.policy.decision import Sight
from hoopgw_azure import masking
from hoopgw_azure.calls import Call
from hoopgw_azure.operations import Service
from tests.azure.world import RECORDINGS, asked, done, target

ARM = Service.of(target("arm"))
VAULT = Service.of(target("keyvault", name="cli-test-kv-se-000002"))


@cache
def interactions(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the requests of one conversation, with their answers."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(path.read_text("utf-8"), Loader=loader)  # noqa: S506  # safe loaders both
    return tuple(found["interactions"])


def calls(service: Service, host: str) -> Iterator[tuple[str, Call]]:
    """Yield what all requests to hosts of a kind are, with method and path."""
    for path in sorted(RECORDINGS.glob("*.yaml")):
        for each in interactions(path):
            request = each["request"]
            uri = request["uri"]
            if re.match(f"https://{host}/", uri):
                body = sent(request["body"] or "")
                headers = {k: v[0] for k, v in request["headers"].items() if k == "Content-Type"}
                one = asked(request["method"], uri, body, headers)
                yield f"{path.stem} {request['method']} {uri}", service.call(one)


def sent(body: str) -> bytes:
    """Return the bytes of a body. Some were recorded as Python shows bytes."""
    return bytes(ast.literal_eval(body)) if body.startswith("b'") else body.encode()


class RecordedTests(SynchronousTestCase):
    """Every request of every conversation."""

    def test_resource_manager(self) -> None:
        """Nothing is unknown; polls are known as such; nothing is hidden."""
        verbs: Counter[str] = Counter()
        for name, found in calls(ARM, "management\\.azure\\.com"):
            verbs.update({touch.verb for touch in found.touches})
            self.assertNotIn("unknown", {touch.verb for touch in found.touches}, name)
            self.assertEqual(found.poll, "poll" in {touch.verb for touch in found.touches}, name)
        self.assertEqual(
            verbs,
            {
                "read": 38,
                "write": 13,
                "poll": 14,
                "delete": 4,
                "mint": 9,
                "grant": 5,
                "action": 3,
                "execute": 1,
            },
        )

    def test_vault(self) -> None:
        """The data plane, with and without the slash for the latest version."""
        found = Counter(
            verb
            for _, each in calls(VAULT, "[a-z0-9-]+\\.vault\\.azure\\.net")
            for verb, _ in done(each)
        )
        self.assertEqual(found, {"listData": 13, "writeData": 12, "getSecret": 10, "deleteData": 4})

    def test_what_others_are_sent_is_not_ours(self) -> None:
        """Another audience: of a target for Resource Manager no path like these is known."""
        for _, found in calls(ARM, "graph\\.windows\\.net"):
            self.assertIn("unknown", {touch.verb for touch in found.touches})

    def test_particular_requests(self) -> None:
        """Some that matter, one by one."""
        found = {name.partition("?")[0].rpartition("/")[2]: each for name, each in self.all()}
        self.assertEqual(
            done(found["regenerateKey"]),
            [("mint", "microsoft.storage/storageaccounts/regeneratekey/action")],
        )
        self.assertEqual(found["resources"].operation, "Microsoft.Resources/resources/read")
        self.assertEqual(found["CheckNameAvailability"].touches[0].verb, "read")
        self.assertTrue(found["beginGetAccess"].secrets.everything)
        self.assertTrue(found["endGetAccess"].touches[0].verb == "action")
        self.assertTrue(found["runCommand"].executes)
        assignment = found["88888888-0000-0000-0000-000000000003"]
        self.assertIn("Contributor", dict(assignment.extra)["roles"])
        self.assertEqual(
            done(assignment), [("grant", "microsoft.authorization/roleassignments/write")]
        )

    def test_the_template_of_a_virtual_machine(self) -> None:
        """``az vm create`` deploys a template: all that is in it is asked for."""
        (found,) = (
            each
            for name, each in self.all()
            if "run_command" in name and "PUT" in name and "mock" in name
        )
        self.assertEqual(
            sorted(done(found)),
            sorted(
                ("write", f"microsoft.{kind}/write")
                for kind in (
                    "resources/deployments",
                    "network/virtualnetworks",
                    "network/networksecuritygroups",
                    "network/publicipaddresses",
                    "network/networkinterfaces",
                    "compute/virtualmachines",
                )
            ),
        )
        self.assertEqual(dict(found.extra)["opaque"], ())

    def test_a_template_with_a_comment_is_sent_as_plain_json(self) -> None:
        """Az sends what the author wrote, and a bare name; Azure gets what was judged."""
        (found,) = (each for name, each in self.all() if "lite PUT" in name)
        self.assertIsNotNone(found.body)
        self.assertNotIn(b"//", (found.body or b"").replace(b"://", b""))
        self.assertIn(b'"template": {', found.body or b"")

    def all(self) -> list[tuple[str, Call]]:
        """Return all requests to Resource Manager."""
        return list(calls(ARM, "management\\.azure\\.com"))


class MaskedTests(SynchronousTestCase):
    """Secrets in what Azure really answered."""

    def answers(self, service: Service, host: str) -> Iterator[tuple[str, str, str]]:
        """Yield requests with the answer as it came and as it is shown."""
        for path in sorted(RECORDINGS.glob("*.yaml")):
            for each in interactions(path):
                request, response = each["request"], each["response"]
                text = response["body"]["string"]
                if not re.match(f"https://{host}/", request["uri"]) or not text.startswith("{"):
                    continue
                one = asked(request["method"], request["uri"], sent(request["body"] or ""))
                fields = service.fields(service.call(one))
                rules = masking.rules(fields, {each.id: Sight(mask="redact") for each in fields})
                yield f"{request['method']} {request['uri']}", text, shown(rules, text)

    def test_keys_do_not_come_through(self) -> None:
        """Of storage, of Service Bus, of a disk's poll; what clients need stays."""
        found = list(self.answers(ARM, "management\\.azure\\.com"))
        secret = re.compile(r"SharedAccessKey=|[A-Za-z0-9+/]{43}=|veryFaked|[?&]sig=")
        self.assertGreater(sum(bool(secret.search(text)) for _, text, _ in found), 7)
        for name, text, masked in found:
            self.assertIsNone(secret.search(masked), name)
            if "DiskOperations" in name and '"status"' in text:
                self.assertIn('"status": "Succeeded"', masked.replace('":"', '": "'))

    def test_values_of_secrets(self) -> None:
        """Each value of the vault, and backups; ids and attributes stay."""
        for name, text, masked in self.answers(VAULT, "[a-z0-9-]+\\.vault\\.azure\\.net"):
            value = json.loads(text).get("value")
            if isinstance(value, str):
                self.assertEqual(json.loads(masked)["value"], "***", name)
                self.assertEqual(json.loads(masked).get("id"), json.loads(text).get("id"))
            else:
                self.assertEqual(json.loads(masked), json.loads(text))

    def test_without_a_word_of_policy_nothing_is_shown(self) -> None:
        """A field that policy says nothing of has nothing of its value; the answer has its form."""
        call = VAULT.call(asked("GET", "/secrets/a"))
        rules = masking.rules(VAULT.fields(call), {})
        self.assertEqual(shown(rules, '{"value": "x", "id": "y"}'), '{"value": "***", "id": "y"}')
        self.assertIsNone(masking.rules(VAULT.fields(VAULT.call(asked("GET", "/secrets"))), {}))
        (field,) = VAULT.fields(call)
        self.assertIsNone(masking.rules([field], {field.id: Sight(mask=None)}))


def shown(rules: Rules | None, text: str) -> str:
    """Return an answer as it is shown."""
    if rules is None:
        return text
    document = open_document(MaskingOrder(rules=rules), "application/json")
    document.receive_data(text.encode())
    document.receive_end()
    return b"".join(iter(document.next_piece, None)).decode()
