# `make demo` and `make test` are all one needs; both run `make setup` first.
# One dev profile serves the build, the tests, the demo and the failpoints. CARGO_TARGET_DIR is honoured.

export RUST_BACKTRACE = 0
CARGO ?= cargo
# Scenarios side by side. Each starts its own servers and mostly waits for them.
TEST_THREADS ?= 4
# How long `make fuzz` gives each reader.
FUZZ_SECONDS ?= 20

.PHONY: setup build demo test fuzz bench

setup:
	@./scripts/setup.sh

build: setup
	$(CARGO) build --locked --workspace

demo: build
	@"$${CARGO_TARGET_DIR:-target}/debug/demo"

test: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace --no-fail-fast -- --test-threads=$(TEST_THREADS)

# Each figure beside its reference, in the same run; on a machine that does nothing else. Built as users build it.
bench: setup
	$(CARGO) build --locked --release --workspace --bins
	@"$${CARGO_TARGET_DIR:-target}/release/bench" $(BENCHES)

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --workspace --test fuzz -- --nocapture --test-threads=1
