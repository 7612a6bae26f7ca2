//! Histories of clients of two processes of which one is frozen now and then, each key's judged by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::rounds;
use crate::support::cluster::EtcdCluster;
use crate::support::linear::refused_event;
use crate::support::linear_clients::{CLIENTS, Client, Dice, KEYS, Outcome, Record};
use crate::support::service::{freeze, serve_two, thaw};

/// So many answers come in each round.
const ANSWERS: usize = 600;
/// How often a process is frozen in each round.
const FREEZES: usize = 3;
/// Everybody is answered within this time.
const STALLED: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_linearizable_through_two_processes_of_which_one_is_frozen() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let servers = [processes[0].url(""), processes[1].url("")];
    let mut dice = Dice(7);
    let (mut answered, mut others) = (0, 0);
    for round in 0..2 * rounds() {
        let record = Arc::new(Record::new(format!("linear/{round}")));
        let mut observer = Client::new(CLIENTS, dice.roll());
        observer.read_all(&servers[round % 2], &record).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let (count, mut counted) = watch::channel(0);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let mut client = Client::new(number, dice.roll());
            let (servers, record) = (servers.clone(), Arc::clone(&record));
            let (is_over, count) = (Arc::clone(&is_over), count.clone());
            clients.spawn(async move {
                let mut others = 0;
                while !is_over.load(Ordering::SeqCst) {
                    match client.step(&servers, &record).await {
                        Outcome::Answered(_) => count.send_modify(|count| *count += 1),
                        Outcome::Refused | Outcome::Lost => {
                            others += 1;
                            sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                others
            });
        }
        for freeze_number in 0..FREEZES {
            let enough = ANSWERS * (freeze_number + 1) / (FREEZES + 1);
            let waiting = counted.wait_for(|count| *count >= enough);
            timeout(STALLED, waiting)
                .await
                .expect("they go on")
                .unwrap();
            // In every second round a member is frozen too, so that barriers are passed elsewhere.
            let member = freeze_number % 3;
            if round % 2 == 1 {
                cluster.freeze(member);
            }
            let frozen = &processes[dice.below(2)];
            freeze(frozen);
            sleep(Duration::from_millis(200 + dice.roll() % 600)).await;
            thaw(frozen);
            if round % 2 == 1 {
                cluster.thaw(member);
            }
        }
        let waiting = counted.wait_for(|count| *count >= ANSWERS);
        timeout(STALLED, waiting)
            .await
            .expect("they go on")
            .unwrap();
        is_over.store(true, Ordering::SeqCst);
        let ending = timeout(STALLED, clients.join_all());
        others += ending
            .await
            .expect("everybody is answered")
            .iter()
            .sum::<usize>();
        answered += *counted.borrow();
        observer.read_all(&servers[(round + 1) % 2], &record).await;
        let events = record.next_history();
        for key in 0..KEYS {
            let history: Vec<_> = events.iter().filter(|event| event.key == key).collect();
            if let Some(refused) = refused_event(&history) {
                for event in &history[..=refused] {
                    println!("{event:?}");
                }
                panic!("round {round}: no order explains the last of these events");
            }
        }
    }
    println!(
        "{} rounds: {answered} answers, {others} requests without",
        2 * rounds()
    );
}
