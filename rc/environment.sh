# Finds or makes the Python environment of this checkout. Sourced, with $root set, by rc.m-store and tests/run.
#
# need_environment [EXTRA] sets $environment to a directory with bin/python, in which the packages that
# pyproject.toml asks for (and those of the extra) are installed and M-Store can be imported. It stands beside
# the checkout's files when these are ours to write, otherwise below ~/.cache. Once made for this
# pyproject.toml it is only looked at; the code is compiled each time that it has changed.

say() { printf '%s\n' "$*" >&2; }

is_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${MSTORE_PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3; do
        python=$(command -v "$candidate") && is_python "$python" && return 0
    done
    return 1
}

# The superuser on Debian gets what is missing; anybody else is told the one command.
install_packages() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing $* ..."
        {
            DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@" ||
            { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"; }
        } >&2 && return 0
    fi
    say "This needs: $*"
    say "Install it, for example with: sudo apt-get install $*"
    exit 1
}

make_environment() {
    if ! find_python; then
        install_packages python3 python3-venv
        find_python || { say "Python 3.11 or later is needed; the one found is older. Set MSTORE_PYTHON to another."; exit 1; }
    fi
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        install_packages "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    say "Making the environment in $environment (once; about a minute) ..."
    "$environment/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$environment" >&2 ||
        { say "Could not make $environment."; exit 1; }
    "$environment/bin/python" "$root/rc/environment.py" requirements "$root" "$@" >"$environment/requirements.txt"
    "$environment/bin/python" -m pip --disable-pip-version-check install -r "$environment/requirements.txt" >&2 ||
        { say "Installing the packages failed (see above); run this again when that is mended."; exit 1; }
    "$environment/bin/python" "$root/rc/environment.py" link "$root" "$environment"
}

need_environment() {
    extra=${1:-}
    key=$(cksum <"$root/pyproject.toml" | tr ' ' -)
    if [ -w "$root" ] && [ -O "$root" ]; then
        environment=$root/.venv
    else
        environment=${XDG_CACHE_HOME:-${HOME:-/var/cache}/.cache}/m-store/venv-$(printf %s "$root" | cksum | cut -d' ' -f1)
        PYTHONPYCACHEPREFIX=$environment/pycache
        export PYTHONPYCACHEPREFIX
    fi
    if ! is_made "$extra"; then
        make_once "$extra"
    fi
    # Compiled here once: daemons may not write beside their code, and would compile it at each start.
    (umask 022 && "$environment/bin/python" -m compileall -qq "$root/mstore" "$root/workers") || :
}

make_once() {
    (umask 022 && mkdir -p "$environment")
    (
        umask 022 # It is for the runtime user as well.
        if command -v flock >/dev/null 2>&1; then flock 9; fi
        is_made "$1" && exit 0
        make_environment ${1:+"$1"}
        printf '%s\n' "$key" >"$environment/made-for${1:+-$1}"
    ) 9>"$environment/lock" || exit 1
}

is_made() {
    [ -x "$environment/bin/python" ] || return 1
    for made in "$environment/made-for${1:+-$1}" "$environment/made-for-test"; do
        if [ -f "$made" ] && [ "$(cat "$made")" = "$key" ] && "$environment/bin/python" -c '' 2>/dev/null; then
            return 0
        fi
    done
    return 1
}
