"""``hoopgw login --ci``: the endpoints that jobs and workloads have, as look-alikes on loopback."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli import ambient_http
from hoopgw.cli.ambient import Wanted, job_token
from hoopgw.cli.failure import CommandError
from hoopgw.identity.login import LoginError
from hoopgw.identity.urns import JWT
from tests.identity.callers.shapes import APP, OURS, TENANT, entra_app, github, pipeline, spiffe
from tests.identity.forge import token
from tests.support.certificates import Authority, Pair
from tests.support.lookalike import Asked, LookAlike, Told

RUNNER = "runner-bearer-swordfish"
ISSUERS = {
    "issuers": [
        {"alias": "gha", "type": "github-actions", "audiences": ["https://gw.example"]},
        {"alias": "k8s", "type": "kubernetes", "audiences": ["hoopgw"]},
        {"alias": "mesh", "type": "spiffe", "audiences": ["hoopgw"]},
        {"alias": "ado", "type": "azure-devops", "audiences": [OURS]},
        {"alias": "corp", "type": "entra", "audiences": [OURS]},
    ]
}


def query(asked: Asked) -> dict[str, str]:
    """Return what is in a request's query, each once."""
    return {name: value for name, (value,) in parse_qs(urlsplit(asked.path).query).items()}


def form(asked: Asked) -> dict[str, str]:
    """Return what a request posted, each once."""
    return {name: value for name, (value,) in parse_qs(asked.body.decode()).items()}


class AmbientCase(SynchronousTestCase):
    """A CA, and servers that stop."""

    folder: ClassVar[Path]
    ca: ClassVar[Path]
    pair: ClassVar[Pair]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.folder = Path(tempfile.mkdtemp(prefix="hg-ci-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        authority = Authority.make()
        cls.ca = authority.write(cls.folder / "ca.pem")
        cls.pair = authority.issue(cls.folder, "server")

    def setUp(self) -> None:
        self.patch(ambient_http, "_PAUSE", 0.0)

    def serve(self, *answers: Told, tls: bool = True) -> LookAlike:
        """Serve answers one after the other; the last stays."""
        waiting = list(answers)

        def answer(_asked: Asked) -> Told:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        server = LookAlike(answer, self.pair if tls else None)
        self.addCleanup(server.stop)
        return server

    def token(self, environ: Mapping[str, str], source: str | None = None, **more: Any) -> str:
        """Get the job's token."""
        wanted = Wanted(source=source, ca=self.ca, **more)
        found = job_token(ISSUERS, environ, wanted, self.folder / "nothing")
        self.assertEqual(found.kind, JWT)
        return found.token

    def refused(self, environ: Mapping[str, str], *words: str, source: str | None = None) -> None:
        """Get no token; what the job holds is not in the text."""
        error = self.assertRaises((CommandError, LoginError), self.token, environ, source)
        for word in words:
            self.assertIn(word, str(error))
        for secret in environ.values():
            if "swordfish" in secret or "eyJ" in secret:
                self.assertNotIn(secret, str(error))


class GitHubTests(AmbientCase):
    """The runner's token service."""

    def environ(self, server: LookAlike) -> dict[str, str]:
        """Return what a job with ``id-token: write`` has."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{server.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": RUNNER,
        }

    def test_a_token(self) -> None:
        """It is asked for with our audience, beside what the URL has already."""
        server = self.serve(Told(body={"count": 1, "value": token(github())}))
        self.assertEqual(self.token(self.environ(server)), token(github()))
        asked = server.asked[0]
        self.assertEqual(query(asked), {"api-version": "2.0", "audience": "https://gw.example"})
        self.assertEqual(asked.headers["authorization"], f"Bearer {RUNNER}")

    def test_trouble(self) -> None:
        """A hiccup is borne; the rest says what the job may lack."""
        good = Told(body={"value": token(github())})
        server = self.serve(Told(503, b"busy"), Told(500), good)
        self.assertEqual(self.token(self.environ(server)), token(github()))
        for wrong, word in (
            (Told(403, {"message": "no"}), "id-token: write"),
            (Told(200, {"value": 5}), "id-token: write"),
            (Told(200, {}), "id-token: write"),
            (Told(302, b"", {"Location": "https://evil.example/"}), "id-token: write"),
            (Told(200, b"<html>"), "unreadable"),
            (Told(200, b"x" * 300_000), "unreadable"),
            (Told(503), "503"),
            (Told(200, {"value": "no.jwt"}), "no JWT"),
        ):
            self.refused(self.environ(self.serve(wrong)), word)

    def test_plain_http(self) -> None:
        """The runner's token is not sent over it."""
        server = self.serve(Told(body={"value": token(github())}), tls=False)
        self.refused(self.environ(server), "no https URL")
        self.assertEqual(server.asked, [])

    def test_another_certificate(self) -> None:
        """Nor to somebody else."""
        server = self.serve(Told(body={"value": token(github())}))
        other = Authority.make("other").write(self.folder / "other.pem")
        wanted = Wanted(ca=other)
        error = self.assertRaises(
            CommandError, job_token, ISSUERS, self.environ(server), wanted, self.folder
        )
        self.assertNotIn(RUNNER, str(error))
        self.assertEqual(server.asked, [])

    def test_an_issuer_that_the_gateway_lacks(self) -> None:
        """Nothing is asked."""
        server = self.serve(Told(body={"value": token(github())}))
        unusable: list[dict[str, Any]] = [
            {"issuers": []},
            {},
            {"issuers": [{"type": "github-actions"}]},
        ]
        for known in unusable:
            error = self.assertRaises(CommandError, job_token, known, self.environ(server))
            self.assertIn('type = "github-actions"', str(error))
        self.assertEqual(server.asked, [])

    def test_several_issuers(self) -> None:
        """One is chosen by its alias."""
        server = self.serve(Told(body={"value": token(github())}))
        two = [{**ISSUERS["issuers"][0], "alias": a, "audiences": [a]} for a in ("one", "two")]
        environ, wanted = self.environ(server), Wanted(ca=self.ca)
        error = self.assertRaises(CommandError, job_token, {"issuers": two}, environ, wanted)
        self.assertIn("one, two", str(error))
        job_token({"issuers": two}, environ, evolve(wanted, alias="two"))
        self.assertEqual(query(server.asked[0])["audience"], "two")


class AzureDevOpsTests(AmbientCase):
    """A pipeline's token for its service connection, and Entra ID."""

    def environ(self, server: LookAlike, **changes: str) -> dict[str, str]:
        """Return what a step of AzureCLI@2 has."""
        return {
            "SYSTEM_OIDCREQUESTURI": f"{server.url}/acme/p/_apis/distributedtask/hubs/build/plans"
            "/1/jobs/2/oidctoken",
            "SYSTEM_ACCESSTOKEN": "job-swordfish",
            "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "c0ffee",
            "AZURESUBSCRIPTION_CLIENT_ID": APP,
            "AZURESUBSCRIPTION_TENANT_ID": TENANT,
            "AZURE_AUTHORITY_HOST": server.url,
            **changes,
        }

    def test_a_token(self) -> None:
        """What the pipeline has goes to Entra ID; what comes out is for the gateway."""
        server = self.serve(
            Told(body={"oidcToken": token(pipeline())}),
            Told(body={"access_token": token(entra_app()), "token_type": "Bearer"}),
        )
        self.assertEqual(self.token(self.environ(server)), token(entra_app()))
        first, second = server.asked
        self.assertEqual(first.method, "POST")
        self.assertEqual(query(first), {"api-version": "7.1", "serviceConnectionId": "c0ffee"})
        self.assertEqual(first.headers["authorization"], "Bearer job-swordfish")
        self.assertEqual(first.headers["content-length"], "0")
        self.assertEqual(second.path, f"/{TENANT}/oauth2/v2.0/token")
        self.assertEqual(
            form(second),
            {
                "grant_type": "client_credentials",
                "client_id": APP,
                "scope": f"{OURS}/.default",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": token(pipeline()),
            },
        )
        self.assertNotIn("authorization", second.headers)

    def test_what_is_missing(self) -> None:
        """Each variable has its way to be there."""
        server = self.serve(Told(body={"oidcToken": token(pipeline())}))
        for name, word in (
            ("SYSTEM_ACCESSTOKEN", "$(System.AccessToken)"),
            ("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "AzureCLI@2"),
            ("AZURESUBSCRIPTION_CLIENT_ID", "AzureCLI@2"),
            ("AZURESUBSCRIPTION_TENANT_ID", "AzureCLI@2"),
        ):
            self.refused(self.environ(server, **{name: ""}), name, word)
        self.refused({}, "SYSTEM_OIDCREQUESTURI", source="azure-devops")

    def test_refusals(self) -> None:
        """Of either; the pipeline's token is in no text."""
        self.refused(self.environ(self.serve(Told(401, {}))), "service connection")
        self.refused(self.environ(self.serve(Told(200, {"oidcToken": None}))), "service connection")
        error = {"error": "invalid_client", "error_description": "AADSTS700213: no record"}
        server = self.serve(Told(body={"oidcToken": token(pipeline())}), Told(401, error))
        failed = self.assertRaises(CommandError, self.token, self.environ(server))
        self.assertIn("AADSTS700213", str(failed))
        self.assertNotIn(token(pipeline()), str(failed))

    def test_nowhere_else(self) -> None:
        """The pipeline's token goes over https only, and the tenant is no path."""
        server = self.serve(Told(body={"oidcToken": token(pipeline())}))
        self.refused(self.environ(server, AZURE_AUTHORITY_HOST="http://127.0.0.1:1"), "https")
        self.refused(self.environ(server, AZURESUBSCRIPTION_TENANT_ID="a/../b"), "tenant")
        self.refused(self.environ(server, SYSTEM_OIDCREQUESTURI="http://127.0.0.1:1"), "https")


class WorkloadTests(AmbientCase):
    """Pods, virtual machines and App Services."""

    def test_kubernetes(self) -> None:
        """The projected file, where docs/callers.md puts it."""
        file = self.folder / "projected"
        file.write_text(token() + "\n")
        found = job_token(ISSUERS, {}, Wanted(), file)
        self.assertEqual(found.token, token())
        self.assertEqual(self.token({"HOOPGW_ID_TOKEN_FILE": str(file)}), token())

    def test_what_was_given_counts_first(self) -> None:
        """Whatever else is there."""
        environ = {"HOOPGW_ID_TOKEN": token(), "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}
        self.assertEqual(self.token(environ | {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x"}), token())

    def test_nothing_there(self) -> None:
        """The error names what to set."""
        self.refused({}, "HOOPGW_ID_TOKEN")
        self.refused({"HOOPGW_ID_TOKEN_FILE": "/nowhere"}, "/nowhere")

    def test_aks(self) -> None:
        """The pod's federated token is exchanged."""
        file = self.folder / "federated"
        file.write_text(token(pipeline(sub="system:serviceaccount:a:b")))
        server = self.serve(Told(body={"access_token": token(entra_app())}))
        environ = {
            "AZURE_FEDERATED_TOKEN_FILE": str(file),
            "AZURE_CLIENT_ID": APP,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_AUTHORITY_HOST": f"{server.url}/",
        }
        self.assertEqual(self.token(environ), token(entra_app()))
        self.assertEqual(form(server.asked[0])["client_assertion"], file.read_text())

    def test_app_service(self) -> None:
        """Its endpoint is on the host, in plain HTTP, and asks for a header."""
        server = self.serve(Told(body={"access_token": token(entra_app())}), tls=False)
        environ = {
            "IDENTITY_ENDPOINT": f"{server.url}/msi/token",
            "IDENTITY_HEADER": "header-swordfish",
            "HTTP_PROXY": "http://127.0.0.1:1",
        }
        self.assertEqual(self.token(environ), token(entra_app()))
        asked = server.asked[0]
        self.assertEqual(query(asked), {"api-version": "2019-08-01", "resource": OURS})
        self.assertEqual(asked.headers["x-identity-header"], "header-swordfish")
        self.token({**environ, "AZURE_CLIENT_ID": APP})
        self.assertEqual(query(server.asked[1])["client_id"], APP)
        self.refused(
            {**environ, "IDENTITY_HEADER": ""}, "IDENTITY_HEADER", source="managed-identity"
        )

    def test_a_virtual_machine(self) -> None:
        """Its endpoint is asked only by name, as others would wait for nobody."""
        server = self.serve(
            Told(429, {"error": "too many"}),
            Told(body={"access_token": token(entra_app())}),
            tls=False,
        )
        environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.url}
        self.refused(environ, "HOOPGW_ID_TOKEN")
        self.refused(environ, "429", source="managed-identity")
        self.assertEqual(self.token(environ, "managed-identity"), token(entra_app()))
        asked = server.asked[1]
        self.assertEqual(urlsplit(asked.path).path, "/metadata/identity/oauth2/token")
        self.assertEqual(query(asked), {"api-version": "2018-02-01", "resource": OURS})
        self.assertEqual(asked.headers["metadata"], "true")

    def test_endpoints_that_are_not_near(self) -> None:
        """In plain HTTP only this host and its link are asked."""
        for url in ("http://10.0.0.1/x", "http://evil.example/x", "ftp://127.0.0.1/", "127.0.0.1"):
            environ = {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": "header-swordfish"}
            self.refused(environ, "IDENTITY_ENDPOINT")

    def test_refusals_of_the_host(self) -> None:
        """They are told, as they say what is not assigned."""
        server = self.serve(
            Told(400, {"error": "invalid_request", "error_description": "Identity not found"}),
            tls=False,
        )
        environ = {"IDENTITY_ENDPOINT": server.url, "IDENTITY_HEADER": "header-swordfish"}
        self.refused(environ, "Identity not found")


@contextlib.contextmanager
def workload_api(folder: Path, svid: str | None) -> Iterator[tuple[str, list[list[str]]]]:
    """Serve the one call of the SPIFFE Workload API that we use; without an SVID, refuse it."""
    import grpc  # type: ignore[import-untyped]  # grpc has no type information
    from spiffe._proto import workload_pb2 as messages

    asked: list[list[str]] = []

    def fetch(request: Any, context: Any) -> Any:
        asked.append(list(request.audience))
        if ("workload.spiffe.io", "true") not in tuple(context.invocation_metadata()):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        if svid is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        made = messages.JWTSVID(spiffe_id=str(spiffe()["sub"]), svid=str(svid))
        return messages.JWTSVIDResponse(svids=[made])

    calls = grpc.method_handlers_generic_handler(
        "SpiffeWorkloadAPI",
        {
            "FetchJWTSVID": grpc.unary_unary_rpc_method_handler(
                fetch,
                request_deserializer=messages.JWTSVIDRequest.FromString,
                response_serializer=messages.JWTSVIDResponse.SerializeToString,
            )
        },
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((calls,))
    path = f"unix:{folder}/api.sock"
    server.add_insecure_port(path)
    server.start()
    try:
        yield path, asked
    finally:
        server.stop(None).wait()


class SpiffeTests(AmbientCase):
    """The Workload API, over a real gRPC socket."""

    def test_an_svid(self) -> None:
        """For our audience."""
        import time

        from joserfc.jwk import ECKey

        from hoopgw.identity.jose import sign

        now = int(time.time())
        header = {"alg": "ES256", "kid": "k", "typ": "JWT"}
        svid = sign(header, spiffe(iat=now, exp=now + 300), ECKey.generate_key("P-256"))
        with workload_api(self.folder, svid) as (path, asked):
            self.assertEqual(self.token({"SPIFFE_ENDPOINT_SOCKET": path}), svid)
        self.assertEqual(asked, [["hoopgw"]])

    def test_no_identity(self) -> None:
        """The workload is not registered."""
        with workload_api(self.folder, None) as (path, _asked):
            self.refused({"SPIFFE_ENDPOINT_SOCKET": path}, "registered")

    def test_no_socket(self) -> None:
        """Nobody listens."""
        self.refused({"SPIFFE_ENDPOINT_SOCKET": f"unix:{self.folder}/none.sock"}, "none.sock")
