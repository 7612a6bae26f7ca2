//! The least that axum can do: one route that answers with the bytes of its first argument's
//! file, under the server that axum brings. What ifmatch's GET is compared with.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use axum::serve::ListenerExt as _;

#[tokio::main]
async fn main() {
    let file = std::env::args().nth(1).expect("a file with the answer");
    let body = Bytes::from(std::fs::read(file).expect("the file can be read"));
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], body) };
    let routes = Router::new().route("/kv/{*key}", get(answer));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("a free port");
    println!(
        "listening on http://{}",
        listener.local_addr().expect("an address")
    );
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes).await.expect("serving");
}
