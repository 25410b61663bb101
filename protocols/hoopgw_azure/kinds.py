"""What is dangerous about an operation besides that it reads or writes. Pure.

Three kinds, each an action of its own in the Cedar schema, so that a broad permit to read or to
write does not cover them. Patterns are of names of operations in lower case; ``*`` stands for
anything, slashes included. They name what acts on something that is there already: to create a
virtual machine or a container runs code too, but is an ordinary write.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache, lru_cache
from typing import Final, Literal, TypeAlias

_REMEMBERED: Final = 4096
"""Operations whose kinds are kept."""

Kind: TypeAlias = Literal["mint", "execute", "grant"]

SECRET_ACTION: Final = re.compile(
    r"(begin)?(list|get|fetch|retrieve|show|export|download|exchange|generate|create|new|rotate|"
    r"regenerate|reset|renew|issue)\w*?"
    r"(key|secret|credential|token|password|passphrase|connectionstring|connectioninfo|"
    r"connectiondetail|callbackurl|callbackconfig|sas|kubeconfig|accesscode|vpnprofile|"
    r"vpnclientpackage|certificate|sharedkey|accesssignature|fullurl)\w*|"
    r"begingetaccess|getdataplaneaccess|publishxml|sharedkeys|readonlykeys|token|newpassword|pnscredentials|"
    r"showfullkey|list|authenticate"
)
"""The last word of an action whose answer holds secrets, whatever the specification marks."""

_PATTERNS: Final[dict[Kind, tuple[str, ...]]] = {
    "mint": (
        "*/federatedidentitycredentials/write",
        "*/authorizationrules/write",
        "microsoft.containerregistry/registries/tokens/write",
        "microsoft.containerregistry/registries/credentialsets/write",
        "microsoft.machinelearningservices/*/listnotebookkeys/*",
        "microsoft.web/sites/*publishingcredentials/*",
        "microsoft.web/sites/config/list/action",
        "microsoft.web/sites/slots/config/list/action",
        "microsoft.web/sites/config/appsettings/read",
        "microsoft.web/sites/config/connectionstrings/read",
        "microsoft.web/sites/*/keys/write",
        "microsoft.web/sites/*functionkeys/*",
        "microsoft.web/sites/host/*keys/*",
        "microsoft.search/searchservices/createquerykey/action",
        "microsoft.storage/storageaccounts/localusers/write",
        "microsoft.storage/storageaccounts/localusers/regeneratepassword/action",
        "microsoft.storage/storageaccounts/blobservices/generateuserdelegationkey/action",
        "microsoft.automation/automationaccounts/webhooks/write",
        "microsoft.automation/automationaccounts/webhooks/generateuri/action",
        "microsoft.batch/batchaccounts/certificates/write",
        "microsoft.cdn/profiles/generatessouri/action",
        "microsoft.compute/disks/begingetaccess/action",
        "microsoft.compute/snapshots/begingetaccess/action",
        "microsoft.compute/restorepointcollections/restorepoints/diskrestorepoints/begingetaccess/action",
        "microsoft.compute/sshpublickeys/generatekeypair/action",
        "microsoft.compute/virtualmachines/login*/action",
        "microsoft.hybridcompute/*login*/action",
        "microsoft.portal/consoles/write",
        "microsoft.sql/servers/administrators/write",
        "microsoft.sql/servers/azureadonlyauthentications/write",
        "microsoft.dbfor*/administrators/write",
        "microsoft.appconfiguration/configurationstores/listkeyvalue/action",
    ),
    "execute": (
        "*/runcommand/action",
        "*/runcommands/write",
        "*/diagnosticruncommands/write",
        "*/invokecommand/action",
        "*/executescriptactions/action",
        "*/executecommand/action",
        "*/scriptexecutions/write",
        "*/virtualmachines/extensions/write",
        "*/virtualmachinescalesets/extensions/write",
        "*/virtualmachines/extensions/*/action",
        "microsoft.hybridcompute/machines/extensions/write",
        "microsoft.azurestackhci/clusters/arcsettings/extensions/write",
        "microsoft.kubernetesconfiguration/*/write",
        "microsoft.resources/deploymentscripts/write",
        "microsoft.automation/automationaccounts/*runbook*/write",
        "microsoft.automation/automationaccounts/*runbook*/action",
        "microsoft.automation/automationaccounts/jobs/*",
        "microsoft.automation/automationaccounts/jobschedules/write",
        "microsoft.automation/automationaccounts/webhooks/write",
        "microsoft.automation/automationaccounts/watchers/*",
        "microsoft.automation/automationaccounts/sourcecontrols/*write",
        "microsoft.app/*/exec/action",
        "microsoft.app/jobs/start/action",
        "microsoft.app/logicapps/invoke/action",
        "microsoft.app/sessionpools/*/execute/action",
        "microsoft.appplatform/spring/apps/deployments/connect/action",
        "microsoft.appplatform/spring/jobs/start/action",
        "microsoft.containerinstance/containergroups/containers/exec/action",
        "microsoft.containerinstance/containergroups/containers/attach/action",
        "microsoft.containerinstance/sandboxgroups/*/action",
        "microsoft.containerregistry/registries/schedulerun/action",
        "microsoft.containerregistry/registries/tasks/write",
        "microsoft.containerregistry/registries/taskruns/write",
        "microsoft.containerregistry/registries/*build*/write",
        "microsoft.containerregistry/registries/*build*/action",
        "microsoft.containerservice/fleets/updateruns/start/action",
        "microsoft.datafactory/factories/createpipelinerun/action",
        "microsoft.datafactory/factories/pipelines/*run/action",
        "microsoft.datafactory/factories/pipelines/write",
        "microsoft.datafactory/factories/triggers/write",
        "microsoft.datafactory/factories/triggers/start/action",
        "microsoft.datafactory/factories/executedataflowdebugcommand/action",
        "microsoft.desktopvirtualization/*scripts*/write",
        "microsoft.devtestlab/labs/artifactsources/write",
        "microsoft.devtestlab/labs/virtualmachines/applyartifacts/action",
        "microsoft.hdinsight/clusters/extensions/write",
        "microsoft.kusto/clusters/databases/scripts/write",
        "microsoft.logic/workflows/write",
        "microsoft.logic/workflows/run/action",
        "microsoft.logic/workflows/triggers/run/action",
        "microsoft.logic/workflows/triggers/histories/resubmit/action",
        "microsoft.machinelearningservices/workspaces/jobs/write",
        "microsoft.machinelearningservices/workspaces/computes/*setup*/action",
        "microsoft.batch/batchaccounts/pools/write",
        "microsoft.batch/batchaccounts/jobs/write",
        "microsoft.networkcloud/baremetalmachines/run*/action",
        "microsoft.networkcloud/virtualmachines/consoles/write",
        "microsoft.portal/consoles/write",
        "microsoft.serialconsole/*/connect/action",
        "microsoft.serialconsole/serialports/write",
        "microsoft.synapse/workspaces/*write",
        "microsoft.web/sites/*functions/write",
        "microsoft.web/sites/*extensions/*write",
        "microsoft.web/sites/*extensions/action",
        "microsoft.web/sites/*webjobs/*action",
        "microsoft.web/sites/*deployments/write",
        "microsoft.web/sites/*sourcecontrols/write",
        "microsoft.web/sites/*publish/action",
        "microsoft.web/sites/*hybridconnection*/write",
        "microsoft.web/sites/*siteextensions/write",
        "microsoft.web/sites/*sync/action",
        "microsoft.web/staticsites/*zipdeploy/action",
        "microsoft.virtualmachineimages/imagetemplates/run/action",
        "microsoft.compute/galleries/applications/versions/write",
    ),
    "grant": (
        "microsoft.authorization/*/write",
        "microsoft.authorization/*/delete",
        "microsoft.authorization/*/action",
        "microsoft.blueprint/blueprintassignments/write",
        "microsoft.managedservices/*/write",
        "microsoft.managedservices/*/delete",
        "microsoft.managedidentity/userassignedidentities/assign/action",
        "microsoft.management/managementgroups/write",
        "microsoft.management/managementgroups/delete",
        "microsoft.management/managementgroups/subscriptions/*",
        "microsoft.management/managementgroups/settings/write",
        "microsoft.keyvault/vaults/accesspolicies/write",
        "microsoft.subscription/*/action",
        "microsoft.subscription/aliases/write",
        "microsoft.support/*/enablecustomersupport/action",
        "microsoft.aad/*/write",
        "microsoft.documentdb/databaseaccounts/*roleassignments/write",
        "microsoft.documentdb/databaseaccounts/*roledefinitions/write",
        "microsoft.cache/redis*/accesspolic*/write",
        "microsoft.kusto/clusters/*principalassignments/write",
        "microsoft.kusto/clusters/databases/*principals/action",
    ),
}

_CLUSTER: Final = re.compile(
    r"microsoft\.(containerservice|kubernetes(configuration)?|hybridcontainerservice|"
    r"redhatopenshift|resourceconnector)/(.*/)?(list\w*(credentials?|kubeconfig)/action|"
    r"appliances/listkeys/action|accessprofiles/read)"
)
"""What is answered with a kubeconfig, or a password of a cluster."""

_HARMLESS: Final = frozenset(
    {
        "microsoft.authorization/checkaccess/action",
        "microsoft.authorization/permissions/action",
    }
)


@cache
def _matchers() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    return tuple(
        (kind, re.compile("|".join(translate(pattern) for pattern in patterns)))
        for kind, patterns in _PATTERNS.items()
    )


@lru_cache(_REMEMBERED)
def kinds_of(operations: tuple[str, ...]) -> frozenset[Kind]:
    """Return what applies to any of the operations, given in lower case."""
    found: set[Kind] = set()
    for name in operations:
        if name in _HARMLESS:
            continue
        reads = name.endswith("/read")  # gives nothing to anybody but, perhaps, credentials
        found.update(
            kind
            for kind, matcher in _matchers()
            if matcher.match(name) and (kind == "mint" or not reads)
        )
        if returns_secrets(name):
            found.add("mint")
    return frozenset(found)


def returns_secrets(operation: str) -> bool:
    """Whether the name of an operation, in lower case, says that secrets come back."""
    if opens_cluster(operation):
        return True
    words = operation.rsplit("/", 2)
    if words[-1] not in ("action", "read") or len(words) < 3:
        return False
    if words[-1] == "read":  # some services list keys by GET
        return bool(_SECRET_READ.fullmatch(words[-2]))
    return bool(SECRET_ACTION.fullmatch(words[-2]))


def opens_cluster(operation: str) -> bool:
    """Whether an operation, in lower case, is answered with the way into a Kubernetes cluster."""
    return _CLUSTER.fullmatch(operation) is not None


_SECRET_READ: Final = re.compile(
    r"(list|get)\w*(keys?|secrets?|credentials?|tokens?|connectionstrings?)|readonlykeys|"
    r"publishingcredentials|publishxml|functionkeys"
)
