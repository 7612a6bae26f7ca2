//! Leases on old state. A list that is being sent is read from a snapshot of the table, and a large answer is
//! cut out of the records that it shows: whatever is replaced meanwhile stays in memory until the slowest
//! reader is done. So readers hold such state only on a lease. When all leases together hold too much, they
//! are revoked, the oldest first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use crate::model::{Entry, Record};
use crate::storage::StoreError;

/// How much dropped state all readers of one store may hold together, in bytes. It is enough for one answer
/// of the largest size, 128 values of 1 MiB, and a quarter more.
pub const HELD_MAX_BYTES: u64 = 160 * 1024 * 1024;
/// What a record takes besides its key, its value and the name of its writer, in bytes, at the most.
const RECORD_REST_BYTES: u64 = 160;
/// How much of a tree one change copies when a snapshot shares it, in bytes: the nodes from the root
/// to a leaf, of 16 keys each, in a tree of a million keys.
const PATH_BYTES: u64 = 3 * 1024;
/// The size of a tree for each key, in bytes. After a snapshot, changes copy at most the whole tree, because
/// each node is copied once.
const TREE_BYTES_PER_KEY: u64 = 64;

/// How much is freed without a separate thread, in bytes, at the most.
const FREED_AT_ONCE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// About how much memory a record takes with a key of so many bytes, in bytes.
#[must_use]
pub fn entry_bytes(key_bytes: usize, record: &Record) -> u64 {
    RECORD_REST_BYTES + (key_bytes + record.text_bytes()) as u64
}

/// All leases on old state of one store.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Mutex<Register>>);

#[derive(Debug)]
struct Register {
    limit_bytes: u64,
    /// How much has been replaced or removed so far while there were leases. All leases together hold at most
    /// what was added to it since the oldest one.
    replaced_bytes: u64,
    /// How much of the tree may still be copied because of the newest snapshot.
    uncopied_bytes: u64,
    /// The oldest first; the key is the number of the lease.
    lent: BTreeMap<u64, Lent>,
    /// Leases on what each reader alone holds, in the same order.
    owned: BTreeMap<u64, Owned>,
    /// How much that is together.
    owned_bytes: u64,
    next: u64,
}

/// What one reader alone holds.
struct Owned {
    bytes: u64,
    slot: Arc<dyn Slot>,
}

struct Lent {
    /// What `replaced_bytes` was.
    since: u64,
    slot: Arc<dyn Slot>,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent(since {})", self.since)
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owned({} bytes)", self.bytes)
    }
}

/// Lent state of any type.
trait Slot: Send + Sync {
    /// Takes it away from its reader.
    fn revoke(&self) -> Box<dyn Revoked>;
}

/// What was taken away and is still to be dropped.
trait Revoked: Send {}

impl<T: Send> Revoked for T {}

impl<T: Send + 'static> Slot for Mutex<Option<T>> {
    fn revoke(&self) -> Box<dyn Revoked> {
        Box::new(self.lock().take())
    }
}

/// Something that is held until it is dropped or revoked.
#[derive(Debug)]
pub struct Lease<T> {
    slot: Arc<Mutex<Option<T>>>,
    number: u64,
    leases: Leases,
}

impl<T> Lease<T> {
    /// Applies `read` to what is held. It should be quick: revoking waits for it.
    ///
    /// # Errors
    /// [`StoreError::Revoked`] if it was revoked.
    pub fn read<U>(&self, read: impl FnOnce(&T) -> U) -> Result<U, StoreError> {
        let held = self.slot.lock();
        held.as_ref().map(read).ok_or(StoreError::Revoked)
    }

    /// The same for what may be changed.
    ///
    /// # Errors
    /// [`StoreError::Revoked`] if it was revoked.
    pub fn change<U>(&self, change: impl FnOnce(&mut T) -> U) -> Result<U, StoreError> {
        let mut held = self.slot.lock();
        held.as_mut().map(change).ok_or(StoreError::Revoked)
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        let mut register = self.leases.0.lock();
        let removed = (
            register.lent.remove(&self.number),
            register.take_owned(self.number),
        );
        drop(register);
        // What was held is dropped with the slot, not under the lock.
        drop(removed);
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self::of_at_most(HELD_MAX_BYTES)
    }
}

impl Leases {
    /// Leases that hold at most so many bytes together, besides the newest one.
    #[must_use]
    pub fn of_at_most(limit_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Register {
            limit_bytes,
            replaced_bytes: 0,
            uncopied_bytes: 0,
            lent: BTreeMap::new(),
            owned: BTreeMap::new(),
            owned_bytes: 0,
            next: 0,
        })))
    }

    /// Lends a snapshot of a tree with so many keys.
    pub fn lend_tree<T: Send + 'static>(&self, tree: T, keys: usize) -> Lease<T> {
        let uncopied_bytes = (keys as u64)
            .saturating_mul(TREE_BYTES_PER_KEY)
            .saturating_add(PATH_BYTES);
        self.0.lock().uncopied_bytes = uncopied_bytes;
        self.lend(tree, 0)
    }

    /// Lends a tree of the past, with so many keys, of which the reader alone holds so many bytes.
    pub fn lend_past_tree<T: Send + 'static>(
        &self,
        tree: T,
        keys: usize,
        changed: usize,
        record_bytes: u64,
    ) -> Lease<T> {
        let tree_bytes = (keys as u64)
            .saturating_mul(TREE_BYTES_PER_KEY)
            .saturating_add(PATH_BYTES);
        let copied_bytes = (changed as u64).saturating_mul(PATH_BYTES).min(tree_bytes);
        let bytes = copied_bytes.saturating_add(record_bytes);
        self.register(tree, |register, slot| {
            // The rest of it is shared with the current tree, which others may replace.
            register.uncopied_bytes = tree_bytes;
            register.owned_bytes += bytes;
            let since = register.replaced_bytes;
            let excess = register.take_excess();
            let also = Arc::clone(&slot);
            register
                .lent
                .insert(register.next, Lent { since, slot: also });
            register.owned.insert(register.next, Owned { bytes, slot });
            excess
        })
    }

    /// Lends the entries of an answer. Only the answer holds those that are not current.
    pub fn lend_entries(
        &self,
        entries: Vec<Entry>,
        is_current: impl Fn(&Entry) -> bool,
    ) -> Lease<Vec<Entry>> {
        let replaced = entries.iter().filter(|entry| !is_current(entry));
        let replaced_bytes = replaced
            .map(|entry| entry_bytes(entry.key.as_str().len(), &entry.record))
            .sum();
        self.lend(entries, replaced_bytes)
    }

    /// Keeps so many bytes that were read for one reader and that nothing else holds.
    pub fn hold_owned<T: Send + 'static>(&self, held: T, bytes: u64) -> Lease<T> {
        self.register(held, |register, slot| {
            register.owned_bytes += bytes;
            let excess = register.take_excess();
            register.owned.insert(register.next, Owned { bytes, slot });
            excess
        })
    }

    /// `replaced_bytes` of it are replaced already.
    fn lend<T: Send + 'static>(&self, held: T, replaced_bytes: u64) -> Lease<T> {
        self.register(held, |register, slot| {
            let since = register.replaced_bytes;
            register.replaced_bytes += replaced_bytes;
            let excess = register.take_excess();
            register.lent.insert(register.next, Lent { since, slot });
            excess
        })
    }

    fn register<T: Send + 'static>(
        &self,
        held: T,
        enter: impl FnOnce(&mut Register, Arc<dyn Slot>) -> Excess,
    ) -> Lease<T> {
        let slot = Arc::new(Mutex::new(Some(held)));
        let mut register = self.0.lock();
        let number = register.next;
        let excess = enter(&mut register, Arc::<Mutex<Option<T>>>::clone(&slot));
        register.next += 1;
        drop(register);
        excess.revoke();
        Lease {
            slot,
            number,
            leases: self.clone(),
        }
    }

    /// Notes so many changes of a tree, which replaced or removed so many bytes of records.
    pub fn note_replaced(&self, bytes: u64, changes: u64) {
        let mut register = self.0.lock();
        if register.lent.is_empty() {
            return;
        }
        let copied_bytes = changes
            .saturating_mul(PATH_BYTES)
            .min(register.uncopied_bytes);
        register.uncopied_bytes -= copied_bytes;
        register.replaced_bytes += bytes + copied_bytes;
        let excess = register.take_excess();
        drop(register);
        excess.revoke();
    }
}

impl Register {
    /// The oldest leases, if what all hold together is too much.
    fn take_excess(&mut self) -> Excess {
        let mut excess = Excess::default();
        while self.held_bytes() > self.limit_bytes {
            let lent = self.lent.first_key_value().map(|(number, _)| *number);
            let owned = self.owned.first_key_value().map(|(number, _)| *number);
            match (lent, owned) {
                (None, None) => break,
                (lent, Some(owned)) if lent.is_none_or(|lent| owned < lent) => {
                    let taken = self.take_owned(owned);
                    excess.owned_bytes += taken.as_ref().map_or(0, |taken| taken.bytes);
                    excess.slots.extend(taken.map(|taken| taken.slot));
                }
                _ => {
                    let taken = self.lent.pop_first();
                    excess.lent += 1;
                    excess.slots.extend(taken.map(|(_, taken)| taken.slot));
                }
            }
        }
        excess
    }

    fn held_bytes(&self) -> u64 {
        let oldest = self.lent.first_key_value();
        let replaced_bytes = oldest.map_or(0, |(_, oldest)| self.replaced_bytes - oldest.since);
        replaced_bytes + self.owned_bytes
    }

    fn take_owned(&mut self, number: u64) -> Option<Owned> {
        let owned = self.owned.remove(&number)?;
        self.owned_bytes -= owned.bytes;
        Some(owned)
    }
}

/// The leases that are too much.
#[derive(Default)]
struct Excess {
    slots: Vec<Arc<dyn Slot>>,
    /// How many of them are on state that the table has dropped.
    lent: usize,
    /// How much the others hold.
    owned_bytes: u64,
}

impl Excess {
    /// Takes away what these readers hold. It may be a million records, so it is freed in a separate thread: this
    /// is called by the writer.
    fn revoke(&self) {
        if self.slots.is_empty() {
            return;
        }
        if self.lent > 0 {
            let readers = self.lent;
            tracing::warn!(readers, "slow readers held too much and are cut off");
        }
        let revoked: Vec<_> = self.slots.iter().map(|slot| slot.revoke()).collect();
        if self.lent == 0 && self.owned_bytes < FREED_AT_ONCE_MAX_BYTES {
            return;
        }
        let freeing = thread::Builder::new().name("revoke".to_owned());
        // Without a thread, they are freed here.
        let _ = freeing.spawn(move || drop(revoked));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::{Key, Stamp, Timestamp, Value};

    fn entry(key: &str, bytes: usize) -> Entry {
        let key: Key = key.parse().unwrap();
        let value = Value::from_json(format!("\"{}\"", "x".repeat(bytes)).as_bytes()).unwrap();
        let stamp = Stamp {
            version: 1,
            revision: 1,
            modified_at: Timestamp::from_millis(0),
            modified_by: None,
        };
        let record = Record::new(&key, value, stamp).into();
        Entry { key, record }
    }

    fn is_held<T>(lease: &Lease<T>) -> bool {
        lease.read(|_| ()).is_ok()
    }

    #[test]
    fn the_oldest_lease_is_revoked_when_all_hold_too_much() {
        let leases = Leases::of_at_most(100_000);
        leases.note_replaced(1_000_000, 1);
        let first = leases.lend_tree((), 0);
        leases.note_replaced(60_000, 0);
        let second = leases.lend_tree((), 0);
        leases.note_replaced(40_000, 0);
        assert!(is_held(&first) && is_held(&second));
        leases.note_replaced(1, 0);
        assert!(!is_held(&first) && is_held(&second));
        leases.note_replaced(60_000, 0);
        assert!(!is_held(&second));
        assert_eq!(leases.0.lock().lent.len(), 0);
    }

    #[test]
    fn a_dropped_lease_no_longer_counts() {
        let leases = Leases::of_at_most(1000);
        let first = leases.lend_tree((), 0);
        leases.note_replaced(900, 0);
        let second = leases.lend_tree((), 0);
        drop(first);
        leases.note_replaced(900, 0);
        assert!(is_held(&second));
        drop(second);
        assert_eq!(leases.0.lock().lent.len(), 0);
    }

    #[test]
    fn a_tree_is_copied_at_most_once_for_each_snapshot() {
        let leases = Leases::of_at_most(1_000_000);
        let keys = 1000;
        let copied = keys as u64 * TREE_BYTES_PER_KEY + PATH_BYTES;
        let first = leases.lend_tree((), keys);
        leases.note_replaced(0, 1_000_000);
        assert_eq!(leases.0.lock().replaced_bytes, copied);
        leases.note_replaced(0, 1_000_000);
        assert_eq!(leases.0.lock().replaced_bytes, copied);
        let _second = leases.lend_tree((), keys);
        leases.note_replaced(0, 1_000_000);
        assert_eq!(leases.0.lock().replaced_bytes, 2 * copied);
        assert!(is_held(&first));
    }

    #[test]
    fn entries_of_an_answer_count_once_they_are_replaced() {
        let entries = || vec![entry("a", 1000), entry("b", 1000)];
        let leases = Leases::of_at_most(3000);
        let current: Vec<_> = (0..100)
            .map(|_| leases.lend_entries(entries(), |_| true))
            .collect();
        assert!(current.iter().all(is_held));
        // Two of the three answers take 2,300 bytes each.
        let first = leases.lend_entries(entries(), |_| false);
        let second = leases.lend_entries(entries(), |_| false);
        assert!(!current.iter().any(is_held));
        assert!(!is_held(&first) && is_held(&second));
    }

    #[test]
    fn what_readers_alone_hold_counts_until_they_drop_it() {
        let leases = Leases::of_at_most(1000);
        for _ in 0..10 {
            drop(leases.hold_owned((), 900));
        }
        let first = leases.hold_owned((), 600);
        let tree = leases.lend_tree((), 0);
        leases.note_replaced(400, 0);
        assert!(is_held(&first) && is_held(&tree));
        let second = leases.hold_owned((), 500);
        assert!(!is_held(&first) && is_held(&tree), "the oldest is revoked");
        leases.note_replaced(101, 0);
        assert!(!is_held(&tree) && is_held(&second));
        let large = leases.hold_owned((), 2000);
        assert!(!is_held(&second));
        assert!(is_held(&large), "the newest is kept");
        drop(large);
        let last = leases.hold_owned((), 1000);
        assert!(is_held(&last));
        drop((first, second, last));
        let register = leases.0.lock();
        assert_eq!((register.owned.len(), register.owned_bytes), (0, 0));
    }

    #[test]
    fn revoked_state_is_freed_while_its_reader_still_exists() {
        let leases = Leases::of_at_most(0);
        let entry = entry("a", 1000);
        let record = Arc::downgrade(&entry.record);
        let lease = leases.lend_entries(vec![entry], |_| true);
        leases.note_replaced(1, 1);
        let begun = Instant::now();
        while record.strong_count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        assert!(matches!(lease.read(Vec::len), Err(StoreError::Revoked)));
    }

    #[test]
    fn a_tree_of_the_past_counts_with_what_its_reader_alone_holds() {
        let leases = Leases::of_at_most(1000);
        let past = |bytes| leases.lend_past_tree((), 0, 0, bytes);
        let is_held = |lease: &Lease<()>| lease.read(|()| ()).is_ok();
        let first = past(600);
        let second = past(500);
        assert!(!is_held(&first) && is_held(&second));
        drop(first);
        let third = past(500);
        assert!(is_held(&second) && is_held(&third));
        // What they share with the current tree is theirs once that is replaced.
        leases.note_replaced(100, 0);
        assert!(!is_held(&second) && is_held(&third));
        // The newest one fits, however much it holds.
        let last = past(5000);
        assert!(!is_held(&third) && is_held(&last));
        drop((second, third, last));
        assert_eq!(leases.0.lock().held_bytes(), 0);
    }
}
