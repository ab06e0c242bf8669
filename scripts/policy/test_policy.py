#!/usr/bin/env python3
"""Negative tests of the dependency policy: every banned crate is refused with the right one's name, a clean tree passes.

Each test copies the workspace's manifests, Cargo.lock and deny.toml to a scratch folder, adds one crate, and asks policy.py.
Nothing is fetched. Where cargo-deny is installed (CARGO_DENY, or on the path), it must refuse the same list, over stub packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import policy  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BANS = policy.Policy(policy.read(ROOT / "deny.toml")).bans

# What deny.toml must hold at the least, with what its message must name; taking a ban out of deny.toml fails here.
REQUIRED = {
    "serde_json": "simd-json",
    "sonic-rs": "simd-json",
    "json": "simd-json",
    "miniserde": "simd-json",
    "serde_yaml": "saphyr",
    "tokio-tungstenite": "tungstenite",
    "async-tungstenite": "tungstenite",
    "fastwebsockets": "tungstenite",
    "ws": "tungstenite",
    "websocket": "tungstenite",
    "soketto": "tungstenite",
    "tokio": "glommio",
    "async-std": "glommio",
    "smol": "glommio",
    "reqwest": "httparse",
    "openssl": "rustls",
    "native-tls": "rustls",
}


class Scratch:
    """A copy of what the policy reads, to be spoiled."""

    def __init__(self, folder: str):
        self.root = Path(folder)
        members = policy.read(ROOT / "Cargo.toml")["workspace"]["members"]
        for name in ["deny.toml", "Cargo.lock", "Cargo.toml", *(f"{member}/Cargo.toml" for member in members)]:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, self.root / name)

    def insert(self, file: str, table: str, line: str) -> Scratch:
        """Adds `line` under `table`, which is made if the file has none."""
        path = self.root / file
        text = path.read_text()
        header = f"[{table}]\n"
        path.write_text(text.replace(header, header + line + "\n", 1) if header in text else f"{text}\n{header}{line}\n")
        return self

    def lock(self, user: str, crate: str) -> Scratch:
        """Makes `user` depend on `crate` in Cargo.lock, as if it came along with another package."""
        path = self.root / "Cargo.lock"
        path.write_text(
            path.read_text()
            + f'\n[[package]]\nname = "{user}"\nversion = "9.9.9"\nsource = "{policy.CRATES_IO}"\ndependencies = [\n "{crate}",\n]\n'
        )
        return self

    def problems(self) -> list[str]:
        return policy.check(self.root)


class PolicyTest(unittest.TestCase):
    def scratch(self) -> Scratch:
        folder = tempfile.TemporaryDirectory(prefix="meltica-policy-")
        self.addCleanup(folder.cleanup)
        return Scratch(folder.name)

    def refuses(self, scratch: Scratch, *words: str):
        """One refusal has all `words`."""
        problems = scratch.problems()
        self.assertTrue(problems, f"accepted; expected a refusal with {words}")
        self.assertTrue(any(all(word in problem for word in words) for problem in problems), f"{words} not in {problems}")

    def test_a_clean_tree_passes(self):
        self.assertEqual(self.scratch().problems(), [])

    def test_the_required_bans_are_in_the_list_and_name_the_right_one(self):
        for crate, right in REQUIRED.items():
            with self.subTest(crate=crate):
                self.assertIn(right, BANS[crate]["use-instead"])

    def test_every_ban_is_refused_in_each_crate_of_the_data_path(self):
        for crate, entry in BANS.items():
            for user in ("engine", "shards"):
                if user in entry.get("wrappers", []):
                    continue
                with self.subTest(crate=crate, user=user):
                    scratch = self.scratch().insert(f"{user}/Cargo.toml", "dependencies", f'{crate} = "*"')
                    self.refuses(scratch, f"`{user}`", f"`{crate}`", entry["use-instead"])

    def test_every_ban_is_refused_when_it_comes_along_with_another_package(self):
        for crate, entry in BANS.items():
            with self.subTest(crate=crate):
                self.refuses(self.scratch().lock("innocent", crate), "`innocent`", f"`{crate}`", entry["use-instead"])

    def test_every_ban_without_exception_is_refused_in_the_workspace_list(self):
        for crate, entry in BANS.items():
            if not entry.get("wrappers"):
                with self.subTest(crate=crate):
                    scratch = self.scratch().insert("Cargo.toml", "workspace.dependencies", f'{crate} = "1"')
                    self.refuses(scratch, f"`{crate}`", entry["use-instead"])

    def test_no_kind_of_dependency_hides_a_ban(self):
        line = 'sonic-rs = "0.5"'
        for table in ("dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"):
            with self.subTest(table=table):
                self.refuses(self.scratch().insert("shards/Cargo.toml", table, line), "`sonic-rs`", "simd-json")

    def test_a_feature_table_does_not_hide_a_ban(self):
        line = 'tokio = { version = "1", features = ["rt-multi-thread"], optional = true }'
        self.refuses(self.scratch().insert("shards/Cargo.toml", "dependencies", line), "`tokio`", "glommio")

    def test_another_name_does_not_hide_a_ban(self):
        line = 'quick = { package = "sonic-rs", version = "0.5" }'
        self.refuses(self.scratch().insert("shards/Cargo.toml", "dependencies", line), "`sonic-rs`", "simd-json")

    def test_another_name_in_the_workspace_list_does_not_hide_a_ban(self):
        scratch = self.scratch().insert("Cargo.toml", "workspace.dependencies", 'quick = { package = "serde_json", version = "1" }')
        scratch.insert("engine/Cargo.toml", "dependencies", "quick.workspace = true")
        self.refuses(scratch, "`engine`", "`serde_json`", "simd-json")

    def test_engine_has_serde_json_in_its_tests_only(self):
        self.assertIn("serde_json", policy.read(ROOT / "engine/Cargo.toml")["dev-dependencies"])
        scratch = self.scratch().insert("engine/Cargo.toml", "dependencies", "serde_json.workspace = true")
        self.refuses(scratch, "`engine`", "`serde_json`", "simd-json")

    def test_engine_stands_on_nothing_that_touches_the_machine(self):
        for crate, advice in policy.ENGINE_ADVICE.items():
            with self.subTest(crate=crate):
                scratch = self.scratch().insert("engine/Cargo.toml", "dependencies", f"{crate}.workspace = true")
                self.refuses(scratch, "`engine`", f"`{crate}`", advice)

    def test_no_arrow_points_back(self):
        for user, folder, crate in (
            ("engine", "engine", "shards"),
            ("engine", "engine", "simvenues"),
            ("shards", "shards", "bench"),
            ("simvenues", "soak/venues", "engine"),
            ("simvenues", "soak/venues", "shards"),
        ):
            with self.subTest(user=user, crate=crate):
                scratch = self.scratch().insert(f"{folder}/Cargo.toml", "dependencies", f"{crate}.workspace = true")
                self.refuses(scratch, f"`{user}`", f"`{crate}`")

    def test_only_shards_touches_the_executor(self):
        scratch = self.scratch().insert("soak/Cargo.toml", "dependencies", "glommio.workspace = true")
        self.refuses(scratch, "`soak`", "`glommio`", "only shards")

    def test_a_package_from_elsewhere_is_refused(self):
        scratch = self.scratch()
        lock = scratch.root / "Cargo.lock"
        lock.write_text(lock.read_text().replace(policy.CRATES_IO, "git+https://example.invalid/fork", 1))
        self.refuses(scratch, "example.invalid", "crates.io")

    def test_a_ban_that_names_no_right_one_is_refused(self):
        scratch = self.scratch()
        deny = scratch.root / "deny.toml"
        deny.write_text(deny.read_text().replace('use-instead = "saphyr", ', "", 1))
        deny_bans = policy.Policy(policy.read(deny))
        self.assertTrue(any("use-instead" in problem for problem in deny_bans.incomplete()))

    def test_cargo_deny_refuses_the_same_list(self):
        program = os.environ.get("CARGO_DENY") or shutil.which("cargo-deny")
        if not program:
            print("\nSKIPPED: cargo-deny is not installed (scripts/install-tools.sh deny): its own refusals are not tested", file=sys.stderr)
            self.skipTest("no cargo-deny")
        scratch = self.scratch().root / "stubs"
        dependencies = ""
        for crate in BANS:
            self.stub(scratch / crate, crate, "")
            dependencies += f'{crate} = {{ path = "{crate}" }}\n'
        self.stub(scratch, "somebody", dependencies)
        shutil.copyfile(ROOT / "deny.toml", scratch / "deny.toml")
        run = subprocess.run(
            [program, "--offline", "check", "bans"], cwd=scratch, capture_output=True, text=True, timeout=120, check=False
        )
        self.assertNotEqual(run.returncode, 0, run.stderr)
        for crate, entry in BANS.items():
            with self.subTest(crate=crate):
                said = [block for block in run.stderr.split("error[banned]") if f"crate '{crate} = " in block]
                self.assertTrue(said, f"cargo-deny accepted {crate}:\n{run.stderr}")
                self.assertIn(entry["use-instead"], said[0])

    @staticmethod
    def stub(folder: Path, name: str, dependencies: str):
        """An empty package, so that cargo resolves the name without a registry."""
        (folder / "src").mkdir(parents=True)
        (folder / "src/lib.rs").write_text("")
        workspace = "\n[workspace]\n" if dependencies else ""
        (folder / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2024"\npublish = false\n{workspace}\n[dependencies]\n{dependencies}'
        )


if __name__ == "__main__":
    unittest.main()
