"""Blob storage, by a real server: azurite, with `az` and the SDK in front of the gateway."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import azure, azure_cli, azurite, blobs
from tests.support.azure import Result
from tests.support.blobs import ACCOUNT, BlobRig

pytestmark = pytest.mark.skipif(
    not azure_cli.is_there() or not azurite.is_there() or not Path(azure.WRAPPER).exists(),
    reason="not installed: python -m tests.support.azurite, hoopgw.demo.azure_cli; libnss-wrapper",
)

PATIENCE: Final = 120.0


@pytest.fixture(scope="module")
def rig() -> Iterator[BlobRig]:
    """Start azurite and a gateway."""
    started = blobs.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def alice(rig: BlobRig) -> Path:
    """Log in as somebody who may do all but see secrets."""
    return rig.azure.log_in()


def proof(rig: BlobRig, name: str = "alice", groups: tuple[str, ...] = ("developers",)) -> str:
    """Return what a person's program logs in with."""
    return rig.azure.rig.token(None, name=name, groups=groups)


def az(rig: BlobRig, config: Path, *arguments: str) -> Result:
    """Run `az storage` with the log-in."""
    own = ("--account-name", ACCOUNT, "--auth-mode", "login")
    return rig.azure.az(config, "storage", *arguments, *own)


def until(found: Callable[[], Any]) -> Any:
    """Wait for something that is there in the end, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return value


def settle(rig: BlobRig, verb: str) -> dict[str, Any]:
    """Vote, as somebody else, on what waits; return what was asked for."""

    def look() -> Any:
        return rig.azure.rig.api("GET", "/v1/requests?state=requested")["requests"]

    (request,) = until(look)
    asked: dict[str, Any] = rig.azure.rig.api("GET", f"/v1/requests/{request['id']}")
    path = f"/v1/requests/{request['id']}/{verb}"
    rig.azure.rig.api("POST", path, {}, name="dora", groups=["ops"])
    return asked


def told(rig: BlobRig) -> str:
    """Return all that the recordings tell of the account."""
    api = rig.azure.rig.api
    sessions = [
        each for each in api("GET", "/v1/sessions")["sessions"] if each["target"] == ACCOUNT
    ]
    return "\n".join(
        line["text"]
        for each in sessions
        for line in api("GET", f"/v1/sessions/{each['id']}/replay")["lines"]
    )


def test_containers_and_blobs(rig: BlobRig, alice: Path, tmp_path: Path) -> None:
    """What `az` does with them: create, list, upload, list, download, delete."""
    content = secrets.token_bytes(20_000)
    (tmp_path / "in").write_bytes(content)
    assert az(rig, alice, "container", "create", "-n", "invoices").json["created"]
    assert "invoices" in {each["name"] for each in az(rig, alice, "container", "list").json}
    blob = ("-c", "invoices", "-n", "2026/one.bin")
    put = az(rig, alice, "blob", "upload", *blob, "-f", str(tmp_path / "in"), "--no-progress")
    assert put.status == 0, put.error
    (listed,) = az(rig, alice, "blob", "list", "-c", "invoices").json
    assert listed["name"] == "2026/one.bin"
    assert listed["properties"]["contentLength"] == len(content)
    out = tmp_path / "out"
    got = az(rig, alice, "blob", "download", *blob, "-f", str(out), "--no-progress")
    assert got.status == 0, got.error
    assert out.read_bytes() == content
    assert az(rig, alice, "blob", "delete", *blob).status == 0
    assert az(rig, alice, "blob", "list", "-c", "invoices").json == []


def test_the_accounts_key_is_not_taken(rig: BlobRig, alice: Path) -> None:
    """Nor is a signature by it, though the account itself would take both: `az` says what to do."""
    listing = ("storage", "container", "list", "--account-name", ACCOUNT)
    keyed = rig.azure.az(alice, *listing, "--account-key", rig.azurite.key)
    assert keyed.status != 0
    assert "keys of a storage account are not taken here" in keyed.error
    assert "--auth-mode login" in keyed.error
    signing = (
        *("storage", "account", "generate-sas", "--account-name", ACCOUNT),
        *("--account-key", rig.azurite.key, "--services", "b", "--resource-types", "sco"),
        *("--permissions", "rl", "--expiry", "2030-01-01T00:00Z", "-o", "json"),
    )
    signed = rig.azure.az(alice, *listing, "--sas-token", rig.azure.az(alice, *signing).json)
    assert signed.status != 0
    assert "shared access signatures are not taken here" in signed.error


def test_parts_of_blobs(rig: BlobRig) -> None:
    """Uploaded in blocks, downloaded in ranges: each is an operation by its name."""
    text = """
box = account.create_container("parts")
box.upload_blob("big.bin", b"0123456789" * 2000)
found = box.download_blob("big.bin", max_concurrency=1).readall()
part = box.download_blob("big.bin", offset=10_005, length=8).readall()
print(json.dumps([len(found), part.decode()]))
"""
    assert rig.run(proof(rig), text) == [20_000, "56789012"]
    story = told(rig)
    assert "comp=block&" in story
    assert "comp=blocklist" in story
    assert "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write" in story


def test_a_write_is_held(rig: BlobRig, alice: Path, tmp_path: Path) -> None:
    """Until somebody approves; what is denied was never there."""
    source = tmp_path / "in"
    source.write_text("once")
    assert rig.run(proof(rig), _HELD) == "made"
    blob = ("storage", "blob", "upload", "-c", "held", "--account-name", ACCOUNT, "--no-progress")
    for name, verb in (("yes.txt", "approve"), ("no.txt", "deny")):
        more = ("-n", name, "-f", str(source), "--auth-mode", "login")
        running = rig.azure.start(alice, *blob, *more)
        asked = settle(rig, verb)
        assert f"PUT /held/{name}" in asked["text"]
        _out, error = running.communicate(timeout=PATIENCE)
        assert (running.returncode == 0) == (verb == "approve"), error
    assert "hoopgw: denied by dora" in error
    assert [each["name"] for each in az(rig, alice, "blob", "list", "-c", "held").json] == [
        "yes.txt"
    ]


_HELD: Final = """
account.create_container("held")
print(json.dumps("made"))
"""


_LISTED: Final = """
box = account.get_container_client("labelled")
try:
    account.create_container("labelled")
    for name in "abc":
        box.upload_blob(name, b"x", metadata={"owner": "alice", "kind": "note"})
except HttpResponseError as error:
    found = str(error)
try:
    listed = [each.metadata for each in box.list_blobs(include=["metadata"])]
except HttpResponseError as error:
    listed = str(error)
one = box.get_blob_client("a").get_blob_properties().metadata
print(json.dumps([listed, one, box.download_blob("a").properties.metadata]))
"""


def test_metadata_is_masked_wherever_it_comes_back(rig: BlobRig) -> None:
    """In lists and in header fields; who may see it sees it."""
    hidden = {"owner": "***", "kind": "note"}
    assert rig.run(proof(rig), _LISTED) == [[hidden] * 3, hidden, hidden]
    clear = {"owner": "alice", "kind": "note"}
    seen = rig.run(proof(rig, "vera", ("developers", "see-secrets")), _LISTED)
    assert seen == [[clear] * 3, clear, clear]


def test_long_lists_are_broken_off(rig: BlobRig) -> None:
    """By the policy's limit of items."""
    rig.run(proof(rig), _LISTED)
    listed, one, _got = rig.run(proof(rig, "carl", ("few",)), _LISTED)
    assert "more than 2 items" in listed
    assert one["owner"] == "alice"


def test_azures_token_stays_with_the_agent(rig: BlobRig, alice: Path) -> None:
    """It is in no file of the gateway's or of `az`, nor is what the account was asked with."""
    token = rig.token.read_bytes()
    assert az(rig, alice, "container", "list").status == 0
    for folder in (rig.azure.rig.folder / "state", alice):
        for path in folder.rglob("*"):
            if path.is_file():
                assert token not in path.read_bytes(), path
