"""Clients of Azure that know nothing of the gateway but a proxy and a CA: real `az`, curl, an SDK.

`az` stays in AzureCloud: nothing is registered, and no name is the gateway's.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from hoopgw.control.local import call_local
from tests.support import azure, azure_cli, azure_sdks
from tests.support.azure import UPSTREAM_TOKEN, VAULT, AzureRig
from tests.support.azure_proxied import (
    PATIENCE,
    SUBSCRIPTIONS,
    az,
    bearer,
    curl,
    environment,
    log_in,
    plain,
    proved,
)
from tests.support.azure_replay import SUBSCRIPTION, TENANT
from tests.support.delegating import Person
from tests.support.processes import python_environment

pytestmark = pytest.mark.skipif(
    not azure_cli.is_there() or not shutil.which("curl"),
    reason="az is not installed: python -m tests.support.azure_cli, and curl",
)

SECRET: Final = f"https://{VAULT}.vault.azure.net/secrets/secret1?api-version=7.4"
_SDK: Final = """
import json
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.resource import SubscriptionClient
credential = WorkloadIdentityCredential()
vault = SecretClient("https://%s.vault.azure.net", credential)
manager = SubscriptionClient(credential)
print(json.dumps({
    "subscriptions": [each.display_name for each in manager.subscriptions.list()],
    "secret": vault.get_secret("secret1").value,
}))
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[AzureRig]:
    """Start a gateway that answers for Azure's own names."""
    started = azure.start("resource__test_resource_group", "storage__", "keyvault__")
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def bundle(rig: AzureRig) -> Path:
    """Return what clients are to trust: the CA for Azure's names, and the proxy's own."""
    path = rig.folder / "bundle.pem"
    intercepting = rig.rig.settings.paths.interception_ca_certificate
    path.write_bytes(intercepting.read_bytes() + rig.rig.ca.read_bytes())
    return path


def test_az_with_nothing_but_a_proxy(rig: AzureRig, bundle: Path) -> None:
    """It stays in AzureCloud, and keeps Azure's own names."""
    config = log_in(rig, bundle, plain(rig), rig.rig.token(None))
    (group,) = az(rig, bundle, plain(rig), config, "group", "list").json
    assert group["location"] == "westus"
    assert rig.upstream.asked[-1].headers["authorization"] == f"Bearer {UPSTREAM_TOKEN}"
    cloud = az(rig, bundle, plain(rig), config, "cloud", "show").json
    assert cloud["name"] == "AzureCloud"
    shown = az(
        rig,
        bundle,
        plain(rig),
        config,
        *("keyvault", "secret", "show", "--vault-name", VAULT, "-n", "secret1"),
    ).json
    assert shown["value"] == "***"
    assert shown["id"].startswith(f"https://{VAULT}.vault.azure.net/secrets/")
    for path in config.rglob("*"):
        if path.is_file():
            assert UPSTREAM_TOKEN.encode() not in path.read_bytes()


def test_az_through_a_proxy_with_a_credential(rig: AzureRig, bundle: Path) -> None:
    """TLS in TLS; the credential is for one target, so the log-in has to agree with it."""
    login = secrets.token_urlsafe(16)
    proxy = proved(rig, rig.rig.token("arm", session=login))
    config = log_in(rig, bundle, proxy, rig.rig.token(None, session=login))
    (group,) = az(rig, bundle, proxy, config, "group", "list").json
    assert group["location"] == "westus"
    other = proved(rig, rig.rig.token("arm", name="bob"))
    refused = az(rig, bundle, other, config, "group", "list")
    assert refused.status != 0
    assert "different callers" in refused.error


def test_the_python_sdk_without_an_argument(rig: AzureRig, bundle: Path, tmp_path: Path) -> None:
    """Key Vault's client checks the challenge, Resource Manager's has no endpoint."""
    (tmp_path / "proof").write_text(rig.rig.token(None, groups=("developers", "see-secrets")))
    given = environment(
        bundle,
        plain(rig),
        tmp_path,
        AZURE_CLIENT_ID="deployer",
        AZURE_TENANT_ID=TENANT,
        AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "proof"),
    )
    given["PYTHONPATH"] += f":{sysconfig.get_path('purelib')}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", _SDK % VAULT],
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["subscriptions"] == ["recorded"]
    assert found["secret"] not in ("***", "")


def test_curl_by_the_proxys_credential_alone(rig: AzureRig, bundle: Path) -> None:
    token = rig.rig.token("arm")
    status, body = curl(bundle, "--proxy", proved(rig, token))
    assert status == 200, body
    assert json.loads(body)["value"][0]["subscriptionId"] == SUBSCRIPTION
    # It is for Resource Manager, and opens nothing else.
    status, body = curl(bundle, "--proxy", proved(rig, token), url=SECRET)
    assert status == 407, body


def test_curl_with_both(rig: AzureRig, bundle: Path) -> None:
    """The same caller in both; or nothing is done."""
    login = secrets.token_urlsafe(16)
    outer, inner = (rig.rig.token("arm", session=login) for _ in range(2))
    status, body = curl(bundle, "--proxy", proved(rig, outer), *bearer(inner))
    assert status == 200, body
    for other in (
        rig.rig.token("arm", name="bob"),
        rig.rig.token("arm", session=login, agent="planner"),
        rig.rig.token("arm"),
    ):
        status, body = curl(bundle, "--proxy", proved(rig, outer), *bearer(other))
        assert status == 403, body
        assert "different callers" in body
    status, body = curl(bundle, "--proxy", proved(rig, outer, "reader"), *bearer(inner))
    assert status == 403, body


def test_curl_without_a_credential_and_without_tls(rig: AzureRig, bundle: Path) -> None:
    """What it shows inside counts; a token in clear is refused whatever it is."""
    token = rig.rig.token("arm")
    assert curl(bundle, "--proxy", plain(rig), *bearer(token))[0] == 200
    assert curl(bundle, "--proxy", plain(rig))[0] == 401
    clear = f"http://deployer:{token}@127.0.0.1:{rig.proxy_port}"
    assert curl(bundle, "--proxy", clear)[0] == 403


def test_names_that_lead_here(rig: AzureRig, bundle: Path) -> None:
    """As a name server would have it: no proxy at all."""
    here = ("--connect-to", f"::127.0.0.1:{rig.proxy_port}")
    token = rig.rig.token("arm")
    status, body = curl(bundle, *here, *bearer(token))
    assert status == 200, body
    status, body = curl(bundle, *here, url="https://login.microsoftonline.com/")
    assert status == 404, body
    # A name that is on no list gets a certificate that is not for it.
    status, body = curl(bundle, *here, url="https://graph.microsoft.com/")
    assert status == 0, body


def test_other_hosts_are_refused(rig: AzureRig, bundle: Path) -> None:
    for url in (
        *("https://example.com/", "https://graph.microsoft.com/v1.0/me"),
        *("https://other.vault.azure.net/secrets", "https://169.254.169.254/"),
        "https://management.azure.com:8443/",
    ):
        status, _body = curl(bundle, "--proxy", plain(rig), url=url)
        assert status == 403, url


def test_a_clients_secret_is_not_taken_and_not_kept(rig: AzureRig, bundle: Path) -> None:
    """Not at Microsoft's name either; nor is a token that Azure itself would take."""
    secret = "a-real-client-secret-8Q~"  # it looks like one
    status, body = curl(
        bundle,
        *("--proxy", plain(rig), "-d", "grant_type=client_credentials", "-d", "client_id=x"),
        *("-d", f"client_secret={secret}", "-d", "scope=https://management.azure.com/.default"),
        url="https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
    )
    assert status == 401, body
    claims = base64.urlsafe_b64encode(b'{"aud":"https://management.azure.com"}').decode()
    foreign = f"eyJhbGciOiJub25lIn0.{claims.rstrip('=')}.c2ln"
    assert curl(bundle, "--proxy", plain(rig), *bearer(foreign))[0] == 401
    assert curl(bundle, "--proxy", proved(rig, foreign))[0] == 407
    shown = base64.b64encode(f"deployer:{foreign}".encode()).decode()
    for needle in (secret, foreign, shown):
        for path in (rig.rig.folder / "state").rglob("*"):
            if path.is_file():
                assert needle.encode() not in path.read_bytes(), path
        assert needle not in rig.rig.gateway.output


def test_the_recording_says_who_it_was(rig: AzureRig, bundle: Path) -> None:
    """Who the proxy let in is who asked, and the target has its own name."""
    token = rig.rig.token("arm", name="petra")
    assert curl(bundle, "--proxy", proved(rig, token))[0] == 200
    until(lambda: any("GET /subscriptions" in line for line in recorded(rig, "petra")))


def recorded(rig: AzureRig, path: str, target: str = "arm") -> list[str]:
    """Return what the log has of somebody by now; the recorder is behind what happens."""
    found: list[dict[str, Any]] = rig.rig.api("GET", "/v1/sessions")["sessions"]
    lines: list[str] = []
    for session in found:
        if session["path"].startswith(path) and session["target"] == target:
            with contextlib.suppress(requests.HTTPError):  # it is not in the log yet
                told = rig.rig.api("GET", f"/v1/sessions/{session['id']}/replay")["lines"]
                lines += [line["text"] for line in told]
    return lines


def until(found: Callable[[], bool]) -> None:
    """Wait for something that is so in the end."""
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def test_revoking_the_log_in_cuts_the_tunnel(rig: AzureRig, bundle: Path) -> None:
    login = secrets.token_urlsafe(16)
    proxy = proved(rig, rig.rig.token("arm", session=login))
    assert curl(bundle, "--proxy", proxy)[0] == 200
    rig.rig.api("POST", f"/v1/nodes/{login}/revoke", {"reason": "a test"})
    until(lambda: curl(bundle, "--proxy", proxy)[0] == 407)


def test_who_trusts_the_gateway_alone_does_not_trust_it_for_azure(
    rig: AzureRig, bundle: Path
) -> None:
    """Azure's names are another CA's, which has to be given to a client on purpose."""
    status, body = curl(rig.rig.ca, "--proxy", plain(rig))
    assert status == 200  # of CONNECT; then the client gives up
    assert "curl: (" in body


@pytest.fixture(scope="module")
def home(rig: AzureRig) -> Path:
    """Log in with `hoopgw login`, as dora; return the folder."""
    folder = rig.folder / "dora"
    Person.log_in(rig.rig, folder, name="dora", groups=("developers",))
    return folder


def hoopgw(rig: AzureRig, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours, with no variable of the gateway's."""
    return subprocess.run(
        [sys.executable, "-m", "hoopgw.cli", *arguments],
        env={**azure_cli.environment(home), **python_environment(), **own(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def own(home: Path) -> dict[str, str]:
    """Return where our commands keep what they keep."""
    return {"HOOPGW_HOME": str(home), "XDG_CONFIG_HOME": str(home / "xdg")}


def test_a_person_runs_az_by_azures_own_names(rig: AzureRig, home: Path, tmp_path: Path) -> None:
    """The local proxy adds who it is, and a managed identity gives `az` what it sends."""
    az_script = tmp_path / "az"
    called = shlex.join(azure_cli.command())
    az_script.write_text(f'#!/bin/sh\nPYTHONPATH={azure_cli.folder()} exec {called} "$@"\n')
    az_script.chmod(0o755)
    url = f"https://127.0.0.1:{rig.proxy_port}"
    command = ("proxy", "--account", "deployer", url, "--", str(az_script))
    done = hoopgw(rig, home, *command, "group", "list")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)[0]["location"] == "westus"
    done = hoopgw(
        rig, home, *command, "keyvault", "secret", "show", "--vault-name", VAULT, "-n", "secret1"
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["value"] == "***"
    until(lambda: any("GET /secrets" in line for line in recorded(rig, "dora", VAULT)))
    # Its first request has no body, and is sent to learn from the refusal how to log in.
    done = hoopgw(
        rig,
        home,
        *command,
        *("keyvault", "secret", "set", "--vault-name", VAULT, "-n", "secret1"),
        *("--value", "ABC123"),
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    (put,) = [each for each in rig.upstream.asked if each.method == "PUT"]
    assert json.loads(put.body)["value"] == "ABC123"


def test_the_proxys_lines_are_all_that_a_program_needs(rig: AzureRig, home: Path) -> None:
    """And without its password, the proxy serves nobody on this machine."""
    url = f"https://127.0.0.1:{rig.proxy_port}"
    with subprocess.Popen(
        [sys.executable, "-m", "hoopgw.cli", "proxy", "--json", "--account", "deployer", url],
        env={**azure_cli.environment(home), **python_environment(), **own(home)},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            told = json.loads(read_json(running.stdout))
            status, body = curl(Path(told["CURL_CA_BUNDLE"]), "--proxy", told["HTTPS_PROXY"])
            assert status == 200, body
            assert json.loads(body)["value"][0]["subscriptionId"] == SUBSCRIPTION
            bare = told["HTTPS_PROXY"].rpartition("@")[2]
            for proxy in (f"http://{bare}", f"http://hoopgw:guess@{bare}"):
                assert curl(Path(told["CURL_CA_BUNDLE"]), "--proxy", proxy)[0] == 407
            other = curl(
                Path(told["CURL_CA_BUNDLE"]),
                *("--proxy", told["HTTPS_PROXY"]),
                url="https://example.com/",
            )
            assert other[0] == 403
            assert Path(told["CURL_CA_BUNDLE"]).stat().st_mode & 0o077 == 0
        finally:
            running.terminate()
        assert running.wait(PATIENCE) == 0


def read_json(stream: Iterable[str]) -> str:
    """Return the first JSON object of a program that goes on."""
    text = ""
    for line in stream:
        text += line
        if line.startswith("}") or (line.startswith("{") and line.rstrip().endswith("}")):
            break
    return text


@pytest.mark.skipif(
    not azure_sdks.is_there(), reason="not installed: python -m tests.support.azure_sdks"
)
def test_the_javascript_sdk_without_an_argument(
    rig: AzureRig, home: Path, bundle: Path, tmp_path: Path
) -> None:
    """Under `hoopgw proxy`, and as a job with its own token at the gateway's proxy."""
    url = f"https://127.0.0.1:{rig.proxy_port}"
    program, more = azure_sdks.javascript()
    program += [f"https://{VAULT}.vault.azure.net", SUBSCRIPTION]
    wrapped = ("-m", "hoopgw.cli", "proxy", "--account", "deployer", url, "--")
    (tmp_path / "proof").write_text(rig.rig.token(None))
    told = variables(bundle, plain(rig)) | {
        "IDENTITY_ENDPOINT": "https://login.microsoftonline.com/msi/token",
        "IDENTITY_HEADER": (tmp_path / "proof").read_text(),
        "AZURE_CLIENT_ID": "deployer",
    }
    for command, given in (
        ([sys.executable, *wrapped, *program], {**python_environment(), **own(home)}),
        (program, told),
    ):
        done = subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **more, **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        found = json.loads(done.stdout)
        assert found["groups"]
        assert found["value"] == "***"
        assert found["id"].startswith(f"https://{VAULT}.vault.azure.net/secrets/secret1")


def variables(bundle: Path, proxy: str) -> dict[str, str]:
    """Return what JavaScript's SDKs are told."""
    return {"HTTPS_PROXY": proxy, "NODE_EXTRA_CA_CERTS": str(bundle)}


def test_the_lines_for_a_job(rig: AzureRig, home: Path, tmp_path: Path) -> None:
    """`azure env --transparent` is all that a job's shell needs."""
    url = f"https://127.0.0.1:{rig.proxy_port}"
    told = hoopgw(rig, home, "azure", "env", "--transparent", "--account", "deployer", url)
    assert told.returncode == 0, told.stderr
    assert f"export HTTPS_PROXY='{url}'" in told.stdout
    (tmp_path / "proof").write_text(rig.rig.token(None))
    called = shlex.join(azure_cli.command())
    script = f'az() {{ {called} "$@"; }}\n{told.stdout}\naz group list'
    done = subprocess.run(
        ["sh", "-c", script],
        env=azure_cli.environment(tmp_path, TOKEN_FILE=str(tmp_path / "proof")),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert '"location": "westus"' in done.stdout
    for kind in ("sdk", "js", "terraform"):
        told = hoopgw(rig, home, "azure", "env", "--transparent", "--for", kind, url)
        assert "TOKEN_FILE" in told.stdout, told.stderr


def test_a_child_is_who_the_local_proxy_says(rig: AzureRig, home: Path) -> None:
    """Inside of `hoopgw delegate` it is the child's chain that is added."""
    url = f"https://127.0.0.1:{rig.proxy_port}"
    inner = shlex.join(
        [
            *(sys.executable, "-m", "hoopgw.cli", "proxy", "--account", "deployer", url, "--"),
            *("curl", "-sS", "--max-time", "60", SUBSCRIPTIONS),
        ]
    )
    done = hoopgw(rig, home, "delegate", "--to", "planner", "--", "sh", "-c", inner)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["value"][0]["subscriptionId"] == SUBSCRIPTION
    until(lambda: bool(recorded(rig, "dora/planner#")))


def test_another_ca_takes_the_place_of_the_present_one(rig: AzureRig, bundle: Path) -> None:
    """Once the operator says that clients have it; who has the old one only is not served then."""
    token = rig.rig.token("arm")
    socket = rig.rig.settings.paths.control_socket
    call_local(socket, "local_rotate_key", key="interception", vouched=False)
    assert curl(bundle, "--proxy", proved(rig, token))[0] == 200
    both = rig.folder / "both.pem"
    session = requests.Session()
    session.trust_env = False
    url = f"{rig.rig.settings.control.url}/pki/interception.pem"
    both.write_bytes(session.get(url, verify=str(rig.rig.ca), timeout=60).content)
    assert both.read_text().count("BEGIN") == 2
    both.write_bytes(both.read_bytes() + rig.rig.ca.read_bytes())
    call_local(socket, "local_rotate_key", key="interception", vouched=True)
    # The client's alert may be lost behind our close: that it gives up is what counts.
    until(lambda: "curl: (" in curl(bundle, "--proxy", proved(rig, token))[1])
    assert curl(both, "--proxy", proved(rig, token))[0] == 200
