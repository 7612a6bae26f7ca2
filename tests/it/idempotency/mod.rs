//! `Idempotency-Key`: a request that is sent again is done once, and answered as it was.

mod in_progress;
mod readme;
mod refusals;
mod replays;
mod rights;

use axum::http::{HeaderMap, Method};

use crate::support::api::{Answer, Api, Call};

const KEY: &str = "\"8e03978e-40d5\"";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// A request with an idempotency key. `TAG` stands for a tag.
#[derive(Debug, Clone, Copy)]
struct Sent<'a> {
    method: &'a str,
    path: &'a str,
    headers: Headers<'a>,
    body: &'a str,
}

impl Sent<'_> {
    fn call<'b>(&self, api: &'b Api, tag: &str) -> Call<'b> {
        let method: Method = self.method.parse().unwrap();
        let mut call = api.call(method, self.path);
        for (name, value) in self.headers {
            call = call.header(name, &value.replace("TAG", tag));
        }
        let is_typed = self.headers.iter().any(|(name, _)| *name == "content-type");
        if !self.body.is_empty() && !is_typed {
            call = call.header("content-type", "application/json");
        }
        call.body(self.body.to_owned())
    }

    async fn send(&self, api: &Api, tag: &str) -> Answer {
        self.call(api, tag)
            .header("idempotency-key", KEY)
            .send()
            .await
    }
}

const TRANSACTION: &str = r#"{"operations":[{"op":"put","key":"b","value":1},{"op":"put","key":"a","value":2},{"op":"delete","key":"d"},{"op":"check","key":"c","if_match":"*"}]}"#;

/// One request of each kind, all of which succeed while `a`, `c` and `d` exist, and `b` does not.
const REQUESTS: [Sent<'_>; 9] = [
    Sent {
        method: "PUT",
        path: "/kv/b",
        headers: &[],
        body: "{\"n\":1}",
    },
    Sent {
        method: "PUT",
        path: "/kv/a",
        headers: &[("if-match", "TAG")],
        body: "2",
    },
    Sent {
        method: "POST",
        path: "/kv/b",
        headers: &[("if-none-match", "*")],
        body: "{\"n\":1}",
    },
    Sent {
        method: "PATCH",
        path: "/kv/a",
        headers: &[("content-type", MERGE_PATCH), ("if-match", "TAG")],
        body: "{\"n\":2}",
    },
    Sent {
        method: "PATCH",
        path: "/kv/a",
        headers: &[("content-type", JSON_PATCH)],
        body: r#"[{"op":"test","path":"/n","value":1},{"op":"replace","path":"/n","value":2}]"#,
    },
    Sent {
        method: "DELETE",
        path: "/kv/a",
        headers: &[],
        body: "",
    },
    Sent {
        method: "DELETE",
        path: "/kv/a",
        headers: &[("if-match", "TAG")],
        body: "",
    },
    Sent {
        method: "POST",
        path: "/transactions",
        headers: &[],
        body: TRANSACTION,
    },
    Sent {
        method: "PUT",
        path: "/kv/a",
        headers: &[("if-match", "TAG"), ("prefer", "merge")],
        body: "{\"n\":1,\"m\":1}",
    },
];

/// Creates `a`, `c` and `d`. Returns the tag of `a`.
async fn set_scene(api: &Api) -> String {
    api.put("/kv/c", "3").send().await;
    api.put("/kv/d", "4").send().await;
    api.put("/kv/a", "{\"n\":1}").send().await.etag()
}

/// Without what is of one answer alone.
fn compared(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove("x-request-id");
    headers.remove("idempotency-replayed");
    headers
}

#[track_caller]
fn assert_replay(again: &Answer, first: &Answer) {
    assert_eq!(again.status, first.status, "{again:?}");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text(), first.text());
    assert_eq!(compared(&again.headers), compared(&first.headers));
}

async fn state(api: &Api) -> String {
    api.get("/kv").send().await.text().to_owned()
}
