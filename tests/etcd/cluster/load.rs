//! Clients of several processes who never stop while members and processes fail, and who notice whatever is lost,
//! doubled or out of date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::support::binary::Process;
use crate::support::service::{Answer, Caller, attempt, send, try_send, until};

const COUNTERS: usize = 4;
const WRITERS: usize = 8;
const READERS: usize = 4;
/// Who was refused, or has found nobody, asks again after this.
const PAUSE: Duration = Duration::from_millis(20);
/// A follower that hears nothing for so long asks another process.
const SILENCE: Duration = Duration::from_secs(3);
/// What was told so far must go on within this time, whatever fails.
const STALLED: Duration = Duration::from_secs(90);

/// Writers, readers and a follower at work.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    follower: JoinHandle<()>,
    follow_to: watch::Sender<Option<[u64; COUNTERS]>>,
    acknowledged: watch::Receiver<u64>,
}

struct Shared {
    /// The processes that are asked.
    callers: Mutex<Vec<Caller>>,
    is_over: AtomicBool,
    counters: [Counter; COUNTERS],
    acknowledgements: watch::Sender<u64>,
    reads: AtomicU64,
    refusals: AtomicU64,
}

/// What is known of a counter, whose value is its version.
#[derive(Default)]
struct Counter {
    /// A version that was shown to somebody: nobody who asks later is shown an older one.
    shown: AtomicU64,
    /// The tag of each version that was shown.
    tags: Mutex<BTreeMap<u64, String>>,
    /// The versions that were acknowledged.
    acknowledged: Mutex<BTreeMap<u64, usize>>,
    /// How many writes have no answer that says what became of them.
    unknown: AtomicU64,
}

/// What happened under a load.
#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
pub struct Tally {
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    pub reads: u64,
}

impl Load {
    /// Begins with an empty store.
    pub async fn start(processes: &[Process]) -> Self {
        let callers: Vec<_> = processes.iter().map(Caller::of).collect();
        let (acknowledgements, acknowledged) = watch::channel(0);
        let mut stream = callers[0].watch("/watch", None).await;
        let since = stream.block().await.unwrap().id.unwrap();
        for number in 0..COUNTERS {
            send(callers[0].put(&path_of(number), 1)).await.expect(201);
        }
        let shared = Arc::new(Shared {
            callers: Mutex::new(callers),
            is_over: AtomicBool::new(false),
            counters: Default::default(),
            acknowledgements,
            reads: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(Arc::clone(&shared).write(writer));
        }
        for reader in 0..READERS {
            tasks.spawn(Arc::clone(&shared).read(reader));
        }
        let (follow_to, target) = watch::channel(None);
        let follower = tokio::spawn(Arc::clone(&shared).follow(since, target));
        Self {
            shared,
            tasks,
            follower,
            follow_to,
            acknowledged,
        }
    }

    /// Returns once so many more writes were acknowledged.
    pub async fn goes_on(&mut self, count: u64) {
        let enough = *self.acknowledged.borrow_and_update() + count;
        let waiting = self.acknowledged.wait_for(|so_far| *so_far >= enough);
        let waited = tokio::select! {
            waited = timeout(STALLED, waiting) => waited.map(drop),
            // Whoever has seen something wrong has ended.
            failed = self.tasks.join_next() => panic!("{failed:?}"),
        };
        waited.expect("writes go on");
        assert!(!self.follower.is_finished(), "the follower has failed");
    }

    /// From now on a process is asked in place of the one with this index.
    pub fn replace(&self, index: usize, process: &Process) {
        self.shared.callers.lock()[index] = Caller::of(process);
    }

    /// Ends it, and asserts that nothing acknowledged is lost, and that each process shows the same.
    pub async fn end(mut self) -> Tally {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let joining = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.expect("nobody has seen anything wrong");
            }
        };
        timeout(STALLED, joining).await.expect("each request ends");
        let callers = self.shared.callers.lock().clone();
        let mut lists = Vec::new();
        for caller in &callers {
            until("it answers", async || caller.get("/kv").await.status == 200).await;
            lists.push(caller.get("/kv").await.expect(200));
        }
        for list in &lists {
            assert_eq!(list.body, lists[0].body);
            assert_eq!(list.etag(), lists[0].etag());
        }
        let mut last = [0; COUNTERS];
        let mut tally = Tally {
            acknowledged: 0,
            unknown: 0,
            refused: self.shared.refusals.load(Ordering::SeqCst),
            reads: self.shared.reads.load(Ordering::SeqCst),
        };
        for (number, counter) in self.shared.counters.iter().enumerate() {
            let entry = &lists[0].body["items"][number];
            counter.is_shown(counter.shown.load(Ordering::SeqCst), entry);
            last[number] = entry["version"].as_u64().unwrap();
            let acknowledged = counter.acknowledged.lock().len() as u64;
            let unknown = counter.unknown.load(Ordering::SeqCst);
            let written = last[number] - 1;
            assert!(
                (acknowledged..=acknowledged + unknown).contains(&written),
                "{acknowledged} acknowledged, {unknown} unknown: {entry}"
            );
            tally.acknowledged += acknowledged;
            tally.unknown += unknown;
        }
        self.follow_to.send_replace(Some(last));
        let following = timeout(STALLED, self.follower).await;
        following.expect("every event comes").unwrap();
        println!("{tally:?}");
        tally
    }
}

fn path_of(number: usize) -> String {
    format!("/kv/counter/{number}")
}

impl Counter {
    /// Notes that an entry was shown to somebody who began to ask when `floor` had been shown.
    fn is_shown(&self, floor: u64, entry: &Value) {
        let version = entry["version"].as_u64().unwrap();
        assert!(version >= floor, "version {floor} was shown before {entry}");
        assert_eq!(
            entry["value"], version,
            "one was overwritten unseen: {entry}"
        );
        let tag = entry["etag"].as_str().unwrap();
        {
            let mut tags = self.tags.lock();
            let known = tags.entry(version).or_insert_with(|| tag.to_owned());
            assert_eq!(known, tag, "this version had another tag");
        }
        self.shown.fetch_max(version, Ordering::SeqCst);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn caller(&self, dice: &mut Dice) -> Caller {
        let callers = self.callers.lock();
        callers[dice.below(callers.len())].clone()
    }

    /// Whether a request is to be sent again later because nothing was done.
    async fn was_refused(&self, answer: &Answer) -> bool {
        let is_refusal = answer.status == 503;
        if is_refusal {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            self.refusals.fetch_add(1, Ordering::SeqCst);
            sleep(PAUSE).await;
        }
        is_refusal
    }

    /// Adds one to counters, each time on the tag of what was read, maybe through another process.
    async fn write(self: Arc<Self>, writer: usize) {
        let mut dice = Dice(writer as u64);
        while !self.is_over() {
            let number = dice.below(COUNTERS);
            let counter = &self.counters[number];
            let floor = counter.shown.load(Ordering::SeqCst);
            let call = self.caller(&mut dice).call(Method::GET, &path_of(number));
            let Some(read) = try_send(call).await else {
                sleep(PAUSE).await;
                continue;
            };
            if self.was_refused(&read).await {
                continue;
            }
            let read = read.expect(200);
            counter.is_shown(floor, &read.body);
            self.add_one(writer, number, read, &mut dice).await;
        }
    }

    async fn add_one(&self, writer: usize, number: usize, read: Answer, dice: &mut Dice) {
        let counter = &self.counters[number];
        let floor = counter.shown.load(Ordering::SeqCst);
        let next = read.version() + 1;
        let put = self.caller(dice).put(&path_of(number), next);
        let answer = match attempt(put.header("if-match", read.etag())).await {
            Ok(answer) => answer,
            Err(may_be_done) => {
                let lost = u64::from(may_be_done);
                counter.unknown.fetch_add(lost, Ordering::SeqCst);
                sleep(PAUSE).await;
                return;
            }
        };
        if self.was_refused(&answer).await {
            return;
        }
        match answer.status {
            200 => {
                assert_eq!(answer.version(), next, "{answer:?}");
                counter.is_shown(floor, &answer.body);
                let other = counter.acknowledged.lock().insert(next, writer);
                assert_eq!(other, None, "two have made {answer:?}");
                self.acknowledgements.send_modify(|count| *count += 1);
            }
            412 => counter.is_shown(floor.max(next), &answer.body["current"]),
            504 => {
                counter.unknown.fetch_add(1, Ordering::SeqCst);
            }
            _ => panic!("{answer:?}"),
        }
    }

    /// Reads lists, of which each entry is as new as what was shown before.
    async fn read(self: Arc<Self>, reader: usize) {
        let mut dice = Dice(1000 + reader as u64);
        while !self.is_over() {
            let floors = self.counters.each_ref();
            let floors = floors.map(|counter| counter.shown.load(Ordering::SeqCst));
            let call = self.caller(&mut dice).call(Method::GET, "/kv");
            let Some(list) = try_send(call).await else {
                sleep(PAUSE).await;
                continue;
            };
            if self.was_refused(&list).await {
                continue;
            }
            let list = list.expect(200);
            let items = list.body["items"].as_array().unwrap();
            assert_eq!(items.len(), COUNTERS, "{list:?}");
            for (number, item) in items.iter().enumerate() {
                self.counters[number].is_shown(floors[number], item);
            }
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Follows all that is written, from one process to the next. Each version comes once, and in order.
    async fn follow(
        self: Arc<Self>,
        mut since: String,
        mut target: watch::Receiver<Option<[u64; COUNTERS]>>,
    ) {
        let mut dice = Dice(2000);
        let mut versions = [0; COUNTERS];
        let mut moves = 0;
        loop {
            let caller = self.caller(&mut dice);
            let opening = timeout(SILENCE, caller.try_watch("/watch", Some(&since))).await;
            let Ok(Some(mut stream)) = opening else {
                sleep(PAUSE).await;
                continue;
            };
            moves += 1;
            // A stream that is told of nothing any more ends this, and so does one that is cut.
            while let Ok(Some(block)) = timeout(SILENCE, stream.block()).await {
                if let Some(event) = &block.event {
                    assert_eq!(event, "put", "{block:?}");
                    let entry = block.json();
                    let key = entry["key"].as_str().unwrap();
                    let number: usize = key.strip_prefix("counter/").unwrap().parse().unwrap();
                    versions[number] += 1;
                    assert_eq!(entry["version"], versions[number], "{block:?}");
                    assert_eq!(entry["value"], versions[number], "{block:?}");
                }
                since = block.id.unwrap_or(since);
                if dice.below(50) == 0 {
                    break;
                }
            }
            if *target.borrow_and_update() == Some(versions) {
                println!("the follower has moved {moves} times");
                return;
            }
        }
    }
}

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    /// From 0 to `end`, without it.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64).try_into().unwrap()
    }
}
