//! Writes that are sent again when their answer was lost.
//!
//! Every write has an `Idempotency-Key`, and the service does all requests with one key once. An older service
//! ignores the header and would do the write twice. So a write is only sent again if the service's description,
//! `/openapi.json`, has the header; it is asked for only after an answer was lost. What the service itself refused
//! as busy was not done, and can be sent again in any case.

use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Request, Response};
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::output::note;

/// How often a write is sent again.
const RETRIES: u32 = 5;
/// The pause before the first of these; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that the service may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// No write is sent again later than this after the first time.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The name of the request, which is the same each time that it is sent.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The name of the header in the description of a service that knows it.
const IN_DESCRIPTION: &str = "Idempotency-Key";
const KEY_BYTES: usize = 16;

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// Writes whose answer was lost, and those that the service was too busy for.
    LostAndBusy,
    /// Not those with status 503, which the caller sends again.
    Lost,
}

/// A new name for a request: a structured-field string (RFC 9651).
pub fn new_key() -> Result<HeaderValue, Failure> {
    let mut bits = [0; KEY_BYTES];
    let failed = |error: &dyn ToString| {
        Failure::Input(format!(
            "the system has no random number for the request: {}; nothing was written",
            error.to_string()
        ))
    };
    getrandom::fill(&mut bits).map_err(|error| failed(&error))?;
    let text = format!("\"{}\"", hex::encode(bits));
    HeaderValue::from_str(&text).map_err(|error| failed(&error))
}

/// Sends a write, again if that is safe. `attempt` sends it once, and `describe` reads the description of the
/// service.
///
/// # Errors
/// Of the first attempt whose outcome is not known, unless a later one says it.
pub async fn send(
    mut write: Request,
    retried: Retried,
    attempt: impl AsyncFn(Request) -> Result<Response, Failure>,
    describe: impl AsyncFn() -> Result<String, Failure>,
) -> Result<Response, Failure> {
    if !write.headers().contains_key(IDEMPOTENCY_KEY) {
        write.headers_mut().insert(IDEMPOTENCY_KEY, new_key()?);
    }
    let mut pauses = Pauses::begin();
    let mut lost = None;
    let mut is_done_once = false;
    loop {
        // Only a body that is a stream cannot be sent twice, and no command sends one.
        let Some(copy) = write.try_clone() else {
            return attempt(write).await;
        };
        let failure = match attempt(copy).await {
            Err(failure) => failure,
            answer => return answer,
        };
        match Next::after(&failure, lost.is_some(), retried) {
            Next::End => return Err(failure),
            Next::EndWithoutOutcome => return Err(lost.unwrap_or(failure)),
            Next::Again { wait } => {
                if !pauses.pause(wait).await {
                    return Err(lost.unwrap_or(failure));
                }
            }
            Next::AgainIfDoneOnce => {
                let first = lost.take().unwrap_or(failure);
                let may_repeat = pauses.pause(Duration::ZERO).await
                    && (is_done_once || does_requests_once(&describe, &mut pauses).await);
                if !may_repeat {
                    return Err(first);
                }
                lost = Some(first);
                is_done_once = true;
                note("The answer was lost. Sending the same request again; it is done only once.");
            }
        }
    }
}

/// Whether the service does all requests with one key once, as its description says. An older one does not say so.
async fn does_requests_once(
    describe: &impl AsyncFn() -> Result<String, Failure>,
    pauses: &mut Pauses,
) -> bool {
    loop {
        let answer = match describe().await {
            Ok(description) => return description.contains(IN_DESCRIPTION),
            Err(failure) => failure,
        };
        // It may be restarting.
        let may_pass = match &answer {
            Failure::Unreachable { .. } => true,
            Failure::Refused(refusal) => refusal.status >= 500,
            _ => false,
        };
        if !may_pass || !pauses.pause(Duration::ZERO).await {
            return false;
        }
    }
}

/// The pauses between attempts, each twice as long as the one before.
struct Pauses {
    begun: Instant,
    left: u32,
    next: Duration,
}

impl Pauses {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            left: RETRIES,
            next: FIRST_PAUSE,
        }
    }

    /// Waits at least this long before the next attempt. Returns false if no attempt is left.
    async fn pause(&mut self, at_least: Duration) -> bool {
        let wait = self.next.max(at_least);
        if self.left == 0 || self.begun.elapsed() + wait > TIME_MAX {
            return false;
        }
        self.left -= 1;
        self.next *= 2;
        sleep(wait).await;
        true
    }
}

/// What follows a failed attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: it says what was done.
    End,
    /// Nothing, and it does not say what became of an attempt before.
    EndWithoutOutcome,
    /// Another attempt, after this time at the earliest: this one did nothing, or the one before is in progress.
    Again { wait: Duration },
    /// Another attempt if it cannot do the write twice.
    AgainIfDoneOnce,
}

impl Next {
    /// `was_lost` says whether the outcome of an attempt before is not known.
    fn after(failure: &Failure, was_lost: bool, retried: Retried) -> Self {
        let refusal = match failure {
            Failure::OutcomeUnknown { .. } => return Self::AgainIfDoneOnce,
            // It may be restarting.
            Failure::Unreachable { .. } if was_lost => return Self::AgainIfDoneOnce,
            Failure::Refused(refusal) => refusal,
            _ if was_lost => return Self::EndWithoutOutcome,
            _ => return Self::End,
        };
        let is_callers = refusal.status == 503 && retried == Retried::Lost;
        let wait = refusal.retry_after.filter(|wait| *wait <= RETRY_AFTER_MAX);
        match wait {
            _ if is_callers && !was_lost => Self::End,
            _ if refusal.is_lost_on_the_way() => Self::AgainIfDoneOnce,
            Some(wait) if refusal.is_busy() || refusal.is_in_progress() => Self::Again { wait },
            _ if was_lost && !refusal.is_about_the_request() => Self::EndWithoutOutcome,
            _ => Self::End,
        }
    }
}
