//! How often an address has failed to sign in.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many attempts may fail at once.
const BURST: u32 = 20;
/// How long it takes until one more may fail.
const REFILL: Duration = Duration::from_secs(1);
/// How many addresses a generation has; two are remembered.
const GENERATION_ADDRESSES: usize = 5_000;

/// The failed attempts of each address. Of IPv6, the first 64 bits are one address: whoever has one of them has
/// them all.
#[derive(Debug, Default)]
pub struct Attempts {
    remembered: Mutex<Remembered>,
    /// Whether any failure is remembered, so that nobody waits for the lock otherwise.
    has_any: AtomicBool,
}

/// Addresses that have failed, in two generations: when the recent one is full it becomes the older one, and what
/// was that is forgotten. So an address that goes on failing is remembered, whatever others do.
#[derive(Debug, Default)]
struct Remembered {
    recent: HashMap<IpAddr, Failures>,
    older: HashMap<IpAddr, Failures>,
    /// When the last attempt failed.
    last: Option<Instant>,
}

impl Remembered {
    /// Whether every failure is forgotten.
    fn is_over(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now >= last + REFILL * BURST)
    }
}

/// The failures that are not forgotten yet, at a moment.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    at: Instant,
}

impl Failures {
    fn now(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.at);
        let forgotten = u32::try_from(passed.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        Self {
            count: self.count.saturating_sub(forgotten),
            at: self.at + REFILL * forgotten.min(self.count),
        }
    }
}

impl Attempts {
    /// Whether an address has failed so often that it must wait.
    pub fn are_exhausted(&self, address: IpAddr) -> bool {
        if !self.has_any.load(Ordering::Relaxed) {
            return false;
        }
        let now = Instant::now();
        let network = network_of(address);
        let mut remembered = self.remembered.lock();
        if remembered.is_over(now) {
            *remembered = Remembered::default();
            self.has_any.store(false, Ordering::Relaxed);
            return false;
        }
        let failures = remembered.recent.get(&network);
        failures
            .or_else(|| remembered.older.get(&network))
            .is_some_and(|failures| failures.now(now).count >= BURST)
    }

    /// Counts a failure. Returns whether the address had to wait already.
    pub fn fail(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let network = network_of(address);
        let mut remembered = self.remembered.lock();
        let Remembered {
            recent,
            older,
            last,
        } = &mut *remembered;
        *last = Some(now);
        let before = recent.remove(&network).or_else(|| older.remove(&network));
        let before = before.map(|failures| failures.now(now));
        let failures = match before {
            Some(failures) if failures.count > 0 => Failures {
                count: (failures.count + 1).min(BURST),
                ..failures
            },
            _ => Failures { count: 1, at: now },
        };
        recent.insert(network, failures);
        if recent.len() >= GENERATION_ADDRESSES {
            *older = mem::take(recent);
        }
        self.has_any.store(true, Ordering::Relaxed);
        before.is_some_and(|failures| failures.count >= BURST)
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_may_fail_a_few_times_and_then_once_a_second() {
        let attempts = Attempts::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|of| of.parse().unwrap());
        assert!(!attempts.are_exhausted(one));
        for _ in 0..BURST {
            assert!(!attempts.fail(one));
        }
        assert!(attempts.are_exhausted(one) && attempts.fail(one));
        assert!(!attempts.are_exhausted(other) && !attempts.fail(other));
        tokio::time::advance(REFILL).await;
        assert!(!attempts.are_exhausted(one));
        assert!(!attempts.fail(one) && attempts.fail(one));
        tokio::time::advance(REFILL * BURST).await;
        for _ in 0..BURST {
            assert!(!attempts.fail(one));
        }
        assert!(attempts.fail(one));
    }

    #[tokio::test(start_paused = true)]
    async fn when_every_failure_is_forgotten_nobody_waits_for_the_lock() {
        let attempts = Attempts::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|of| of.parse().unwrap());
        for _ in 0..BURST {
            attempts.fail(one);
        }
        tokio::time::advance(REFILL * (BURST - 1)).await;
        assert!(!attempts.are_exhausted(other));
        assert!(attempts.has_any.load(Ordering::Relaxed));
        tokio::time::advance(REFILL).await;
        assert!(!attempts.are_exhausted(other));
        assert!(!attempts.has_any.load(Ordering::Relaxed));
        let remembered = attempts.remembered.lock();
        assert!(remembered.recent.is_empty() && remembered.older.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_that_of_ipv4() {
        let attempts = Attempts::default();
        let address = |text: &str| text.parse().unwrap();
        for number in 0..BURST {
            attempts.fail(address(&format!("2001:db8::{number:x}")));
        }
        assert!(attempts.are_exhausted(address("2001:db8::ffff:1")));
        assert!(!attempts.are_exhausted(address("2001:db8:0:1::1")));
        for _ in 0..BURST {
            attempts.fail(address("::ffff:10.0.0.1"));
        }
        assert!(attempts.are_exhausted(address("10.0.0.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_failing_is_remembered_among_any_number_of_addresses() {
        let attempts = Attempts::default();
        let [attacker, once] = ["10.0.0.1", "10.0.0.2"].map(|of| of.parse().unwrap());
        for _ in 0..BURST {
            attempts.fail(attacker);
            attempts.fail(once);
        }
        for number in 0..3 * u32::try_from(GENERATION_ADDRESSES).unwrap() {
            attempts.fail(IpAddr::from((number + (11 << 24)).to_be_bytes()));
            if number % 1000 == 0 {
                assert!(attempts.fail(attacker));
            }
        }
        assert!(attempts.are_exhausted(attacker) && !attempts.are_exhausted(once));
        let remembered = attempts.remembered.lock();
        assert!(remembered.recent.len() + remembered.older.len() <= 2 * GENERATION_ADDRESSES);
    }
}
