//! Preconditions, as the contract has them.

mod refused;
mod required;
mod stale;
mod table;

use std::time::{Duration, SystemTime};

use axum::http::Method;

use crate::support::api::{Answer, Api};

/// A store in which `/kv/there` has had two values; its current tag.
pub async fn with_entry() -> (Api, String) {
    let api = Api::in_memory();
    api.put("/kv/there", "1").send().await;
    let tag = api.put("/kv/there", "2").send().await.etag();
    (api, tag)
}

pub async fn ask(api: &Api, method: &Method, path: &str, headers: &[(&str, String)]) -> Answer {
    let mut call = api.call(method.clone(), path);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    if *method == Method::PUT || *method == Method::POST {
        call = call.json("3");
    }
    call.send().await
}

fn http_date(offset_seconds: i64) -> String {
    let now = SystemTime::now();
    let offset = Duration::from_secs(offset_seconds.unsigned_abs());
    httpdate::fmt_http_date(if offset_seconds < 0 {
        now - offset
    } else {
        now + offset
    })
}

const GET: Method = Method::GET;

const HEAD: Method = Method::HEAD;

const PUT: Method = Method::PUT;

const POST: Method = Method::POST;

const DELETE: Method = Method::DELETE;
