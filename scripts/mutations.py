#!/usr/bin/env python3
"""Breaks eleven promises on purpose, one at a time, and looks whether the tests that must notice do.

    mutations.py                 all; exit code 1 if one survives. Ten minutes on two cores, most of it one compilation
    mutations.py --only leak_slot
    mutations.py --check         only whether every patch still applies and every named test still exists; a second

The tree is copied beside the build, never changed itself. All patches go into that one copy, each behind a switch that is
read from the environment, so that one build serves all of them; without a switch the copy must pass.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SWITCH = "MELTICA_MUTATION"
# A mutant that loops is noticed too.
RUN_LIMIT_S = 180

# The switch, in the copy's engine/src/lib.rs.
BROKEN = f"""
/// Whether this promise is broken in this run.
#[must_use]
pub fn is_broken(promise: &str) -> bool {{
    static BROKEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    BROKEN.get_or_init(|| std::env::var("{SWITCH}").ok()).as_deref() == Some(promise)
}}
"""


@dataclass(frozen=True)
class Mutation:
    """`edits` are (file, text that stands there once, text instead); `tests` are (cargo target, path of the test).

    A target is engine's, or `package:target`.
    """

    name: str
    promise: str
    edits: list[tuple[str, str, str]]
    tests: list[tuple[str, str]]


MUTATIONS = [
    Mutation(
        "skip_checksum",
        "a book whose checksum differs is not shown",
        [
            (
                "engine/src/book/feed.rs",
                "if compute(&self.book, digits) != expected {",
                'if compute(&self.book, digits) != expected && !crate::is_broken("skip_checksum") {',
            )
        ],
        [("book_feed", "a_stream_s_snapshot_with_a_wrong_checksum_is_resubscribed_each_time")],
    ),
    Mutation(
        "drop_report",
        "every change of an order is told",
        [
            (
                "engine/src/orders/ledger/table.rs",
                "        self.events.push_back(OrderEvent::Report(ExecReport {",
                '        if crate::is_broken("drop_report") {\n            return;\n        }\n'
                "        self.events.push_back(OrderEvent::Report(ExecReport {",
            )
        ],
        [
            ("desk", "an_order_is_acknowledged_and_filled"),
            ("lib", "orders::ledger::tests::whatever_is_lost_doubled_or_late_the_ledger_ends_up_knowing_what_the_venue_knows"),
        ],
    ),
    Mutation(
        "forget_reset",
        "a pooled object has nothing of its former use",
        [
            (
                "engine/src/raw.rs",
                "        self.asks.clear();\n",
                '        if !crate::is_broken("forget_reset") {\n            self.asks.clear();\n        }\n',
            )
        ],
        [("lib", "pools::tests::a_reset_raw_has_nothing_of_the_former_use")],
    ),
    Mutation(
        "reuse_id",
        "no client order id is made twice",
        [
            (
                "engine/src/orders/id.rs",
                "        self.counter += 1;\n",
                '        self.counter += u64::from(!crate::is_broken("reuse_id") || self.counter == 0);\n',
            )
        ],
        [("lib", "orders::id::tests::what_is_made_is_legal_decodable_and_different_over_shards_and_runs")],
    ),
    Mutation(
        "emit_partial_merge",
        "a merge without all of its providers is not emitted",
        [
            (
                "engine/src/merge/mod.rs",
                "if usize::from(closed.providers_present()) < merge.inputs.len() {",
                'if usize::from(closed.providers_present()) < merge.inputs.len() && !crate::is_broken("emit_partial_merge") {',
            )
        ],
        [
            ("lib", "merge::tests::under_any_delay_sums_hold_ids_grow_and_no_partial_merge_is_emitted"),
            ("lib", "merge::tests::a_provider_that_never_comes_suppresses_every_window"),
        ],
    ),
    Mutation(
        "lose_gap_marker",
        "what was lost is declared in its stream",
        [
            (
                "engine/src/dispatch/output.rs",
                "lane.undeclared = Some(Undeclared { from, to, event_count: 1, header: *header });",
                'lane.undeclared = (!crate::is_broken("lose_gap_marker"))\n'
                "                .then_some(Undeclared { from, to, event_count: 1, header: *header });",
            )
        ],
        [
            ("dispatch", "under_any_pressure_order_sums_and_books_hold"),
            ("dispatch", "an_event_larger_than_its_ring_is_declared_and_holds_up_nobody"),
        ],
    ),
    Mutation(
        "window_off_by_one",
        "a window covers exactly its length",
        [
            (
                "engine/src/merge/window.rs",
                "self.end().filter(|&end| end <= until)?",
                'self.end().filter(|&end| end < until || end == until && !crate::is_broken("window_off_by_one"))?',
            )
        ],
        [("lib", "merge::tests::a_window_covers_exactly_its_length")],
    ),
    Mutation(
        "ignore_switch",
        "a trading switch that is off lets nothing out",
        [
            (
                "engine/src/orders/check.rs",
                "    if !limits.trading {",
                '    if !limits.trading && !crate::is_broken("ignore_switch") {',
            ),
            (
                "engine/src/orders/ledger.rs",
                "        if !limits.trading {",
                '        if !limits.trading && !crate::is_broken("ignore_switch") {',
            ),
        ],
        [
            ("desk", "a_switch_that_is_off_lets_nothing_out"),
            ("lib", "orders::check::tests::each_limit_is_named"),
        ],
    ),
    Mutation(
        "leak_slot",
        "every slot that is taken comes back",
        [
            (
                "engine/src/pool.rs",
                "        self.shared.free.borrow_mut().push(slot);\n    }\n}\n\n#[cfg(test)]",
                '        if !crate::is_broken("leak_slot") {\n            self.shared.free.borrow_mut().push(slot);\n'
                "        }\n    }\n}\n\n#[cfg(test)]",
            )
        ],
        [("lib", "pool::tests::random_takes_and_returns_agree_with_a_model_and_never_grow")],
    ),
    Mutation(
        "reorder_events",
        "a stream's events leave in its order",
        [
            (
                "engine/src/sequence.rs",
                "SequenceRule::Contiguous if first > published + 1 => {",
                'SequenceRule::Contiguous if first > published + 1 && !crate::is_broken("reorder_events") => {',
            )
        ],
        [("lib", "sequence::tests::what_comes_early_waits_and_leaves_in_order")],
    ),
    Mutation(
        "skip_sync",
        "what the order journal calls durable is on the disk",
        [
            (
                "shards/src/orders/journal.rs",
                "    if sync {\n        writes.sync(file).await?;",
                '    if sync && !engine::is_broken("skip_sync") {\n        writes.sync(file).await?;',
            )
        ],
        [
            ("soak:crashes", "no_crash_forgets_what_was_durable_nor_numbers_a_run_twice"),
            ("soak:crashes", "a_journal_that_is_full_has_on_the_disk_what_it_wrote_before"),
        ],
    ),
]


def package_and_target(target: str) -> tuple[str, str]:
    """Of a target as a mutation names it."""
    package, _, name = target.rpartition(":")
    return package or "engine", name


def test_file(root: Path, target: str, test: str) -> Path:
    """Where a named test must stand."""
    package, target = package_and_target(target)
    if target != "lib":
        folder = root / package / "tests"
        return folder / target / "main.rs" if (folder / target).is_dir() else folder / f"{target}.rs"
    folder, modules = root / package / "src", test.split("::")[:-1]
    tried = [folder.joinpath(*modules[:depth]) for depth in range(len(modules), 0, -1)]
    for path in tried:
        for file in (path.with_suffix(".rs"), path / "mod.rs"):
            if file.is_file() and f"fn {test.split('::')[-1]}()" in file.read_text():
                return file
    return tried[0].with_suffix(".rs")


def problems(root: Path) -> list[str]:
    """Patches that do not apply any more, and tests that are gone."""
    found = []
    for mutation in MUTATIONS:
        for file, old, new in mutation.edits:
            count = (root / file).read_text().count(old) if (root / file).is_file() else 0
            if count != 1:
                found.append(f"{mutation.name}: {old!r} stands {count} times in {file}, not once")
            if mutation.name not in new:
                found.append(f"{mutation.name}: its patch of {file} has no switch")
        for target, test in mutation.tests:
            file = test_file(root, target, test)
            if not file.is_file() or f"fn {test.split('::')[-1]}()" not in file.read_text():
                found.append(f"{mutation.name}: {file.relative_to(root)} has no test {test}")
    return found


def copy_tree(to: Path) -> None:
    """The tree as git sees it, patched. What is the same stays untouched, so that cargo builds only what changed."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    texts = {name: (ROOT / name).read_bytes() for name in names}
    for mutation in MUTATIONS:
        for file, old, new in mutation.edits:
            texts[file] = texts[file].replace(old.encode(), new.encode())
    texts["engine/src/lib.rs"] += BROKEN.encode()
    for old in [path for path in to.rglob("*") if path.is_file()]:
        if str(old.relative_to(to)) not in texts:
            old.unlink()
    for name, text in texts.items():
        path = to / name
        if not path.is_file() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
            shutil.copymode(ROOT / name, path)


def build(tree: Path, target_dir: Path, targets: set[str]) -> dict[str, str]:
    """The test binaries, by target as mutations name it."""
    binaries = {}
    environment = os.environ | {"CARGO_TARGET_DIR": str(target_dir)}
    for package in sorted({package_and_target(target)[0] for target in targets}):
        command = ["cargo", "test", "--locked", "-p", package, "--no-run", "--message-format=json"]
        named = {}
        for target in sorted(target for target in targets if package_and_target(target)[0] == package):
            name = package_and_target(target)[1]
            command += ["--lib"] if name == "lib" else ["--test", name]
            named[package if name == "lib" else name] = target
        built = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)
        if built.returncode != 0:
            sys.exit("mutations: the patched copy does not compile")
        for line in built.stdout.splitlines():
            message = json.loads(line)
            # Programs that are built beside the tests bear the package's name, too.
            if message.get("executable") and message["profile"]["test"] and message["target"]["name"] in named:
                binaries[named[message["target"]["name"]]] = message["executable"]
    return binaries


def failed_tests(tree: Path, binaries: dict[str, str], mutation: Mutation | None, tests: list[tuple[str, str]]) -> list[str]:
    """Those of `tests` that fail while the promise is broken."""
    failed = []
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    if mutation:
        environment[SWITCH] = mutation.name
    for target, test in tests:
        command = [binaries[target], "--exact", test]
        try:
            ran = subprocess.run(
                command, cwd=tree / package_and_target(target)[0], env=environment, capture_output=True, text=True, timeout=RUN_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            failed.append(f"{test} (did not end)")
            continue
        if ran.returncode != 0:
            failed.append(test)
        elif "1 passed" not in ran.stdout:
            sys.exit(f"mutations: {target} has no test {test}")
    return failed


def main(arguments: list[str]) -> int:
    found = problems(ROOT)
    for problem in found:
        print(f"REFUSED: {problem}")
    if found:
        return 1
    if arguments == ["--check"]:
        print(f"mutations: {len(MUTATIONS)} patches apply, their tests exist")
        return 0
    chosen = [mutation for mutation in MUTATIONS if arguments[:1] != ["--only"] or mutation.name in arguments[1:]]
    target_dir = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    tree = target_dir / "mutations"
    copy_tree(tree)
    tests = [test for mutation in chosen for test in mutation.tests]
    binaries = build(tree, target_dir, {target for target, _ in tests})
    if broken := failed_tests(tree, binaries, None, tests):
        sys.exit(f"mutations: without any mutation these fail: {', '.join(broken)}")
    survivors = 0
    for mutation in chosen:
        caught = failed_tests(tree, binaries, mutation, mutation.tests)
        survivors += not caught
        print(f"{mutation.name:20} {mutation.promise}\n{'':20} {'caught by ' + ', '.join(caught) if caught else 'SURVIVED'}", flush=True)
    print(f"mutations: {len(chosen) - survivors} of {len(chosen)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
