//! Keys: what is refused, and that nothing ever shows one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::rig::{Home, Venue, WAIT_MAX, text, venue};

/// The binary with a maker, whose keys come from `keys`.
fn topology(venue: &Venue, home: &Home, keys: &str) -> String {
    let orders = format!("enabled: true, keys: {keys}, on_session_loss: keep, on_stop: cancel_mine");
    let options = "{provider: binance, symbol: BTC-USDT, qty: 0.001, tick: 0.01, edge_ticks: 0, move_ticks: 5, position_max_quotes: 5}";
    let text = text(venue, &home.0, &orders, &format!("trading: true\n    options: {options}"));
    text.replace("kind: script", "kind: maker")
}

fn run(home: &Home, text: &str, variable: Option<&str>) -> std::process::Child {
    let path = home.0.join("topology.yaml");
    std::fs::write(&path, text).expect("our directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltica"));
    command.args(["run", "--duration", "120s", "--topology"]).arg(&path).current_dir(&home.0);
    if let Some(value) = variable {
        command.env("MELTICA_TEST_KEY", value);
    }
    command.stdin(Stdio::null());
    command.stdout(std::fs::File::create(home.0.join("stdout")).expect("our directory"));
    command.stderr(std::fs::File::create(home.0.join("stderr")).expect("our directory"));
    command.spawn().expect("the binary is built")
}

/// What the control endpoint answers, as it comes.
fn asked(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the endpoint listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a socket");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Each file below `path` that holds any of `secrets`.
fn holders(path: &Path, secrets: &[String], found: &mut Vec<String>, files: &mut usize) {
    for entry in std::fs::read_dir(path).expect("our directory") {
        let path = entry.expect("our directory").path();
        if path.is_dir() {
            holders(&path, secrets, found, files);
        } else if path.extension().is_none_or(|extension| extension != "key") {
            *files += 1;
            let bytes = std::fs::read(&path).expect("our file");
            let holds = |secret: &String| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            if secrets.iter().any(holds) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn no_output_holds_a_key() {
    for from_file in [true, false] {
        let (venue, home) = (venue(21), Home::new(&format!("grep-{from_file}")));
        let key = venue.faults().keys().into_iter().next().expect("the venue issues keys");
        let source = if from_file {
            format!("{{file: {}}}", home.key(&venue).display())
        } else {
            "{env: MELTICA_TEST_KEY}".to_owned()
        };
        let value = format!("{}\n{}", key.name, key.secret_text);
        let variable = (!from_file).then_some(value.as_str());
        let mut child = run(&home, &topology(&venue, &home, &source), variable);
        let began = Instant::now();
        let address_file = home.0.join("report/control-address");
        while venue.faults().orders().is_empty() || !address_file.exists() {
            assert!(
                began.elapsed() < WAIT_MAX,
                "{}",
                std::fs::read_to_string(home.0.join("stderr")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let address = std::fs::read_to_string(&address_file).expect("it was there").trim().to_owned();
        let answers: Vec<String> = ["/metrics", "/status", "/subscriptions", "/dead-letters"]
            .map(|path| asked(&address, path))
            .into();
        assert!(answers[0].contains("meltica_orders_open{provider=\"binance\"}"), "{}", answers[0]);
        assert!(
            answers[1].contains("\"orders\":[{") && answers[1].contains("\"acks_total\""),
            "{}",
            answers[1]
        );
        std::fs::write(home.0.join("answers"), answers.concat()).expect("our directory");
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("there is a kill");
        let status = child.wait().expect("a child");
        assert!(status.success(), "{}", std::fs::read_to_string(home.0.join("stderr")).unwrap());
        let secrets: Vec<String> = vec![key.name.clone(), key.secret_text.trim().to_owned()];
        let (mut found, mut files) = (Vec::new(), 0);
        holders(&home.0, &secrets, &mut found, &mut files);
        assert_eq!(found, Vec::<String>::new());
        assert!(files > 10, "report, journal, output and answers were looked at: {files}");
    }
}

#[test]
fn a_key_that_others_can_read_starts_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let (venue, home) = (venue(22), Home::new("mode"));
    let path = home.key(&venue);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("our file");
    let mut child = run(&home, &topology(&venue, &home, &format!("{{file: {}}}", path.display())), None);
    assert_eq!(child.wait().expect("a child").code(), Some(2));
    let said = std::fs::read_to_string(home.0.join("stderr")).expect("our file");
    assert!(said.contains("provider binance: orders: key file") && said.contains("chmod 600"), "{said}");
    assert!(venue.faults().orders().is_empty());
}
