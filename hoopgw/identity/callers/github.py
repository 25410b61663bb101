"""``type = "github-actions"``: jobs of GitHub Actions.

Whoever has a GitHub account can run a job, and every job may ask for a token with our audience. So
the settings must say which repositories, or whose, by their ids: names are given away and taken
again, and with them a subject such as ``repo:acme/orders:ref:refs/heads/main``. Subjects of newer
repositories have the ids beside the names (``repo:acme@123/orders@456:...``), and an organisation
may compose its own: no rule here reads the subject. A principal's id is the repository's.

``actor`` is who set the workflow off, a natural person mostly. With ``[identity.issuers.persons]``
that person is named in your own directory, and then cannot approve what the job asks. GitHub says
nothing in the token of who runs a job *again*.

Reference: https://docs.github.com/en/actions/reference/security/oidc ("OIDC token claims").
"""

from __future__ import annotations

from collections.abc import Iterable

from hoopgw.identity.callers.caller import Caller, Problem
from hoopgw.identity.callers.plain import kind_by_rule
from hoopgw.identity.claims import kept, optional_text, text
from hoopgw.identity.jose import Claims
from hoopgw.identity.settings import IssuerSettings

_WHOSE = frozenset({"repository_id", "repository_owner_id"})
_POLICY = {
    "repository": "repository",
    "repositoryOwner": "repository_owner",
    "repositoryOwnerId": "repository_owner_id",
    "visibility": "repository_visibility",
    "ref": "ref",
    "refProtected": "ref_protected",
    "environment": "environment",
    "event": "event_name",
    "workflow": "workflow_ref",
    "jobWorkflow": "job_workflow_ref",
    "runner": "runner_environment",
}
"""Attributes for policy, and the claims that they come from."""
_ORIGIN = (
    "sub",
    "actor",
    "actor_id",
    "run_id",
    "run_attempt",
    "run_number",
    "check_run_id",
    "event_name",
    "ref",
    "sha",
    "workflow_ref",
    "job_workflow_ref",
    "environment",
)


class GitHubCaller:
    """Implements `hoopgw.identity.callers.caller.CallerType`."""

    def problems(self, settings: IssuerSettings) -> Iterable[Problem]:
        """Say what is wrong: it must be said whose jobs, by ids, and a job is no person."""
        if not _WHOSE & settings.required.keys():
            yield Problem(
                "required",
                "names neither repository_id nor repository_owner_id",
                'expected whose jobs may log in, by ids: { repository_owner_id = ["1234"] }',
            )
        for name in sorted(_WHOSE & settings.required.keys()):
            if not all(value.isascii() and value.isdigit() for value in settings.required[name]):
                yield Problem(f"required.{name}", "is no id", "expected digits, and not a name")

    def read(self, claims: Claims, settings: IssuerSettings, *, is_id_token: bool) -> Caller:
        """Say who a token stands for."""
        text(claims, "sub")
        repository = text(claims, "repository_id")
        named = text(claims, "repository")
        where = optional_text(claims, "environment") or optional_text(claims, "ref") or ""
        attributes = {name: optional_text(claims, claim) for name, claim in _POLICY.items()}
        return Caller(
            subject=repository,
            name=f"{named}:{where.removeprefix('refs/heads/')}",
            kind=kind_by_rule(claims, settings),
            has_groups=False,
            attributes={**attributes, "repositoryId": repository},
            origin=kept(claims, _ORIGIN),
        )
