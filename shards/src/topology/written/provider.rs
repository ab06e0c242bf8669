//! A provider as it is written: venue, endpoints, instruments, books, and when its lines are rolled.

use std::path::PathBuf;

use super::{
    WrittenBook, WrittenEndpoints, WrittenProvider, WrittenReorder, WrittenRoll, integer, name,
    read_channels, read_symbols,
};
use crate::topology::bounds;
use crate::topology::keys::{At, Found, Keys};
use crate::topology::offer::{PRODUCTS, Product};
use crate::topology::plan::CapturePlan;
use crate::topology::problem::Problems;
use crate::topology::trading::read_orders;
use crate::topology::yaml::Value;

pub(super) fn read_provider(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenProvider> {
    let mut keys = found.keys(problems)?;
    let own_name = name(&mut keys, "name", problems);
    let product = read_product(&mut keys, problems);
    let shard = name(&mut keys, "shard", problems);
    let endpoints = keys.must("endpoints", problems).and_then(|found| read_endpoints(&found, problems));
    let lines = integer(&mut keys, "lines", bounds::LINES, problems).map(|at| at.value as u8);
    let instruments = keys.must("instruments", problems).map(|found| {
        let list = read_symbols(&found, problems);
        found.at(list)
    });
    let channels = keys.must("channels", problems).map(|found| {
        let list = read_channels(&found, problems);
        found.at(list)
    });
    let book = keys.may("book").and_then(|found| {
        let mut keys = found.keys(problems)?;
        let depth_max = integer(&mut keys, "depth_max", bounds::DEPTH_MAX, problems);
        let snapshot_limit =
            keys.may("snapshot_limit").and_then(|found| found.integer(bounds::SNAPSHOT_LIMIT, problems));
        let verify_s = integer(&mut keys, "verify_s", bounds::VERIFY_S, problems);
        keys.close(problems);
        Some(found.at(WrittenBook { depth_max, snapshot_limit, verify_s }))
    });
    let share = keys.must("rest_weight_share", problems).and_then(|found| {
        found.permille(
            1,
            bounds::REST_WEIGHT_SHARES_PERMILLE_MAX,
            "of the venue's REST weight a minute; the rest is the reserve for orders",
            problems,
        )
    });
    let reorder = keys.must("reorder", problems).and_then(|found| {
        let mut keys = found.keys(problems)?;
        let lateness_ms = integer(&mut keys, "lateness_ms", bounds::LATENESS_MS, problems);
        let flush_ms = integer(&mut keys, "flush_ms", bounds::FLUSH_MS, problems);
        let held_events_max = integer(&mut keys, "held_events_max", bounds::HELD_EVENTS_MAX, problems);
        keys.close(problems);
        Some(WrittenReorder { lateness_ms, flush_ms, held_events_max })
    });
    let roll = keys.may("roll").and_then(|found| read_roll(&found, problems));
    let orders = keys.may("orders").and_then(|found| read_orders(&found, problems));
    let capture = keys.may("capture").map(|found| found.at(read_capture(&found, problems)));
    let spot = found.spot.clone();
    keys.close(problems);
    Some(WrittenProvider {
        spot,
        name: own_name,
        product,
        shard,
        endpoints,
        lines,
        instruments,
        channels,
        book,
        rest_weight_share_permille: share,
        reorder,
        orders,
        roll,
        capture,
    })
}

fn read_capture(found: &Found<'_>, problems: &mut Problems) -> Option<CapturePlan> {
    let mut keys = found.keys(problems)?;
    let dir = keys.must("dir", problems).and_then(|found| found.text("the path of a directory", problems));
    let rotate_mib = integer(&mut keys, "rotate_mib", bounds::CAPTURE_ROTATE_MIB, problems);
    let keep = integer(&mut keys, "keep", bounds::CAPTURE_KEEP, problems);
    keys.close(problems);
    Some(CapturePlan {
        dir: PathBuf::from(dir?),
        rotate_mib: rotate_mib?.value as u32,
        keep: keep?.value as u32,
    })
}

fn read_roll(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenRoll> {
    let mut keys = found.keys(problems)?;
    let after_h = integer(&mut keys, "after_h", bounds::ROLL_AFTER_H, problems);
    let quiet_min = keys.must("quiet_utc", problems).and_then(|found| {
        let fits = format!(
            "HH:MM-HH:MM, hours and minutes of UTC, of {} to {} minutes (rolls begin in its middle)",
            bounds::QUIET_MIN.min,
            bounds::QUIET_MIN.max
        );
        let quiet = quiet_time(found.text(&fits, problems)?);
        if quiet.is_none() {
            return found.misfit(format!("fits {fits}"), problems);
        }
        quiet
    });
    keys.close(problems);
    Some(WrittenRoll { after_h, quiet_min })
}

/// `04:10-04:40` as minutes of the day. Midnight may be in it.
fn quiet_time(text: &str) -> Option<(u32, u32)> {
    let minute = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str, max: u32| {
            let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number: &u32| fits && *number <= max)
        };
        Some(number(hours, 23)? * 60 + number(minutes, 59)?)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    let length = (to + DAY_MIN - from) % DAY_MIN;
    (bounds::QUIET_MIN.min..=bounds::QUIET_MIN.max).contains(&u64::from(length)).then_some((from, to))
}

/// Minutes of a day.
const DAY_MIN: u32 = 24 * 60;

fn read_product(keys: &mut Keys<'_>, problems: &mut Problems) -> Option<At<Product>> {
    let mut venues: Vec<(&'static str, &'static str)> =
        PRODUCTS.iter().map(|(venue, _, _)| (*venue, *venue)).collect();
    venues.dedup();
    let venue = keys.must("venue", problems).and_then(|venue| venue.word(&venues, problems));
    let product = keys.must("product", problems)?;
    let venue = venue?.value;
    let products: Vec<(&'static str, Product)> = PRODUCTS
        .iter()
        .filter(|(of, _, _)| *of == venue)
        .map(|(_, name, product)| (*name, *product))
        .collect();
    product.word(&products, problems)
}

fn read_endpoints(found: &Found<'_>, problems: &mut Problems) -> Option<At<WrittenEndpoints>> {
    const WORDS: [(&str, u8); 3] = [("simulated", 0), ("live", 1), ("testnet", 2)];
    if matches!(found.node.value, Value::Mapping(_)) {
        let mut keys = found.keys(problems)?;
        let websocket =
            keys.must("websocket", problems).and_then(|url| read_url(&url, "wss", "ws", problems));
        let rest = keys.must("rest", problems).and_then(|url| read_url(&url, "https", "http", problems));
        let ca_file = keys.may("ca_file").and_then(|file| {
            let text = file.text("the path of a PEM file with the certificates to trust", problems)?;
            Some(text.to_owned())
        });
        keys.close(problems);
        return Some(found.at(WrittenEndpoints::Explicit { websocket, rest, ca_file }));
    }
    if matches!(found.node.value, Value::Sequence(_)) {
        return found.misfit(
            "fits: simulated, live, testnet, or {websocket: URL, rest: URL, ca_file: PATH}",
            problems,
        );
    }
    let endpoints = match found.word(&WORDS, problems)?.value {
        0 => WrittenEndpoints::Simulated,
        1 => WrittenEndpoints::Live,
        _ => WrittenEndpoints::Testnet,
    };
    Some(found.at(endpoints))
}

/// `wss://host[:port]`, since each venue has its own paths; without TLS only to this machine, since what a plain connection brings anyone may have written.
pub(in crate::topology) fn read_url(
    found: &Found<'_>,
    secure: &str,
    plain: &str,
    problems: &mut Problems,
) -> Option<String> {
    let fits = format!(
        "fits {secure}://host[:port], or {plain}:// to this machine (127.0.0.1, [::1], localhost); paths are the venue's own"
    );
    let text = found.text(fits.trim_start_matches("fits "), problems)?;
    let usable = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= 512;
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    // `user:password@host` would be a secret in this file.
    let scheme_fits = scheme == secure || (scheme == plain && loopback);
    let has_path = !matches!(rest.strip_prefix(authority), Some("" | "/"));
    if usable && scheme_fits && port_fits && !has_path && !host.is_empty() && !authority.contains('@') {
        return Some(text.to_owned());
    }
    if authority.contains('@') {
        problems.add(&found.spot, "a user or password in a URL", fits);
        return None;
    }
    found.misfit(fits, problems)
}
