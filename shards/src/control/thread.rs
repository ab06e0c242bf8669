//! The control thread: server, service and controller in one loop, started after the shards and stopped before them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::controller::{Controller, Start};
use super::server::Server;
use super::service::Service;
use super::view::View;
use crate::machine::clock::Clock;

/// How long the loop waits while a shard's reply is due.
const BUSY_WAIT: Duration = Duration::from_millis(1);
/// How long it waits otherwise: what consumers ask from inside is seen within this.
const IDLE_WAIT: Duration = Duration::from_millis(20);
/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address cannot be listened on.
    #[error(
        "control endpoint: cannot listen on {address}: {source}; is another gateway running? port 0 takes any free one"
    )]
    Listen {
        /// The topology's.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The token file cannot be used.
    #[error("control endpoint: token file {path}: {reason}")]
    Token {
        /// The topology's.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The running endpoint.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    view: Arc<Mutex<Arc<View>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The first line of a token file.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn read_token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(format!("its first line is no token; 1 to {TOKEN_BYTES_MAX} bytes fit"));
    }
    Ok(token.to_owned())
}

impl Control {
    /// Listens, and starts the thread.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn start(start: Start) -> Result<Self, ControlError> {
        let plan = start.topology.control.clone();
        let token = match &plan.token_file {
            None => None,
            Some(path) => Some(
                read_token(path)
                    .map_err(|reason| ControlError::Token { path: path.display().to_string(), reason })?,
            ),
        };
        let listen = |source| ControlError::Listen { address: plan.listen, source };
        let listener = TcpListener::bind(plan.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (ready, is_ready) = mpsc::channel();
        let view = Arc::new(Mutex::new(Arc::new(View::default())));
        let stop = Arc::new(AtomicBool::new(false));
        let (own_view, own_stop) = (Arc::clone(&view), Arc::clone(&stop));
        let run = move || {
            if let Some(core) = plan.core {
                core_affinity::set_for_current(core_affinity::CoreId { id: core as usize });
            }
            let mut server = match Server::over(listener) {
                Ok(server) => server,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            let mut service = Service { controller: Controller::new(start), token };
            let clock = Clock::new();
            while !own_stop.load(Ordering::Acquire) {
                let wait = if service.controller.is_busy() { BUSY_WAIT } else { IDLE_WAIT };
                let counts = server.counts;
                let handled = server.turn(
                    wait,
                    || clock.now(),
                    |ticket, request| {
                        let view = Arc::clone(&own_view.lock().unwrap_or_else(PoisonError::into_inner));
                        service.handle(ticket, request, &view, counts, clock.now())
                    },
                );
                if handled.is_err() {
                    // The wait of an open set does not fail; if it did, this must not spin.
                    std::thread::sleep(IDLE_WAIT);
                }
                let now_ns = clock.now();
                service.controller.turn(now_ns);
                while let Some((tickets, response)) = service.poll() {
                    for ticket in tickets {
                        server.answer(ticket, &response, now_ns);
                    }
                }
            }
        };
        let thread = Builder::new().name("control".to_owned()).spawn(run).map_err(listen)?;
        is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended"))).map_err(listen)?;
        Ok(Self { address, view, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the next requests are answered from.
    pub fn show(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}
