"""A shell command taken apart by bash's grammar: every simple command in it, with its words.

What is asked of it is one thing: that nothing runs which is not named. So all commands count,
wherever they stand: in pipes, lists, conditions, loops, subshells, substitutions, here-documents
and functions. A text that does not parse whole, or has a construct that is not known here, is
unknown as a whole (`UnknownCommandError`), and what is unknown is not allowed.

A word whose value the text alone does not tell has none (`Word.value` is None): expansions of
variables, substitutions, patterns for file names, braces, the home folder. If the name of a command
is such a word, nobody can say which program runs.

What a program does later is not told by any grammar (``sudo sh``, ``find -exec``, ``vi``): a
command that may run others is to be denied by name. The target's login shell is taken to be bash,
or another that reads POSIX's language as bash does.

Parsing is linear in the length, some 5 us a byte: not for a reactor if the text is long.

Reference: POSIX.1-2024, Shell Command Language; tree-sitter-bash 0.25 for the names of nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from attrs import define, field, frozen
from tree_sitter import Language, Node, Parser
from tree_sitter_bash import language

from hoopgw.shell.values import text_of, value_of

TEXT_LIMIT: Final = 65_536
"""Bytes of a command."""
DEPTH_LIMIT: Final = 200
"""Constructs inside each other."""
COMMANDS_LIMIT: Final = 5_000

_LANGUAGE: Final = Language(language())
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]")
"""What no command has a reason to hold; a carriage return is a letter to some shells."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RUNS: Final = re.compile(r"(?<!\\)(?:\\\\)*(?:`|\$\()")
"""Where a substitution begins, in text that is not quoted."""
_RUNS_OR_ENDS: Final = re.compile(rf"{_RUNS.pattern}|(?<!\\)(?:\\\\)*[ \t\n]")
"""The same, or where a word ends."""

# What is walked through for the commands in it; what each is, for policy.
_CONSTRUCTS: Final = {
    "program": "",
    "list": "list",
    "pipeline": "pipeline",
    "redirected_statement": "",
    "subshell": "subshell",
    "compound_statement": "group",
    "negated_command": "",
    "if_statement": "condition",
    "elif_clause": "",
    "else_clause": "",
    "while_statement": "loop",
    "for_statement": "loop",
    "do_group": "",
    "case_statement": "condition",
    "case_item": "",
    "function_definition": "function",
    "command_substitution": "substitution",
    "process_substitution": "substitution",
}
_SIMPLE: Final = frozenset({"command", "variable_assignment", "variable_assignments"})
_DECLARATIONS: Final = frozenset({"declaration_command", "unset_command"})
_TESTS: Final = frozenset({"test_command"})
_REDIRECTS: Final = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
_WORDS: Final = frozenset(
    {
        "word",
        "number",
        "string",
        "raw_string",
        "ansi_c_string",
        "translated_string",
        "concatenation",
        "simple_expansion",
        "expansion",
        "command_substitution",
        "process_substitution",
        "arithmetic_expansion",
        "brace_expression",
        "extglob_pattern",
        "regex",
        "test_operator",
    }
)
_SEPARATORS: Final = frozenset(
    {";", "&", "&&", "||", "|", "|&", "\n", "(", ")", "{", "}", "!", "in", "do", "done", "if"}
    | {"then", "else", "elif", "fi", "while", "until", "for", "select", "case", "esac", ";;", ";&"}
    | {";;&", "function", "`", "$(", "<(", ">(", "$`"}
)
_KEYWORDS: Final = frozenset(
    {"!", "{", "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "for", "select"}
    | {"case", "in", "esac", "function", "[", "[["}
)

_VARIABLE: Final = re.compile(r"[A-Za-z_$`\"']")
_EVALUATING_EXPANSIONS: Final = frozenset({"!", "@", ":"})
_VARIABLE_TESTS: Final = frozenset({"-v", "-R"})
_EVALUATING_TESTS: Final = _VARIABLE_TESTS | {"-eq", "-ne", "-lt", "-le", "-gt", "-ge"}


class UnknownCommandError(Exception):
    """The text does not tell what would run. The message says why, for whoever sent it."""


class UnparsedCommandError(UnknownCommandError):
    """The text does not parse: it is wrong, or not whole yet."""


@frozen
class Word:
    """One word of a command."""

    text: str
    """As it was written."""
    value: str | None
    """What the program gets; None if the text does not tell."""


@frozen
class Redirect:
    """Where input comes from, or output goes."""

    operator: str
    """``<``, ``>``, ``>>``, ``>&``, ``<<``, ``<<<`` ..."""
    target: Word | None
    """A file, or a descriptor's number; None for a here-document."""


@frozen(kw_only=True)
class SimpleCommand:
    """A program, builtin or function that is called, or assignments alone."""

    words: tuple[Word, ...]
    """The name and the arguments; empty if there are only assignments."""
    assignments: tuple[Word, ...] = ()
    """``NAME=value``, which hold for this command, or from here on if there is no name."""
    redirects: tuple[Redirect, ...] = ()

    @property
    def name(self) -> str | None:
        """What is called; None if the text does not tell, empty if nothing is."""
        return self.words[0].value if self.words else ""


@frozen(kw_only=True)
class Script:
    """All that a text would run."""

    commands: tuple[SimpleCommand, ...]
    """In the order of the text."""
    constructs: frozenset[str]
    """Of ``list pipeline subshell group condition loop function substitution background``; and of
    ``evaluation``: bash evaluates the value of a variable, in which there may be commands."""
    is_portable: bool = True
    """Whether other shells than bash run the same: dash finds commands in ``[[ a || b ]]``."""

    @property
    def names(self) -> frozenset[str]:
        """Names that are called and known."""
        return frozenset(command.name for command in self.commands if command.name)

    @property
    def is_known(self) -> bool:
        """Whether the name of every command is known."""
        return all(command.name is not None for command in self.commands)


def parse(text: bytes) -> Script:
    """Take a command apart.

    Raises:
        UnknownCommandError: it does not parse, or has what is not known here.

    """
    if len(text) > TEXT_LIMIT:
        raise UnknownCommandError(f"the command is longer than {TEXT_LIMIT} bytes")
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise UnknownCommandError("the command is not UTF-8") from None
    if "\\\n" in decoded:
        raise UnknownCommandError("a line goes on after a backslash: write it as one")
    if _CONTROL.search(decoded):
        raise UnknownCommandError("the command has control characters")
    tree = Parser(_LANGUAGE).parse(text)
    if tree.root_node.has_error:
        raise UnparsedCommandError("the command does not parse as a shell would read it")
    _check_gaps(tree.root_node, text)
    _check_hidden(tree.root_node)
    walk = _Walk()
    walk.visit(tree.root_node, 0)
    return Script(
        commands=tuple(walk.commands),
        constructs=frozenset(walk.constructs),
        is_portable=not any(map(_is_of_bash, _all(tree.root_node))),
    )


@define
class _Walk:
    """Collects commands."""

    commands: list[SimpleCommand] = field(factory=list)
    constructs: set[str] = field(factory=set)

    def visit(self, node: Node, depth: int) -> None:
        """Take a node that may hold commands."""
        if depth > DEPTH_LIMIT:
            raise UnknownCommandError("the command is nested too deeply")
        kind = node.type
        if kind in _SIMPLE:
            self._simple(node, depth)
        elif kind in _DECLARATIONS:
            self._declaration(node, depth)
        elif kind in _TESTS:
            self._test(node, depth)
        elif kind in _CONSTRUCTS:
            self._construct(node, depth)
        elif kind == "comment":
            return
        else:
            raise UnknownCommandError(f"the command has a construct that is not known: {kind}")

    def _construct(self, node: Node, depth: int) -> None:
        if name := _CONSTRUCTS[node.type]:
            self.constructs.add(name)
        redirects: list[Redirect] = []
        first = len(self.commands)
        _check_keywords(node.children)
        for child in node.children:
            if child.type in _REDIRECTS:
                redirects.append(self._redirect(child, depth))
            elif child.type == "&":
                self.constructs.add("background")
            elif child.type in _SEPARATORS:
                continue
            elif self._is_name_or_value(node, child):
                self._word(child, depth)
                if child.type == "variable_name":
                    self._sets(text_of(child))
            else:
                self.visit(child, depth + 1)
        if redirects:
            self._redirect_all(first, tuple(redirects))

    def _is_name_or_value(self, node: Node, child: Node) -> bool:
        """Whether a child is a word and no command: a loop's variable, a case's pattern."""
        return (
            child.type in _WORDS - _CONSTRUCTS.keys()
            or (child.type == "variable_name" and node.type == "for_statement")
            or (node.type in ("for_statement", "case_statement") and child.type in _WORDS)
        )

    def _redirect_all(self, first: int, redirects: tuple[Redirect, ...]) -> None:
        """Note redirects that hold for all that a statement runs."""
        if len(self.commands) == first:
            self.commands.append(SimpleCommand(words=(), redirects=redirects))
            return
        for at in range(first, len(self.commands)):
            before = self.commands[at]
            self.commands[at] = SimpleCommand(
                words=before.words,
                assignments=before.assignments,
                redirects=before.redirects + redirects,
            )

    def _simple(self, node: Node, depth: int) -> None:
        words: list[Word] = []
        assignments: list[Word] = []
        redirects: list[Redirect] = []
        children = [node] if node.type == "variable_assignment" else node.children
        _check_apart(children)
        for child in children:
            match child.type:
                case "variable_assignment":
                    assignments.append(self._assignment(child, depth))
                case "command_name":
                    words.append(self._word(child.children[0], depth))
                case kind if kind in _REDIRECTS:
                    redirects.append(self._redirect(child, depth))
                case kind if kind in _WORDS:
                    words.append(self._word(child, depth))
                case kind:
                    raise UnknownCommandError(f"a command has a part that is not known: {kind}")
        self._add(words, assignments, redirects)

    def _declaration(self, node: Node, depth: int) -> None:
        """Take ``export``, ``declare``, ``unset`` and the like: they have their own grammar."""
        _check_apart(node.children)
        words = [_literal(node.children[0].type)]
        for child in node.children[1:]:
            if child.type == "variable_assignment":
                words.append(self._assignment(child, depth))
            elif child.type == "variable_name":
                words.append(_literal(text_of(child)))
            elif child.type in _WORDS:
                words.append(self._word(child, depth))
            else:
                raise UnknownCommandError(f"a command has a part that is not known: {child.type}")
        self._add(words, [], [])

    def _test(self, node: Node, depth: int) -> None:
        """Take ``[`` and ``[[``: conditions, in which substitutions may run commands."""
        self._nested(node, depth)
        operators = _EVALUATING_TESTS if node.children[0].type == "[[" else _VARIABLE_TESTS
        if any(each.type == "test_operator" and text_of(each) in operators for each in _all(node)):
            self.constructs.add("evaluation")
        self._add([_literal(node.children[0].type)], [], [])

    def _add(self, words: list[Word], assignments: list[Word], redirects: list[Redirect]) -> None:
        if len(self.commands) >= COMMANDS_LIMIT:
            raise UnknownCommandError("there are too many commands in it")
        self.commands.append(
            SimpleCommand(
                words=tuple(words), assignments=tuple(assignments), redirects=tuple(redirects)
            )
        )

    def _assignment(self, node: Node, depth: int) -> Word:
        name, *_, value = node.children
        if name.type != "variable_name" or value.type == "array":
            raise UnknownCommandError("an assignment to an array is not known")
        text = text_of(node)
        if value.type in ("=", "+="):
            return Word(text, text)
        word = self._word(value, depth)
        operator = node.children[1].type
        known = None if word.value is None else f"{text_of(name)}{operator}{word.value}"
        return Word(text, known)

    def _redirect(self, node: Node, depth: int) -> Redirect:
        if node.type == "heredoc_redirect":
            self._here_document(node, depth)
            return Redirect("<<", None)
        operator, target = "", None
        for child in node.children:
            if child.type in _WORDS:
                if target is not None:
                    raise UnknownCommandError("a redirect with several targets is not known")
                target = self._word(child, depth)
            elif child.type != "file_descriptor":
                operator = child.type
        return Redirect(operator, target)

    def _here_document(self, node: Node, depth: int) -> None:
        """Take what a here-document runs, and what stands behind its mark on the same line."""
        for child in node.children:
            if child.type in ("heredoc_start", "heredoc_end", "<<", "<<-", "file_descriptor"):
                continue
            if child.type == "heredoc_body":
                mark = text_of(node.children[1]) + text_of(node.children[0])
                if "`" in text_of(child) and not {"'", '"', "\\"} & set(mark):
                    # bash runs it, and this grammar takes it for text.
                    raise UnknownCommandError("backquotes in a here-document are not known")
                self._nested(child, depth)
            elif child.type in _SEPARATORS:
                self.constructs.add("list")
            elif child.type in _REDIRECTS:
                self._redirect(child, depth)
            else:
                self.visit(child, depth + 1)

    def _word(self, node: Node, depth: int) -> Word:
        """Read a word, and take the commands in it."""
        self._nested(node, depth)
        return Word(text_of(node), value_of(node))

    def _nested(self, node: Node, depth: int) -> None:
        """Take the substitutions inside of something."""
        if any(map(_evaluates, _all(node))):
            self.constructs.add("evaluation")
        for each in _all(node):
            if each.type == "expansion" and {":=", "="} & {child.type for child in each.children}:
                self._sets(text_of(each.children[1]))
        for child in _substitutions(node):
            self.visit(child, depth + 1)

    def _sets(self, name: str) -> None:
        """Note a variable that is set otherwise than by an assignment: its value is not told."""
        self._add([], [Word(f"{name}=", None)], [])


def _check_apart(parts: list[Node]) -> None:
    """See that the words of a command are words to a shell, too.

    The grammar makes two of what is one: of ``a`b`c``, say. Only a redirect may touch a word, and
    only if it does not begin with a number.
    """
    for one, other in pairwise(parts):
        if one.end_byte != other.start_byte:
            continue
        touches = other.type in _REDIRECTS and other.children[0].type != "file_descriptor"
        if not touches:
            raise UnknownCommandError("where one word ends and the next begins is not known")


def _check_keywords(parts: list[Node]) -> None:
    """See that reserved words stand apart: ``!a`` and ``{a`` are words of their own to a shell."""
    for one, other in pairwise(parts):
        touches = one.end_byte == other.start_byte
        if touches and one.type in _KEYWORDS and not text_of(other).startswith((";", "\n", "(")):
            raise UnknownCommandError("where one word ends and the next begins is not known")


def _check_gaps(root: Node, source: bytes) -> None:
    """See that nothing but blanks is outside of what the grammar knows."""
    at, waiting = 0, [root]
    while waiting:
        node = waiting.pop()
        if node.children:
            waiting.extend(reversed(node.children))
            continue
        if source[at : node.start_byte].strip(b" \t\n"):
            raise UnknownCommandError("a part of the command is not known")
        at = max(at, node.end_byte)
    if source[at:].strip(b" \t\n"):
        raise UnknownCommandError("a part of the command is not known")


def _check_hidden(root: Node) -> None:
    """See that what the grammar takes for text is none that a shell would run.

    In ``${x:-`a`}`` it sees no command, in ``"${x:-'$(a)'}"`` quotes, which are none there, and in
    ``<<<{ a`` one word.
    """
    waiting = [(root, False)]
    while waiting:
        node, inside = waiting.pop()
        inside = inside or node.type == "expansion"
        if node.type in ("raw_string", "ansi_c_string"):
            hides = inside and bool({"`", "$"} & set(text_of(node)[1:]))
        elif node.type == "word" or (inside and node.type in ("regex", "string_content")):
            ends = _RUNS if inside else _RUNS_OR_ENDS
            hides = not node.children and ends.search(text_of(node)) is not None
        else:
            hides = False
        if hides:
            raise UnknownCommandError("a word holds what is none to a shell")
        waiting.extend((child, inside) for child in node.children)


def _is_of_bash(node: Node) -> bool:
    """Whether another shell may read something so that other commands run."""
    return node.type in ("[[", "ansi_c_string", "&>", "&>>")


def _substitutions(node: Node) -> Iterator[Node]:
    """Find the outermost substitutions in a node, itself included."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if each.type in ("command_substitution", "process_substitution"):
            yield each
        else:
            waiting.extend(reversed(each.children))


def _all(node: Node) -> Iterator[Node]:
    """Return a node and all below it."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        waiting.extend(each.children)


def _evaluates(node: Node) -> bool:
    """Whether bash reads an expression in a node, and with it the values of variables.

    Arithmetic, subscripts and some expansions evaluate what variables hold, and in a subscript
    there may be a command: ``x='a[$(rm y)]'; echo $((x))`` runs it.
    """
    match node.type:
        case "arithmetic_expansion":
            return _VARIABLE.search(text_of(node)[2:]) is not None
        case "subscript":
            return True
        case "expansion":
            return any(child.type in _EVALUATING_EXPANSIONS for child in node.children)
        case _:
            return False


def _literal(text: str) -> Word:
    return Word(text, text)
