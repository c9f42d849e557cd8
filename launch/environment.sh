# shellcheck shell=bash
# What the scripts beside this file share: the Python, the environment and the installation. To be sourced.
#
#   use_environment        sets $python, making .venv in the repository where no environment is active
#   install_package EXTRA  installs the repository there, in place, when that has not been done
#   run_step CMD...        runs a long step, hands SIGINT and SIGTERM on to it, returns its exit code
#
# Variables that the user may set:
#   PYTHON                 the Python to make .venv with (default: python3, then python3.13 ... python3.10)
#   HAZEHEAL_SKIP_INSTALL  1: take the environment as it is

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
python=""
environment=""

say() { printf '%s\n' "$*" >&2; }

# fail CODE MESSAGE: one line, as the commands print it.
fail() {
  say "error: $2"
  exit "$1"
}

_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Prints a Python 3.10 to 3.13 to make an environment with.
find_python() {
  local candidate
  if [[ -n "${PYTHON:-}" ]]; then
    _supported "$PYTHON" || fail 2 "PYTHON=$PYTHON is not a Python 3.10 to 3.13; give another one"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
    if command -v "$candidate" >/dev/null && _supported "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail 1 "no Python 3.10 to 3.13 was found; install one, or name it: PYTHON=/path/to/python bash $0"
}

# Names the environment without making it: the active one, else .venv in the repository.
choose_environment() {
  if [[ -n "${VIRTUAL_ENV:-}" ]]; then
    environment="$VIRTUAL_ENV"
  elif [[ -n "${CONDA_PREFIX:-}" ]]; then
    environment="$CONDA_PREFIX"
  else
    environment="$root/.venv"
  fi
  python="$environment/bin/python"
}

use_environment() {
  choose_environment
  if [[ "$environment" == "$root/.venv" ]] && ! "$python" -c "" >/dev/null 2>&1; then
    local base
    base="$(find_python)" # its exit ends only the subshell; `set -e` of the caller ends the script
    say "no environment is active: making $environment with $base"
    # --clear: what lies there has no Python that runs.
    "$base" -m venv --clear --without-pip "$environment" ||
      fail 1 "$base -m venv failed; install its venv module, or activate an environment"
  fi
  [[ -x "$python" ]] || fail 2 "the active environment $environment has no bin/python; deactivate or repair it"
  _supported "$python" ||
    fail 2 "the Python of $environment is not 3.10 to 3.13; activate another environment, or none"
}

# Changes whenever what `pip install` would do here may change.
_fingerprint() {
  "$python" - "$root" <<'PY'
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(f"{root} {sys.version_info[:2]}".encode())
for name in ("setup.py", "pyproject.toml", "hazeheal/__init__.py"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PY
}

# The stamp holds the fingerprint, then one line for each extra that is installed ("base": none).
is_installed() {
  [[ "${HAZEHEAL_SKIP_INSTALL:-}" == 1 ]] && return
  local stamp="$environment/.hazeheal-installed" extra="$1"
  [[ -x "$python" && -f "$stamp" ]] || return 1
  [[ "$(head -n 1 "$stamp")" == "$(_fingerprint)" ]] || return 1
  [[ "$extra" == base ]] || grep -qx -- "$extra" "$stamp" # every extra brings the base
}

# Shows what pip does in a few lines, or in one that changes on a terminal.
_progress() {
  local line
  while IFS= read -r line; do
    if [[ -t 2 ]]; then
      case "$line" in
        *Collecting* | *Downloading* | *Installing*) printf '\r\033[K  %.76s' "${line#"${line%%[! ]*}"}" >&2 ;;
      esac
    elif [[ "$line" =~ Downloading.*\([0-9.]+\ MB\) || "$line" == "Installing collected"* ]]; then
      say "  ${line#"${line%%[! ]*}"}"
    fi
  done
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
}

install_package() {
  local extra="$1" target="$root" stamp="$environment/.hazeheal-installed" log="$environment/.hazeheal-install.log"
  is_installed "$extra" && return
  [[ "$extra" == base ]] || target="${root}[$extra]"
  # Two launchers that start at once must not install over each other.
  exec 9>"$environment/.hazeheal-lock" || fail 1 "$environment cannot be written; activate one of your own, or none"
  if command -v flock >/dev/null; then flock 9; fi
  if ! is_installed "$extra"; then
    # Also mends an environment that was cut off while it was made, or that another tool made without pip.
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 ||
      fail 1 "$environment has no pip, and ensurepip failed; install it (Debian, Ubuntu: python3-venv), or activate another"
    say "installing hazeheal${target#"$root"} into $environment (minutes the first time; log: $log)"
    # In place, so that the code of this clone is what runs.
    if ! "$python" -m pip install --disable-pip-version-check --progress-bar off -e "$target" 2>&1 9>&- |
      tee "$log" | _progress; then
      tail -n 15 "$log" >&2
      fail 1 "pip could not install hazeheal${target#"$root"}; the lines above and $log say why"
    fi
    local fingerprint
    fingerprint="$(_fingerprint)"
    [[ -f "$stamp" && "$(head -n 1 "$stamp")" == "$fingerprint" ]] || printf '%s\n' "$fingerprint" >"$stamp"
    printf '%s\n' "$extra" >>"$stamp"
  fi
  exec 9>&-
}

# run_step COMMAND...: hands a signal to the command and to all that it has started, as a terminal would.
run_step() {
  local child="" code="" before caught="" early=""
  # Before the child is there: a signal between its start and a later trap would end this script alone.
  # A closed terminal is a request to stop as well.
  trap '_hand_on INT' INT
  trap '_hand_on TERM' TERM HUP
  # With job control on, the child has a group of its own and takes SIGINT; a background child of a
  # script is started with SIGINT ignored otherwise. Ctrl-C then reaches it only through the trap.
  set -m
  "$@" </dev/null &
  child=$!
  set +m
  [[ -z "$early" ]] || _hand_on "$early"
  while true; do
    caught="" before="$code"
    wait "$child" 2>/dev/null && code=0 || code=$?
    # Cut short by a trap, `wait` gives 128 + signal; only a wait that was not has the child's own code.
    [[ -n "$caught" ]] || break
  done
  trap - INT TERM HUP
  # It had been told already (127), or was lost: bash 5.2 gives -1 where the child ends as the wait begins.
  if [[ -n "$before" && ("$code" == 127 || "$code" == -1) ]]; then code="$before"; fi
  return "$code"
}

# To the child of run_step, whose variables these are; as soon as it is there.
_hand_on() {
  caught=1
  if [[ -n "$child" ]]; then
    kill "-$1" -- "-$child" 2>/dev/null || true
  else
    early="$1"
  fi
}
