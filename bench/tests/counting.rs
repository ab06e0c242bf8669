//! What `bench latency` says of allocations is what there was between the first message that counts and the last reader's last.

use bench::counting::{Counting, NAMES, allocations, begin, end, reset};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn on_thread(name: &str, body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread");
    thread.join().expect("it does not panic");
}

fn allocate(times: usize) {
    for size in 1..=times {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(size)));
    }
}

#[test]
fn only_the_data_path_counts_once_a_run_and_a_late_reader_does_not_begin_again() {
    on_thread("other", || {
        begin();
        allocate(10);
        end();
    });
    assert_eq!(allocations(), 0, "not a thread of the data path");
    on_thread(&format!("{NAMES}reader"), || {
        reset();
        allocate(5);
        begin();
        allocate(7);
        begin(); // a second reader, at its first message
        allocate(4);
        end();
        begin(); // a third, behind the others: it has messages left that count
        allocate(100);
    });
    assert_eq!(allocations(), 11);
    reset();
    assert_eq!(allocations(), 0);
}
