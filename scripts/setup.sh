#!/bin/sh
# Make what `make demo` or `make test` needs, where it is missing:
#   scripts/setup.sh demo    .venv with hoopgw and the demonstration's parts; apt for an sshd, if it may
#   scripts/setup.sh dev     .venv with everything for tests, Debian's PostgreSQL 15 and gcc
# Run again it finds everything in place and takes no time.
set -eu

kind=${1:?usage: scripts/setup.sh demo|dev}
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

# What the tests run besides what comes from PyPI.
packages="postgresql-15 postgresql-client-15 pgbouncer openssh-client openssh-server rsync libnss-wrapper"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# Install Debian packages without starting their services. $1: why, the rest: names.
apt_install() {
    why=$1; shift
    can_install || fail "$why. Installing needs root and apt-get: sudo apt-get install $*"
    say "installing $* ($why)"
    as_root apt-get update -qq
    had_policy=yes
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        had_policy=no
        printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
        as_root chmod 755 /usr/sbin/policy-rc.d
    fi
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >"$top/.apt.log" 2>&1 || status=$?
    [ $had_policy = yes ] || as_root rm -f /usr/sbin/policy-rc.d
    [ $status = 0 ] || { tail -n 20 "$top/.apt.log" >&2; fail "apt-get install failed"; }
    rm -f "$top/.apt.log"
}

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or later is needed, and none was found; PYTHON=/path/to/it names one"
}

make_venv() {
    [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 && return
    python=$(find_python)
    rm -rf .venv
    say "making .venv with $python"
    "$python" -m venv .venv >/dev/null 2>&1 && return
    rm -rf .venv
    # Debian keeps ensurepip in a package of its own.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version cannot make virtual environments yet" "python$version-venv"
    "$python" -m venv .venv || fail "$python -m venv failed"
}

# Whether modules in C can be built for this Python: its own compiler, its headers, libc's.
can_compile() {
    .venv/bin/python - 2>/dev/null <<'CHECK'
import os, shlex, subprocess, sys, sysconfig
compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
headers = sysconfig.get_paths()["include"]
command = [*compiler, f"-I{headers}", "-x", "c", "-fsyntax-only", "-"]
sys.exit(subprocess.run(command, input=b"#include <Python.h>\n").returncode)
CHECK
}

# Tests of the compiled twins need them built; without a compiler the rest is tested all the same.
install_compiler() {
    can_compile && return
    wanted="gcc libc6-dev"
    # Debian keeps the headers of its own Python in a package; others bring theirs.
    wanted="$wanted$(.venv/bin/python -c 'if 1:
        import sysconfig
        if sysconfig.get_paths()["include"].startswith("/usr/include/"):
            print(" python%s-dev" % sysconfig.get_python_version())')"
    if ! can_install; then
        say "NO C COMPILER, and no right to install one: compiled twins will not be tested ($wanted)"
        return 0
    fi
    # shellcheck disable=SC2086 # several names
    (apt_install "the tests compare compiled code with plain Python" $wanted) || true
    can_compile || say "modules in C cannot be built all the same: they will not be tested"
}

# The editable install links modules one by one, so it is made again when their list changes.
fingerprint() {
    {
        cat setup.cfg setup.py pyproject.toml
        find hoopgw protocols plugins -type f -name '*.pyx' -exec cat {} +
        find hoopgw protocols plugins -type f ! -name '*.pyc' ! -name '*.so' ! -name '_*.c' \
            ! -name dropin.cache | LC_ALL=C sort
        .venv/bin/python -V
        if can_compile; then echo compiled; fi
    } | sha256sum | cut -d' ' -f1
}

install_python() {
    stamp=".venv/.hoopgw-$kind"
    now=$(fingerprint)
    [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
    say "installing hoopgw[$kind] and what it needs into .venv (the first time takes minutes)"
    .venv/bin/python -m pip install -qq --disable-pip-version-check -e ".[$kind]" ||
        fail "pip could not install hoopgw[$kind]"
    echo "$now" >"$stamp"
}

install_servers() {
    missing=
    [ -x /usr/lib/postgresql/15/bin/initdb ] || missing="postgresql-15"
    command -v psql >/dev/null || missing="$missing postgresql-client-15"
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
    command -v ssh-keygen >/dev/null || missing="$missing openssh-client"
    [ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
    command -v rsync >/dev/null || missing="$missing rsync"
    # Names of hosts for az, without root.
    ls /usr/lib/*/libnss_wrapper.so >/dev/null 2>&1 || missing="$missing libnss-wrapper"
    [ -n "$missing" ] || return 0
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        # No cluster of the system's own: the tests make theirs, and stop them.
        apt_install "the tests run real servers" postgresql-common
        echo 'create_main_cluster = false' |
            as_root tee -a /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    # shellcheck disable=SC2086 # several names
    apt_install "the tests run real servers" $packages
}

# The tests' OpenID provider, from npm; without node its tests are skipped.
install_provider() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        say "no node or npm: the tests against oidc-provider will be skipped"
        return 0
    fi
    .venv/bin/python -m tests.oidc.install >/dev/null ||
        say "npm could not install oidc-provider: the tests against it will be skipped"
}

# The real az, in the cache; the first time it takes minutes and 800 MB.
install_azure() {
    .venv/bin/python -m hoopgw.demo.azure_cli >/dev/null ||
        say "az cannot be installed: the tests with it will be skipped"
}

# The demonstration's SSH host; without it that part is left out.
install_host() {
    command -v ssh >/dev/null && { [ -x /usr/sbin/sshd ] || command -v sshd >/dev/null; } && return
    if can_install; then
        (apt_install "the demonstration has an SSH host" openssh-client openssh-server) || true
    else
        say "no sshd, and no right to install it: the demonstration will have no SSH host"
    fi
}

# Azurite, the emulator of Blob storage, from npm: 190 MB in the cache.
install_azurite() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        .venv/bin/python -m tests.support.azurite >/dev/null ||
        say "azurite CANNOT BE INSTALLED: Blob storage will not be tested with a real server"
}

# The SDKs for JavaScript, from npm: 60 MB in the cache.
install_sdks() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        .venv/bin/python -m tests.support.azure_sdks >/dev/null ||
        say "the SDKs of Azure for JavaScript cannot be installed: they will not be tested"
}

# asciinema's player, from npm: 3 MB in the cache.
install_player() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        .venv/bin/python -m tests.support.player >/dev/null ||
        say "asciinema's player cannot be installed: what we export is not played on it"
}

# Ansible, AsyncSSH and ssh-audit: 70 MB in the cache.
install_ssh_programs() {
    .venv/bin/python -m tests.support.ssh_programs >/dev/null ||
        say "Ansible, AsyncSSH or ssh-audit cannot be installed: tests with them will be skipped"
}

# A real API server with etcd and kubectl, from Debian's source: the first time it takes 8 minutes.
install_kubernetes() {
    .venv/bin/python -m tests.support.kubernetes_programs >/dev/null ||
        say "NO API SERVER CAN BE BUILT: Kubernetes will not be tested with a real one"
}

make_venv
[ "$kind" != dev ] || install_compiler
install_python
[ "$kind" = dev ] || install_host
[ "$kind" != dev ] ||
    { install_servers; install_provider; install_azure; install_azurite; install_sdks
      install_player; install_ssh_programs; install_kubernetes; }
say "ready"
