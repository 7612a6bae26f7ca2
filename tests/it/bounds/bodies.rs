//! Request bodies: what they come to in memory, and those that never end.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::binary::soon;
use crate::support::load::{Ending, MEMORY_MAX_BYTES, Setup};
use crate::support::raw::{Answer, ask, connect, exchange, head, request};

const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// A transaction may have eight values of the largest size.
const MAX_TRANSACTION_BYTES: usize = 8 * MAX_VALUE_BYTES;
/// The default of `--max-in-flight-bytes`.
const IN_FLIGHT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// JSON texts that come to many times their size when they are read, of at most so many bytes. One
/// that has spaces in it cannot be taken as it is.
fn texts_that_blow_up(bytes: usize) -> [String; 5] {
    let filled = |open: &str, element: &str, close: &str| {
        let count = (bytes - open.len() - close.len()) / (element.len() + 1);
        format!("{open}{}{close}", vec![element; count].join(","))
    };
    [
        filled("[", "[]", "]"),
        filled("[", "{\"\":0}", "]"),
        filled("[\n", "\n  []", "\n]"),
        filled("[\n", " { \"\" : 0 }", "\n]"),
        filled("[ ", " 1", " ]"),
    ]
}

#[tokio::test]
async fn values_that_blow_up_when_they_are_read_come_to_a_bounded_size() {
    let trial = Setup::new(&["--request-timeout", "10s"]).start().await;
    let texts = texts_that_blow_up(MAX_VALUE_BYTES);
    let asked = (0..64).map(|number| {
        let path = format!("/kv/{number}");
        let put = request(
            "PUT",
            &path,
            "Prefer: return=minimal\r\n",
            &texts[number % texts.len()],
        );
        let address = trial.address.clone();
        async move { ask(&address, &put).await.unwrap() }
    });
    all_are_told(asked, &[201, 204, 503, 504]).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

#[tokio::test]
async fn transactions_that_blow_up_when_they_are_read_come_to_a_bounded_size() {
    let setup = Setup::new(&["--request-timeout", "10s"]);
    let trial = setup.ending(Ending::SecondSignal).start().await;
    let text_bytes = MAX_VALUE_BYTES - 100;
    let texts = texts_that_blow_up(text_bytes);
    let asked = (0..8).map(|number| {
        let put = |index: usize| {
            let text = &texts[(number + index) % texts.len()];
            format!(r#"{{"op":"put","key":"{number}/{index}","value":{text}}}"#)
        };
        let puts: Vec<_> = (0..7).map(put).collect();
        let body = format!("{{\"operations\":[{}]}}", puts.join(",\n"));
        let request = request("POST", "/transactions", "Prefer: return=minimal\r\n", &body);
        let address = trial.address.clone();
        async move { ask(&address, &request).await.unwrap() }
    });
    all_are_told(asked, &[200, 204, 413, 503, 504]).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

async fn all_are_told(asked: impl Iterator<Item = impl Future<Output = Answer>>, told: &[u16]) {
    let within = Duration::from_secs(25);
    let answers = timeout(within, join_all(asked)).await;
    for answer in answers.expect("all are answered when their time is over") {
        answer.assert_is_one_of(told);
    }
}

/// A request all but the last byte of which was sent.
enum Unfinished {
    /// It was sent as far as that; whether it was admitted shows in its answer.
    Sent(TcpStream),
    /// It was told so before it was done.
    Refused(Answer),
}

impl Unfinished {
    /// Sends a request of so many bytes but the last, or as far as it is let.
    async fn send(address: &str, method: &str, path: &str, bytes: usize) -> Self {
        let mut stream = connect(address).await;
        let head = head(method, path, "Connection: close\r\n", bytes);
        let (mut reading, mut writing) = stream.split();
        let body = vec![b' '; bytes - 1];
        let send = async {
            writing.write_all(head.as_bytes()).await?;
            writing.write_all(&body).await
        };
        let mut answer = Vec::new();
        let is_sent = tokio::select! {
            outcome = send => outcome.is_ok(),
            _ = reading.read_to_end(&mut answer) => false,
        };
        if is_sent {
            return Self::Sent(stream);
        }
        // The rest of an answer whose connection the service has ended.
        let _ = reading.read_to_end(&mut answer).await;
        Self::Refused(Answer::read(&answer).expect("whoever is cut off is told why"))
    }
}

/// Sends so many unfinished requests at once, more than are admitted; then those are given up.
async fn unfinished_requests_are_bounded(count: usize, method: &str, path: &str, bytes: usize) {
    let mut trial = Setup::new(&[]).start().await;
    let admitted_max = IN_FLIGHT_MAX_BYTES / bytes;
    assert!(count > admitted_max);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..count {
        let (address, tell) = (trial.address.clone(), tell.clone());
        let (method, path) = (method.to_owned(), path.to_owned());
        trial.client(async move {
            let unfinished = Unfinished::send(&address, &method, &path, bytes).await;
            // Nobody listens any more once the test has failed.
            let _ = tell.send(unfinished);
        });
    }
    let mut sent = Vec::new();
    for _ in 0..count {
        match soon(told.recv()).await.expect("a client panicked") {
            Unfinished::Sent(stream) => sent.push(stream),
            Unfinished::Refused(answer) => answer.assert_is_one_of(&[503]),
        }
    }
    // Who was admitted is heard to the end. Who was refused was refused before.
    let mut heard = 0;
    for stream in sent {
        let answer = exchange_rest(stream).await;
        answer.assert_is_one_of(&[400, 503]);
        heard += usize::from(answer.status == 400);
    }
    assert!(heard > 0, "all were refused");
    // The sockets themselves take a little, whether it is read or not.
    assert!(
        heard <= admitted_max,
        "{heard} of {count} were admitted, not {admitted_max}"
    );
    let put = request(
        "PUT",
        "/kv/a",
        "",
        &format!("{}1", " ".repeat(MAX_VALUE_BYTES - 1)),
    );
    soon(async {
        while ask(&trial.address, &put).await.unwrap().status == 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

async fn exchange_rest(stream: TcpStream) -> Answer {
    soon(exchange(stream, " ")).await.unwrap()
}

#[tokio::test]
async fn unfinished_transactions_count_from_their_first_byte() {
    unfinished_requests_are_bounded(100, "POST", "/transactions", MAX_TRANSACTION_BYTES).await;
}

#[tokio::test]
async fn unfinished_values_count_from_their_first_byte() {
    unfinished_requests_are_bounded(300, "PUT", "/kv/a", MAX_VALUE_BYTES).await;
}
