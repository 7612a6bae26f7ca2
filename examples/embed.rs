//! The service below a path of another program: `cargo run --example embed`, then
//! `curl -i -X PUT -H 'Content-Type: application/json' -d '{"theme":"dark"}' 127.0.0.1:8080/settings/kv/ann`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use ifmatch::{AllowedHosts, FileStore, Journaling, Limits, Service, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = FileStore::open(Path::new("settings.json"), Journaling::default()).await?;
    let service = Arc::new(Service::new(Arc::new(store), Settings::default()));
    let settings = ifmatch::router(Arc::clone(&service), Limits::default(), AllowedHosts::any());
    let app = Router::new()
        .route(
            "/",
            get(|| async { "The settings are below /settings/.\n" }),
        )
        .nest_service("/settings", settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://{}/settings/", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Without a signal to wait for, it serves until it is killed; nothing acknowledged is lost.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    service.close().await?;
    Ok(())
}
