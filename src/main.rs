//! Arguments → logging → open the store → serve → drain; or a command of a client.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use ifmatch::api;
use ifmatch::cli::{self, Arguments, Task};
use ifmatch::config::{Config, LogFormat};
use ifmatch::service::Service;
use ifmatch::storage::file::FileStore;
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// Requests are many small allocations; `benches/http/run` tells what this is worth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a process that a second signal ended.
const EXIT_CUT_SHORT: i32 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Arguments::parse_task() {
        Task::Ask(server, request) => return cli::run(server, request).await,
        Task::Serve(config) => config,
    };
    if let Err(error) = serve(&config).await {
        eprintln!("ifmatch: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    log_to_stderr(config.log_format)?;
    // Each connection takes a descriptor; many systems allow more than they give at first.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "the limit of open files cannot be raised");
    }
    // Past a limit of file sizes a write must fail, and not end the process.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    let shutdown = shutdown_signals()?;
    let store = FileStore::open(&config.data, config.store_settings()).await?;
    let service = Arc::new(Service::new(Arc::new(store), config.policy()));
    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    // Whoever started this may have closed its standard output; that is no reason not to serve.
    let _ = writeln!(io::stdout(), "listening on http://{address}");
    let health = service.health().await.store;
    tracing::info!(
        %address,
        data = %config.data.display(),
        keys = health.keys,
        revision = health.position.revision,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    api::serve(listener, service, config.limits(), shutdown).await;
    tracing::info!("stopped");
    Ok(())
}

fn log_to_stderr(format: LogFormat) -> Result<(), Box<dyn Error>> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(directives)
            .map_err(|error| format!("RUST_LOG cannot be read: {error}"))?,
        Err(_) => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Ready at the first SIGINT or SIGTERM. A second one ends the process at once: what was
/// acknowledged is on disk already.
fn shutdown_signals() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (first, received) = oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match first.take() {
                // The receiver is there as long as the service runs.
                Some(first) => drop(first.send(())),
                None => {
                    tracing::warn!("a second signal: not waiting any longer");
                    std::process::exit(EXIT_CUT_SHORT);
                }
            }
        }
    });
    Ok(async move {
        let _ = received.await;
    })
}
