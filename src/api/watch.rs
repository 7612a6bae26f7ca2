//! Changes as a stream of server-sent events (WHATWG HTML §9.2).
//!
//! | block | when |
//! | --- | --- |
//! | `retry`, `id` | at the beginning, so that a client that is cut off before the first event resumes too; with `event: reset` and `data` if the changes since the point asked for are no longer known |
//! | `id`, `event: put` or `delete`, `data` | for each change; the data is the entry |
//! | a comment, `id` | every [`HEARTBEAT`], for proxies, and for a filter that seldom matches: its resume point must not grow too old |
//!
//! axum's `Sse` would render an event again for each watcher; here all of them share one text, unless it is
//! long: then each gets pieces that are cut from the event as it reads.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::json_text::{PIECE_BYTES, append_part};
use crate::model::{Event, EventKind, ResumeToken};
use crate::service::{Points, Watching};
use crate::storage::{ChangeStream, SharedEvent, Start, StoreError, Subscription};

/// How often a watcher is sent something even if nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client should wait before it reconnects, in milliseconds.
const RETRY_MILLIS: u32 = 1000;
/// A proxy that compresses a stream holds its events back (RFC 9111 §5.2.2.6).
const UNCHANGED: HeaderValue = HeaderValue::from_static("no-store, no-transform");
/// nginx holds answers back to send them in larger pieces, unless this header says not to.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// 200 with the events of `watching`, until it ends or `drained` is ready.
pub fn stream(watching: Watching, drained: impl Future<Output = ()> + Send + 'static) -> Response {
    let Watching {
        subscription,
        points,
    } = watching;
    let first = beginning(&subscription);
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = EventStream {
        changes: subscription.changes,
        points,
        long: None,
        heartbeat,
        drained: Box::pin(drained),
    };
    let events = stream::try_unfold(events, async |mut events| {
        let text = events.next().await?;
        Ok::<_, StoreError>(text.map(|text| (text, events)))
    });
    let begun = stream::once(async { Ok(Bytes::from(first)) });
    let texts = begun.chain(events);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, UNCHANGED),
        UNBUFFERED,
    ];
    let body = Body::from_stream(texts);
    (headers, body).into_response()
}

/// What a watcher is sent. While a client does not read, it holds no event and no text.
struct EventStream<D> {
    changes: Box<dyn ChangeStream>,
    points: Points,
    /// A long event that was sent in part.
    long: Option<LongEvent>,
    heartbeat: Interval,
    drained: Pin<Box<D>>,
}

/// The log may drop it at any time.
struct LongEvent {
    event: Weak<SharedEvent>,
    /// How much of its text was sent.
    sent: usize,
}

impl<D: Future<Output = ()>> EventStream<D> {
    /// The next text; nothing at the end.
    ///
    /// # Errors
    /// [`StoreError::Revoked`] if an event that was sent in part has been dropped. The client must
    /// not mistake it for a complete one.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(LongEvent { event, sent }) = self.long.take() {
            let event = event.upgrade().ok_or(StoreError::Revoked)?;
            return Ok(Some(self.next_piece(&event, sent)));
        }
        let event = tokio::select! {
            biased;
            () = &mut self.drained => return Ok(None),
            event = self.changes.next() => event,
            _ = self.heartbeat.tick() => {
                let text = format!(":\nid: {}\n\n", self.changes.position());
                return Ok(Some(text.into()));
            }
        };
        Ok(event.map(|event| {
            if event.is_long() || !self.points.are_of_store() {
                return self.next_piece(&event, 0);
            }
            event.rendering(event_text)
        }))
    }

    fn next_piece(&mut self, event: &Arc<SharedEvent>, sent: usize) -> Bytes {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        write_head(event, self.points.shown(event.cursor), &mut head);
        write_tail(event, &mut tail);
        let value = event.entry.record.value.as_json().as_bytes();
        let segments = [&head[..], value, &tail];
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let sent = sent + append_part(&mut piece, PIECE_BYTES, &segments, sent);
        if sent < segments.map(<[u8]>::len).iter().sum() {
            let event = Arc::downgrade(event);
            self.long = Some(LongEvent { event, sent });
        }
        piece.into()
    }
}

/// The reset and the point after it are one block: a client that got only the second would resume
/// there, and never list.
fn beginning(subscription: &Subscription) -> String {
    let position = &subscription.position;
    let reset = match subscription.start {
        Start::Now | Start::Resumed => String::new(),
        Start::Reset => {
            let revision = position.revision();
            format!("event: reset\ndata: {{\"revision\":{revision}}}\n")
        }
    };
    format!("retry: {RETRY_MILLIS}\nid: {position}\n{reset}\n")
}

fn event_text(event: &SharedEvent) -> Vec<u8> {
    let mut text = Vec::with_capacity(event.rendering_bytes());
    write_head(event, event.cursor, &mut text);
    text.extend_from_slice(event.entry.record.value.as_json().as_bytes());
    write_tail(event, &mut text);
    text
}

/// What comes before the value. An entry is one line: line breaks in JSON strings are escaped, and
/// others were taken out.
fn write_head(event: &Event, id: ResumeToken, text: &mut Vec<u8>) {
    let name = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    text.extend_from_slice(format!("id: {id}\nevent: {name}\ndata: ").as_bytes());
    event.entry.write_json_head(text);
}

/// What comes after the value.
fn write_tail(event: &Event, text: &mut Vec<u8>) {
    event
        .entry
        .write_json_tail(&event.entry.record.etag(), text);
    text.extend_from_slice(b"\n\n");
}
