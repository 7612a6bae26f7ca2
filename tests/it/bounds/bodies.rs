//! Request bodies: what they come to in memory, and those that never end.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::binary::soon;
use crate::support::load::{Ending, MEMORY_MAX_BYTES, Setup};
use crate::support::raw::{Answer, ask, connect, head, request};

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

#[tokio::test]
async fn a_value_that_fills_a_transaction_comes_to_a_bounded_size() {
    let setup = Setup::new(&["--request-timeout", "60s"]);
    let trial = setup.ending(Ending::SecondSignal).start().await;
    let head = r#"{"operations":[{"op":"put","key":"a","value":"#;
    for text in texts_that_blow_up(MAX_TRANSACTION_BYTES - 100) {
        let request = request("POST", "/transactions", "", &format!("{head}{text}}}]}}"));
        let answer = ask(&trial.address, &request).await.unwrap();
        answer.assert_is_one_of(&[413]);
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

async fn all_are_told(asked: impl Iterator<Item = impl Future<Output = Answer>>, told: &[u16]) {
    let within = Duration::from_secs(25);
    let answers = timeout(within, join_all(asked)).await;
    for answer in answers.expect("all are answered when their time is over") {
        answer.assert_is_one_of(told);
    }
}

/// Within which time a refusal has come. It comes at once; the machine takes the time.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

/// What becomes of the requests that were admitted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Wait,
    HangUpOrFinish,
}

/// Sends a request of so many bytes but the last. Whoever is refused is told so before the last;
/// the others send that when it is time, or hang up. What is sent are spaces, which are no JSON.
async fn unfinished(
    address: String,
    head: String,
    bytes: usize,
    hangs_up: bool,
    mut then: watch::Receiver<Then>,
) -> Option<Answer> {
    let mut stream = connect(&address).await;
    let (mut reading, mut writing) = stream.split();
    let sending = async {
        writing.write_all(head.as_bytes()).await?;
        writing.write_all(&vec![b' '; bytes - 1]).await?;
        // Nobody tells it any more once the test has failed.
        let _ = then.wait_for(|&then| then != Then::Wait).await;
        if hangs_up {
            return Err(ErrorKind::Interrupted.into());
        }
        writing.write_all(b" ").await
    };
    let mut answer = Vec::new();
    let sent = tokio::select! {
        sent = sending => sent,
        () = read_answer(&mut reading, &mut answer) => Ok(()),
    };
    if sent.is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
        return None;
    }
    // The rest of an answer, also if the service has ended the connection meanwhile.
    read_answer(&mut reading, &mut answer).await;
    Some(Answer::read(&answer).expect("whoever is cut off is told why"))
}

/// Reads to the end of an answer, or as far as it comes. The connection goes on as long as the service
/// takes in a body, so that its sender comes to see the answer.
async fn read_answer(reading: &mut (impl AsyncRead + Unpin), answer: &mut Vec<u8>) {
    let is_whole = |bytes: &[u8]| {
        Answer::read(bytes).is_ok_and(|answer| {
            let head = answer.head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            length.is_some_and(|length| length.parse() == Ok(answer.body.len()))
        })
    };
    while !is_whole(answer) && reading.read_buf(answer).await.is_ok_and(|read| read > 0) {}
}

/// Sends so many unfinished requests at once, more than are admitted.
async fn unfinished_requests_are_bounded(count: usize, method: &str, path: &str, bytes: usize) {
    // Nobody is refused because his time is over.
    let trial = Setup::new(&["--request-timeout", "5m"]).start().await;
    let admitted_max = IN_FLIGHT_MAX_BYTES / bytes;
    let refused_min = count - admitted_max;
    let (go_on, then) = watch::channel(Then::Wait);
    let mut clients = JoinSet::new();
    for number in 0..count {
        let head = head(method, path, "Connection: close\r\n", bytes);
        let (address, hangs_up) = (trial.address.clone(), number % 2 == 0);
        clients.spawn(unfinished(address, head, bytes, hangs_up, then.clone()));
    }
    let mut refused = 0;
    let refusals = async {
        while refused < refused_min {
            let answer = clients.join_next().await.expect("some are admitted");
            let answer = answer.unwrap().expect("nobody hangs up yet");
            answer.assert_is_one_of(&[503]);
            refused += 1;
        }
    };
    let all_came = timeout(REFUSED_WITHIN, refusals).await.is_ok();
    assert!(
        all_came,
        "{refused} of {count} were refused, not {refused_min}"
    );
    // Now those that were admitted go on, or hang up; in both ways they make room.
    go_on.send_replace(Then::HangUpOrFinish);
    let mut admitted = 0;
    for answer in soon(clients.join_all()).await {
        let Some(answer) = answer else {
            admitted += 1;
            continue;
        };
        answer.assert_is_one_of(&[400, 503]);
        admitted += usize::from(answer.status == 400);
    }
    assert!(admitted > 0, "all were refused");
    let value = format!("{}1", " ".repeat(MAX_VALUE_BYTES - 1));
    let put = request("PUT", "/kv/a", "", &value);
    soon(async {
        while ask(&trial.address, &put).await.unwrap().status == 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

#[tokio::test]
async fn unfinished_transactions_count_from_their_first_byte() {
    unfinished_requests_are_bounded(100, "POST", "/transactions", MAX_TRANSACTION_BYTES).await;
}

#[tokio::test]
async fn unfinished_values_count_from_their_first_byte() {
    unfinished_requests_are_bounded(300, "PUT", "/kv/a", MAX_VALUE_BYTES).await;
}
