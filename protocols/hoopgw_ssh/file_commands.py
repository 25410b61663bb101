"""Commands that clients run to move files: the server's side of scp, rsync and git. Pure.

A command is known if every word of it is: what programs of these protocols send, and nothing that
could make them do something else (a log file, another program, links that are followed). Whatever
differs is an ordinary command, decided as such. What is known is decided by the paths it is for.

References: scp.c of OpenSSH; rsync(1), ``--server`` as rsync 3.1 to 3.4 send it;
git-upload-pack(1), git-receive-pack(1), git-upload-archive(1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import min_len

from hoopgw.shell.grammar import UnknownCommandError, Word, parse
from hoopgw_ssh.files import FileAction, PathUse
from hoopgw_ssh.paths import UnclearPathError, from_home

FileProtocol: TypeAlias = Literal["scp", "rsync", "git"]

LENGTH_LIMIT: Final = 1_024
"""Bytes of a command that is looked at: no client's is longer, and parsing takes 5 us a byte."""
_BEGINS: Final = (b"scp ", b"rsync --server ", b"git-", b"git ")
PATHS_LIMIT: Final = 64
_HOME_PATH: Final = re.compile(r"~(?:/[A-Za-z0-9_.@+=:,/-]*)?")
"""Below the home folder, and nothing in it that a shell would expand."""
_SCP_OPTIONS: Final = re.compile(r"-[vrpdtf]+")
_RSYNC_LETTERS: Final = re.compile(r"-([vqlogDtprdzuncHAXSWxIOJRUmihbyN]*)(?:e[0-9]*\.[A-Za-z.]*)?")
"""Letters of rsync, without those that have it follow links, or take a value; what it can itself is
behind the ``e``."""
_RSYNC_LONG: Final = re.compile(
    r"--(?:delete(?:-before|-during|-after|-delay|-excluded)?|force|partial|inplace|append|sparse"
    r"|numeric-ids|safe-links|ignore-times|size-only|existing|ignore-existing|ignore-non-existing"
    r"|no-implied-dirs|omit-dir-times|omit-link-times|one-file-system|no-r|no-W|whole-file"
    r"|no-whole-file|new-compress|old-compress|remove-source-files|stats|preallocate"
    r"|(?:compress-level|bwlimit|timeout|max-size|min-size|modify-window|max-delete)=[0-9]+[A-Za-z]*"
    r"|(?:compress-choice|checksum-choice)=[a-z0-9,]+|(?:info|debug)=[A-Za-z0-9,]+"
    r"|log-format=(?:X|%[a-zA-Z%]{1,4}))"
)
_GIT: Final = {
    "git-upload-pack": "read",
    "git-upload-archive": "read",
    "git-receive-pack": "write",
}


@frozen(kw_only=True)
class FileCommand:
    """A command that moves files."""

    protocol: FileProtocol
    is_upload: bool
    """Whether files go to the target."""
    paths: tuple[str, ...] = field(validator=min_len(1))
    """Absolute, or below `hoopgw_ssh.files.HOME`; links on the way are not seen."""
    actions: tuple[FileAction, ...] = field(validator=min_len(1))
    """What is done to what they name, and to what is below that; the main one first."""
    is_folder: bool = False
    """Of scp: whether the path must be a folder."""
    is_deep: bool = False
    """Of scp: whether folders are moved."""
    keeps_times: bool = False
    """Of scp: whether modes and times are set."""

    @property
    def uses(self) -> tuple[PathUse, ...]:
        """What is to be allowed before it begins."""
        return tuple(PathUse(action, path, path) for path in self.paths for action in self.actions)


def recognise(text: bytes) -> FileCommand | None:
    """Return what a command moves; None if it is no such command, or not as clients send it."""
    if len(text) > LENGTH_LIMIT or not text.startswith(_BEGINS):
        return None
    try:
        words = _words(text)
        if not words:
            return None
        match words[0].value:
            case "scp":
                return _scp(words[1:])
            case "rsync":
                return _rsync(words[1:])
            case "git" if len(words) == 3:
                return _git(f"git-{words[1].value}", words[2:])
            case name:
                return _git(name or "", words[1:])
    except (UnknownCommandError, UnclearPathError):
        return None


def _words(text: bytes) -> tuple[Word, ...]:
    """Return the words of a text that is one simple command."""
    script = parse(text)
    if len(script.commands) != 1 or script.constructs:
        return ()
    (command,) = script.commands
    if command.assignments or command.redirects:
        return ()
    return command.words


def _scp(words: Sequence[Word]) -> FileCommand | None:
    """Read ``scp [-v] [-r] [-p] [-d] -t|-f [--] PATH...``."""
    letters = ""
    at = 0
    while at < len(words) and _SCP_OPTIONS.fullmatch(words[at].value or ""):
        letters += words[at].text[1:]
        at += 1
    if at < len(words) and words[at].value == "--":
        at += 1
    paths = _paths(words[at:])
    is_upload = "t" in letters
    if not paths or is_upload == ("f" in letters) or (is_upload and len(paths) != 1):
        return None
    is_deep, keeps = "r" in letters, "p" in letters
    actions: tuple[FileAction, ...] = ("read",)
    if is_upload:
        actions = ("write", *(("mkdir",) if is_deep else ()), *(("setattr",) if keeps else ()))
    elif is_deep:
        actions = ("read", "list")
    return FileCommand(
        protocol="scp",
        is_upload=is_upload,
        paths=paths,
        actions=actions,
        is_folder="d" in letters,
        is_deep=is_deep,
        keeps_times=keeps,
    )


def _rsync(words: Sequence[Word]) -> FileCommand | None:
    """Read ``rsync --server [--sender] OPTIONS . PATH...``."""
    values = [word.value for word in words]
    if values[:1] != ["--server"]:
        return None
    is_upload = values[1:2] != ["--sender"]
    at = 1 if is_upload else 2
    letters, longs = "", list[str]()
    while at < len(values) and (value := values[at]) is not None and value.startswith("-"):
        if found := _RSYNC_LETTERS.fullmatch(value):
            letters += found[1]
        elif _RSYNC_LONG.fullmatch(value):
            longs.append(value)
        else:
            return None
        at += 1
    paths = _paths(words[at + 1 :])
    if values[at : at + 1] != ["."] or not paths or (is_upload and len(paths) != 1):
        return None
    removes = any(each.startswith(("--delete", "--remove", "--force")) for each in longs)
    actions: list[FileAction] = ["write", "mkdir"] if is_upload else ["read", "list"]
    if is_upload and set(letters) & set("pogtAX"):
        actions.append("setattr")
    if is_upload and set(letters) & set("lDH"):
        actions.append("link")
    if removes:
        actions.append("remove")
    return FileCommand(protocol="rsync", is_upload=is_upload, paths=paths, actions=tuple(actions))


def _git(name: str, words: Sequence[Word]) -> FileCommand | None:
    """Read ``git-upload-pack PATH`` and its kin, which take ``PATH.git`` for it as well."""
    word = _GIT.get(name)
    if word is None or len(words) != 1:
        return None
    written = words[0].value or ""
    if written.startswith("~"):  # git reads it itself, also in quotes
        path = from_home(written[2:] or ".") if written[1:2] in ("", "/") else None
    else:
        path = _path(words[0])
    if path is None:
        return None
    also = () if path.endswith(".git") else (f"{path}.git",)
    actions: tuple[FileAction, ...] = ("write", "read") if word == "write" else ("read",)
    return FileCommand(
        protocol="git", is_upload=word == "write", paths=(path, *also), actions=actions
    )


def _paths(words: Sequence[Word]) -> tuple[str, ...]:
    """Return paths; none, if any of them is not clear, or there are too many."""
    found = [_path(word) for word in words]
    if len(found) > PATHS_LIMIT:
        return ()
    return tuple(path for path in found if path is not None) if None not in found else ()


def _path(word: Word) -> str | None:
    if word.value is None:
        return from_home(word.text[2:] or ".") if _HOME_PATH.fullmatch(word.text) else None
    if word.value.startswith("-") or not word.value:
        return None
    return from_home(word.value)
