"""Key Vault's data plane: from method and path to the data action, as Azure RBAC names it. Pure.

A slash at the end, or nothing, in the place of a version means the latest one. Names are compared
without regard to case, as Key Vault does.

Reference: Azure Key Vault REST API 7.5; Azure RBAC, data actions of Microsoft.KeyVault.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from hoopgw.events import Resource
from hoopgw_azure.arm import api_version
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import NO_SECRETS, Call, Secrets, Touch, Verb
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.resources import Place

PREFIX: Final = "Microsoft.KeyVault/vaults"
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")
_VERSION: Final = re.compile(r"[0-9A-Fa-f]{32}")
_VALUE: Final = Secrets(paths=("value",))
_LEAVES: Final = frozenset({"getSecret", "release", "decrypt", "unwrap", "setSecret", "backup"})
"""Words of data actions whose answers carry a value."""

_KINDS: Final = {"secrets": "Secret", "keys": "Key", "certificates": "Certificate"}

_TABLE: Final = """
GET     secrets                          listData    secrets/readMetadata/action
GET     secrets/N/versions               listData    secrets/readMetadata/action
GET     secrets/N                        getSecret   secrets/getSecret/action
GET     secrets/N/V                      getSecret   secrets/getSecret/action
PUT     secrets/N                        writeData   secrets/setSecret/action
PATCH   secrets/N                        writeData   secrets/update/action
PATCH   secrets/N/V                      writeData   secrets/update/action
DELETE  secrets/N                        deleteData  secrets/delete
POST    secrets/N/backup                 getSecret   secrets/backup/action
POST    secrets/restore                  writeData   secrets/restore/action
GET     deletedsecrets                   listData    secrets/readMetadata/action
GET     deletedsecrets/N                 listData    secrets/readMetadata/action
POST    deletedsecrets/N/recover         writeData   secrets/recover/action
DELETE  deletedsecrets/N                 deleteData  secrets/purge/action
GET     keys                             listData    keys/read
GET     keys/N/versions                  listData    keys/read
GET     keys/N                           readData    keys/read
GET     keys/N/V                         readData    keys/read
GET     keys/N/V/attestation             readData    keys/read
PUT     keys/N                           writeData   keys/import/action
POST    keys/N/create                    writeData   keys/create/action
PATCH   keys/N                           writeData   keys/update/action
PATCH   keys/N/V                         writeData   keys/update/action
DELETE  keys/N                           deleteData  keys/delete
POST    keys/N/backup                    getSecret   keys/backup/action
POST    keys/restore                     writeData   keys/restore/action
POST    keys/N/rotate                    writeData   keys/rotate/action
GET     keys/N/rotationpolicy            readData    keyrotationpolicies/read
PUT     keys/N/rotationpolicy            writeData   keyrotationpolicies/write
POST    keys/N/V/encrypt                 useKey      keys/encrypt/action
POST    keys/N/V/decrypt                 useKey      keys/decrypt/action
POST    keys/N/V/wrapkey                 useKey      keys/wrap/action
POST    keys/N/V/unwrapkey               useKey      keys/unwrap/action
POST    keys/N/V/sign                    useKey      keys/sign/action
POST    keys/N/V/verify                  useKey      keys/verify/action
POST    keys/N/V/release                 getSecret   keys/release/action
POST    keys/N/encrypt                   useKey      keys/encrypt/action
POST    keys/N/decrypt                   useKey      keys/decrypt/action
POST    keys/N/wrapkey                   useKey      keys/wrap/action
POST    keys/N/unwrapkey                 useKey      keys/unwrap/action
POST    keys/N/sign                      useKey      keys/sign/action
POST    keys/N/verify                    useKey      keys/verify/action
POST    keys/N/release                   getSecret   keys/release/action
GET     deletedkeys                      listData    keys/read
GET     deletedkeys/N                    readData    keys/read
POST    deletedkeys/N/recover            writeData   keys/recover/action
DELETE  deletedkeys/N                    deleteData  keys/purge/action
GET     certificates                     listData    certificates/read
GET     certificates/N/versions          listData    certificates/read
GET     certificates/N                   readData    certificates/read
GET     certificates/N/V                 readData    certificates/read
GET     certificates/N/policy            readData    certificates/read
PATCH   certificates/N/policy            writeData   certificates/update/action
GET     certificates/N/pending           readData    certificates/read
PATCH   certificates/N/pending           writeData   certificates/update/action
DELETE  certificates/N/pending           deleteData  certificates/delete
POST    certificates/N/pending/merge     writeData   certificates/create/action
POST    certificates/N/create            writeData   certificates/create/action
POST    certificates/N/import            writeData   certificates/import/action
PATCH   certificates/N                   writeData   certificates/update/action
PATCH   certificates/N/V                 writeData   certificates/update/action
DELETE  certificates/N                   deleteData  certificates/delete
POST    certificates/N/backup            getSecret   certificates/backup/action
POST    certificates/restore             writeData   certificates/restore/action
GET     certificates/contacts            readData    certificatecontacts/read
PUT     certificates/contacts            writeData   certificatecontacts/write
DELETE  certificates/contacts            deleteData  certificatecontacts/delete
GET     certificates/issuers             listData    certificatecas/read
GET     certificates/issuers/N           readData    certificatecas/read
PUT     certificates/issuers/N           writeData   certificatecas/write
PATCH   certificates/issuers/N           writeData   certificatecas/write
DELETE  certificates/issuers/N           deleteData  certificatecas/delete
GET     deletedcertificates              listData    certificates/read
GET     deletedcertificates/N            readData    certificates/read
POST    deletedcertificates/N/recover    writeData   certificates/recover/action
DELETE  deletedcertificates/N            deleteData  certificates/purge/action
GET     storage                          listData    storageaccounts/read
GET     storage/N                        readData    storageaccounts/read
PUT     storage/N                        writeData   storageaccounts/set/action
PATCH   storage/N                        writeData   storageaccounts/set/action
DELETE  storage/N                        deleteData  storageaccounts/delete
POST    storage/N/backup                 getSecret   storageaccounts/backup/action
POST    storage/restore                  writeData   storageaccounts/restore/action
POST    storage/N/regeneratekey          mint        storageaccounts/regeneratekey/action
GET     storage/N/sas                    listData    storageaccounts/read
GET     storage/N/sas/N                  readData    storageaccounts/read
PUT     storage/N/sas/N                  mint        storageaccounts/sas/set/action
PATCH   storage/N/sas/N                  mint        storageaccounts/sas/set/action
DELETE  storage/N/sas/N                  deleteData  storageaccounts/sas/delete/action
GET     deletedstorage                   listData    storageaccounts/read
GET     deletedstorage/N                 readData    storageaccounts/read
POST    deletedstorage/N/recover         writeData   storageaccounts/recover/action
DELETE  deletedstorage/N                 deleteData  storageaccounts/purge/action
GET     deletedstorage/N/sas             listData    storageaccounts/read
GET     deletedstorage/N/sas/N           readData    storageaccounts/read
POST    deletedstorage/N/sas/N/recover   writeData   storageaccounts/recover/action
POST    rng                              useKey      keys/rng/action
"""
"""Method, path, action of the schema, data action. ``N`` is a name, ``V`` a version."""


@frozen
class _Row:
    words: tuple[str, ...]
    verb: Verb
    operation: str

    def matches(self, segments: tuple[str, ...]) -> bool:
        """Whether a path in lower case is of this form."""
        return len(segments) == len(self.words) and all(
            word == got or (word == "N" and got not in _RESERVED) or (word == "V" and _version(got))
            for word, got in zip(self.words, segments, strict=True)
        )


def _version(text: str) -> bool:
    return bool(_VERSION.fullmatch(text))


def _rows() -> dict[str, tuple[_Row, ...]]:
    found: dict[str, list[_Row]] = {}
    verbs: dict[str, Verb] = {
        verb: verb
        for verb in (
            "listData",
            "readData",
            "writeData",
            "deleteData",
            "getSecret",
            "useKey",
            "mint",
        )
    }
    for line in _TABLE.strip().splitlines():
        method, path, verb, operation = line.split()
        row = _Row(tuple(path.split("/")), verbs[verb], f"{PREFIX}/{operation}")
        found.setdefault(method, []).append(row)
    return {method: tuple(rows) for method, rows in found.items()}


_RESERVED: Final = frozenset({"contacts", "issuers", "restore"})
"""Words in the place of a name that may mean something else; such names are not told apart."""
_ROWS: Final = _rows()


def call(asked: Asked, place: Place, vault: str) -> Call:
    """Return what a request does.

    Args:
        asked: the request.
        place: the target, with labels of ``secrets/NAME`` and the like.
        vault: its name, in lower case.

    Raises:
        UnclearRequestError: it may be read in more than one way.

    """
    segments = tuple(segment.lower() for segment in asked.segments)
    for segment in segments:
        if not _NAME.fullmatch(segment):
            raise UnclearRequestError(f"this is no name in a vault: {segment[:64]!r}")
    row = next((row for row in _ROWS.get(asked.method, ()) if row.matches(segments)), None)
    if asked.slash and segments and not _is_latest(segments, row):
        raise UnclearRequestError("this path ends in a slash where nothing can follow")
    operation = row.operation if row is not None else "unknown"
    verb: Verb = row.verb if row is not None else "unknown"
    resource = _resource(segments, place, vault)
    return Call(
        operation=operation,
        touches=(Touch(verb=verb, resource=resource, operation=operation.lower()),),
        api_version=api_version(asked.query),
        secrets=_secrets(operation),
        mints=verb == "mint"
        or operation.endswith(("certificates/create/action", "sas/set/action")),
    )


def _is_latest(segments: tuple[str, ...], row: _Row | None) -> bool:
    """Whether a slash at the end stands before a version that is left out."""
    return row is not None and len(segments) == 2 and row.words[1] == "N"


def _secrets(operation: str) -> Secrets:
    words = operation.split("/")
    if operation.endswith("storageaccounts/sas/set/action"):
        return Secrets(everything=True)
    return _VALUE if _LEAVES.intersection(words) else NO_SECRETS


def _resource(segments: tuple[str, ...], place: Place, vault: str) -> Resource:
    above = Resource(type="Azure::Vault", id=vault, parents=(place.target,))
    kind = _KINDS.get(segments[0].removeprefix("deleted")) if segments else None
    if kind is None or len(segments) < 2 or segments[1] in _RESERVED:
        return above
    where = segments[0].removeprefix("deleted")
    return Resource(
        type=f"Azure::{kind}",
        id=f"{vault}/{segments[1]}",
        parents=(above,),
        labels=place.labels_of(f"{where}/{segments[1]}"),
    )
