//! Answers that nobody reads.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::load::{Ending, MEMORY_MAX_BYTES, Setup, Trial, key, strings};
use crate::support::raw::{ask, get, leave_unread, request};

const VALUE_BYTES: usize = 1024 * 1024;
/// That of each value that a transaction checks.
const CHECKED_BYTES: usize = 512 * 1024;
/// The most operations of a transaction.
const OPERATIONS: usize = 128;

/// Leaves so many answers to the same request unread; returns once all of them have begun.
async fn leave_all_unread(trial: &Trial, count: usize, request: &str) -> Vec<TcpStream> {
    let unread = (0..count).map(|_| leave_unread(&trial.address, request));
    timeout(Duration::from_secs(20), join_all(unread))
        .await
        .expect("all are answered")
}

#[tokio::test]
async fn values_that_nobody_reads_come_to_a_bounded_size() {
    let setup = Setup::new(&[]).values(strings(1, VALUE_BYTES));
    let trial = setup.start().await;
    let _unread = leave_all_unread(&trial, 400, &get(&format!("/kv/{}", key(0)), "")).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

#[tokio::test]
async fn lists_that_nobody_reads_come_to_a_bounded_size() {
    let setup = Setup::new(&[]).values(strings(64, VALUE_BYTES));
    let trial = setup.ending(Ending::SecondSignal).start().await;
    let _unread = leave_all_unread(&trial, 250, &get("/kv", "")).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// A transaction that checks every value, with a condition for each.
fn checks(prefer: &str, condition: &str) -> String {
    let check = |number| format!(r#"{{"op":"check","key":"{}"{condition}}}"#, key(number));
    let checks: Vec<_> = (0..OPERATIONS).map(check).collect();
    let body = format!("{{\"operations\":[{}]}}", checks.join(","));
    request("POST", "/transactions", prefer, &body)
}

#[tokio::test]
async fn transactions_whose_answers_nobody_reads_come_to_a_bounded_size() {
    let setup = Setup::new(&[]).values(strings(OPERATIONS, CHECKED_BYTES));
    let trial = setup.start().await;
    let minimal = "Prefer: return=minimal\r\n";
    let holds = r#","if_match":"*""#;
    let fails = r#","if_none_match":"*""#;
    let mut unread = Vec::new();
    for (request, status) in [
        (checks("", holds), 200),
        (checks(minimal, holds), 204),
        (checks("", fails), 412),
        (checks(minimal, fails), 412),
    ] {
        let answer = timeout(Duration::from_secs(20), ask(&trial.address, &request));
        let answer = answer.await.expect("it is answered").unwrap();
        answer.assert_is_one_of(&[status]);
        unread.extend(leave_all_unread(&trial, 5, &request).await);
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}
