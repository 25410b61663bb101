"""Tests for `hoopgw_azure.held`: what a client is told of a long operation that is held."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.messages import Pair, RequestHead, Response
from hoopgw.http.model import Caller, status_of
from hoopgw.http.standing import Onward, Poll, Standing
from hoopgw.sessions.refusals import RefusedError
from hoopgw_azure.held import AGAIN, Asking, begins, begun, follow
from tests.azure.world import COMPUTE, GROUP

CALLER = Caller(
    account="deployer",
    chain=("corp|alice",),
    session="s-1",
    authority="arm.gw.example:9443",
    seal=b"s" * 32,
)
DISK = f"{COMPUTE}/disks/old"
WAITING = Standing(
    request="r-1",
    state="waiting",
    method="DELETE",
    target=f"{DISK}?api-version=2023-04-02",
    text="held for approval by ops",
    hint="To approve: hoopgw requests approve r-1.",
)
LINK = "https://arm.gw.example:9443/subscriptions/s/operationresults/1?hoopgw-poll=x"
STATE = "https://arm.gw.example:9443/subscriptions/s/providers/p/locations/l/operations/1?c=2"


def path_of(url: str | bytes) -> str:
    """Return path and query of an address."""
    parts = urlsplit(url.decode() if isinstance(url, bytes) else url)
    return f"{parts.path}?{parts.query}"


def got(status: int, body: Any = None, **fields: str) -> Response:
    """Return an answer of the target's, as the client may see it."""
    pairs: list[Pair] = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()
    ]
    return (
        Response.of_json(status, body, pairs)
        if body is not None
        else Response.of(status, headers=pairs)
    )


def said(answer: Response | Onward) -> Any:
    """Return an answer's JSON."""
    assert isinstance(answer, Response), answer
    return json.loads(answer.body)


class BeginsTests(SynchronousTestCase):
    """Which requests clients take for long, and how they let them begin."""

    def test_what_clients_know_as_long(self) -> None:
        deployment = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
        for method, path, status in (
            ("DELETE", GROUP, 202),
            ("DELETE", DISK, 202),
            ("PUT", deployment, 201),
            (
                "PUT",
                f"/providers/Microsoft.Management/managementGroups/m{deployment[len(GROUP) :]}",
                201,
            ),
            ("PUT", f"{COMPUTE}/virtualMachines/vm", 201),
            ("POST", f"{COMPUTE}/virtualMachines/vm/runCommand", 202),
            ("POST", f"{COMPUTE}/virtualMachines/vm/START", 202),
        ):
            self.assertEqual(begins(method, path), status, path)

    def test_what_they_know_as_short_is_waited_for(self) -> None:
        for method, path in (
            ("PUT", GROUP),
            ("PUT", f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/r"),
            ("DELETE", f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/r"),
            ("DELETE", f"{DISK}/providers/Microsoft.Authorization/locks/l"),
            ("POST", f"{GROUP}/providers/Microsoft.Storage/storageAccounts/s/listKeys"),
            ("GET", DISK),
            ("HEAD", GROUP),
            ("POST", "/batch"),
            ("DELETE", "/subscriptions/s/tagNames/t"),
        ):
            self.assertIsNone(begins(method, path), path)

    def test_what_no_table_knows(self) -> None:
        """Only clients that know no types delete one: they take 202 for any. Nothing else is."""
        strange = f"{GROUP}/providers/Contoso.Things/things/one"
        self.assertEqual(begins("DELETE", strange), 202)
        for method in ("PUT", "PATCH", "POST"):
            self.assertIsNone(begins(method, strange))
        self.assertIsNone(begins("DELETE", f"{strange}//x"))


class BegunTests(SynchronousTestCase):
    """The first answer."""

    def test_accepted(self) -> None:
        answer = begun(202, DISK, WAITING, "worker1", CALLER)
        self.assertEqual((answer.status, said(answer)["status"]), (202, "InProgress"))
        self.assertIn("hoopgw: held for approval by ops", said(answer)["properties"]["message"])
        self.assertEqual(answer.headers.get(b"retry-after"), b"%d" % AGAIN)
        for name, is_result in ((b"azure-asyncoperation", False), (b"location", True)):
            url = answer.headers.get(name) or b""
            self.assertTrue(url.startswith(b"https://arm.gw.example:9443/hoopgw/held/r-1/"))
            poll = follow(RequestHead("GET", path_of(url)), CALLER)
            self.assertEqual(poll, Poll(request="r-1", worker="worker1", is_result=is_result))

    def test_created(self) -> None:
        """Its body is that of a resource that is not ready; ``Location`` would be the resource."""
        answer = begun(201, DISK, WAITING, "worker1", CALLER)
        self.assertEqual(answer.status, 201)
        self.assertEqual(said(answer)["properties"], {"provisioningState": "Accepted"})
        self.assertEqual(
            (said(answer)["name"], said(answer)["type"]), ("old", "Microsoft.Compute/disks")
        )
        self.assertNotIn(b"location", answer.headers)


class FollowTests(SynchronousTestCase):
    """Whose an address is."""

    def setUp(self) -> None:
        answer = begun(202, DISK, WAITING, "worker1", CALLER)
        self.path = path_of(answer.headers.get(b"azure-asyncoperation") or b"")

    def refused(self, path: str, caller: Caller = CALLER, method: str = "GET") -> None:
        """Ask for what is not to be had."""
        error = self.assertRaises(RefusedError, follow, RequestHead(method, path), caller)
        self.assertEqual(status_of(error.refusal), 404)

    def test_other_requests_are_none(self) -> None:
        self.assertIsNone(follow(RequestHead("GET", GROUP), CALLER))

    def test_of_another_principal(self) -> None:
        self.refused(self.path, evolve(CALLER, seal=b"t" * 32))

    def test_changed(self) -> None:
        """The result has an address of its own; no other request, worker or form can be asked."""
        seal = self.path.partition("=")[2]
        for path in (
            self.path.replace("/state", "/result"),
            self.path.replace("r-1", "r-2"),
            self.path.replace("/state", "/other"),
            self.path.replace("/state", ""),
            self.path.partition("?")[0],
            f"/hoopgw/held/r-1/state?hoopgw-held={seal[:-2]}AA",
            f"/hoopgw/held/r-1/state?hoopgw-held={seal}&hoopgw-held={seal}",
            "/hoopgw/held/r-1/state?hoopgw-held=%ff",
            f"/hoopgw/held/r-1/state?hoopgw-held={'A' * 5000}",
        ):
            self.refused(path)

    def test_for_reading_only(self) -> None:
        self.refused(self.path, method="DELETE")

    def test_clients_may_add_parameters(self) -> None:
        self.assertIsNotNone(follow(RequestHead("GET", f"{self.path}&api-version=1"), CALLER))


class AskingCase(SynchronousTestCase):
    """Asks how a request stands."""

    head = RequestHead("GET", "/hoopgw/held/r-1/state")

    def ask(self, standing: Standing, *, is_result: bool = False) -> Response | Onward:
        """Ask."""
        poll = Poll(request="r-1", worker="worker1", is_result=is_result)
        return Asking(poll, standing, self.head, CALLER).answer()

    def answered(
        self,
        answer: Response,
        method: str = "DELETE",
        *,
        is_result: bool = False,
        whole: bool = True,
    ) -> Response | Onward:
        """Ask after one that the target has answered."""
        standing = evolve(WAITING, state="answered", method=method, answer=answer, is_whole=whole)
        return self.ask(standing, is_result=is_result)

    def onward(self, found: Response | Onward, target: str, then: Response | None = None) -> Any:
        """Check where the target is asked; return what is made of its answer."""
        assert isinstance(found, Onward), found
        self.assertEqual((found.head.method, found.head.target), ("GET", target))
        if found.read is None:
            self.assertIsNone(then)
            return None
        assert then is not None
        return found.read(then)


class PendingTests(AskingCase):
    """Before the target has it."""

    def test_how_it_stands(self) -> None:
        answer = self.ask(WAITING)
        self.assertEqual(said(answer)["status"], "InProgress")
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 200)

    def test_its_result(self) -> None:
        """Asked for at the same address again."""
        answer = self.ask(evolve(WAITING, state="running"), is_result=True)
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 202)
        location = answer.headers.get(b"location") or b""
        self.assertIsNotNone(follow(RequestHead("GET", path_of(location)), CALLER))

    def test_what_was_not_sent(self) -> None:
        for outcome, status, code in (
            ("denied", "Failed", "ApprovalDenied"),
            ("expired", "Canceled", "ApprovalExpired"),
            ("withdrawn", "Canceled", "RequestWithdrawn"),
            ("failed", "Failed", "OutcomeUnknown"),
        ):
            standing = evolve(WAITING, state="refused", outcome=outcome, text="no", hint="")
            found = said(self.ask(standing))
            self.assertEqual(found["status"], status)
            self.assertEqual(found["error"], {"code": code, "message": "hoopgw: no"})
            answer = self.ask(standing, is_result=True)
            assert isinstance(answer, Response)
            self.assertEqual((answer.status, said(answer)["error"]["code"]), (403, code))


class AnsweredTests(AskingCase):
    """Once the target has answered, its own addresses do."""

    def test_done_at_once(self) -> None:
        for status in (200, 204):
            self.assertEqual(said(self.answered(got(status)))["status"], "Succeeded")
            self.assertEqual(self.answered(got(status), is_result=True), got(status))

    def test_an_error(self) -> None:
        error = {"code": "Conflict", "message": "it is in use"}
        answer = got(409, {"error": error})
        self.assertEqual(said(self.answered(answer)), {"status": "Failed", "error": error})
        self.assertEqual(self.answered(answer, is_result=True), answer)
        plain = said(self.answered(got(500)))
        self.assertIn("500", plain["error"]["message"])

    def test_its_own_address_of_the_state(self) -> None:
        answer = got(202, Azure_AsyncOperation=STATE, Location=LINK)
        self.onward(self.answered(answer), path_of(STATE))
        self.onward(self.answered(answer, is_result=True), path_of(LINK))

    def test_only_an_address_of_the_result(self) -> None:
        """Then what that says is said as a state."""
        found = self.answered(got(202, Location=LINK))
        for answer, status in (
            (got(202, Retry_After="17"), "InProgress"),
            (got(200, {}), "Succeeded"),
            (got(204), "Succeeded"),
            (got(404, {"error": {"code": "Gone", "message": "gone"}}), "Failed"),
        ):
            told = self.onward(found, path_of(LINK), answer)
            self.assertEqual(said(told)["status"], status)
            if status == "InProgress":
                self.assertEqual(told.headers.get(b"retry-after"), b"17")
        busy = got(429)
        self.assertIs(self.onward(found, path_of(LINK), busy), busy)

    def test_only_an_address_of_the_state(self) -> None:
        """Then its end leads to the result."""
        for method, last in (("DELETE", 204), ("POST", 200), ("PUT", None)):
            found = self.answered(got(202, Azure_AsyncOperation=STATE), method, is_result=True)
            told = self.onward(found, path_of(STATE), got(200, {"status": "Running"}))
            self.assertEqual(told.status, 202)
            told = self.onward(found, path_of(STATE), got(200, {"status": "Succeeded"}))
            if last is None:
                self.onward(told, WAITING.target)
            else:
                self.assertEqual(told.status, last)
            error = {"code": "Quota", "message": "no more"}
            told = self.onward(
                found, path_of(STATE), got(200, {"status": "Failed", "error": error})
            )
            self.assertEqual((told.status, said(told)["error"]), (409, error))
            missing = got(404)
            self.assertIs(self.onward(found, path_of(STATE), missing), missing)

    def test_a_resource_that_says_it_itself(self) -> None:
        making = got(201, {"properties": {"provisioningState": "Creating"}})
        found = self.answered(making, "PUT")
        for state, status in (
            ("Updating", "InProgress"),
            ("Succeeded", "Succeeded"),
            ("failed", "Failed"),
        ):
            body = {"properties": {"provisioningState": state}}
            told = said(self.onward(found, WAITING.target, got(200, body)))
            self.assertEqual(told["status"], status)
        done = got(200, {"properties": {"provisioningState": "Succeeded"}})
        self.assertEqual(said(self.answered(done, "PUT"))["status"], "Succeeded")
        self.assertEqual(said(self.answered(got(200, ["x"]), "PUT"))["status"], "Succeeded")

    def test_an_answer_that_was_too_long_to_keep(self) -> None:
        answer = self.answered(got(200), "POST", is_result=True, whole=False)
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 502)
        self.assertIn("it was done", said(answer)["error"]["message"])

    def test_it_can_be_told_to_another_worker(self) -> None:
        answer = got(202, {"a": 1}, Location=LINK)
        for standing in (WAITING, evolve(WAITING, state="answered", answer=answer)):
            self.assertEqual(Standing.of(standing.to_body()), standing)
