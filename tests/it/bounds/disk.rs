//! A disk that takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::load::{MEMORY_MAX_BYTES, Setup, Trial, string};
use crate::support::raw::{request, reset};
use crate::support::strace::Strace;

const VALUE_BYTES: usize = 1024 * 1024;
const CONNECTIONS: usize = 8;
/// By how much each sync is slower: none ends while the test lasts.
const SYNC_DELAY: Duration = Duration::from_secs(120);
/// How many values are sent, or for how long.
const SENT_MAX: usize = 450;
const LOAD_TIME: Duration = Duration::from_secs(25);

/// What is under way outlives its connection, so connections do not bound it.
#[tokio::test]
async fn values_of_clients_that_hang_up_on_a_stalled_disk_come_to_a_bounded_size() {
    if !Strace::is_usable().await {
        return;
    }
    let connections = CONNECTIONS.to_string();
    let setup = Setup::new(&["--max-connections", &connections, "--request-timeout", "1s"]);
    let mut trial = setup.start().await;
    trial.slow_down_disk(SYNC_DELAY).await;
    let sent = Arc::<AtomicUsize>::default();
    for number in 0..CONNECTIONS - 1 {
        hang_up_again_and_again(&mut trial, number, &sent);
    }
    let load = async {
        while sent.load(Ordering::Relaxed) < SENT_MAX {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(LOAD_TIME, load).await;
    println!("{} values were sent", sent.load(Ordering::Relaxed));
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// A client that hangs up whenever it has sent a value.
fn hang_up_again_and_again(trial: &mut Trial, number: usize, sent: &Arc<AtomicUsize>) {
    let (address, sent) = (trial.address.clone(), Arc::clone(sent));
    trial.client(async move {
        loop {
            let path = format!("/kv/{number}");
            let put = request("PUT", &path, "", &string(VALUE_BYTES, b'a'));
            if let Ok(mut stream) = TcpStream::connect(&address).await
                && stream.write_all(put.as_bytes()).await.is_ok()
            {
                sent.fetch_add(1, Ordering::Relaxed);
                // Until all was read.
                sleep(Duration::from_millis(300)).await;
                reset(stream);
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
}
