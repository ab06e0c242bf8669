//! `topology plan` and `explain` on recorded hosts: every proposal is read back and passes the check.

use shards::host::FixtureHost;
use shards::host::HostView;
use shards::topology::propose::{Aim, Wish, propose};
use shards::topology::{self, Against, CONSUMER_KINDS, HostMode, Product, Topology, check, explain};

/// A host of this many cores; `isolated` as the kernel writes it; `threads` on a physical core, numbered as Linux does.
fn host(cores: u32, isolated: &str, threads: u32) -> FixtureHost {
    let all = format!("0-{}\n", cores - 1);
    let mut host = FixtureHost::new([
        ("/proc/self/status", format!("CapEff:\t0\nSeccomp:\t0\nCpus_allowed_list:\t{all}").as_str()),
        ("/sys/devices/system/cpu/online", all.as_str()),
        ("/sys/devices/system/cpu/isolated", isolated),
        ("/sys/devices/system/node/node0/cpulist", all.as_str()),
        ("/proc/meminfo", "MemAvailable:   60000000 kB\n"),
        (
            "/proc/self/limits",
            "Max open files  4096 4096 files\nMax locked memory  unlimited unlimited bytes\n",
        ),
        ("/proc/self/cgroup", "0::/\n"),
        ("/proc/sys/kernel/io_uring_disabled", "0\n"),
        ("/proc/sys/kernel/osrelease", "6.12.3\n"),
    ]);
    let physical = cores / threads;
    for core in 0..cores {
        let siblings: Vec<String> =
            (0..threads).map(|thread| (core % physical + thread * physical).to_string()).collect();
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        host = host.with(&path, &siblings.join(","));
    }
    host
}

fn wish(aim: Aim, consumers: usize) -> Wish {
    let venues = vec![Product::BinanceSpot, Product::KrakenSpot, Product::CoinbaseAdvanced];
    Wish { venues, instruments: 50, consumers, aim, live: false }
}

fn read(text: &str, host: &FixtureHost) -> Topology {
    let cores = host.cores();
    let against = Against { cores: cores.as_ref(), consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
    topology::read("t.yaml", text, against).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// The proposal: whether it is dedicated, and (shard, core) in order.
fn proposed(wish: &Wish, host: &FixtureHost) -> (bool, Vec<(String, u32)>) {
    let text = propose(wish, host).unwrap_or_else(|reason| panic!("{reason}"));
    let topology = read(&text, host);
    let findings = check::check(&topology, host);
    assert_eq!(check::exit_code(&findings), 0, "{findings:?}\n{text}");
    let shards = topology.shards.iter().map(|shard| (shard.name.clone(), shard.core)).collect();
    (topology.host == HostMode::Dedicated, shards)
}

fn cores(placed: &[(String, u32)]) -> Vec<u32> {
    placed.iter().map(|(_, core)| *core).collect()
}

#[test]
fn isolated_cores_are_used_first_and_the_rest_is_left_alone() {
    let (dedicated, placed) = proposed(&wish(Aim::Fitting, 2), &host(8, "3-7\n", 1));
    assert!(dedicated, "five isolated cores suffice");
    assert_eq!(cores(&placed), [3, 4, 5, 6, 7], "three providers, two consumers");
    let names: Vec<&str> = placed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["md0", "md1", "md2", "strategies0", "strategies1"]);
}

#[test]
fn one_thread_of_a_physical_core_is_used() {
    let (_, placed) = proposed(&wish(Aim::Latency, 1), &host(8, "\n", 2));
    assert_eq!(cores(&placed), [1, 2, 3], "0 stays with the kernel, 4 to 7 are second threads");
    let text = propose(&wish(Aim::Latency, 1), &host(8, "\n", 2)).unwrap();
    assert!(text.contains("# - cores 4-7 are second threads of other cores"), "{text}");
}

#[test]
fn fewer_cores_than_shards_are_shared_out() {
    let (dedicated, placed) = proposed(&wish(Aim::Latency, 4), &host(4, "\n", 1));
    assert!(dedicated);
    let mut used = cores(&placed);
    used.sort_unstable();
    assert_eq!(used, [1, 2, 3], "each once");
    assert!(placed.iter().any(|(name, _)| name.starts_with("md")));
    assert!(placed.iter().any(|(name, _)| name.starts_with("strategies")));
}

#[test]
fn two_cores_are_shared_and_too_few_for_latency() {
    for count in [1, 2] {
        let small = host(count, "\n", 1);
        let (dedicated, placed) = proposed(&wish(Aim::Fitting, 3), &small);
        assert!(!dedicated);
        assert!(cores(&placed).iter().all(|core| *core < count), "{placed:?}");
        let error = propose(&wish(Aim::Latency, 1), &small).unwrap_err();
        assert!(
            error.starts_with("latency needs 3 physical cores") && error.ends_with("--shared fits"),
            "{error}"
        );
    }
}

#[test]
fn the_cards_node_comes_first() {
    let host = host(8, "\n", 1)
        .with("/sys/devices/system/node/node0/cpulist", "0-3\n")
        .with("/sys/devices/system/node/node1/cpulist", "4-7\n")
        .with("/sys/class/net/eth0/device/numa_node", "1\n");
    let (_, placed) = proposed(&Wish { venues: vec![Product::KrakenSpot], ..wish(Aim::Latency, 2) }, &host);
    assert_eq!(cores(&placed), [4, 5, 6]);
}

#[test]
fn every_wish_gives_a_file_that_is_read() {
    let products = [
        Product::BinanceSpot,
        Product::BinanceUsdm,
        Product::KrakenSpot,
        Product::CoinbaseAdvanced,
        Product::CoinbaseExchange,
    ];
    for count in [1, 2, 3, 4, 8, 64] {
        for (venues, consumers, instruments) in [(1, 1, 1), (2, 3, 10), (5, 2, 50), (5, 32, 11)] {
            for aim in [Aim::Fitting, Aim::Shared, Aim::Latency] {
                for live in [false, true] {
                    let wish =
                        Wish { venues: products[..venues].to_vec(), instruments, consumers, aim, live };
                    if aim == Aim::Latency && count < 3 {
                        continue;
                    }
                    proposed(&wish, &host(count, "\n", 1));
                }
            }
        }
    }
    for (wrong, said) in [
        (Wish { instruments: 51, ..wish(Aim::Shared, 1) }, "51 instruments: 1 to 50 fit"),
        (Wish { consumers: 0, ..wish(Aim::Shared, 1) }, "0 consumers"),
        (Wish { venues: Vec::new(), ..wish(Aim::Shared, 1) }, "no venue"),
        (
            Wish { venues: vec![Product::BinanceUsdmMarket], ..wish(Aim::Shared, 1) },
            "binance usdm_market has no books",
        ),
    ] {
        assert!(propose(&wrong, &host(4, "\n", 1)).unwrap_err().starts_with(said));
    }
}

#[test]
fn the_picture_shows_cores_sockets_and_who_gets_what() {
    let host = host(2, "\n", 1);
    let shipped = read(include_str!("../../topology.yaml"), &host);
    let picture = explain(&shipped, &host);
    println!("{picture}");
    for part in [
        "core 0  (not isolated)\n`-- md0  (provider)\n",
        "binance: binance spot, simulated; 50 instruments x 4 channels = 200 streams",
        "= 8192 events ==> strategies (core 1): stats, printer",
        "= 8192 events ==> recording (core 1): recorder",
        "core 1  (not isolated)\n|-- strategies  (consumer)\n",
        "`-- recording  (consumer)",
        "of it locked by the kernel for 5 executors",
    ] {
        assert!(picture.contains(part), "{part} in\n{picture}");
    }
    for line in picture.lines().take_while(|line| !line.starts_with("not pinned")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
