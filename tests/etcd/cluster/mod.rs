//! Faults of members and of processes, while clients go on.

mod compacted;
mod foreign;
mod linear;
mod load;
mod members;
mod partitions;
mod processes;
mod quota;
mod restored;

/// How often each fault happens, unless `IFMATCH_ETCD_ROUNDS` says otherwise.
const ROUNDS: usize = 3;

fn rounds() -> usize {
    match std::env::var("IFMATCH_ETCD_ROUNDS") {
        Ok(text) => text.parse().expect("IFMATCH_ETCD_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}
