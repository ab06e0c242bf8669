//! `meltica run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::ctl::ADDRESS_FILE;
use super::observe::Observer;
use super::screen::Screen;
use super::{EXIT_FAILED, EXIT_OK, EXIT_REFUSED, columns, read_topology, verdict};
use crate::consumers;
use crate::control::thread::Control;
use crate::control::view::View;
use crate::host::RealHost;
use crate::launch::{Ended, Gateway, launch};
use crate::live::Board;
use crate::log::{Format, Level};
use crate::machine::clock::Clock;
use crate::report::RunReport;
use crate::report::files::ReportDirectory;
use crate::report::table::{TableStyle, exit_text};
use crate::topology::{Topology, check, memory, numbered};

/// How often the supervisor looks at everything.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two status lines, in nanoseconds.
const LINE_EVERY_NS: u64 = 1_000_000_000;
/// Between two lines about suppressed windows and refused orders, in nanoseconds.
const SUPPRESSED_EVERY_NS: u64 = 10_000_000_000;

/// Runs the gateway that a topology describes, until a signal comes or the time is over.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology.
    #[arg(long, default_value = "topology.yaml")]
    topology: PathBuf,
    /// Ends the run after this time, for example 10s, 500ms, 5m.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Where each run gets a directory of its own [default: the topology's].
    #[arg(long)]
    report_dir: Option<PathBuf>,
    /// The report as one JSON object on standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// Lines on standard error: for people, or one JSON object each.
    #[arg(long, value_enum, default_value_t)]
    log_format: Format,
}

/// `10s`, `500ms`, `5m`, `2h`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..digits].parse().map_err(|_| "no number; 10s, 500ms, 5m or 2h fit".to_owned())?;
    let unit = match &text[digits..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        unit => return Err(format!("unknown unit {unit:?}; ms, s, m or h fit")),
    };
    let duration = Duration::try_from_secs_f64(value * unit).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("a run of no time shows nothing; without --duration it runs until Ctrl-C".to_owned());
    }
    Ok(duration)
}

/// Set by signals.
struct Signals {
    /// SIGINT or SIGTERM: end.
    asked: Arc<AtomicBool>,
    /// SIGUSR1: the kill switch of all, for when the control endpoint cannot be reached.
    kill: Arc<AtomicBool>,
}

/// Signals are taken one after the other on a thread of their own: of two that come at once two handlers could each find that
/// none came before, and then neither would end the process.
fn watch_signals() -> std::io::Result<Signals> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    let asked = Arc::new(AtomicBool::new(false));
    let kill = Arc::new(AtomicBool::new(false));
    let mut pending = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let (asking, killing) = (Arc::clone(&asked), Arc::clone(&kill));
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in pending.forever() {
            if signal == SIGUSR1 {
                killing.store(true, Ordering::Relaxed);
            } else if asking.swap(true, Ordering::Relaxed) {
                // The second one ends the process at once, whatever else it waits for.
                signal_hook::low_level::exit(i32::from(EXIT_FAILED));
            }
        }
    })?;
    Ok(Signals { asked, kill })
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let mut screen = Screen::new(self.log_format);
        let mut topology = match read_topology(&self.topology) {
            Ok(topology) => topology,
            Err(errors) => {
                screen.problems(&errors);
                return EXIT_REFUSED;
            }
        };
        if let Some(directory) = &self.report_dir {
            topology.report.dir.clone_from(directory);
        }
        let findings = check::check(&topology, &RealHost);
        if check::exit_code(&findings) != 0 {
            let table = crate::topology::table(&findings, columns());
            let file = self.topology.display();
            let said = format!("{file} does not fit this host; nothing was started\n{}", table.trim_end());
            screen.own(Level::Error, "check", &said);
            return EXIT_REFUSED;
        }
        let started_at = SystemTime::now();
        let directory = match ReportDirectory::create(&topology.report.dir, started_at) {
            Ok(directory) => directory,
            Err(error) => {
                screen.own(Level::Error, "report", &error.to_string());
                return EXIT_REFUSED;
            }
        };
        let signals = match watch_signals() {
            Ok(signals) => signals,
            Err(error) => {
                screen.own(Level::Error, "signals", &format!("cannot watch for signals: {error}"));
                return EXIT_REFUSED;
            }
        };
        screen.own(Level::Info, "start", &introduction(&topology));
        let registry = consumers::Registry::built_in(directory.path());
        let mut gateway = match launch(topology, &|plan, catalog| {
            registry.make(plan, catalog).map_err(|error| error.to_string())
        }) {
            Ok(gateway) => gateway,
            Err(error) => {
                screen.own(Level::Error, "start", &format!("nothing was started: {error}"));
                return EXIT_REFUSED;
            }
        };
        match directory.interval_log(started_at) {
            Ok(log) => gateway.collector.set_log(log),
            Err(error) => screen.own(Level::Warn, "report", &format!("no interval log: {error}")),
        }
        for (name, cores) in gateway.affinities() {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            screen.own(Level::Info, "start", &format!("  {name} runs on core {}", cores.join(",")));
        }
        let start = gateway.take_control().expect("a gateway that has just started still has it");
        let mut control = match Control::start(start) {
            Ok(control) => control,
            Err(error) => {
                screen.own(Level::Error, "control", &error.to_string());
                let observer = Observer::new(&gateway);
                let ended = gateway.stop();
                self.report(&mut gateway, &directory, &Board::default(), ended, None, observer, &mut screen);
                return EXIT_REFUSED;
            }
        };
        screen.own(Level::Info, "start", &format!("  control endpoint: http://{}", control.address()));
        let address_file = gateway.report_parent().join(ADDRESS_FILE);
        if let Err(error) = std::fs::write(&address_file, format!("{}\n", control.address())) {
            let said = format!("{} was not written: {error}", address_file.display());
            screen.own(Level::Warn, "control", &said);
        }
        let mut board = Board::default();
        let mut observer = Observer::new(&gateway);
        let fallen = self.supervise(&mut gateway, &mut board, &control, &signals, &mut observer, &mut screen);
        control.stop();
        let _ = std::fs::remove_file(&address_file);
        let ended = gateway.stop();
        self.report(&mut gateway, &directory, &board, ended, fallen, observer, &mut screen)
    }

    /// Looks after the shards until the run is over. Returns what ended it, if neither time nor a signal did.
    fn supervise(
        &self,
        gateway: &mut Gateway,
        board: &mut Board,
        control: &Control,
        signals: &Signals,
        observer: &mut Observer,
        screen: &mut Screen,
    ) -> Option<String> {
        let clock = Clock::new();
        let mut line_at_ns = gateway.started_ns + LINE_EVERY_NS;
        let mut suppressed_at_ns = gateway.started_ns + SUPPRESSED_EVERY_NS;
        let end_ns = self.duration.map(|duration| gateway.started_ns + duration.as_nanos() as u64);
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now_ns = clock.now();
            gateway.collector.collect();
            gateway.poll_statuses(|status| board.take(status));
            while let Some(report) = gateway.poll_report() {
                screen.happened(&gateway.topology, &report, now_ns);
                if let Some(line) = board.first_proof(&gateway.topology, &report) {
                    screen.own(Level::Info, "books", &line);
                }
            }
            if let Some(shard) = gateway.fallen() {
                return Some(format!("shard {shard} panicked"));
            }
            let run_ns = now_ns - gateway.started_ns;
            for notice in observer.look(gateway, run_ns) {
                let level = if notice.over { Level::Info } else { Level::Error };
                screen.named(level, &notice.shard, "stall", &notice.text, None);
                if notice.ends {
                    return Some(format!("[{}] {}", notice.shard, notice.text));
                }
            }
            control.show(
                View::of(&gateway.collector, gateway.loop_counters(), board, run_ns).watched(&observer.watch),
            );
            if now_ns >= line_at_ns {
                line_at_ns += LINE_EVERY_NS;
                observer.timeline.push(board.point(&gateway.collector, run_ns));
                screen.catch_up(false, now_ns);
                screen.status(&board.line(
                    &gateway.topology,
                    &gateway.collector,
                    now_ns - gateway.started_ns,
                ));
            }
            if signals.kill.swap(false, Ordering::Relaxed) {
                let moved = gateway.switches.set_killed(None, true);
                let state = if moved { "is on" } else { "was on already" };
                let said =
                    format!("SIGUSR1: the kill switch of all {state}; meltica ctl kill --undo ends it");
                screen.own(Level::Info, "kill", &said);
            }
            if now_ns >= suppressed_at_ns {
                suppressed_at_ns = now_ns + SUPPRESSED_EVERY_NS;
                for (shard, text) in board.suppressed(&gateway.topology) {
                    screen.named(Level::Warn, &shard, "merge", &text, None);
                }
                for (provider, code, text) in board.refused(&gateway.topology) {
                    screen.named(Level::Warn, &provider, "orders_refused", &text, Some(code));
                }
            }
            if signals.asked.load(Ordering::Relaxed) || end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                observer.look_at_last(gateway, run_ns);
                return None;
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what a run leaves, each from another part of it")]
    fn report(
        &self,
        gateway: &mut Gateway,
        directory: &ReportDirectory,
        board: &Board,
        ended: Ended,
        fallen: Option<String>,
        observer: Observer,
        screen: &mut Screen,
    ) -> u8 {
        let stopped_ns = Clock::new().now();
        while gateway.collector.collect() > 0 {}
        let file = &gateway.topology.file;
        let run_ns = stopped_ns - gateway.started_ns;
        let mut report = RunReport::new(file, gateway.started_at, SystemTime::now(), run_ns);
        gateway.collector.fill(&mut report);
        let verdict = verdict::fill(&mut report, &gateway.topology, board, &ended);
        observer.fill(&mut report, &gateway.collector);
        screen.leave_status_line();
        while let Some(happened) = gateway.poll_report() {
            screen.happened(&gateway.topology, &happened, stopped_ns);
        }
        screen.catch_up(true, stopped_ns);
        let mut code = EXIT_OK;
        if self.json {
            match serde_json::to_string(&report) {
                Ok(json) => outln!("{json}"),
                Err(error) => {
                    screen.own(Level::Error, "report", &format!("the report cannot be printed: {error}"));
                    code = EXIT_FAILED;
                }
            }
        } else {
            out!("{}", exit_text(&report, TableStyle { columns: columns(), colour: false }));
        }
        match self.log_format {
            Format::Text => screen.table("Ways, offered = the sum of what follows:", &verdict.ways_table()),
            Format::Json => {
                for line in verdict.way_sentences() {
                    screen.own(Level::Info, "verdict", &line);
                }
            }
        }
        for (level, line) in &verdict.lines {
            screen.own(*level, "verdict", line);
        }
        match directory.write(&report, gateway.collector.totals()) {
            Ok(files) => {
                let said = format!("{} files in {}", files.len(), directory.path().display());
                screen.own(Level::Info, "report", &said);
            }
            Err(error) => {
                screen.own(Level::Error, "report", &format!("the report could not be written: {error}"));
                code = EXIT_FAILED;
            }
        }
        if let Some(reason) = fallen {
            screen.own(Level::Error, "end", &format!("{reason}; the gateway has stopped"));
            code = EXIT_FAILED;
        }
        for (shard, reason) in &ended.panicked {
            screen.own(Level::Error, "end", &format!("shard {shard}: {reason}"));
            code = EXIT_FAILED;
        }
        if verdict.failed { EXIT_FAILED } else { code }
    }
}

/// What is about to run, in two lines.
fn introduction(topology: &Topology) -> String {
    let venues: Vec<&str> = topology.providers.iter().map(|provider| provider.name.as_str()).collect();
    format!(
        "meltica {}: {}, {} streams\n  {}, {:.1} MiB of pools, rings and books",
        env!("CARGO_PKG_VERSION"),
        venues.join(", "),
        topology.stream_count(),
        numbered(topology.consumers.len(), "consumer"),
        memory::memory_budget(topology).total_bytes() as f64 / f64::from(1 << 20),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_not_nothing() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        for wrong in ["0s", "0", "0.0000000001ms", "ten", "5 weeks", "-1s", ""] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
