#!/usr/bin/env python3
"""Guards of the sources that no compiler lint holds. `--self-test` shows each of them a violation.

- engine computes: no clock, thread, file, socket, environment or terminal outside of its tests
- `unsafe` stands only in the files listed here, each with its reason; the inventory is printed
- no path of somebody's machine in a tracked file, no package source other than the ordinary registry
- the modules right under `engine/src` and `shards/src` import each other in one direction: no circle, outside of tests

Which crate may depend on which is in scripts/policy/policy.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Files that may contain `unsafe`, and why. Everywhere else safe crates do the work (rtrb, rustix, signal-hook).
UNSAFE_ALLOWED: dict[str, str] = {
    "bench/src/counting.rs": "a global allocator that counts by thread; only the bench binary has it",
    "engine/tests/allocations.rs": "a global allocator that counts; only a test has it",
    "shards/tests/allocations.rs": "a global allocator that counts by thread; only a test has it",
    "shards/tests/memory.rs": "a global allocator that sums live bytes; only a test has it",
}

ENGINE_FORBIDDEN = {
    r"\bInstant\b|\bSystemTime\b": "time is an argument (engine::time)",
    r"\bstd\s*::\s*(?:net|fs|env|thread|process|os)\b": "engine does no I/O, starts no thread and reads no environment",
    r"\bstd\s*::\s*\{[^;]*\b(?:net|fs|env|thread|process|os)\b[^;]*;": "engine does no I/O, starts no thread and reads no environment",
    r"\b(?:stdin|stdout|stderr)\s*\(": "engine has no terminal",
    r"\be?print(?:ln)?!": "engine counts (engine::counters) and does not print",
    r"\bRng\s*::\s*(?:new|default)\b|\bfastrand\s*::\s*[a-z]\w*": "random values come from the caller's seed",
    r"\bthread_local!": "state is owned by a shard, not by a thread",
}

# The one place where engine ends the process: its own bookkeeping is broken, and going on would hand out memory twice.
ENGINE_EXCEPTIONS = {
    ("engine/src/pool.rs", "std::process"): "a pool whose bookkeeping is violated stops the process",
    ("engine/src/pool.rs", "eprintln!"): "and says why, after which nothing can count",
}

# A home or work folder at the start of a path; the character before tells a path from a URL or a relative one.
MACHINE_PATH = re.compile(r"(?<![\w.~})>*-])/(?:home|root|work|Users)/[\w.-]+")
OTHER_REGISTRY = re.compile(r"^\s*(?:\[source\b|\[registries?\b|registry\s*=|index-url|extra-index-url|replace-with)", re.M)

# Crates whose modules have an order, and imports that are left out of it: (crate, module, imported module), and why.
LAYERED = ["engine", "shards"]
LAYER_EXCEPTIONS: dict[tuple[str, str, str], str] = {}

TESTING_FEATURE = r'feature\s*=\s*"testing"'
NOT_CODE = re.compile(
    rf"""(?P<kept>{TESTING_FEATURE})
    | //[^\n]* | /\*.*?\*/
    | \bb?r(?P<hashes>\#*)".*?"(?P=hashes)
    | \b?b?"(?:\\.|[^"\\])*"
    | b?'(?:\\(?:u\{{[^}}]*\}}|x..|.)|[^\\'\n])'
    """.replace(r"\b?b?", "b?"),
    re.S | re.X,
)
TEST_ATTRIBUTE = re.compile(rf"#\[cfg\((?!not)[^\]]*(?:\btest\b|{TESTING_FEATURE})[^\]]*\)\]")


def blank(match: re.Match) -> str:
    return match[0] if match["kept"] else re.sub(r"[^\n]", " ", match[0])


def code_of(text: str) -> str:
    """The text with comments and literals blanked; lines keep their numbers."""
    return NOT_CODE.sub(blank, text)


def without_tests(code: str) -> tuple[str, list[str]]:
    """The code with items under `#[cfg(test)]` blanked, and the names of the test modules kept in other files."""
    elsewhere = []
    position = 0
    while found := TEST_ATTRIBUTE.search(code, position):
        end = found.end()
        while end < len(code) and code[end] not in "{;":
            end += 1
        item = code[found.end() : end]
        if code[end : end + 1] == "{":
            depth = 0
            while end < len(code):
                depth += {"{": 1, "}": -1}.get(code[end], 0)
                end += 1
                if depth == 0:
                    break
        elif module := re.search(r"\bmod\s+(\w+)\s*$", item):
            elsewhere.append(module[1])
        code = code[: found.start()] + re.sub(r"[^\n]", " ", code[found.start() : end]) + code[end:]
        position = found.start() + 1
    return code, elsewhere


def tracked(root: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    return sorted(name for name in set(listed.stdout.splitlines()) if (root / name).is_file())


def text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def sources_of(root: Path, names: list[str], crate: str) -> dict[str, str]:
    """The code of a crate's sources by file, without comments, literals and tests, also those in files of their own."""
    sources, tests = {}, set()
    for name in names:
        if name.startswith(f"{crate}/src/") and name.endswith(".rs"):
            sources[name], modules = without_tests(code_of((root / name).read_text()))
            path = Path(name)
            folder = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
            tests.update(str(folder / module) for module in modules)
    return {
        name: code
        for name, code in sources.items()
        if not any(name == f"{test}.rs" or name.startswith(f"{test}/") for test in tests)
    }


def engine_problems(root: Path, names: list[str]) -> list[str]:
    problems = []
    for name, code in sources_of(root, names, "engine").items():
        for pattern, why in ENGINE_FORBIDDEN.items():
            for found in re.finditer(pattern, code):
                what = " ".join(found[0].split())
                if (name, what) in ENGINE_EXCEPTIONS:
                    continue
                problems.append(f"{name}:{line_of(code, found.start())}: `{what}`: {why}")
    return problems


def first_names(tree: str) -> list[str]:
    """The first segments of a use tree: of `{a::b, c as d}` a and c."""
    tree = tree.strip()
    if not tree.startswith("{"):
        return re.findall(r"^\w+", tree)
    items, depth, start = [], 0, 1
    for at, char in enumerate(tree):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if (char == "," and depth == 1) or (char == "}" and depth == 0):
            items.append(tree[start:at])
            start = at + 1
        if depth == 0:
            break
    return [name for item in items for name in first_names(item)]


def imports_of(root: Path, names: list[str], crate: str) -> dict[tuple[str, str], str]:
    """Which module right under `src` names which other one, and where first."""
    sources = sources_of(root, names, crate)
    modules = {Path(name).relative_to(f"{crate}/src").parts[0].removesuffix(".rs") for name in sources}
    found: dict[tuple[str, str], str] = {}
    for name, code in sources.items():
        parts = Path(name).relative_to(f"{crate}/src").with_suffix("").parts
        if parts[0] in ("lib", "main"):
            continue
        depth = len(parts) - (parts[-1] == "mod")
        # `super` climbs from this file's module; a module written within the file stands one deeper and is not looked for.
        for start in ("crate", "::".join(["super"] * depth)):
            for path in re.finditer(rf"(?<![\w:]){start}\s*::\s*(?=(\w+|\{{))", code):
                tree = code[path.end() : code.find(";", path.end()) + 1] if path[1] == "{" else path[1]
                for to in first_names(tree):
                    if to in modules and to != parts[0]:
                        found.setdefault((parts[0], to), f"{name}:{line_of(code, path.start())}")
    return found


def layer_problems(root: Path, names: list[str], exceptions: dict[tuple[str, str, str], str]) -> list[str]:
    problems, used = [], set()
    for crate in LAYERED:
        imports = imports_of(root, names, crate)
        used |= {(crate, *arrow) for arrow in imports}
        below: dict[str, set[str]] = {}
        for module, to in imports:
            if (crate, module, to) not in exceptions:
                below.setdefault(module, set()).add(to)

        def reached(start: str) -> set[str]:
            seen, open_ = set(), [start]
            while open_:
                for to in below.get(open_.pop(), set()) - seen:
                    seen.add(to)
                    open_.append(to)
            return seen

        in_circles = {module: reached(module) for module in below if module in reached(module)}
        for (module, to), where in sorted(imports.items()):
            if to in below.get(module, set()) and module in in_circles.get(to, set()):
                problems.append(f"{where}: `{crate}::{module}` imports `{to}`, which leads back to it: a circle of modules")
    problems += [
        f"scripts/guards.py leaves {crate}::{module} -> {to} out of the order, which is not imported"
        for crate, module, to in exceptions
        if (crate, module, to) not in used
    ]
    return problems


def unsafe_inventory(root: Path, names: list[str]) -> dict[str, list[int]]:
    inventory = {}
    for name in names:
        if name.endswith(".rs"):
            code = code_of((root / name).read_text())
            if lines := [line_of(code, found.start()) for found in re.finditer(r"\bunsafe\b", code)]:
                inventory[name] = lines
    return inventory


def place_problems(root: Path, names: list[str]) -> list[str]:
    problems = []
    for name in names:
        text = text_of(root / name)
        if text is None:
            continue
        for found in MACHINE_PATH.finditer(text):
            problems.append(f"{name}:{line_of(text, found.start())}: `{found[0]}` is a path of one machine")
        if Path(name).parent.name == ".cargo" or Path(name).name in (".npmrc", "pip.conf"):
            for found in OTHER_REGISTRY.finditer(text):
                problems.append(f"{name}:{line_of(text, found.start())}: packages come from the ordinary registry")
    return problems


def check(
    root: Path, allowed: dict[str, str], exceptions: dict[tuple[str, str, str], str]
) -> tuple[list[str], dict[str, list[int]]]:
    names = tracked(root)
    inventory = unsafe_inventory(root, names)
    problems = engine_problems(root, names) + place_problems(root, names) + layer_problems(root, names, exceptions)
    problems += [
        f"{name}:{lines[0]}: `unsafe` outside of the files that may have it (UNSAFE_ALLOWED in scripts/guards.py)"
        for name, lines in inventory.items()
        if name not in allowed
    ]
    problems += [f"scripts/guards.py allows `unsafe` in {name}, which has none" for name in allowed if name not in inventory]
    return problems, inventory


# (file, text, a word of the refusal or None if it must pass)
SELF_TEST = [
    ("engine/src/a.rs", "fn f() { let t = std::time::Instant::now(); }", "Instant"),
    ("engine/src/a.rs", "use std::time::{Duration, SystemTime};", "SystemTime"),
    ("engine/src/a.rs", "use std::{fs, io};", "no I/O"),
    ("engine/src/a.rs", "use std::net::TcpStream;", "no I/O"),
    ("engine/src/a.rs", 'fn f() { let _ = std::env::var("A"); }', "no I/O"),
    ("engine/src/a.rs", "fn f() { std::thread::yield_now(); }", "no I/O"),
    ("engine/src/a.rs", 'fn f() { println!("x"); }', "does not print"),
    ("engine/src/a.rs", "fn f() -> u64 { fastrand::u64(..) }", "seed"),
    ("engine/src/a.rs", "fn f() -> fastrand::Rng { fastrand::Rng::new() }", "seed"),
    ("engine/src/a.rs", "fn f(random: &mut fastrand::Rng) -> u64 { random.u64(..) }", None),
    ("engine/src/a.rs", "#[cfg(not(test))]\nuse std::fs;", "no I/O"),
    ("engine/src/a.rs", "#[cfg(test)]\nmod tests { fn f() { {} } }\nuse std::fs;", "no I/O"),
    ("engine/src/a.rs", "#[cfg(test)]\nmod tests { use std::fs; const A: char = '}'; use std::env; }", None),
    ("engine/src/a.rs", '#[cfg(feature = "testing")]\nmod b { use std::fs; }', None),
    ("engine/src/a.rs", '// std::fs\nconst A: &str = "std::fs // x"; const B: &str = r#"std::"env"#;', None),
    ("engine/src/a.rs", "fn f<'a>(x: &'a str) -> &'a str { x }\nuse std::time::Duration;", None),
    ("shards/src/a.rs", "use std::time::Instant;", None),
    ("shards/src/a.rs", "fn f() { unsafe { g() } }", "unsafe"),
    ("shards/src/a.rs", "unsafe impl Send for A {}", "unsafe"),
    ("shards/src/a.rs", "#![deny(unsafe_code)] // unsafe\n", None),
    ("notes.md", "see /" + "home/somebody/x", "one machine"),
    ("notes.md", "see https://example.com/home/x and ~/work/x and ./root/x", None),
    (".cargo/config.toml", '[source.crates-io]\nreplace-with = "mirror"\n', "ordinary registry"),
]


# (files of shards/src with what they import, arrows left out, the refusal's arrow or None if it must pass)
LAYER_TEST = [
    ({"a.rs": "use crate::b::X;", "b.rs": "use crate::a::Y;"}, [], "`shards::a` imports `b`"),
    ({"a.rs": "use crate::b::X;", "b.rs": "use crate::c::Y;", "c/mod.rs": "mod d;", "c/d.rs": "use crate::a;"}, [], "`shards::c` imports `a`"),
    ({"a.rs": "use crate::{c, b::{X, Y}};", "b.rs": "fn f() { crate::a::g() }", "c.rs": ""}, [], "`shards::b` imports `a`"),
    ({"a/x.rs": "use super::super::b::X;", "b.rs": "use super::a::Y;"}, [], "`shards::a` imports `b`"),
    ({"a.rs": "use crate::b::X;", "b.rs": "use crate::a::Y;"}, [("shards", "b", "a")], None),
    ({"a.rs": "use crate::b::X;", "b.rs": ""}, [("shards", "b", "a")], "not imported"),
    ({"a.rs": "use crate::b::X;", "b.rs": "// use crate::a::Y;\n#[cfg(test)]\nmod tests { use crate::a; }"}, [], None),
    ({"a.rs": "use crate::b::X;", "b/mod.rs": "#[cfg(test)]\nmod t;", "b/t.rs": "use crate::a;"}, [], None),
    ({"a.rs": "use crate::b::X;", "b/mod.rs": "mod a;\nuse super::b;", "b/a.rs": "use super::a;"}, [], None),
    ({"a.rs": "use crate::b::X;", "b.rs": "use engine::a::Y;", "lib.rs": "pub mod a; use crate::a;"}, [], None),
]


def self_test() -> list[str]:
    """Shows every guard a violation, and harmless text that looks like one."""
    failures = []
    alone = [({name: text}, [], word) for name, text, word in SELF_TEST]
    layers = [({f"shards/src/{name}": text for name, text in files.items()}, *rest) for files, *rest in LAYER_TEST]
    for files, exceptions, word in alone + layers:
        with tempfile.TemporaryDirectory(prefix="meltica-guards-") as folder:
            root = Path(folder)
            subprocess.run(["git", "init", "-q", folder], check=True)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            problems, _ = check(root, {}, dict.fromkeys(exceptions, ""))
            if word is None and problems:
                failures.append(f"{files} was refused: {problems}")
            if word is not None and not any(word in problem for problem in problems):
                failures.append(f"{files} was accepted; expected {word!r} in {problems}")
    return failures


def main() -> int:
    if sys.argv[1:] == ["--self-test"]:
        failures = self_test()
        for failure in failures:
            print(f"FAILED: {failure}")
        count = len(SELF_TEST) + len(LAYER_TEST)
        print(f"guards: {count - len(failures)} of {count} examples judged as they should be")
        return 1 if failures else 0
    problems, inventory = check(ROOT, UNSAFE_ALLOWED, LAYER_EXCEPTIONS)
    for name, lines in inventory.items():
        print(f"unsafe: {name}: lines {', '.join(map(str, lines))}: {UNSAFE_ALLOWED.get(name, 'NOT ALLOWED')}")
    for problem in problems:
        print(f"REFUSED: {problem}")
    if not problems:
        print(f"guards: clean, {sum(map(len, inventory.values()))} uses of unsafe in {len(inventory)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
