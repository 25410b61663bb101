"""Tests for `hoopgw_azure.model`: what goes to Azure, and what of its answers is shown."""

from __future__ import annotations

import json
from typing import Any, Final

from hoopgw.http.messages import Headers, RequestHead
from hoopgw.http.model import Caller, Plan
from hoopgw.policy.decision import Sight, Sights
from hoopgw.sessions.refusals import Refusal, RefusedError
from tests.azure.model_case import AZURE, CALLER, KEYS, STORAGE, ModelCase
from tests.azure.world import GROUP, HOST, SUBSCRIPTION


class SendTests(ModelCase):
    """What goes to Azure."""

    def test_only_what_is_listed(self) -> None:
        plan = self.plan(
            "GET",
            f"{GROUP}?api-version=2021-04-01",
            Authorization="Bearer mine",
            If_Match="*",
            X_Other="x",
            X_Ms_Authorization_Auxiliary="EncryptedBearer y",
            Cookie="a=b",
        )
        names = {name.lower() for name, _value in plan.send.headers}
        self.assertIn(b"if-match", names)
        for name in (b"authorization", b"x-other", b"x-ms-authorization-auxiliary", b"cookie"):
            self.assertNotIn(name, names)
        self.assertEqual(plan.send.headers.get(b"x-ms-client-request-id"), b"hoopgw-s-1")
        self.assertEqual(plan.send.target, f"{GROUP}?api-version=2021-04-01")

    def test_the_digest_is_over_all_that_matters(self) -> None:
        """Body, query, path, listed fields, account and chain; and nothing else."""
        url = f"{GROUP}?api-version=2021-04-01"
        first = self.plan("PUT", url, {"location": "a"}).operation.digest
        same = self.plan("PUT", url, {"location": "a"}, X_Other="x").operation.digest
        self.assertEqual(first, same)
        other = Caller(
            account="deployer", chain=("corp|bob",), session="s-1", authority=HOST, seal=b"s" * 32
        )
        for changed in (
            self.plan("PUT", url, {"location": "b"}),
            self.plan("PUT", url + "&x=1", {"location": "a"}),
            self.plan("PUT", url.replace("shop", "shop2"), {"location": "a"}),
            self.plan("PUT", url, {"location": "a"}, If_Match="x"),
            self.plan("PUT", url, {"location": "a"}, caller=other),
        ):
            with self.subTest(changed=changed.send):
                self.assertNotEqual(changed.operation.digest, first)

    def test_a_copy_reads_where_the_account_finds_it(self) -> None:
        """Whatever the name by which the client knows us: it is sent, judged, and approved so."""
        own = "https://shopdata.blob.core.windows.net/in/a.txt?snapshot=1"
        digests = set()
        for host in (HOST, HOST.upper(), f"{HOST}:443", "blobs.gw.example", own.split("/")[2]):
            source = f"https://{host}/in/a.txt?snapshot=1"
            plan = self.plan("PUT", "/out/a.txt", model=self.blobs, x_ms_copy_source=source)
            self.assertEqual(plan.send.headers.all(b"x-ms-copy-source"), (own.encode(),), host)
            actions = {each.action for each in plan.operation.accesses}
            self.assertEqual(actions, {"Azure::writeData", "Azure::readData"})
            digests.add(plan.operation.digest)
        self.assertEqual(len(digests), 1)
        other = self.plan(
            "PUT", "/out/a.txt", model=self.blobs, x_ms_copy_source=f"https://{HOST}/in/b.txt"
        )
        self.assertNotIn(other.operation.digest, digests)

    def test_a_copy_from_another_host_is_unknown_and_stays_as_it_is(self) -> None:
        for source in (
            "https://evil.example/in/a.txt",
            f"https://{HOST}.evil.example/in/a.txt",
            f"https://{HOST}@evil.example/in/a.txt",
            f"https://{HOST}:8443/in/a.txt",
            f"http://{HOST}/in/a.txt",
            f"https://{HOST}\\evil.example/in/a.txt",
            f"https://{HOST}/in/../secret/a.txt",
        ):
            with self.subTest(source=source):
                plan = self.plan("PUT", "/out/a.txt", model=self.blobs, x_ms_copy_source=source)
                self.assertIn("Azure::unknown", {each.action for each in plan.operation.accesses})
        for source in (f"https://{HOST}/in/a?sig=x", f"https://{HOST}/in/a?sv=1&%73ig=x"):
            with self.subTest(source=source), self.assertRaises(RefusedError):
                self.plan("PUT", "/out/a.txt", model=self.blobs, x_ms_copy_source=source)

    def test_secrets_of_a_body_are_not_kept(self) -> None:
        """Neither in the recording nor before reviewers; Azure gets them."""
        body = {
            "properties": {
                "osProfile": {"adminUsername": "me", "adminPassword": "hunter2hunter2"},
                "mode": "Incremental",
            }
        }
        url = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm?api-version=2023-03-01"
        plan = self.plan("PUT", url, body)
        for kept in (plan.kept.decode(), plan.operation.text):
            self.assertNotIn("hunter2", kept)
            self.assertIn("Incremental", kept)
        value = self.plan("PUT", "/secrets/db?api-version=7.4", {"value": "v-1"}, self.vault)
        self.assertNotIn("v-1", value.kept.decode() + value.operation.text)

    def test_secure_parameters_of_templates_are_not_kept(self) -> None:
        template = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/"
            "deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "parameters": {"login": {"type": "securestring"}, "size": {"type": "string"}},
            "resources": [],
        }
        parameters = {"login": {"value": "hunter2"}, "size": {"value": "small"}}
        body = {
            "properties": {"mode": "Incremental", "template": template, "parameters": parameters}
        }
        url = f"{GROUP}/providers/Microsoft.Resources/deployments/d?api-version=2021-04-01"
        kept = self.plan("PUT", url, body).kept.decode()
        self.assertNotIn("hunter2", kept)
        self.assertIn("small", kept)

    def test_paths_that_are_not_clear(self) -> None:
        for target in (
            "/subscriptions/%2e%2e/x",
            "//subscriptions",
            f"{GROUP}/../other",
            "/a%2Fb",
            "/subscriptions/x;y",
        ):
            with self.subTest(target=target):
                error = self.assertRaises(RefusedError, self.plan, "GET", target)
                self.assertEqual(error.refusal.kind, "malformed")


class ShowTests(ModelCase):
    """What is shown of an answer."""

    def test_all_strings_where_the_operation_says_so(self) -> None:
        keys = {"keys": [{"keyName": "key1", "value": "c2VjcmV0", "other": {"deep": "x"}}]}
        plan = self.plan("POST", KEYS)
        shown, body = self.show(plan, keys)
        self.assertEqual(body["keys"][0]["keyName"], "key1")
        self.assertNotIn("c2VjcmV0", json.dumps(body))
        self.assertNotIn('"x"', json.dumps(body))
        assert shown.transform is not None
        self.assertEqual(shown.transform.masked, 2)

    def test_who_may_see(self) -> None:
        plan = self.plan("POST", KEYS)
        clear = {each.id: Sight(mask=None) for each in plan.fields}
        _shown, body = self.show(plan, {"keys": [{"value": "c2VjcmV0"}]}, sights=clear)
        self.assertEqual(body, {"keys": [{"value": "c2VjcmV0"}]})
        last4 = {each.id: Sight(mask="last4") for each in plan.fields}
        _shown, body = self.show(plan, {"keys": [{"value": "c2VjcmV0ABCD"}]}, sights=last4)
        self.assertTrue(body["keys"][0]["value"].endswith("ABCD"))

    def test_the_way_into_a_cluster(self) -> None:
        """It is shown in clear, or not at all: of a masked kubeconfig nobody would know why."""
        cluster = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
        answer = {"kubeconfigs": [{"name": "clusterUser", "value": "YXBpVmVyc2lvbjogdjE="}]}
        for method, path in (
            ("POST", f"{cluster}/listClusterUserCredential"),
            ("POST", f"{cluster}/listClusterAdminCredential"),
            ("POST", f"{cluster}/accessProfiles/clusterAdmin/listCredential"),
            ("GET", f"{cluster}/accessProfiles/clusterAdmin"),
            (
                "POST",
                f"{GROUP}/providers/Microsoft.Kubernetes/connectedClusters/c/listClusterUserCredential",
            ),
            ("POST", f"{GROUP}/providers/Microsoft.ResourceConnector/appliances/a/listKeys"),
            (
                "POST",
                f"{GROUP}/providers/Microsoft.KubernetesConfiguration/namespaces/n/listUserCredential",
            ),
        ):
            plan = self.plan(method, f"{path}?api-version=2024-01-01")
            (everything,) = plan.fields
            self.assertEqual(everything.labels, {"azure.secret", "azure.kubeconfig"}, path)
            refusal = self.refused(plan, answer)
            self.assertEqual(refusal.kind, "withheld")
            self.assertIn("target of the protocol kubernetes", refusal.text)
            masked = {everything.id: Sight(mask="last4")}
            self.refused(plan, answer, sights=masked)
            clear = {everything.id: Sight(mask=None)}
            self.assertEqual(self.show(plan, answer, sights=clear)[1], answer)
            error = {"error": {"code": "NotFound", "message": "no such cluster"}}
            self.assertEqual(self.show(plan, error, status=404)[1], error)

    def test_digests_of_what_was_masked(self) -> None:
        """Who knows all but a few digits of a body finds these by its digest: it is not shown."""
        plan = self.plan("POST", KEYS)
        shown, _body = self.show(
            plan,
            {"keys": []},
            ETag="x",
            Content_MD5="x",
            Digest="x",
            Content_Digest="x",
            Repr_Digest="x",
        )
        for name in (b"etag", b"content-md5", b"digest", b"content-digest", b"repr-digest"):
            self.assertNotIn(name, shown.head.headers)

    def test_no_guess_at_what_is_masked_is_confirmed(self) -> None:
        """Tags that are digests are not compared; a change by its tag is another matter."""
        hidden = (
            f"{GROUP}/providers/Microsoft.Web/sites/s/config/appsettings?api-version=2022-03-01"
        )
        for method, target, sent in (
            ("GET", hidden, False),
            ("PUT", hidden, True),
            ("GET", GROUP, True),
        ):
            fields = self.plan(method, target, If_None_Match="x", If_Match="x").send.headers
            for name in (b"if-none-match", b"if-match"):
                self.assertEqual(name in fields, sent, (method, target, name))

    def test_an_error_can_be_read(self) -> None:
        plan = self.plan("POST", KEYS)
        error = {"error": {"code": "Conflict", "message": "try again", "details": ["secret"]}}
        _shown, body = self.show(plan, error, status=409)
        self.assertEqual(body["error"]["message"], "try again")
        self.assertNotIn("secret", json.dumps(body))

    def test_what_cannot_be_masked_is_not_shown(self) -> None:
        plan = self.plan("POST", KEYS)
        for kind in ("application/octet-stream", "text/html", "application/json; charset=utf-16"):
            with self.subTest(kind=kind):
                refusal = self.refused(plan, b"secret", content_type=kind)
                self.assertEqual(refusal.kind, "withheld")
        shown, _body = self.show(self.plan("GET", GROUP), b"x", content_type="text/html")
        self.assertIsNone(shown.transform)

    def test_a_vaults_secret(self) -> None:
        """The value is masked; what names it leads to us, with the port that clients use."""
        plan = self.plan("GET", "/secrets/db?api-version=7.4", model=self.vault)
        said = {"value": "v", "id": "https://shop-kv.vault.azure.net:443/secrets/db/1"}
        _shown, body = self.show(plan, said, model=self.vault)
        self.assertEqual(body["id"], f"https://{HOST}/secrets/db/1")
        self.assertNotEqual(body["value"], "v")

    def test_links_lead_to_us_or_the_answer_is_not_shown(self) -> None:
        plan = self.plan("GET", f"/subscriptions/{SUBSCRIPTION}/resourcegroups")
        _shown, body = self.show(plan, {"value": [], "nextLink": f"{AZURE}:443/x?$skip=1"})
        self.assertEqual(body["nextLink"], f"https://{HOST}/x?$skip=1")
        for link in (
            "https://evil.example/x",
            "http://management.azure.com/x",
            "https://management.azure.com.evil.example/",
            "https://management.azure.com@evil.example/",
            "//evil.example/x",
        ):
            with self.subTest(link=link):
                self.refused_body(plan, {"value": [], "nextLink": link})
                self.assertEqual(self.refused(plan, {}, Location=link).kind, "withheld")

    def test_tags_are_no_links(self) -> None:
        """They are somebody's own words, which no client follows; one must not hide a list."""
        plan = self.plan("GET", "/secrets?api-version=7.4", model=self.vault)
        own = "https://shop-kv.vault.azure.net/secrets/db"
        tags = {"id": "https://evil.example/x", "nextLink": "//evil.example", "kid": own}
        said = {"value": [{"id": own, "tags": tags}], "nextLink": None}
        _shown, body = self.show(plan, said, model=self.vault)
        self.assertEqual(body["value"][0]["tags"], tags)
        self.assertEqual(body["value"][0]["id"], f"https://{HOST}/secrets/db")

    def test_keys_in_fields(self) -> None:
        """Whoever reads where a blob came from need not hold what let it be copied."""
        plan = self.plan("HEAD", "/in/a.txt", model=self.blobs)
        source = "https://other.blob.core.windows.net/c/a?sv=2020&sr=b&sig=c2Vj%2BcmV0&se=2030"
        shown, _body = self.show(plan, b"", model=self.blobs, x_ms_copy_source=source, ETag="sig")
        fields = shown.head.headers
        self.assertEqual(
            fields.get(b"x-ms-copy-source"), source.replace("c2Vj%2BcmV0", "***").encode()
        )
        self.assertEqual(fields.get(b"etag"), b"sig")
        link = f"{AZURE}/x?SIG=c2VjcmV0&a=1"
        shown, _body = self.show(self.plan("GET", GROUP), {}, Location=link, x_y="AccountKey=abc=")
        self.assertEqual(
            shown.head.headers.get(b"location"), f"https://{HOST}/x?SIG=***&a=1".encode()
        )
        self.assertEqual(shown.head.headers.get(b"x-y"), b"AccountKey=***")

    def test_signatures_wherever_they_are(self) -> None:
        """In members that no table knows; what policy shows in clear stays."""
        url = "https://x.blob.core.windows.net/c/a?sr=b&sig=c2VjcmV0"
        said = {"properties": {"settings": {"fileUris": [url]}, "sasUri": url, "note": "sig"}}
        plan = self.plan(
            "GET", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/v/extensions/e"
        )
        _shown, body = self.show(plan, said)
        self.assertEqual(json.dumps(body), json.dumps(said).replace("c2VjcmV0", "***"))
        plan = self.plan("POST", f"{GROUP}/providers/Microsoft.Compute/disks/d/beginGetAccess")
        self.assertEqual([each.id.partition("#")[2] for each in plan.fields], ["*"])
        clear: Sights = {each.id: Sight(mask=None) for each in plan.fields}
        _shown, body = self.show(plan, {"accessSAS": url}, sights=clear)
        self.assertEqual(body, {"accessSAS": url})

    def test_what_is_kept_of_a_masked_answer(self) -> None:
        """Only texts, and only such as Azure has there; nothing below them."""
        hidden = {"secret": "s", "deep": ["s"]}
        said = {
            "status": "Succeeded",
            "nextLink": f"{AZURE}/x?a=1",
            "properties": {"provisioningState": "s"},
            "keys": [
                {
                    "keyName": "key2",
                    "permissions": "FULL",
                    "creationTime": "2024-01-02T03:04:05.1Z",
                },
                {"keyName": "shopdata", "permissions": ["s"], "creationTime": "s"},
                {"keyName": "s", "permissions": hidden, "status": "s"},
            ],
        }
        _shown, body = self.show(self.plan("POST", KEYS), said)
        self.assertEqual(body["status"], "Succeeded")
        self.assertEqual(body["nextLink"], f"https://{HOST}/x?a=1")
        self.assertEqual(body["keys"][0], said["keys"][0])  # type: ignore[index]  # a plain list
        self.assertEqual(body["keys"][1]["keyName"], "shopdata")  # the request's path names it
        self.assertNotIn('"s"', json.dumps(body))
        _shown, body = self.show(self.plan("POST", KEYS), {"status": hidden, "nextLink": "s"})
        self.assertNotIn('"s"', json.dumps(body))

    def test_errors_of_a_masked_operation(self) -> None:
        """A message can be read; what looks like a key in it cannot."""
        key = "Zm9vYmFyYmF6MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A+/w=="
        known = f"{STORAGE}/x is not a valid resource, id {SUBSCRIPTION}, api-version 2023-01-01."
        for message, shown in (
            (known, known),
            (f"the key {key} is not good", "the key *** is not good"),
            ("Password=hunter2;x", "Password=***;x"),
            ("at https://h/?sig=abc", "at https://h/?sig=***"),
            ("x" * 5000, "***"),
        ):
            error = {"error": {"code": "Conflict", "message": message}}
            _head, body = self.show(self.plan("POST", KEYS), error, status=409)
            self.assertEqual(body["error"], {"code": "Conflict", "message": shown})
        for code in ("c2VjcmV0MTIz", {"a": "s"}, "a b"):
            _head, body = self.show(self.plan("POST", KEYS), {"error": {"code": code}}, status=409)
            self.assertNotIn(json.dumps(code)[1:-1], json.dumps(body))

    def refused_body(self, plan: Plan, body: Any) -> None:
        """Check that a body breaks off."""
        with self.assertRaises(Exception) as caught:
            self.show(plan, body)
        self.assertIn("another host", str(caught.exception))

    def test_azure_refuses_the_agent(self) -> None:
        """Its challenge would send the client to Entra itself."""
        refusal = self.refused(self.plan("GET", GROUP), {}, status=401, WWW_Authenticate="Bearer x")
        self.assertIn("agent's credential", refusal.text)

    def test_fields_that_are_not_the_clients(self) -> None:
        shown, _body = self.show(self.plan("GET", GROUP), {}, Set_Cookie="a=b", ETag="x")
        self.assertNotIn(b"set-cookie", shown.head.headers)


class PollTests(ModelCase):
    """The state of long operations."""

    STATE: Final = f"{STORAGE}/operationStatuses/1"

    def started(self) -> str:
        """Begin an operation whose answer has secrets; return where its state is, for clients."""
        shown, _body = self.show(
            self.plan("POST", KEYS), {}, status=202, Location=f"{AZURE}{self.STATE}?api-version=1"
        )
        found = (shown.head.headers.get(b"location") or b"").decode()
        self.assertTrue(found.startswith(f"https://{HOST}{self.STATE}?api-version=1&hoopgw-poll="))
        return found.removeprefix(f"https://{HOST}")

    def test_it_is_masked_as_its_operation(self) -> None:
        plan = self.plan("GET", self.started())
        self.assertNotIn("hoopgw-poll", plan.send.target)
        self.assertEqual({access.action for access in plan.operation.accesses}, {"Azure::connect"})
        _shown, body = self.show(plan, {"output": {"accessSAS": "secret"}})
        self.assertNotIn("secret", json.dumps(body))

    def test_its_answer_leads_on_with_the_same_masks(self) -> None:
        plan = self.plan("GET", self.started())
        shown, _body = self.show(plan, {}, status=202, Location=f"{AZURE}{self.STATE}?x=2")
        again = (
            (shown.head.headers.get(b"location") or b"").decode().removeprefix(f"https://{HOST}")
        )
        _shown, body = self.show(self.plan("GET", again), {"keys": ["secret"]})
        self.assertNotIn("secret", json.dumps(body))

    def test_all_states_of_an_operation_are_one_list(self) -> None:
        """However often it is begun: what it is asked of counts, and not its address."""
        plans = [self.plan("GET", self.started()) for _ in range(2)]
        plans.append(self.plan("POST", KEYS))
        self.assertEqual({each.model.listing for each in plans}, {KEYS.partition("?")[0].lower()})

    def test_a_seal_is_for_one_path_and_one_caller(self) -> None:
        """Else whoever may start anything could read everything."""
        good = self.started()
        seal = good.partition("hoopgw-poll=")[2]
        other = Caller(
            account="deployer", chain=("corp|alice",), session="s", authority=HOST, seal=b"t" * 32
        )
        cases: tuple[tuple[str, Caller], ...] = (
            (good.replace("/1?", "/2?"), CALLER),
            (f"{GROUP}?hoopgw-poll={seal}", CALLER),
            (good, other),
            (good[:-4] + "AAAA", CALLER),
            (f"{self.STATE}?hoopgw-poll=", CALLER),
            (f"{good}&hoopgw-poll={seal}", CALLER),
            (f"{self.STATE}?hoopgw-poll={'A' * 5000}", CALLER),
        )
        for target, caller in cases:
            with self.subTest(target=target[:60]):
                self.assertRaises(RefusedError, self.plan, "GET", target, caller=caller)
        self.assertRaises(RefusedError, self.plan, "DELETE", good)

    def test_without_a_seal_policy_is_asked(self) -> None:
        plan = self.plan("GET", f"{self.STATE}?api-version=1")
        self.assertEqual({access.action for access in plan.operation.accesses}, {"Azure::poll"})


class RefuseTests(ModelCase):
    """Refusals in the target's own terms."""

    def test_each_plane(self) -> None:
        refusal = Refusal(
            kind="held", text="held <b>", hint="wait", request="r-1", retry_after=9, detail={"a": 1}
        )
        arm = self.arm.refuse(None, refusal)
        said = json.loads(arm.body)["error"]
        self.assertEqual((arm.status, said["code"]), (403, "ApprovalRequired"))
        self.assertIn("held <b>", said["message"])
        self.assertEqual(said["additionalInfo"], [{"type": "hoopgw", "info": {"a": 1}}])
        self.assertEqual(arm.headers.get(b"retry-after"), b"9")
        self.assertEqual(arm.headers.get(b"x-hoopgw-request"), b"r-1")
        blob = self.blobs.refuse(None, refusal)
        self.assertIn(b"held &lt;b&gt;", blob.body)
        self.assertEqual(blob.headers.get(b"x-ms-error-code"), b"ApprovalRequired")

    def test_keys_and_signatures_of_storage(self) -> None:
        """Who shows one is told so, and not that a token is missing, which would be no help."""
        nobody = Refusal(kind="unauthenticated", text="a token of hoopgw is needed")
        for url, fields, said in (
            ("/c/a.txt", ((b"Authorization", b"SharedKey a:b"),), b"keys of a storage account"),
            ("/c/a.txt?sv=1&sig=abc", (), b"shared access signatures are not taken"),
            ("/c/a.txt", (), b"a token of hoopgw is needed"),
            ("//", (), b"a token of hoopgw is needed"),
        ):
            head = RequestHead("GET", url, Headers.of(((b"Host", b"x"), *fields)))
            answer = self.blobs.refuse(head, nobody)
            self.assertIn(said, answer.body, url)
            self.assertNotIn(b"abc", answer.body)
            self.assertEqual(answer.status, 401 if b"hoopgw is needed" in said else 403)
