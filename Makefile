# `make run` starts the server; `make test` runs every test. Both install what they need first.

APT_BUILD := build-essential pkg-config cmake libclang-dev python3-pip npm \
	libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libswresample-dev
APT_TEST := chromium coturn ffmpeg firefox-esr fonts-liberation fonts-noto-cjk iproute2 janus libnginx-mod-rtmp nftables nginx nodejs openssl python3-venv
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
export CARGO_TERM_COLOR ?= auto

.PHONY: run build setup models test setup-test check bench avatars clean

run: build models
	./target/release/visavis serve

build: setup
	cargo build --release --locked

# Skipped when present, so that a second start asks no package server.
setup:
	@scripts/install.sh $(APT_BUILD)

# MODELS=hibari fetches the English voice alone, 14 MB instead of 290.
models: build
	@./target/release/visavis models fetch $(MODELS)

test: setup setup-test check
	cargo build --locked --features testing
	./target/debug/visavis models fetch
	$(if $(shell command -v cargo-nextest),cargo nextest run,cargo test --lib --bins --tests) --locked --features testing
	cargo test --locked --doc --features testing
	node tests/e2e/run.mjs

setup-test:
	@scripts/install.sh $(APT_TEST)
	@[ -d node_modules/playwright-core ] || npm ci --no-audit --no-fund
	@scripts/python-peer.sh

check:
	cargo fmt --check
	cargo clippy --locked --all-targets --features testing -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet --features testing

clean:
	cargo clean
