#!/usr/bin/env bash
# Cargo's RUSTC_WORKSPACE_WRAPPER of scripts/coverage.sh: counters for the workspace's own crates alone, so that the packages they
# stand on are neither built a second time nor slowed down.
exec "$@" -C instrument-coverage
