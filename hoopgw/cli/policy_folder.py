"""What the policy commands share: which folder, which protocols' words, and how they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from hoopgw import config as configuration
from hoopgw import registry
from hoopgw.cli.failure import INVALID, CommandError
from hoopgw.errors import PolicyError
from hoopgw.policy.sets import PolicySet

F = TypeVar("F", bound=Callable[..., Any])


class InvalidError(CommandError):
    """Policies, cases, queries or a log cannot be used as they are, so nothing was judged."""

    exit_code: ClassVar[int] = INVALID
    word: ClassVar[str] = "invalid"


def directory_argument(function: F) -> F:
    """Add the argument DIRECTORY."""
    kind = click.Path(path_type=Path, file_okay=False, exists=True)
    return click.argument("directory", type=kind, default="policies")(function)


def config_option(function: F) -> F:
    """Add the option ``--config``."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="A gateway's configuration: only its protocols' words are known then.",
    )(function)


@contextmanager
def valid_or_fail() -> Iterator[None]:
    """Turn what is wrong with files into the exit status that says so."""
    try:
        yield
    except PolicyError as error:
        raise InvalidError(str(error)) from error


def schemas(config: Path | None) -> Mapping[str, str]:
    """Return the Cedar schemas of the protocols that count."""
    named = (
        registry.names(registry.PROTOCOLS)
        if config is None
        else configuration.load(config).protocols
    )
    return {name: spec.cedar_schema for name, spec in registry.load(sorted(named)).items()}


def load_policies(directory: Path, config: Path | None) -> PolicySet:
    """Load the policies of a folder.

    Raises:
        InvalidError: they are not valid.

    """
    with valid_or_fail():
        return PolicySet.load(directory, schemas(config))
