//! What a consumer must not be able to write down: the compiler refuses each file, with the message beside it.

#[test]
fn a_consumer_can_neither_keep_an_event_nor_reach_a_pool() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
