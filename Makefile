# The project's commands. `make` or `make help` lists them; CI runs the same targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The build that `run`, `demo` and `bench` use: release or dev.
PROFILE ?= release
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
# Where `make run` keeps its data.
DATA ?= /var/tmp/mailtier-run
# What the tests send mail with and no package manager should install.
CLIENTS := $(TARGET_DIR)/clients
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# A build that is thrown away needs no records for the next one: they take more disk than what is built.
ifdef CI
export CARGO_INCREMENTAL := 0
endif
# What the tests are built of: with anything less, packages would have other features and be built twice. It serves the demo
# as well.
TESTED := --workspace --bins --tests
PROGRAMS := $(if $(filter dev,$(PROFILE)),$(TESTED),-p mailtier-inbound -p mailtier-queue -p mailtier-outbound -p mailtier-ctl)

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Installs what is missing: a C compiler, Rust, PostgreSQL's server (Debian)
	@deploy/setup.sh gcc:gcc:libc6-dev cargo:rustup ::postgresql

.PHONY: clients
clients: ## Installs the mail clients, servers and tools that the tests drive (Debian, npm)
	@deploy/setup.sh swaks:swaks '/usr/lib/*/perl5/*/Net/SSLeay.pm:libnet-ssleay-perl' msmtp:msmtp gsasl:gsasl curl:curl wget:wget \
		openssl:openssl pflogsumm:pflogsumm python3:python3 node:nodejs npm:npm
	@deploy/clients.sh crates/testkit/tests/clients "$(CLIENTS)"
	@deploy/pgbouncer.sh "$(CLIENTS)"
	@deploy/name_servers.sh "$(CLIENTS)"
	@deploy/mail_servers.sh "$(CLIENTS)"
	@deploy/haproxy.sh "$(CLIENTS)"

.PHONY: build
build: setup ## Builds the four programs
	cargo build --locked --profile $(PROFILE) $(PROGRAMS)

.PHONY: run
run: build ## Starts the whole system with a private PostgreSQL, delivers a message you can see, keeps serving
	@deploy/demo/run.sh "$(BIN)" "$(DATA)" serve

.PHONY: demo
demo: build ## The same as run in a directory of its own, then stops
	@data=$$(mktemp -d /var/tmp/mailtier-demo.XXXXXX); chmod 755 "$$data"; trap 'rm -rf "$$data"' EXIT; \
	deploy/demo/run.sh "$(BIN)" "$$data" once

.PHONY: test
test: setup clients lint deploy-check ## Every test, as CI runs it
	cargo build --locked $(TESTED)
	@deploy/kubernetes/check.sh "$(TARGET_DIR)/kubernetes" "$(TARGET_DIR)/debug"
	cargo test --locked --workspace --no-fail-fast
	@$(MAKE) --no-print-directory demo PROFILE=dev

.PHONY: lint
lint: setup ## Format and clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: deploy-check
deploy-check: ## Checks images, compose, manifests, rules and scripts (PyPI, Debian; no container engine)
	@deploy/setup.sh python3:python3 systemd-analyze:systemd
	@deploy/check.sh "$(TARGET_DIR)"

.PHONY: generate
generate: ## Writes the documents that come from the types
	cargo xtask generate

.PHONY: k8s
k8s: ## Writes what kustomize has in common with the Helm chart
	@deploy/kubernetes/tools.sh "$(TARGET_DIR)/kubernetes/tools"
	@deploy/kubernetes/generate.sh "$(TARGET_DIR)/kubernetes/tools/helm"

.PHONY: k8s-check
k8s-check: setup ## Renders the chart and the overlays, and checks them against each other and the programs
	@deploy/setup.sh openssl:openssl python3:python3
	cargo build --locked $(TESTED)
	@deploy/kubernetes/check.sh "$(TARGET_DIR)/kubernetes" "$(TARGET_DIR)/debug"

# What `compat` runs beside: the last release, or the commit that stands for it.
BEFORE := $(TARGET_DIR)/compat

.PHONY: compat
compat: setup ## Runs the version before (.compat-base) and this one side by side, replaced in turn under load
	@[ -d "$(BEFORE)/source" ] || git worktree add --detach "$(BEFORE)/source" "$$(cat .compat-base)"
	git -C "$(BEFORE)/source" checkout --quiet --detach "$$(cat .compat-base)"
	cargo build --locked --workspace --bins --manifest-path "$(BEFORE)/source/Cargo.toml" --target-dir "$(BEFORE)/build"
	cargo build --locked --workspace --bins
	MAILTIER_BEFORE="$$(realpath "$(BEFORE)/build/debug")" cargo test --locked -p mailtier-testkit --test it -- \
		--ignored --nocapture neighbouring_versions

.PHONY: chaos
chaos: setup clients ## A long campaign of kills, pauses and cuts under load (CHAOS_SECONDS, default 600)
	cargo build --locked --workspace --bins
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} cargo test --locked -p mailtier-testkit --test it -- \
		--nocapture --include-ignored --test-threads=1 --skip neighbouring_versions \
		chaos:: crash_matrix:: owners:: databases::

# What coverage-guided fuzzing needs of the compiler; without sanitizers, since nothing here is unsafe.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing

.PHONY: fuzz
fuzz: ## Fuzzes what strangers can say, FUZZ_SECONDS for each target (default 60)
	@deploy/setup.sh g++:g++ cargo:rustup
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --locked --release --target "$$(rustc -vV | sed -n 's/^host: //p')" \
		--target-dir target/fuzz -p mailtier-fuzz --features libfuzzer
	@for target in address command conversion header proxy reply report sasl; do \
		mkdir -p "target/fuzz/found/$$target"; \
		FUZZ_TARGET=$$target target/fuzz/*/release/mailtier-fuzz -max_total_time=$${FUZZ_SECONDS:-60} -max_len=4096 \
			-print_final_stats=1 -artifact_prefix="target/fuzz/$$target-" \
			"target/fuzz/found/$$target" "crates/fuzz/corpus/$$target" || exit 1; \
	done

.PHONY: bench
bench: ## Throughput beside a tuned Postfix on this machine (Debian's postfix, unpacked aside)
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- relay --programs "$(TARGET_DIR)/release"

.PHONY: bench-accept
bench-accept: ## How fast mail is accepted while none is delivered, beside Postfix
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- accept --programs "$(TARGET_DIR)/release"

.PHONY: bench-latency
bench-latency: ## How long single messages take, 20 a second, beside Postfix
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- latency --programs "$(TARGET_DIR)/release"

# `bench-compare` and `profile` build without link-time optimisation, which takes minutes for each program. Commits from before
# that profile are told what it is.
PROFILING := --profile profiling --config 'profile.profiling.inherits="release"' --config 'profile.profiling.lto=false' \
	--config 'profile.profiling.codegen-units=16'

# The build that `bench-compare` holds this one against.
COMPARED := $(TARGET_DIR)/bench-compare

.PHONY: bench-compare
bench-compare: setup ## Throughput of this tree and of another commit in turn: make bench-compare REF=<commit>
	@git rev-parse --quiet --verify "$(REF)^{commit}" >/dev/null || { echo "make bench-compare REF=<commit>" >&2; exit 64; }
	@git worktree prune
	@[ -d "$(COMPARED)/source" ] || git worktree add --detach "$(COMPARED)/source" "$(REF)"
	git -C "$(COMPARED)/source" checkout --quiet --detach "$$(git rev-parse --verify "$(REF)^{commit}")"
	CARGO_INCREMENTAL=0 cargo build --locked $(PROFILING) $(PROGRAMS) --manifest-path "$(COMPARED)/source/Cargo.toml" \
		--target-dir "$(COMPARED)/build"
	CARGO_INCREMENTAL=0 cargo build --locked $(PROFILING) $(PROGRAMS)
	cargo run --locked --quiet $(PROFILING) -p mailtier-bench -- pair --before "$(COMPARED)/build/profiling" \
		--programs "$(TARGET_DIR)/profiling"

.PHONY: profile
profile: setup ## Where the time goes under load: flame graphs, system calls, statements (target/profile/report; root)
	@deploy/setup.sh perf:linux-perf
	CARGO_INCREMENTAL=0 RUSTFLAGS="-C force-frame-pointers=yes" cargo build --locked $(PROFILING) \
		$(PROGRAMS) --target-dir "$(TARGET_DIR)/profile/build"
	cargo run --locked --quiet $(PROFILING) -p mailtier-bench -- profile --programs "$(TARGET_DIR)/profile/build/profiling" \
		--report "$(TARGET_DIR)/profile/report"

.PHONY: bench-micro
bench-micro: ## Single operations: times, rates and allocations of engines, scheduler, headers, frames (a minute after the build)
	cargo bench --locked --quiet -p mailtier-types -p mailtier-smtp -p mailtier-message -p mailtier-schedule -p mailtier-api \
		--bench '*' -- --min-time 0.05

.PHONY: soak
soak: ## Holds 10,000 idle and 2,000 active sessions, a minute each, and shows the programs' memory
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- soak --programs "$(TARGET_DIR)/release"

.PHONY: scale
scale: ## Queues of millions: time to load them, memory, fresh mail beside them, draining (about 15 minutes)
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- scale --programs "$(TARGET_DIR)/release"

.PHONY: idle
idle: ## Holds up to 20,000 idle sessions, in clear and in TLS, and shows what each takes of memory
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- idle --programs "$(TARGET_DIR)/release"

.PHONY: drain
drain: ## A million deferred messages to one destination that comes back, beside Postfix (about 15 minutes)
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- drain --programs "$(TARGET_DIR)/release"

.PHONY: crowd
crowd: ## Mail to 10,000 destinations while one of them is flooded with 900,000 messages
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- crowd --programs "$(TARGET_DIR)/release"

.PHONY: bench-tls
bench-tls: ## What TLS costs, to the outside and between the tiers
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- tls --programs "$(TARGET_DIR)/release"

.PHONY: cores
cores: ## Relaying with so much CPU for each tier, and the model of it (root, for control groups)
	@$(MAKE) --no-print-directory build PROFILE=release
	cargo run --locked --quiet --release -p mailtier-bench -- cores --sessions 200 --programs "$(TARGET_DIR)/release"

.PHONY: deny
deny: ## Licences, sources and duplicate versions of dependencies (installs cargo-deny)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources
