//! Changes as a stream of server-sent events (WHATWG HTML §9.2).
//!
//! | block | when |
//! | --- | --- |
//! | `retry`, `id` | at the beginning, so that a client that is cut off before the first event resumes too; with `event: reset` and `data` if the changes since the point asked for are not known any more |
//! | `id`, `event: put` or `delete`, `data` | for each change; the data is the entry |
//! | a comment, `id` | every [`HEARTBEAT`], for proxies, and for a filter that seldom lets something through: the point from which it resumes must not grow too old |
//!
//! axum's `Sse` would write an event anew for each watcher; here all of them share one text.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::reply::NO_STORE;
use crate::model::{Bookmark, Event, EventKind};
use crate::storage::{Start, Watching};

/// How often a watcher hears something even if nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client should wait before it comes again, in milliseconds.
const RETRY_MILLIS: u32 = 1000;
/// nginx holds answers back to send them in larger pieces, unless it is told not to.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// 200 with everything that `watching` tells, until it ends or `drained` is ready.
pub fn stream(watching: Watching, drained: impl Future<Output = ()> + Send + 'static) -> Response {
    let first = beginning(&watching);
    let Watching {
        position, changes, ..
    } = watching;
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = stream::unfold((changes, heartbeat), move |(mut changes, mut heartbeat)| {
        let history = Arc::clone(&position.history);
        async move {
            let text = tokio::select! {
                biased;
                event = changes.next() => event?.shown(|event| event_text(event, history)),
                _ = heartbeat.tick() => format!(":\nid: {}\n\n", changes.position()).into(),
            };
            Some((text, (changes, heartbeat)))
        }
    });
    let begun = stream::once(async { Bytes::from(first) });
    let texts = begun.chain(told).take_until(Box::pin(drained));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, NO_STORE),
        UNBUFFERED,
    ];
    let body = Body::from_stream(texts.map(Ok::<_, Infallible>));
    (headers, body).into_response()
}

/// The reset and the point after it are one block: a client that got only the second would resume
/// there, and never list.
fn beginning(watching: &Watching) -> String {
    let position = &watching.position;
    let reset = match watching.start {
        Start::Now | Start::Resumed => String::new(),
        Start::Reset => {
            let revision = position.cursor.revision();
            format!("event: reset\ndata: {{\"revision\":{revision}}}\n")
        }
    };
    format!("retry: {RETRY_MILLIS}\nid: {position}\n{reset}\n")
}

fn event_text(event: &Event, history: Arc<str>) -> Vec<u8> {
    let name = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    let id = Bookmark {
        cursor: event.cursor,
        history,
    };
    let mut text = format!("id: {id}\nevent: {name}\ndata: ").into_bytes();
    // An entry is one line: line breaks in JSON strings are escaped, and others were taken out.
    event
        .entry
        .write_json(&event.entry.record.etag(), &mut text);
    text.extend_from_slice(b"\n\n");
    text
}
