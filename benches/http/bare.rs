//! The least that axum can do: one route that answers with the headers and the body in two files,
//! under the server that axum brings. What ifmatch's GET is compared with.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;
use axum::serve::ListenerExt as _;

/// What the server adds by itself.
const OF_THE_SERVER: [&str; 2] = ["content-length", "date"];

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [headers_file, body_file] = &arguments[..] else {
        println!("benches/http/run starts this with a file of headers and a file with a body");
        return;
    };
    let read = |file| std::fs::read(file).expect("the file can be read");
    let headers = headers(&read(headers_file));
    let body = Bytes::from(read(body_file));
    let answer = move || async move { (headers, body) };
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

/// The headers in an answer as curl dumps it.
fn headers(dump: &[u8]) -> HeaderMap {
    let dump = std::str::from_utf8(dump).expect("headers are text");
    let lines = dump
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| !OF_THE_SERVER.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a name");
            (name, HeaderValue::try_from(value).expect("a value"))
        })
        .collect()
}
