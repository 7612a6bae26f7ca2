//! When there is a journal, and when a checkpoint is due. Pure.
//!
//! Everything depends on what is alive, the size that a new data file would have, and not on the sizes of the
//! current files. The upper and lower thresholds are a factor apart, so that a store around one of them does
//! not flip back and forth.

use super::settings::Journaling;

/// How long a journal may become however little is alive, in bytes.
const JOURNAL_MIN_BYTES: u64 = 64 * 1024;
/// The same in sizes from which on there is a journal. Small stores that are written often would make
/// checkpoints all the time; replaying so little takes no time.
const JOURNAL_MIN_THRESHOLDS: u64 = 8;
/// By how much less must be alive than when the journal began before it ends.
const END_FACTOR: u64 = 2;

/// The sizes that decide.
#[derive(Debug)]
pub struct Policy {
    journaling: Journaling,
    live_bytes: u64,
    /// The size of the data file; 0 if there is none.
    data_bytes: u64,
    /// How much of the journal was there when the last checkpoint was made.
    carried_bytes: u64,
    /// After a failure, how long the journal must be for the next attempt.
    retry_at_bytes: Option<u64>,
}

impl Policy {
    /// For files of these sizes.
    pub fn new(journaling: Journaling, data_bytes: u64, live_bytes: u64) -> Self {
        Self {
            journaling,
            live_bytes,
            data_bytes,
            carried_bytes: 0,
            retry_at_bytes: None,
        }
    }

    /// Sets the size of what is alive.
    pub fn set_live(&mut self, bytes: u64) {
        self.live_bytes = bytes;
    }

    /// The data file is of this size, and so much of the journal is newer.
    pub fn note_checkpoint(&mut self, data_bytes: u64, carried_bytes: u64) {
        self.data_bytes = data_bytes;
        self.carried_bytes = carried_bytes;
        self.retry_at_bytes = None;
    }

    /// A checkpoint has failed; there is no point in one after every commit.
    pub fn put_off(&mut self, journal_bytes: u64) {
        self.retry_at_bytes = Some(journal_bytes.saturating_add(self.growth_bytes()));
    }

    /// Whether the next commit begins a journal.
    pub fn begins_journal(&self) -> bool {
        match self.journaling {
            Journaling::Never => false,
            Journaling::Above { bytes } => self.live_bytes > bytes,
        }
    }

    /// Whether a journal in use is kept after the next checkpoint.
    pub fn keeps_journal(&self) -> bool {
        match self.journaling {
            Journaling::Never => false,
            Journaling::Above { bytes: 0 } => true,
            Journaling::Above { bytes } => self.live_bytes > bytes / END_FACTOR,
        }
    }

    /// Whether a checkpoint would be worth what it costs.
    pub fn is_checkpoint_due(&self, journal_bytes: u64) -> bool {
        if let Some(retry_at) = self.retry_at_bytes {
            return journal_bytes >= retry_at;
        }
        let grown = journal_bytes.saturating_sub(self.carried_bytes);
        // Writing what is alive must free at least as much.
        let stored = self.data_bytes.saturating_add(grown);
        let dead = stored.saturating_sub(self.live_bytes);
        !self.keeps_journal()
            || grown >= self.growth_bytes()
            || dead >= self.live_bytes.max(self.floor_bytes())
    }

    /// How much longer the journal may become before all of it is due.
    fn growth_bytes(&self) -> u64 {
        self.data_bytes.min(self.live_bytes).max(self.floor_bytes())
    }

    fn floor_bytes(&self) -> u64 {
        let small = match self.journaling {
            Journaling::Never => 0,
            Journaling::Above { bytes } => bytes.saturating_mul(JOURNAL_MIN_THRESHOLDS),
        };
        small.max(JOURNAL_MIN_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const ABOVE: Journaling = Journaling::Above { bytes: MIB };

    /// A store that takes commits and makes each checkpoint at once.
    struct Store {
        policy: Policy,
        live: u64,
        journal: u64,
        checkpoints: u32,
        written: u64,
    }

    impl Store {
        fn of(live: u64) -> Self {
            Self {
                policy: Policy::new(ABOVE, live, live),
                live,
                journal: 0,
                checkpoints: 0,
                written: 0,
            }
        }

        fn commit(&mut self, frame: u64, live: u64) {
            self.journal += frame;
            self.live = live;
            self.policy.set_live(live);
            if self.policy.is_checkpoint_due(self.journal) {
                self.checkpoints += 1;
                self.written += live;
                self.journal = 0;
                self.policy.note_checkpoint(live, 0);
            }
        }
    }

    #[test]
    fn a_shrinking_store_is_rewritten_often_but_only_about_once_in_total() {
        let mut store = Store::of(64 * MIB);
        for deleted in 1..=64_000_u64 {
            if !store.policy.keeps_journal() {
                break;
            }
            store.commit(100, (64 * MIB).saturating_sub(deleted * 1049));
        }
        assert!(!store.policy.keeps_journal(), "{}", store.live);
        assert!(
            (3..=12).contains(&store.checkpoints),
            "{}",
            store.checkpoints
        );
        assert!(store.written < 64 * MIB, "{}", store.written);
        assert!(store.policy.data_bytes < MIB);
    }

    #[test]
    fn a_store_that_grows_doubles_between_two_checkpoints() {
        let mut store = Store::of(2 * MIB);
        while store.live < 200 * MIB {
            store.commit(2000, store.live + 1900);
        }
        assert!(
            (3..=8).contains(&store.checkpoints),
            "{}",
            store.checkpoints
        );
    }

    #[test]
    fn a_store_whose_values_are_replaced_writes_as_much_to_either_file() {
        let mut store = Store::of(32 * MIB);
        for _ in 0..100_000 {
            store.commit(2000, 32 * MIB);
        }
        assert!(
            (4..=7).contains(&store.checkpoints),
            "{}",
            store.checkpoints
        );
    }

    #[test]
    fn around_a_threshold_nothing_flips_back_and_forth() {
        let mut policy = Policy::new(ABOVE, MIB, MIB);
        assert!(!policy.begins_journal());
        policy.set_live(MIB + 1);
        assert!(policy.begins_journal());
        for live in [MIB - 1, MIB + 1, MIB / 2 + 1] {
            policy.set_live(live);
            assert!(policy.keeps_journal());
            assert!(!policy.is_checkpoint_due(1000), "{live}");
        }
        policy.set_live(MIB / 2);
        assert!(!policy.keeps_journal());
        assert!(policy.is_checkpoint_due(1000));
        policy.note_checkpoint(MIB / 2, 0);
        assert!(!policy.begins_journal(), "it just ended");
    }

    #[test]
    fn a_failed_checkpoint_is_put_off_though_it_is_due() {
        let mut policy = Policy::new(ABOVE, 64 * MIB, 0);
        assert!(policy.is_checkpoint_due(1000));
        policy.put_off(1000);
        assert!(!policy.is_checkpoint_due(2000));
        assert!(policy.is_checkpoint_due(1000 + 8 * MIB));
    }

    #[test]
    fn always_and_never_mean_what_they_say() {
        let mut always = Policy::new(Journaling::Above { bytes: 0 }, 10, 10);
        assert!(always.begins_journal() && always.keeps_journal());
        always.set_live(0);
        assert!(always.keeps_journal());
        let never = Policy::new(Journaling::Never, u64::MAX, u64::MAX);
        assert!(!never.begins_journal() && !never.keeps_journal());
    }
}
