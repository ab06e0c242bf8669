//! The documented example strategy is compiled and run, and it answers what its session was made for.

#[path = "../examples/momentum.rs"]
#[allow(dead_code)] // `main` is for `cargo run --example momentum`
mod momentum;

fn summary(events: &[engine::event::Event]) -> Vec<String> {
    momentum::run(events).into_iter().map(|(name, value)| format!("{name} {value}")).collect()
}

#[test]
fn the_example_judges_trades_by_a_proved_book_alone() {
    assert_eq!(summary(&momentum::session()), ["followed 3", "opposed 1", "unjudged 4", "gaps 1"]);
}

#[test]
fn without_its_books_the_example_has_no_opinion() {
    let mut events = momentum::session();
    events.retain(|event| matches!(event.body, engine::event::Body::Trade(_)));
    assert_eq!(summary(&events), ["followed 0", "opposed 0", "unjudged 8", "gaps 0"]);
}

#[test]
fn the_example_can_be_registered_as_a_kind() {
    let registry = shards::consumers::Registry::built_in(std::path::Path::new(""))
        .with("momentum", |_| Ok(Box::new(|| Box::new(momentum::Momentum::default()))));
    assert!(registry.kinds().contains(&"momentum"));
}
