//! The targets of `engine/tests/fuzz` and `shards/tests/fuzz`, for libFuzzer. Nothing is written twice.

#[path = "../../tests/fuzz/driver.rs"]
#[allow(dead_code, reason = "libFuzzer drives here; the tests on the stable toolchain use all of it")]
mod driver;
#[path = "../../tests/fuzz/targets.rs"]
#[allow(dead_code, reason = "seeds are written by the tests")]
mod in_engine;
#[cfg(feature = "shards")]
#[path = "../../../shards/tests/fuzz/targets.rs"]
#[allow(dead_code, reason = "seeds are written by the tests")]
mod in_shards;

/// Writes the seeds of this target to where `MELTICA_FUZZ_CORPUS` says, if it says so; libFuzzer reads its corpus after that.
pub fn write_seeds(name: &str) {
    if std::env::var_os("MELTICA_FUZZ_CORPUS").is_some() {
        driver::drive(target(name));
    }
}

/// Runs one input of the target of this name.
///
/// # Panics
///
/// On a finding.
pub fn run(name: &str, data: &[u8]) {
    (target(name).run)(data);
}

fn target(name: &str) -> &'static driver::Target {
    // Constants: neither list is built again for each input.
    #[cfg(feature = "shards")]
    static ALL: [&[driver::Target]; 2] = [&in_engine::TARGETS, &in_shards::TARGETS];
    #[cfg(not(feature = "shards"))]
    static ALL: [&[driver::Target]; 1] = [&in_engine::TARGETS];
    let mut all = ALL.into_iter().flatten();
    all.find(|target| target.name == name).expect("a target of that name")
}
