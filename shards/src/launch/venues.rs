//! What launching needs of venues: a provider of each, with its decoder, and where it is reached.

use std::net::SocketAddr;
use std::sync::mpsc;

#[cfg(feature = "simulate")]
use engine::orders::secret::Secret;
use engine::pipeline::{Pipeline, PipelineOptions};
use engine::pools::PoolSizes;
use engine::provider::{Provider, ProviderOptions};
use engine::sequence::Patience;
use engine::time::ReceiveTime;
use engine::venue::Venue;

use super::{BOOK_WAITING_MAX, LETTERS_MAX, LaunchError, ProviderParts};
use crate::happened::Report;
use crate::machine::executor::Tasks;
use crate::machine::target::Target;
use crate::machine::tls::{Roots, TlsConfig, TlsOptions};
use crate::orders::keys::AccountKey;
use crate::provider::{Drive, Driver};
use crate::topology::books::book_sizes;
use crate::topology::venues::with_venue;
use crate::topology::{Endpoints, OrdersPlan, Pools, Product, ProviderPlan, Topology};

/// Bytes of the longest message that is taken: three times Coinbase's largest recorded snapshot (4.8 MB).
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A provider with its sockets, on its shard.
pub fn driver(
    mut parts: ProviderParts,
    pools: Pools,
    now_ns: u64,
    reports: mpsc::Sender<Report>,
    tasks: Tasks,
) -> Box<dyn Drive> {
    let dispatcher = parts.dispatcher();
    let (book_depth_max, book_reserve, snapshot_levels) = book_sizes(&parts.plan);
    let options = PipelineOptions {
        pools: PoolSizes {
            frames: pools.frames as usize,
            raws: pools.raws as usize,
            events: pools.events as usize,
            merged: pools.merged as usize,
            order_requests: pools.order_requests as usize,
            execution_reports: pools.execution_reports as usize,
        },
        patience: Patience {
            lateness_ns: u64::from(parts.plan.reorder.lateness_ms) * 1_000_000,
            flush_ns: u64::from(parts.plan.reorder.flush_ms) * 1_000_000,
            held_max: parts.plan.reorder.held_events_max as usize,
        },
        book_depth_max,
        book_reserve,
        book_waiting_max: BOOK_WAITING_MAX,
        letters_max: LETTERS_MAX,
        // One more than the topology asks for: the line that a roll opens beside the old one.
        lines: parts.plan.lines + 1,
        snapshot_levels,
        fill_trades: true,
        share: (0, 1),
        route_all_to: None,
    };
    let provider_options = ProviderOptions {
        websocket_host: parts.websocket.authority(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        snapshot_levels,
        verify_every_ns: parts.plan.book.map_or(0, |book| u64::from(book.verify_s)) * 1_000_000_000,
        rest_share_permille: parts.plan.rest_weight_share_permille,
        seed: fastrand::u64(..),
    };
    let now = ReceiveTime::from_ns(now_ns);
    let lateness_ns = options.patience.lateness_ns;
    let orders =
        parts.orders.take().map(|orders| orders.start(tasks, &options.pools, now_ns, reports.clone()));
    let ProviderParts { index, plan, directory, wakers, markers, websocket, rest, tap, .. } = parts;
    with_venue!(plan.product, book_depth_max as u16, |venue| {
        let pipeline = Pipeline::new(venue, directory, dispatcher, options);
        let provider = Provider::new(pipeline, provider_options, now);
        let driver = Driver::new(index, provider, websocket, rest, wakers, reports);
        let driver = driver.with_markers(&markers, lateness_ns).with_rolls(plan.roll);
        Box::new(driver.with_tap(tap).with_orders(orders))
    })
}

/// Where a provider's WebSocket and REST are reached.
pub fn targets(
    index: usize,
    plan: &ProviderPlan,
    simulation: &Simulation,
) -> Result<(Target, Target), LaunchError> {
    let (websocket, rest, ca_file) = match &plan.endpoints {
        Endpoints::Simulated => {
            let address = simulation.address(index).expect("a simulated provider has its venue");
            let plain = Target { host: address.ip().to_string(), port: address.port(), tls: None };
            return Ok((plain.clone(), plain));
        }
        Endpoints::Live => {
            let endpoints = with_venue!(plan.product, 10, |venue| venue.live());
            (endpoints.websocket.to_owned(), endpoints.rest.to_owned(), None)
        }
        Endpoints::Testnet => {
            let endpoints = with_venue!(plan.product, 10, |venue| venue.testnet())
                .expect("the topology refuses a testnet where there is none");
            (endpoints.websocket.to_owned(), endpoints.rest.to_owned(), None)
        }
        Endpoints::Explicit { websocket, rest, ca_file } => {
            (websocket.clone(), rest.clone(), ca_file.clone())
        }
    };
    let options = TlsOptions { roots: Roots::Host, extra_ca: ca_file };
    let tls = if websocket.starts_with("wss:") || rest.starts_with("https:") {
        let made = TlsConfig::new(&options);
        Some(made.map_err(|source| LaunchError::Tls { provider: plan.name.clone(), source })?)
    } else {
        None
    };
    let target = |url: &str| {
        split(url, tls.as_ref()).map_err(|reason| LaunchError::Endpoint {
            provider: plan.name.clone(),
            url: url.to_owned(),
            reason,
        })
    };
    Ok((target(&websocket)?, target(&rest)?))
}

/// Where the private connection goes, the path on it, and where calls for orders go.
pub fn private_targets(
    index: usize,
    plan: &ProviderPlan,
    orders: &OrdersPlan,
    simulation: &Simulation,
) -> Result<(Target, &'static str, Target), LaunchError> {
    let (live, testnet, path) = match plan.product {
        // binance-spot-api-docs, web-socket-api.md and testnet/web-socket-api.md, commit a5e0bc3.
        Product::BinanceSpot | Product::BinanceUsdm | Product::BinanceUsdmMarket => {
            ("wss://ws-api.binance.com:443", "wss://ws-api.testnet.binance.vision", "/ws-api/v3")
        }
        // docs.kraken.com, WebSocket v2, 2026-07-23.
        Product::KrakenSpot => ("wss://ws-auth.kraken.com", "", "/v2"),
        // docs.cdp.coinbase.com, Advanced Trade WebSocket overview, 2026-07: the user channel's own endpoint.
        Product::CoinbaseAdvanced | Product::CoinbaseExchange => {
            ("wss://advanced-trade-ws-user.coinbase.com", "", "/")
        }
    };
    let (public, rest) = targets(index, plan, simulation)?;
    let private = match (&plan.endpoints, &orders.websocket) {
        (Endpoints::Simulated | Endpoints::Explicit { .. }, None) => return Ok((public, path, rest)),
        (Endpoints::Live, _) => live,
        (Endpoints::Testnet, _) => testnet,
        (_, Some(url)) => url,
    };
    let ca_file = match &plan.endpoints {
        Endpoints::Explicit { ca_file, .. } => ca_file.clone(),
        _ => None,
    };
    let tls = TlsConfig::new(&TlsOptions { roots: Roots::Host, extra_ca: ca_file })
        .map_err(|source| LaunchError::Tls { provider: plan.name.clone(), source })?;
    let target = split(private, Some(&tls)).map_err(|reason| LaunchError::Endpoint {
        provider: plan.name.clone(),
        url: private.to_owned(),
        reason,
    })?;
    Ok((target, path, rest))
}

/// Scheme, host and port of a URL. A path is not taken: each venue has its own.
fn split(url: &str, tls: Option<&TlsConfig>) -> Result<Target, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("has no scheme")?;
    let (secure, default_port) = match scheme {
        "ws" | "http" => (false, 80),
        "wss" | "https" => (true, 443),
        _ => return Err("has an unknown scheme; ws, wss, http and https fit"),
    };
    let authority = rest.trim_end_matches('/');
    if authority.contains('/') {
        return Err("has a path; only scheme, host and port fit");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| "has no valid port")?),
        _ => (authority, default_port),
    };
    if host.is_empty() {
        return Err("has no host");
    }
    Ok(Target { host: host.to_owned(), port, tls: if secure { tls.cloned() } else { None } })
}

/// Why a simulated venue is not there.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Its port could not be opened.
    #[error("simulated venue of provider {provider} failed to listen: {source}")]
    Listen {
        /// The provider.
        provider: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program was built without simulated venues.
    #[error(
        "provider {provider} asks for a simulated venue, which this program was built without (feature `simulate`)"
    )]
    NotBuilt {
        /// The provider.
        provider: String,
    },
}

/// The simulated venues of a topology, inside of this process.
#[derive(Default)]
pub struct Simulation {
    #[cfg(feature = "simulate")]
    servers: Vec<Option<simvenues::Server>>,
}

impl Simulation {
    /// Starts a venue for each simulated provider, on a free port of the loopback.
    ///
    /// # Errors
    /// [`SimulationError`]
    #[cfg(feature = "simulate")]
    pub fn start(topology: &Topology) -> Result<Self, SimulationError> {
        let mut servers = Vec::new();
        for plan in &topology.providers {
            if plan.endpoints != Endpoints::Simulated {
                servers.push(None);
                continue;
            }
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = simvenues::start(listen, simulated_venue(topology, plan))
                .map_err(|source| SimulationError::Listen { provider: plan.name.clone(), source })?;
            servers.push(Some(server));
        }
        Ok(Self { servers })
    }

    /// Refuses every simulated provider.
    ///
    /// # Errors
    /// [`SimulationError::NotBuilt`]
    #[cfg(not(feature = "simulate"))]
    pub fn start(topology: &Topology) -> Result<Self, SimulationError> {
        match topology.providers.iter().find(|plan| plan.endpoints == Endpoints::Simulated) {
            Some(plan) => Err(SimulationError::NotBuilt { provider: plan.name.clone() }),
            None => Ok(Self::default()),
        }
    }

    /// Where the venue of a provider listens.
    pub fn address(&self, provider: usize) -> Option<SocketAddr> {
        #[cfg(feature = "simulate")]
        return self.servers.get(provider)?.as_ref().map(simvenues::Server::address);
        #[cfg(not(feature = "simulate"))]
        {
            let _ = provider;
            None
        }
    }

    /// The throw-away key that the venue of a provider issued when it started.
    pub fn key(&self, provider: usize) -> Option<AccountKey> {
        #[cfg(feature = "simulate")]
        {
            let key = self.server(provider)?.faults().keys().into_iter().next()?;
            let secret = |text: String| Secret::new(text.into_bytes());
            Some(AccountKey { name: secret(key.name), secret: secret(key.secret_text) })
        }
        #[cfg(not(feature = "simulate"))]
        {
            let _ = provider;
            None
        }
    }

    /// The venue of a provider, for tests and fault scripts.
    #[cfg(feature = "simulate")]
    pub fn server(&self, provider: usize) -> Option<&simvenues::Server> {
        self.servers.get(provider)?.as_ref()
    }
}

#[cfg(feature = "simulate")]
fn simulated_venue(topology: &Topology, plan: &ProviderPlan) -> simvenues::VenueConfig {
    use simvenues::VenueConfig;

    let market = topology.simulated.expect("the topology has a market where a provider is simulated");
    let wanted: Vec<&str> = plan.instruments.iter().map(|listed| topology.symbol(listed.id)).collect();
    let quotes: std::collections::BTreeSet<&str> =
        wanted.iter().filter_map(|symbol| symbol.split_once('-')).map(|(_, quote)| quote).collect();
    let instruments = quotes
        .into_iter()
        .flat_map(simvenues::default_instruments)
        .filter(|spec| wanted.contains(&spec.symbol().as_str()))
        .collect();
    let rate = f64::from(market.messages_per_instrument_per_s);
    let speed = f64::from(market.speed_permille) / 1_000.0;
    let mut config = simulated_default(plan.product);
    // The three have the same settings of a market, and each its own type for them.
    macro_rules! set {
        ($config:expr) => {{
            $config.instruments = instruments;
            $config.messages_per_instrument_per_s = rate;
            $config.seed = market.seed;
            $config.speed = speed;
            $config.book_levels = market.book_levels as usize;
        }};
    }
    match &mut config {
        VenueConfig::Binance(config) => set!(config),
        VenueConfig::Kraken(config) => {
            set!(config);
            // A venue has more levels than it sends, else a book cut to its depth would never lose one.
            let depth = plan.book.map_or(0, |book| book.depth_max as usize);
            config.book_levels = config.book_levels.max(depth + depth / 5);
        }
        VenueConfig::Coinbase(config) => set!(config),
    }
    config
}

/// A simulated venue of a product, with its own instruments and limits.
#[cfg(feature = "simulate")]
pub fn simulated_default(product: Product) -> simvenues::VenueConfig {
    use simvenues::{BinanceConfig, CoinbaseConfig, CoinbaseProduct, KrakenConfig, VenueConfig};

    match product {
        Product::BinanceSpot => VenueConfig::Binance(BinanceConfig::of(simvenues::Product::Spot)),
        Product::BinanceUsdm | Product::BinanceUsdmMarket => {
            VenueConfig::Binance(BinanceConfig::of(simvenues::Product::UsdM))
        }
        Product::KrakenSpot => VenueConfig::Kraken(KrakenConfig::default()),
        Product::CoinbaseAdvanced => VenueConfig::Coinbase(CoinbaseConfig::of(CoinbaseProduct::Advanced)),
        Product::CoinbaseExchange => VenueConfig::Coinbase(CoinbaseConfig::of(CoinbaseProduct::Exchange)),
    }
}

/// Whether a simulated venue of this product lists a symbol: its default instruments, against the quotes that the venue
/// has.
#[cfg(feature = "simulate")]
pub fn simulated_lists(product: Product, symbol: &str) -> bool {
    let Some((base, quote)) = symbol.split_once('-') else { return false };
    let quotes: &[&str] = match product {
        Product::BinanceSpot => &["USDT", "USDC", "BTC"],
        Product::BinanceUsdm | Product::BinanceUsdmMarket => &["USDT", "USDC"],
        Product::KrakenSpot | Product::CoinbaseAdvanced | Product::CoinbaseExchange => {
            &["USD", "USDT", "USDC", "EUR", "BTC"]
        }
    };
    quotes.contains(&quote) && simvenues::default_instruments(quote).iter().any(|listed| listed.base == base)
}
