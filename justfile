# The commands of everyday work; `just` alone lists them.

features := "mysql,postgres"

_default:
    @just --list

# Form and lints, as CI has them
check:
    cargo fmt --check
    cargo clippy --all-targets --features {{features}} -- -D warnings

# All tests on all databases; arguments go to the test runner
test *arguments:
    ./scripts/test {{arguments}}

# Put the sources into form
fmt:
    cargo fmt

# A whole cluster in one process on loopback
demo *arguments:
    cargo run --release -- demo {{arguments}}

# The benchmarks of the library
bench *arguments:
    cargo bench --features {{features}} {{arguments}}

# Licences, advisories and sources of the dependencies
deny:
    cargo deny --all-features check
