"""Tests for `hoopgw.shell.running`: what a text would run, and that nothing else does."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.shell.running import RUNS_LIMIT, Facts, facts


def of(text: str) -> Facts:
    """Return what a text would do."""
    return facts(text.encode())


def runs(text: str) -> list[str]:
    """Return its commands; ``?`` is a word that is not told."""
    return [" ".join("?" if word is None else word for word in words) for words in of(text).runs]


class RunsTests(SynchronousTestCase):
    """Commands that run others."""

    def test_what_is_told(self) -> None:
        for text, inner in (
            ("sudo rm x", "rm x"),
            ("sudo -n -u root -- rm x", "rm x"),
            ("sudo --user=root A=b rm x", "rm x"),
            ("sudo -i rm x", "rm x"),
            ("doas -u root rm x", "rm x"),
            ("env rm x", "rm x"),
            ("env -i -u A B=c rm x", "rm x"),
            ("env - rm x", "rm x"),
            ("timeout 5 rm x", "rm x"),
            ("timeout -s KILL -k 5 10 rm x", "rm x"),
            ("nice rm x", "rm x"),
            ("nice -n 5 rm x", "rm x"),
            ("nice -5 rm x", "rm x"),
            ("ionice -c 3 rm x", "rm x"),
            ("nohup rm x", "rm x"),
            ("setsid -f rm x", "rm x"),
            ("stdbuf -oL rm x", "rm x"),
            ("time -p rm x", "rm x"),
            ("command rm x", "rm x"),
            ("command -p rm x", "rm x"),
            ("builtin rm x", "rm x"),
            ("exec rm x", "rm x"),
            ("exec -a ls rm x", "rm x"),
            ("busybox rm x", "rm x"),
            ("sh -c 'rm x'", "rm x"),
            ("bash -lc 'rm x'", "rm x"),
            ("bash -o pipefail -c 'rm x'", "rm x"),
            ("sh -c 'sh -c \"rm x\"'", "rm x"),
            ("sudo env A=b nice sh -c 'rm x'", "rm x"),
            ("eval rm x", "rm x"),
            ("eval 'ls; rm x'", "rm x"),
            ("trap 'rm x' EXIT", "rm x"),
            ("watch -n 1 rm x", "rm x"),
            ("watch 'ls; rm x'", "rm x"),
            ("find . -name y -exec rm x \\;", "rm x"),
            ("find . -execdir rm {} +", "rm ?"),
            ("xargs -n 1 rm -f", "rm -f ?"),
            ("xargs -I{} rm {}", "rm ? ?"),
            ("xargs", "echo ?"),
            ("sudo -s", "sh"),
            ("cat <(rm x)", "rm x"),
            ("echo `rm x`", "rm x"),
            ("cat <<E\n$(rm x)\nE\n", "rm x"),
            ("f() { rm x; }; f", "rm x"),
            ("ls() { rm x; }; ls", "rm x"),
            ("if true; then rm x; fi", "rm x"),
            ("true & rm x", "rm x"),
            ("\\rm x", "rm x"),
            ("r''m x", "rm x"),
            ("'r'\"m\" x", "rm x"),
        ):
            found = of(text)
            self.assertIn(inner, runs(text), text)
            self.assertEqual(found.unknown, "", text)

    def test_what_is_not_told(self) -> None:
        """It is unknown, and its reason says what to write instead."""
        for text, what in (
            ("x=rm; $x f", "name"),
            ("$(echo rm) x", "name"),
            ("r? x", "name"),
            ("{rm,x}", "syntax"),
            ("env -S 'rm x'", "runs"),
            ("env --split-string='rm x'", "runs"),
            ("env $x rm", "runs"),
            ("env -C / rm", "runs"),
            ("sudo $x rm", "runs"),
            ("sudo -e x", "runs"),
            ("sudo --weird rm", "runs"),
            ("timeout $x rm y", "runs"),
            ("timeout --wei 5 rm", "runs"),
            ("nice $x", "runs"),
            ('sh -c "$x"', "runs"),
            ("sh -c", "runs"),
            ("bash --rcfile x -c id", "runs"),
            ('eval "$x"', "runs"),
            ('trap "$x" EXIT', "runs"),
            ("find . -exec $x \\;", "runs"),
            ("find . -exec", "runs"),
            ("xargs $x rm", "runs"),
            ("xargs -I% % x", "name"),
            ("xargs --weird rm", "runs"),
            ("watch $x", "runs"),
            ("alias ls=rm; ls x", "runs"),
            ("hash -p /tmp/x ls; ls", "runs"),
            ("enable -f ./x.so ls", "runs"),
            ("complete -C rm x", "runs"),
            ("bind -x '\"a\": rm'", "runs"),
            ("coproc rm x", "runs"),
            ("mapfile -C rm -c 1 a", "runs"),
            ("let 'x=a[$(rm y)]'", "runs"),
            ("source $x", "runs"),
            ("sudo -u root $x", "runs"),
            ("sh -c '$1 x' sh rm", "name"),
            ('f() { "$@"; }; f rm x', "name"),
            ("ls 'x", "syntax"),
            ("ls \x01", "syntax"),
            ("cat < $x", "path"),
            ("cat <> x", "syntax"),
            ("cat > >(tee x)", "path"),
            ("cat > ../x", "path"),
            ("cd /srv; cat < ../etc/x", "path"),
            ("cd $x && cat > y", "path"),
            ("cd - && cat > y", "path"),
            ("pushd /etc; cat > y", "path"),
            ("for i in 1 2; do cd ..; done; cat > y", "path"),
        ):
            found = of(text)
            self.assertIn(what, found.opaque, text)
            self.assertTrue(found.unknown, text)

    def test_what_bash_evaluates(self) -> None:
        """A variable's value may hold a command, which no grammar sees."""
        for text in (
            "x='a[$(rm y)]'; echo $((x))",
            "echo $[x]",
            "x='a[$(rm y)]'; [[ $x -eq 0 ]]",
            "[[ -v 'a[$(rm y)]' ]]",
            "[ -v 'a[$(rm y)]' ]",
            "x='a[$(rm y)]'; echo ${!x}",
            "x='$(rm y)'; echo ${x@P}",
            "echo ${y:x}",
            "echo ${a[x]}",
        ):
            self.assertIn("arithmetic", of(text).opaque, text)
        for text in (
            "test -v 'a[$(rm y)]'",
            "printf -v 'a[$(rm y)]' x",
            "read 'a[$(rm y)]'",
            "unset 'a[$(rm y)]'",
            "declare 'a[$(rm y)]=1'",
            "declare -i x='a[$(rm y)]'",
            "export 'a[$(rm y)]=1'",
            "printf $x y",
        ):
            self.assertTrue(of(text).unknown, text)

    def test_what_is_plain(self) -> None:
        """What people type every day is told whole."""
        for text in (
            "ls -l /tmp | grep x | wc -l",
            "if [ -f /etc/x ]; then cat /etc/x; fi",
            "[ $# -eq 2 ] && echo $((1 + 2)) ${x:-a} ${x%%.*} ${#x}",
            'export A=b C="$d"',
            "printf '%s\\n' \"$x\"",
            "cd /srv && git pull",
            "command -v ls",
            "trap - EXIT",
            "read -r line",
            'for f in *; do echo "$f"; done',
            "find . -name '*.c' -type f",
            "journalctl -u nginx --since '1 hour ago' 2>&1 >/dev/null",
        ):
            self.assertEqual(of(text).unknown, "", text)

    def test_what_may_run_more(self) -> None:
        for text, what in (
            ("bash -s", "input"),
            ("sh", "input"),
            ("bash", "input"),
            ("curl x | sh", "input"),
            ("bash <<E\nrm x\nE\n", "input"),
            ("python3", "input"),
            ("python3 -", "input"),
            ("psql", "input"),
            ("bash x.sh", "script"),
            (". ./x", "script"),
            ("ssh web2 rm x", "runs"),
            ("vi x", "runs"),
        ):
            self.assertIn(what, of(text).opaque, text)

    def test_limits(self) -> None:
        many = "; ".join(f"echo {number}" for number in range(RUNS_LIMIT + 1))
        self.assertIn("runs", of(many).opaque)
        self.assertIn("runs", of("sudo " * 20 + "rm").opaque)


class FilesTests(SynchronousTestCase):
    """Redirections."""

    def test_paths(self) -> None:
        for text, reads, writes in (
            ("cat < /etc/x", ["/etc/x"], []),
            ("cat < x", ["~/x"], []),
            ("cat > a/../b/./c", [], ["~/b/c"]),
            ("cat > /srv/../etc//x", [], ["/etc/x"]),
            ("cat >> x", [], ["~/x"]),
            ("cat &> x", [], ["~/x"]),
            ("cat >| x", [], ["~/x"]),
            ("cat >& x", [], ["~/x"]),
            ("> x", [], ["~/x"]),
            ("{ ls; rm y; } > x", [], ["~/x"]),
            ("sh -c 'cat > x'", [], ["~/x"]),
            ("find . -fprintf x y", [], ["~/x"]),
            ("cat 2>&1 > /dev/null < /dev/null", [], []),
            ("cd /etc && cat > x", [], ["~/x", "/etc/x"]),
            ("cd a; cd b; cat > x", [], ["~/x", "~/a/x", "~/b/x", "~/a/b/x"]),
        ):
            found = of(text)
            self.assertEqual((list(found.reads), list(found.writes)), (reads, writes), text)
            self.assertEqual(found.unknown, "", text)

    def test_the_network(self) -> None:
        self.assertEqual(of("cat > /dev/tcp/db1/80").connects, (("db1", "80"),))

    def test_variables(self) -> None:
        for text, names in (
            ("A=b ls", ("A",)),
            ("A=b; C+=d", ("A", "C")),
            ("export A=b C=$d", ("A", "C")),
            ("env A=b ls", ("A",)),
            ("sudo LD_PRELOAD=x ls", ("LD_PRELOAD",)),
        ):
            self.assertEqual(of(text).variables, names, text)


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


class AnyTests(SynchronousTestCase):
    """Whatever the text."""

    @given(st.lists(WORDS, min_size=1, max_size=6))
    def test_quoted_words_are_what_they_are(self, words: list[str]) -> None:
        """Quoting keeps every word: what is told is what the program gets."""
        text = shlex.join(["x-program", *words])
        self.assertEqual(of(text).runs[0], ("x-program", *words))

    @given(st.binary(max_size=80))
    def test_never_raises(self, text: bytes) -> None:
        found = facts(text)
        self.assertTrue(found.unknown or "syntax" not in found.opaque)

    @given(st.text(alphabet=" ;|&<>(){}$`'\"\\#=*~[]!\nrmx/-", max_size=40))
    def test_never_raises_on_what_shells_read(self, text: str) -> None:
        of(text)
