"""The real kubectl through gateway and agent to a real API server.

What the server knows stays in the agent; Secrets are masked in each form in which a server gives
them; what needs approval waits for it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests

from tests.support import kubernetes_programs
from tests.support.delegating import Person
from tests.support.kubernetes import ACCOUNT, CALLER, TARGET, TOKEN, KubernetesRig, rigged
from tests.support.kubernetes_programs import program
from tests.support.processes import wait_until

pytestmark = pytest.mark.skipif(
    not kubernetes_programs.is_there(),
    reason="no API server: python -m tests.support.kubernetes_programs",
)

VALUE: Final = "correct-horse-battery"
MASKED: Final = base64.b64encode(b"***").decode()
PATIENCE: Final = 120.0
SECRET: Final = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "db"},
    "stringData": {"password": VALUE},
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesRig]:
    """Start a gateway before a cluster that holds a Secret."""
    with rigged() as started:
        path = tmp_path_factory.mktemp("manifests") / "secret.json"
        path.write_text(json.dumps(SECRET))
        applied = started.kubectl(started.server.config(), "apply", "-f", str(path))
        assert applied.status == 0, applied.error
        yield started


@pytest.fixture(scope="module")
def alice(rig: KubernetesRig) -> Path:
    """Log in as somebody who may do all but see secrets."""
    return rig.log_in()


def forms_of(value: str) -> tuple[bytes, ...]:
    """Return a value as it may stand in an answer."""
    return value.encode(), base64.b64encode(value.encode())[:-3]


@pytest.mark.parametrize("version", ["1.20", "1.35"])
def test_what_kubectl_shows(rig: KubernetesRig, alice: Path, version: str) -> None:
    rig.version = version
    assert "db" in rig.kubectl(alice, "get", "secrets").out
    shown = rig.kubectl(alice, "get", "secret", "db", "-o", "json").json
    assert shown["data"] == {"password": MASKED}
    assert "db" in rig.kubectl(alice, "describe", "secret", "db").out
    direct = rig.kubectl(rig.server.config(), "get", "secret", "db", "-o", "json").json
    assert base64.b64decode(direct["data"]["password"]).decode() == VALUE
    made = rig.kubectl(alice, "create", "configmap", f"c{version[2:]}", "--from-literal=a=b")
    assert made.status == 0, made.error
    listed = rig.kubectl(alice, "get", "configmap", f"c{version[2:]}", "-o", "json").json
    assert listed["data"] == {"a": "b"}
    assert rig.kubectl(alice, "api-resources").status == 0
    if version != "1.20":  # its --raw forgets what of the server's URL is a path
        assert rig.kubectl(alice, "get", "--raw", "/healthz").out == "ok"


def test_who_may_see_it(rig: KubernetesRig) -> None:
    auditor = rig.log_in("vera", ("developers", "see-secrets"))
    shown = rig.kubectl(auditor, "get", "secret", "db", "-o", "json").json
    assert base64.b64decode(shown["data"]["password"]).decode() == VALUE


LEAKS: Final = (
    ("GET", "secrets/db", "application/json", None),
    ("GET", "secrets/db", "application/yaml", None),
    ("GET", "secrets/db", "application/vnd.kubernetes.protobuf", None),
    ("GET", "secrets/db", "application/vnd.kubernetes.protobuf,application/json", None),
    ("GET", "secrets/db", "application/cbor", None),
    ("GET", "secrets/db", "*/*", None),
    ("GET", "secrets/db", "", None),
    ("GET", "secrets", "application/json", None),
    ("GET", "secrets?limit=500", "application/json;as=Table;v=v1;g=meta.k8s.io", None),
    (
        "GET",
        "secrets?includeObject=Object",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        None,
    ),
    (
        "GET",
        "secrets/db",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        None,
    ),
    (
        "GET",
        "secrets",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        None,
    ),
    ("GET", "secrets?watch=1&timeoutSeconds=2", "application/json", None),
    (
        "GET",
        "secrets?watch=true&timeoutSeconds=2&includeObject=Object",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        None,
    ),
    (
        "GET",
        "secrets?watch=true&timeoutSeconds=2",
        "application/vnd.kubernetes.protobuf;stream=watch",
        None,
    ),
    (
        "GET",
        "secrets?watch=1&sendInitialEvents=true&timeoutSeconds=2&resourceVersionMatch=NotOlderThan",
        "application/json",
        None,
    ),
    ("PATCH", "secrets/db", "application/json", {"metadata": {"labels": {"a": "b"}}}),
    (
        "PATCH",
        "secrets/db?dryRun=All",
        "application/vnd.kubernetes.protobuf",
        {"metadata": {"labels": {"a": "c"}}},
    ),
    ("DELETE", "secrets?dryRun=All", "application/json", None),
)


@pytest.mark.parametrize(("method", "path", "accept", "body"), LEAKS)
def test_no_form_shows_the_value(
    rig: KubernetesRig, method: str, path: str, accept: str, body: dict[str, Any] | None
) -> None:
    """Each shows it if the server is asked directly, and none does through the gateway."""
    direct = f"https://127.0.0.1:{rig.server.port}"
    headers = {"Accept": accept, "Content-Type": "application/strategic-merge-patch+json"}
    whole = f"/api/v1/namespaces/default/{path}"
    asked = requests.request(
        method,
        direct + whole,
        json=body,
        headers=headers | {"Authorization": f"Bearer {TOKEN}"},
        verify=str(rig.server.ca),
        timeout=60,
    )
    if asked.status_code == 200 and "PartialObjectMetadata;" not in accept:
        assert any(form in asked.content for form in forms_of(VALUE)), "the attack does not bite"
    token = json.loads(rig.log_in().read_text())["users"][0]["user"]["token"]
    through = requests.request(
        method,
        rig.url + whole,
        json=body,
        headers=headers | {"Authorization": f"Bearer {token}", "Impersonate-User": "admin"},
        verify=str(rig.rig.ca),
        timeout=60,
    )
    for form in forms_of(VALUE):
        assert form not in through.content
    assert through.status_code == 200 or asked.status_code >= 400, through.text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/%73ecrets/db",
        "/api/v1/namespaces/default/secrets%2Fdb",
        "/api/v1/namespaces/default/secrets/db/",
        "/api/v1/namespaces/default//secrets/db",
        "/api/v1/namespaces/default/./secrets/db",
        "/api/v1/namespaces/default/configmaps/../secrets/db",
        "/api/v1/watch/namespaces/default/secrets/db?timeoutSeconds=1",
        "/api/v1/proxy/namespaces/default/pods/x",
    ],
)
def test_tricks_with_paths(rig: KubernetesRig, alice: Path, path: str) -> None:
    """As they are written: kubectl would clean them up."""
    context = ssl.create_default_context(cafile=str(rig.rig.ca))
    connection = http.client.HTTPSConnection("127.0.0.1", rig.port, context=context, timeout=60)
    with contextlib.closing(connection):
        token = json.loads(alice.read_text())["users"][0]["user"]["token"]
        prefix = urlsplit(rig.url).path
        connection.request("GET", prefix + path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
    for form in forms_of(VALUE):
        assert form not in body
    assert answer.status in (400, 403) or path.startswith("/api/v1/watch/"), body


def test_a_json_patch_copies_no_secret(rig: KubernetesRig, alice: Path) -> None:
    patch = [{"op": "copy", "from": "/data/password", "path": "/metadata/labels/x"}]
    refused = rig.kubectl(alice, "patch", "secret", "db", "--type=json", f"-p={json.dumps(patch)}")
    assert refused.status != 0
    assert "use a merge patch" in refused.error


def test_what_was_masked_is_not_written_back(
    rig: KubernetesRig, alice: Path, tmp_path: Path
) -> None:
    shown = rig.kubectl(alice, "get", "secret", "db", "-o", "json").json
    path = tmp_path / "secret.json"
    path.write_text(json.dumps(shown))
    refused = rig.kubectl(alice, "replace", "-f", str(path))
    assert "it was not written" in refused.error


def test_credentials_are_not_given_out(rig: KubernetesRig, alice: Path) -> None:
    rig.version = "1.35"
    made = rig.kubectl(alice, "create", "token", "default")
    assert "credentials of the cluster are not given out here" in made.error


def test_a_delete_waits_for_people(rig: KubernetesRig, alice: Path) -> None:
    rig.kubectl(alice, "create", "configmap", "precious", "--from-literal=a=b")
    waiting = rig.start(alice, "delete", "configmap", "precious")

    def look() -> dict[str, Any] | None:
        open_ones = rig.rig.api("GET", "/v1/requests?state=requested")["requests"]
        return next((each for each in open_ones if "configmaps" in each["action"]), None)

    wait_until("it is held", lambda: look() is not None, PATIENCE)
    request = look()
    assert request is not None
    assert rig.kubectl(alice, "get", "configmap", "precious").status == 0
    rig.rig.api("POST", f"/v1/requests/{request['id']}/approve", {}, name="dora", groups=["ops"])
    out, error = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 0, error
    assert "deleted" in out
    assert "NotFound" in rig.kubectl(alice, "get", "configmap", "precious").error


def test_a_watch_shows_what_changes(rig: KubernetesRig, alice: Path) -> None:
    watching = rig.start(alice, "get", "secrets", "--watch", "-o", "json", "--request-timeout=60s")
    assert watching.stdout is not None
    name = f"w{time.time_ns()}"
    rig.kubectl(
        rig.server.config(), "create", "secret", "generic", name, f"--from-literal=password={VALUE}"
    )
    seen = ""
    while name not in seen:
        line = watching.stdout.readline()
        assert line, "the watch ended"
        seen += line
    watching.terminate()
    rest, _ = watching.communicate(timeout=PATIENCE)
    for form in forms_of(VALUE):
        assert form.decode() not in seen + rest


def test_nobody_else(rig: KubernetesRig, alice: Path) -> None:
    config = json.loads(alice.read_text())
    config["users"][0]["user"]["token"] = TOKEN
    path = alice.with_name("stolen")
    path.write_text(json.dumps(config))
    assert rig.kubectl(path, "get", "pods").status != 0
    stranger = rig.log_in("eve", ("visitors",))
    assert "Forbidden" in rig.kubectl(stranger, "get", "pods").error


def run_as(
    person: Person, account: str, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run kubectl with what `hoopgw kubeconfig` writes."""
    config = folder / account
    written = person.run("kubeconfig", TARGET, "--account", account, "--out", config)
    assert written.returncode == 0, written.stderr
    wrapper = folder / "hoopgw"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m hoopgw.cli "$@"\n')
    wrapper.chmod(0o700)
    return subprocess.run(
        [str(program("kubectl-1.35")), "--kubeconfig", str(config), *arguments],
        env=person.environment(PATH=f"{folder}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_a_person_with_the_command(rig: KubernetesRig, tmp_path: Path) -> None:
    """`hoopgw kubeconfig` writes no secret; kubectl calls hoopgw for a token."""
    with Person.logged_in(rig.rig, name="dora") as dora:
        done = run_as(dora, ACCOUNT, tmp_path, "get", "secrets")
        assert done.returncode == 0, done.stderr
        assert "db" in done.stdout
        assert "eyJ" not in (tmp_path / ACCOUNT).read_text()  # a token in JSON begins so
        refused = dora.run("kubeconfig", "green")
        assert refused.returncode != 0
        assert "no target 'green'" in refused.stderr
    sessions = rig.rig.api("GET", "/v1/sessions")["sessions"]
    assert "dora" in {each["path"] for each in sessions}


def test_the_cluster_knows_who_asks(rig: KubernetesRig, tmp_path: Path) -> None:
    """An account that impersonates may do what the cluster's own RBAC lets the person do."""
    for made in (
        ("clusterrole", "pods", "--verb=get,list", "--resource=pods"),
        ("clusterrolebinding", "dora", "--clusterrole=pods", "--user=hoopgw:corp|dora"),
    ):
        done = rig.kubectl(rig.server.config(), "create", *made)
        assert done.status == 0, done.error
    with Person.logged_in(rig.rig, name="dora") as dora:
        # A server takes a moment to know of a role.
        wait_until(
            "she may list pods",
            lambda: run_as(dora, CALLER, tmp_path, "get", "pods").returncode == 0,
            PATIENCE,
        )
        refused = run_as(dora, CALLER, tmp_path, "get", "secrets")
        assert 'User "hoopgw:corp|dora" cannot list resource "secrets"' in refused.stderr
        # What a client says of that itself does not count.
        again = run_as(dora, CALLER, tmp_path, "get", "secrets", "--as=admin", "--as-group=x")
        assert 'User "hoopgw:corp|dora" cannot list resource "secrets"' in again.stderr
    with Person.logged_in(rig.rig, name="erin") as erin:
        stranger = run_as(erin, CALLER, tmp_path, "get", "pods")
        assert 'User "hoopgw:corp|erin" cannot list resource "pods"' in stranger.stderr
