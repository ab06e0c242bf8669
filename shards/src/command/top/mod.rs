//! `meltica top`: a running gateway on a full screen, through its control endpoint.
//!
//! A thread of its own asks for the status, so that a slow answer never stops the screen: it then says how old it is.
//! `model` keeps what was asked and makes tables of it, `draw` puts them on the screen.

mod draw;
mod grid;
mod model;
mod views;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::ctl::{ask, find_address, token_of};
use super::{EXIT_FAILED, EXIT_OK, EXIT_REFUSED, columns};
use model::{Model, View};

/// How long the screen waits for a key before it looks for news.
const KEY_WAIT: Duration = Duration::from_millis(50);
/// Between the two questions of `--once`.
const ONCE_APART: Duration = Duration::from_secs(1);
/// Lines of the screen of `--once`: everything that an overview has.
const ONCE_LINES: u16 = 48;

/// A running gateway on a full screen.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Host and port of the endpoint [default: what the run wrote into REPORT_DIR/control-address].
    #[arg(long)]
    address: Option<SocketAddr>,
    /// Where the run writes its reports.
    #[arg(long, default_value = "report")]
    report_dir: PathBuf,
    /// Holds the token that the endpoint asks for.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Between two questions, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    every_ms: u64,
    /// One screen as text on standard output, after two questions a second apart.
    #[arg(long)]
    once: bool,
}

/// An answer, and when it came.
type Answer = (Instant, Result<Value, String>);

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let refuse = |reason: &str| {
            errln!("meltica: {reason}");
            EXIT_REFUSED
        };
        let token = match token_of(self.token_file.as_deref()) {
            Ok(token) => token,
            Err(reason) => return refuse(&reason),
        };
        let address = match self.address.map_or_else(|| find_address(&self.report_dir), Ok) {
            Ok(address) => address,
            Err(reason) => return refuse(&reason),
        };
        let question = move || match ask(address, "GET", "/status", None, token.as_deref()) {
            Ok((200, status)) => Ok(status),
            Ok((code, answer)) => {
                let reason = answer.get("error").and_then(Value::as_str).unwrap_or("?");
                Err(format!("{reason} (HTTP {code})"))
            }
            Err(reason) => Err(reason),
        };
        if self.once {
            return once(address, &question);
        }
        if !std::io::stdout().is_terminal() {
            return refuse("top needs a terminal; --once prints one screen as text");
        }
        if let Err(reason) = question() {
            errln!("meltica: {address}: {reason}");
            return EXIT_FAILED;
        }
        let (sender, answers) = mpsc::sync_channel::<Answer>(1);
        let every = Duration::from_millis(self.every_ms);
        std::thread::spawn(move || {
            loop {
                let asked = Instant::now();
                let answer = question();
                if sender.send((Instant::now(), answer)).is_err() {
                    return;
                }
                std::thread::sleep(every.saturating_sub(asked.elapsed()));
            }
        });
        match watch(&answers) {
            Ok(()) => EXIT_OK,
            Err(error) => {
                errln!("meltica: the terminal failed: {error}");
                EXIT_FAILED
            }
        }
    }
}

/// One screen as text.
fn once(address: SocketAddr, question: &dyn Fn() -> Result<Value, String>) -> u8 {
    let mut model = Model::default();
    for number in 0..2 {
        if number > 0 {
            std::thread::sleep(ONCE_APART);
        }
        match question() {
            Ok(status) => model.take(&status),
            Err(reason) => {
                errln!("meltica: {address}: {reason}");
                return EXIT_FAILED;
            }
        }
    }
    // A terminal has lines to fill; a text has not.
    let mut empty = false;
    for line in as_text(&mut model, columns() as u16, ONCE_LINES).lines() {
        if !(empty && line.is_empty()) {
            outln!("{line}");
        }
        empty = line.is_empty();
    }
    EXIT_OK
}

/// The screen as text, without blanks at the ends of lines and without empty lines at its own end.
fn as_text(model: &mut Model, columns: u16, lines: u16) -> String {
    let mut terminal =
        Terminal::new(TestBackend::new(columns, lines)).expect("a screen in memory can always be made");
    terminal.draw(|frame| draw::screen(frame, model)).expect("a screen in memory can always be drawn");
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..lines {
        let line: String = (0..columns).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

/// Shows answers until the user has seen enough.
fn watch(answers: &mpsc::Receiver<Answer>) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let ended = show(&mut terminal, answers);
    ratatui::restore();
    ended
}

fn show(terminal: &mut ratatui::DefaultTerminal, answers: &mpsc::Receiver<Answer>) -> std::io::Result<()> {
    let mut model = Model::default();
    let mut answered = Instant::now();
    let mut drawn = None;
    loop {
        let mut news = false;
        while let Ok((at, answer)) = answers.try_recv() {
            news = true;
            match answer {
                Ok(status) => {
                    answered = at;
                    model.silent = None;
                    if !model.paused {
                        model.take(&status);
                    }
                }
                Err(reason) => model.silent = Some((answered.elapsed().as_secs(), reason)),
            }
        }
        if let Some((seconds, _)) = &mut model.silent {
            let now = answered.elapsed().as_secs();
            news |= *seconds != now;
            *seconds = now;
        }
        let size = terminal.size()?;
        if news || drawn != Some(size) {
            terminal.draw(|frame| draw::screen(frame, &mut model))?;
            drawn = Some(size);
        }
        if event::poll(KEY_WAIT)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            if !pressed(&mut model, key) {
                return Ok(());
            }
            drawn = None;
        }
    }
}

/// Does what a key says; `false` ends.
fn pressed(model: &mut Model, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('q') => return false,
        KeyCode::Esc => model.back(),
        KeyCode::Char(digit @ '1'..='7') => model.show(View::ALL[digit as usize - '1' as usize]),
        KeyCode::Tab | KeyCode::Right => model.step_view(1),
        KeyCode::BackTab | KeyCode::Left => model.step_view(-1),
        KeyCode::Down | KeyCode::Char('j') => model.step_row(1),
        KeyCode::Up | KeyCode::Char('k') => model.step_row(-1),
        KeyCode::PageDown => model.step_row(10),
        KeyCode::PageUp => model.step_row(-10),
        KeyCode::Enter => model.open(),
        KeyCode::Char('s') => model.sort_next(),
        KeyCode::Char('r') => model.sort_reverse(),
        KeyCode::Char('p' | ' ') => model.paused = !model.paused,
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests;
