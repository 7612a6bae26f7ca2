//! Arguments → logging → open the store → serve → drain; or a command of a client.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{self, ExitCode};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use ifmatch::access::WatchedTokens;
use ifmatch::api::{self, AllowedHosts, AllowedOrigins, Guard, Listener, Tls, TrustedProxies};
use ifmatch::cli::{self, Arguments, Task};
use ifmatch::config::{Config, LogFormat};
use ifmatch::service::{AUDIT_TARGET, Service};
use ifmatch::storage::Store;
#[cfg(feature = "etcd")]
use ifmatch::storage::etcd::EtcdStore;
use ifmatch::storage::file::FileStore;
use ifmatch::verify;
use rustix::process::Signal;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Requests are many small allocations; `benches/http/run` measures what this is worth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a process that a second signal ended.
const EXIT_CUT_SHORT: i32 = 130;
/// The exit code of a process whose store could not be closed within the grace time.
const EXIT_GRACE_OVER: i32 = 1;
/// How long the end of the process waits for its last log line.
const LAST_LOG_WAIT: Duration = Duration::from_millis(100);
/// How many threads may block at once, beside those that answer requests. The service uses four at the most;
/// the others are for name lookups and for files.
const BLOCKING_THREADS: usize = 8;

fn main() -> ExitCode {
    let runtime = runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ifmatch: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match Arguments::parse_task() {
            Task::Client(connection, request) => cli::run(&connection, request).await,
            Task::Token(command) => cli::run_token(command).await,
            Task::Verify(arguments) => verify::run(&arguments).await,
            Task::Serve(config) => match serve(&config).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("ifmatch: {error}");
                    ExitCode::FAILURE
                }
            },
        }
    });
    // What still runs belongs to requests whose clients are gone.
    runtime.shutdown_background();
    code
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    log_to_stderr(config)?;
    // Each connection takes a descriptor; many systems allow more than the initial limit.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "the limit of open files cannot be raised");
    }
    // Past the limit on file sizes a write must fail, and not end the process.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    let shutdown = shutdown_signals(config.shutdown_grace)?;
    if !config.says_who_may_ask() && !api::is_within_loopback(&config.listen).await {
        let reason = format!(
            "not listening on {}: whoever reaches it could read and write everything. Say who may do what with \
             --tokens FILE, or that everyone may with --anonymous write (or read)",
            config.listen
        );
        return Err(reason.into());
    }
    let (authority, token_count) = match &config.tokens {
        None => (config.authority(None), 0),
        Some(path) => {
            let (file, tokens) = WatchedTokens::open(path).await?;
            let count = tokens.count();
            let authority = config.authority(Some(tokens));
            tokio::spawn(file.keep_current(authority.clone()));
            (authority, count)
        }
    };
    let tls = match (&config.tls_cert, &config.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(Tls::open(certificate, key, config.tls_client_ca.as_deref()).await?)
        }
        _ => None,
    };
    let mut shutdown = Box::pin(shutdown);
    let store = tokio::select! {
        store = open_store(config) => store?,
        // An etcd that cannot be reached may be waited for.
        () = &mut shutdown => {
            tracing::info!("stopped before it was started");
            return Ok(());
        }
    };
    let service = Arc::new(Service::new(store, config.service_settings()));
    let listener = api::listen(&config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    // The parent process may have closed standard output; that is no reason not to serve.
    let scheme = if tls.is_some() { "https" } else { "http" };
    let _ = writeln!(io::stdout(), "listening on {scheme}://{address}");
    let health = service.health().await.store;
    tracing::info!(
        %address,
        store = where_the_store_is(config),
        keys = health.keys,
        revision = health.position.revision,
        tls = tls.is_some(),
        tokens = token_count,
        anonymous = config.rights_of_anonymous(),
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    if config.tokens.is_some() && tls.is_none() && !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "tokens cross the network unencrypted: use --tls-cert, or a proxy in front that speaks https"
        );
    }
    let hosts = AllowedHosts::listening_on(address, &config.listen, &config.allowed_host);
    let guard = Guard::new(hosts)
        .with_origins(AllowedOrigins::new(&config.cors_origin))
        .with_proxies(TrustedProxies::new(
            &config.trusted_proxy,
            config.trusted_user_header.clone(),
        ))
        .with_authority(authority);
    let mut listener = Listener::from(listener);
    if let Some(tls) = tls {
        listener = listener.with_tls(tls);
    }
    let served = api::serve(listener, service, config.limits(), guard, shutdown).await;
    served.map_err(|error| {
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        let data = config.data.display();
        format!(
            "the store could not be closed cleanly: {reason}; what was acknowledged is in {data} and \
             {data}.commits.*: keep all of them"
        )
    })?;
    tracing::info!("stopped");
    Ok(())
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    #[cfg(feature = "etcd")]
    if let Some(address) = &config.etcd.store {
        let settings = config.etcd_settings().await?;
        return Ok(Arc::new(EtcdStore::open(address, settings).await?));
    }
    let store = FileStore::open(&config.data, config.store_settings()).await?;
    Ok(Arc::new(store))
}

fn where_the_store_is(config: &Config) -> String {
    #[cfg(feature = "etcd")]
    if let Some(address) = &config.etcd.store {
        return address.to_string();
    }
    config.data.display().to_string()
}

fn log_to_stderr(config: &Config) -> Result<(), Box<dyn Error>> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(targets) => targets
            .parse::<Targets>()
            .map_err(|error| format!("RUST_LOG cannot be read: {error}"))?,
        Err(_) => {
            // Without tokens nobody has a name that the audit could show.
            let audit = match config.tokens {
                Some(_) => LevelFilter::INFO,
                None => LevelFilter::OFF,
            };
            let all = Targets::new().with_default(LevelFilter::INFO);
            all.with_target(AUDIT_TARGET, audit)
        }
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter);
    tracing_subscriber::registry().with(lines).init();
    Ok(())
}

/// Ready at the first SIGINT or SIGTERM. A second one ends the process at once, and so does the end of the
/// grace time: what was acknowledged is on disk already. This is done in a separate thread, because the
/// others may be busy.
fn shutdown_signals(grace: Duration) -> io::Result<impl Future<Output = ()>> {
    let (first, received) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mut next = async || {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                };
                next().await;
                // The receiver exists as long as the service runs.
                let _ = first.send(());
                match timeout(grace, next()).await {
                    Ok(()) => end(EXIT_CUT_SHORT, "a second signal: not waiting any longer"),
                    Err(_) => end(
                        EXIT_GRACE_OVER,
                        "the grace time is over: not waiting any longer",
                    ),
                }
            });
        })?;
    Ok(async move {
        let _ = received.await;
    })
}

/// Ends the process, even if nobody reads its log.
fn end(code: i32, reason: &'static str) -> ! {
    let (logged, wait) = mpsc::channel();
    thread::spawn(move || {
        tracing::warn!("{reason}");
        // Nobody waits for it any longer when the process ends first.
        let _ = logged.send(());
    });
    let _ = wait.recv_timeout(LAST_LOG_WAIT);
    process::exit(code)
}
