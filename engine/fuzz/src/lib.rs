//! The targets of `engine/tests/fuzz` and `shards/tests/fuzz`, for libFuzzer. Nothing is written twice.

#[path = "../../tests/fuzz/driver.rs"]
#[allow(dead_code, reason = "libFuzzer drives here; the tests on the stable toolchain use all of it")]
mod driver;
#[path = "../../tests/fuzz/targets.rs"]
#[allow(dead_code, reason = "seeds are written by the tests")]
mod in_engine;
#[path = "../../../shards/tests/fuzz/targets.rs"]
#[allow(dead_code, reason = "seeds are written by the tests")]
mod in_shards;

/// Runs one input of the target of this name.
///
/// # Panics
///
/// On a finding.
pub fn run(name: &str, data: &[u8]) {
    let mut all = in_engine::TARGETS.iter().chain(&in_shards::TARGETS);
    let target = all.find(|target| target.name == name).expect("a target of that name");
    (target.run)(data);
}
