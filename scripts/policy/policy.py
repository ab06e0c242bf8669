#!/usr/bin/env python3
"""Dependency policy of the workspace: refuses a banned crate with the name of the right one.

Reads `deny.toml` (the one list, which cargo-deny reads too), the manifests and Cargo.lock. Needs no network, no cargo and
no package in any cache, so that its own negative tests (`test_policy.py`) try every ban in a second. What it adds to cargo-deny:
which workspace crate may depend on which, and what each may use as a normal dependency.

    policy.py [ROOT]     prints each refusal; exit code 1 if there was one
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    sys.exit("policy: Python 3.11 or newer is needed (tomllib)")

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"

# Which workspace crate may have which other as a normal dependency. No arrow back.
ARROWS = {
    "engine": set(),
    "simvenues": set(),  # own encoders: a bug shared with the engine would hide itself
    "shards": {"engine", "simvenues"},
    "meltica-parquet": {"engine", "shards"},  # for research: nothing that runs depends on it
    "bench": {"engine", "shards", "simvenues"},
    "soak": {"engine", "shards", "simvenues"},
}

# All that engine may stand on outside of its tests: nothing here does I/O, reads a clock or starts a thread.
ENGINE_USES = {
    "base64",
    "crc32fast",
    "ed25519-dalek",  # signatures of orders: computed from bytes, keys and time alone
    "fastrand",  # a generator that the caller seeded and handed in; scripts/guards.py holds that
    "heapless",
    "hmac",
    "httparse",
    "loom",
    "p256",  # signatures of orders at Coinbase
    "rtrb",
    "sha1",  # UUID version 5: the only order id that Coinbase takes
    "sha2",
    "simd-json",
    "thiserror",
    "tungstenite",
    "zeroize",  # keys leave no copy behind
}
ENGINE_ADVICE = {
    "serde_json": "use simd-json (engine::venue's scanners, or the reused tape)",
    "quanta": "time is an argument (engine::time); clocks belong to shards",
    "glommio": "engine has no runtime; executors belong to shards",
    "hdrhistogram": "stages are recorded by shards, through engine::probe",
    "rustix": "engine makes no system call; they belong to shards",
    "tracing": "engine counts (engine::counters); shards::log writes",
}
# Only these may speak to the executor or to the machine.
MACHINE_USERS = {"glommio": {"shards"}, "core_affinity": {"shards", "bench"}}

KINDS = ("dependencies", "dev-dependencies", "build-dependencies")


def read(path: Path) -> dict:
    with path.open("rb") as file:
        return tomllib.load(file)


def dependencies(manifest: dict):
    """Yields (kind, package name) of a manifest, for every target, with renamed packages under their real name."""
    tables = [manifest, *manifest.get("target", {}).values()]
    for table in tables:
        for kind in KINDS:
            for name, spec in table.get(kind, {}).items():
                yield kind, spec.get("package", name) if isinstance(spec, dict) else name


class Policy:
    """The bans of one `deny.toml`, with the message each of them gives."""

    def __init__(self, deny: dict):
        self.bans = {entry["crate"]: entry for entry in deny["bans"]["deny"]}

    def incomplete(self) -> list[str]:
        """Bans that could not say what to use instead."""
        return [
            f"deny.toml: `{name}` has no `{key}`"
            for name, entry in self.bans.items()
            for key in ("use-instead", "reason")
            if not entry.get(key)
        ]

    def refusal(self, user: str, crate: str) -> str | None:
        """Why `user` may not depend on `crate`; None if it may."""
        entry = self.bans.get(crate)
        if entry is None or user in entry.get("wrappers", []):
            return None
        return f"`{user}` depends on `{crate}`, which is banned: use {entry['use-instead']} instead ({entry['reason']})"


def renamed_in_workspace(root_manifest: dict) -> dict[str, str]:
    """Names under [workspace.dependencies] that stand for a package of another name."""
    shared = root_manifest.get("workspace", {}).get("dependencies", {})
    return {name: spec["package"] for name, spec in shared.items() if isinstance(spec, dict) and "package" in spec}


def check_manifests(root: Path, policy: Policy) -> list[str]:
    """What the members ask for themselves: bans, arrows between them, and what engine stands on."""
    problems = []
    root_manifest = read(root / "Cargo.toml")
    workspace = root_manifest["workspace"]
    renamed = renamed_in_workspace(root_manifest)
    for shared in workspace.get("dependencies", {}):
        crate = renamed.get(shared, shared)
        # Listed for all: allowed only if somebody may have it at all.
        if crate in policy.bans and not policy.bans[crate].get("wrappers"):
            problems.append(policy.refusal("[workspace.dependencies]", crate))
    for member in workspace["members"]:
        manifest = read(root / member / "Cargo.toml")
        user = manifest["package"]["name"]
        if user not in ARROWS:
            problems.append(f"`{user}` is a new member: say in scripts/policy/policy.py what it may depend on")
        for kind, name in dependencies(manifest):
            crate = renamed.get(name, name)
            problems.append(policy.refusal(user, crate))
            if crate in ARROWS and crate != user and kind != "dev-dependencies":
                if crate not in ARROWS.get(user, set()):
                    problems.append(f"`{user}` depends on `{crate}`: the arrows are engine <- shards <- bench, soak")
            if crate == "engine" and user == "simvenues":
                problems.append("`simvenues` depends on `engine`: simulated venues share no code with what they test")
            if user not in MACHINE_USERS.get(crate, {user}):
                problems.append(f"`{user}` depends on `{crate}`: only shards touch the executor and the machine")
            if user == "engine" and kind != "dev-dependencies" and crate not in ENGINE_USES:
                advice = ENGINE_ADVICE.get(crate) or "engine's list is ENGINE_USES in scripts/policy/policy.py; say there why"
                problems.append(f"`engine` depends on `{crate}` outside of its tests: {advice}")
    return [problem for problem in problems if problem]


def check_lock(root: Path, policy: Policy) -> list[str]:
    """What came along: bans anywhere in the tree, and where every package is from."""
    problems = []
    for package in read(root / "Cargo.lock")["package"]:
        user = package["name"]
        source = package.get("source")
        if source not in (None, CRATES_IO):
            problems.append(f"`{user}` is locked to {source}: packages come from crates.io")
        for dependency in package.get("dependencies", []):
            problems.append(policy.refusal(user, dependency.split()[0]))
    return [problem for problem in problems if problem]


def check(root: Path) -> list[str]:
    """All problems of the workspace at `root`, each once."""
    policy = Policy(read(root / "deny.toml"))
    problems = policy.incomplete() + check_manifests(root, policy) + check_lock(root, policy)
    return list(dict.fromkeys(problems))


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    problems = check(root)
    for problem in problems:
        print(f"REFUSED: {problem}")
    if not problems:
        print(f"policy: clean, {len(Policy(read(root / 'deny.toml')).bans)} bans held")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
