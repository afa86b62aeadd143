# syntax=docker/dockerfile:1

# One image with all four programs, built once; what a container runs is its command:
#   docker build --tag mailtier .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag … --push .
# It has no shell and writes nowhere: run it read-only. Nothing in a build depends on when it runs; with
# --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) neither do the dates of the files.

# The version of rust-toolchain.toml. Debian's release is that of the image that the programs run in: both have one C library.
ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-slim-bookworm AS chef
ARG RUST_VERSION
# As installed, and not with the components for development that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION} CARGO_INCREMENTAL=0
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo install --locked --version 0.1.78 cargo-chef
WORKDIR /source

# What the dependencies are, without the code that uses them.
FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS builder
# This layer is built again when a dependency changes, not when the code does.
COPY --from=planner /source/recipe.json recipe.json
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo chef cook --locked --release --recipe-path recipe.json \
      --package mailtier-inbound --package mailtier-queue --package mailtier-outbound --package mailtier-ctl
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo build --locked --release \
      --package mailtier-inbound --package mailtier-queue --package mailtier-outbound --package mailtier-ctl \
    && mkdir -p /image/usr/local/bin /image/var/lib/mailtier/sink /image/etc/mailtier \
    && for program in mailtier mailtier-inbound mailtier-queue mailtier-outbound; do \
         cp "target/release/$program" /image/usr/local/bin/ || exit 1; \
       done

# The C library, libgcc, certificates of public authorities, a user; nothing else. The user is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mailtier" \
      org.opencontainers.image.description="A mail transfer agent in three tiers with one queue in PostgreSQL" \
      org.opencontainers.image.source="https://github.com/mailtier/mailtier" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /image/usr/local/bin/ /usr/local/bin/
COPY --from=builder --chown=65532:65532 /image/var/lib/mailtier/ /var/lib/mailtier/
ENV MAILTIER_CONFIG=/etc/mailtier/mailtier.toml
USER 65532:65532
# SMTP, submission, submissions; gRPC and the API of the queue; health and metrics of inbound, queue and outbound.
EXPOSE 2525 2587 2465 7070 8080 9101 9102 9103
# Each program has a health check of its own: `mailtier healthcheck http://127.0.0.1:9101`, or 9102, or 9103.
CMD ["mailtier", "--help"]
