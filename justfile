# `just` lists the recipes. `just ci` runs everything that must pass before a change is merged.

_list:
    @{{ just_executable() }} --list --unsorted

# Formatter, linter, documentation
check:
    cargo fmt --check
    cargo clippy --locked --all-targets --features conformance,internals -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Tests through the real router and the real binary; `just test NAME` runs those with that name
test *args:
    cargo test --locked {{ args }}

# The console in a browser and the command line in a terminal; `just e2e console` runs one check
e2e *checks:
    tests/run {{ if checks == "" { "$(ls tests/e2e)" } else { checks } }}

# Linters, generated clients and proxies against the service; `just interop curl` runs one check
interop *checks:
    tests/run {{ if checks == "" { "$(ls tests/interop)" } else { checks } }}

# The parts of a request, measured; benches/http/run measures the whole beside etcd and Redis
bench *args:
    cargo bench --locked --features internals --bench pure -- {{ args }}

# Licences, versions and sources of the dependencies
deny:
    .ci/deny check licenses bans sources

# Everything that must pass before a change is merged
ci:
    .ci/run
