//! One suite that every engine passes: what the [`Store`] trait promises.
//!
//! An engine outside of this repository runs it in a test of one line, as `examples/custom_store.rs` does.

// A test panics where a promise is broken.
#![allow(clippy::missing_panics_doc)]

mod helpers;
mod past;
mod reads;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use self::helpers::{committed, conflicts, deadline, delete, got, key, put, set};
#[allow(clippy::wildcard_imports, reason = "all of its tests are named below")]
use self::past::*;
#[allow(clippy::wildcard_imports, reason = "all of its tests are named below")]
use self::reads::*;
#[allow(clippy::wildcard_imports, reason = "all of its tests are named below")]
use self::watch::*;
use super::Store;
use crate::model::{Change, ChangeSet, Expected, Filter, Name, Operation, Range};
use crate::storage::{CommitError, Conflict, StoreError};

/// Passes the names of all tests to another macro.
macro_rules! with_tests {
    ($callback:ident) => {
        $callback!(
            a_put_value_is_read_and_a_deleted_one_is_gone,
            a_version_counts_per_key_and_revisions_ascend,
            every_expectation_is_checked,
            a_commit_is_applied_as_a_whole_or_not_at_all,
            a_delete_needs_a_record,
            an_expired_commit_is_not_applied,
            a_failed_check_fails_the_commit_and_checks_take_no_revision,
            commits_of_several_keys_never_interleave,
            records_and_deletions_say_who_wrote_them,
            several_keys_are_read_as_of_one_moment,
            what_is_known_has_what_was_returned,
            a_list_is_ascending_and_pages_meet,
            readers_lose_replaced_records_when_all_hold_too_much,
            one_of_many_commits_on_the_same_state_wins,
            a_closed_store_takes_no_commit_but_answers_reads,
            every_state_of_the_past_can_be_read,
            the_history_has_each_change_once_and_the_newest_first,
            a_moment_is_the_state_after_the_commits_up_to_it,
            the_future_is_not_the_past,
            a_request_is_committed_once,
            a_state_that_comes_back_has_the_same_digest,
            watchers_get_every_change_in_order,
            a_watcher_resumes_after_any_event,
            a_backlog_larger_than_one_round_is_delivered_in_order,
            a_watcher_gets_only_events_that_match_its_filter,
            an_unknown_resume_token_resets,
            a_revision_that_was_left_out_is_the_point_before_it,
            a_list_and_then_a_watch_lose_nothing,
            a_watcher_that_falls_behind_is_cut_off_and_others_are_not,
            closing_ends_watchers_when_they_have_seen_everything,
        );
    };
}

macro_rules! run_all {
    ($($test:ident),* $(,)?) => {
        /// Runs every test on a store of its own, which `new_store` makes: empty, and not shared. The name of
        /// each test is printed before it runs.
        ///
        /// # Panics
        /// At the first promise that the engine does not keep.
        pub async fn check_engine<F: Future<Output = Arc<dyn Store>>>(mut new_store: impl FnMut() -> F) {
            $(
                println!("{}", stringify!($test));
                $test(new_store().await).await;
            )*
        }
    };
}

with_tests!(run_all);

async fn a_put_value_is_read_and_a_deleted_one_is_gone(store: Arc<dyn Store>) {
    assert_eq!(got(&*store, "a").await, None);
    let written = committed(&*store, vec![put("a", Expected::Any, "[1]")]).await;
    let record = got(&*store, "a").await.unwrap();
    assert_eq!(written.records, vec![Some(record.clone())]);
    assert_eq!(record.value.as_json(), "[1]");
    let deleted = committed(&*store, vec![delete("a", Expected::Any)]).await;
    assert_eq!(deleted.records, vec![Some(record)]);
    assert_eq!(got(&*store, "a").await, None);
    assert_eq!(store.status().await.keys, 0);
}

async fn a_version_counts_per_key_and_revisions_ascend(store: Arc<dyn Store>) {
    let mut revisions = vec![store.status().await.position.revision];
    let mut versions = Vec::new();
    for change in [
        put("a", Expected::Any, "1"),
        put("a", Expected::Any, "2"),
        put("b", Expected::Any, "3"),
        delete("a", Expected::Any),
        put("a", Expected::Any, "1"),
    ] {
        let committed = committed(&*store, vec![change]).await;
        revisions.push(committed.revision);
        let position = store.snapshot().await.unwrap().position();
        assert_eq!(position.revision, committed.revision);
        versions.push(committed.records[0].as_ref().unwrap().version);
    }
    assert_eq!(versions, [1, 2, 1, 2, 1]);
    assert!(
        revisions.is_sorted_by(|one, next| one < next),
        "{revisions:?}"
    );
    assert_eq!(store.status().await.position.revision, revisions[5]);
    assert_eq!(got(&*store, "a").await.unwrap().revision, revisions[5]);
    assert_eq!(got(&*store, "b").await.unwrap().revision, revisions[3]);
}

async fn every_expectation_is_checked(store: Arc<dyn Store>) {
    let first = committed(&*store, vec![put("a", Expected::Absent, "1")]).await;
    let current = got(&*store, "a").await;
    for change in [
        put("a", Expected::Absent, "2"),
        put("a", Expected::At(first.revision + 1), "2"),
        delete("a", Expected::At(0)),
    ] {
        let conflict = Conflict {
            index: 0,
            current: current.clone(),
        };
        assert_eq!(conflicts(&*store, vec![change]).await, [conflict]);
    }
    for change in [
        put("b", Expected::Present, "2"),
        put("b", Expected::At(first.revision), "2"),
        put("b", Expected::At(0), "2"),
    ] {
        let absent = Conflict {
            index: 0,
            current: None,
        };
        assert_eq!(conflicts(&*store, vec![change]).await, [absent]);
    }
    assert_eq!(got(&*store, "a").await, current);
    assert_eq!(store.status().await.position.revision, first.revision);
    committed(&*store, vec![put("a", Expected::At(first.revision), "2")]).await;
    committed(&*store, vec![put("a", Expected::Present, "3")]).await;
    assert_eq!(got(&*store, "a").await.unwrap().value.as_json(), "3");
}

async fn a_commit_is_applied_as_a_whole_or_not_at_all(store: Arc<dyn Store>) {
    let all = vec![
        put("a", Expected::Absent, "1"),
        put("b", Expected::Absent, "2"),
        put("c", Expected::Absent, "3"),
    ];
    let written = committed(&*store, all).await;
    let revision = written.revision;
    assert!(
        written
            .records
            .iter()
            .flatten()
            .all(|record| record.revision == revision)
    );
    let mixed = vec![
        put("a", Expected::At(revision), "10"),
        delete("b", Expected::At(revision + 7)),
        put("d", Expected::Present, "40"),
    ];
    let failed = conflicts(&*store, mixed).await;
    assert_eq!(
        failed
            .iter()
            .map(|conflict| conflict.index)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(failed[0].current, got(&*store, "b").await);
    assert_eq!(got(&*store, "a").await.unwrap().value.as_json(), "1");
    assert_eq!(store.status().await.position.revision, revision);
}

async fn a_delete_needs_a_record(store: Arc<dyn Store>) {
    let absent = Conflict {
        index: 0,
        current: None,
    };
    assert_eq!(
        conflicts(&*store, vec![delete("a", Expected::Any)]).await,
        [absent]
    );
}

async fn one_of_many_commits_on_the_same_state_wins(store: Arc<dyn Store>) {
    let start = committed(&*store, vec![put("a", Expected::Any, "0")]).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 1..=50 {
        let store = Arc::clone(&store);
        let change = put("a", Expected::At(start.revision), &writer.to_string());
        writers.spawn(async move { store.commit(change.into(), deadline()).await });
    }
    let outcomes = writers.join_all().await;
    let winner: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok())
        .collect();
    assert_eq!(winner.len(), 1);
    let current = got(&*store, "a").await;
    assert_eq!(Some(&current), winner[0].records.first());
    for outcome in &outcomes {
        if let Err(CommitError::Conflict(conflicts)) = outcome {
            assert_eq!(conflicts[0].current, current);
        }
    }
}

async fn a_closed_store_takes_no_commit_but_answers_reads(store: Arc<dyn Store>) {
    committed(&*store, vec![put("a", Expected::Any, "1")]).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(got(&*store, "a").await.unwrap().value.as_json(), "1");
    assert!(!store.status().await.writable);
    let refused = store
        .commit(put("a", Expected::Any, "2").into(), deadline())
        .await;
    assert!(matches!(
        refused,
        Err(CommitError::Store(StoreError::Closed))
    ));
}

fn check(name: &str, expected: Expected) -> Change {
    Change {
        key: key(name),
        expected,
        operation: Operation::Check,
    }
}

async fn an_expired_commit_is_not_applied(store: Arc<dyn Store>) {
    let change = put("a", Expected::Any, "1");
    let late = store.commit(change.into(), Instant::now()).await;
    assert!(
        matches!(late, Err(CommitError::Store(StoreError::Expired))),
        "{late:?}"
    );
    // A withdrawn commit is not applied later either: commits are applied in order.
    let next = committed(&*store, vec![put("b", Expected::Any, "2")]).await;
    assert_eq!(got(&*store, "a").await, None);
    let position = store.snapshot().await.unwrap().position();
    assert_eq!(position.revision, next.revision);
}

async fn a_failed_check_fails_the_commit_and_checks_take_no_revision(store: Arc<dyn Store>) {
    let first = committed(&*store, vec![put("a", Expected::Any, "1")]).await;
    let first = first.revision;
    let a = got(&*store, "a").await;
    let checks = vec![
        check("a", Expected::At(first)),
        check("b", Expected::Absent),
        check("c", Expected::Any),
    ];
    let only_checks = committed(&*store, checks).await;
    assert_eq!(only_checks.revision, first);
    assert_eq!(only_checks.records, [a.clone(), None, None]);
    let position = store.snapshot().await.unwrap().position();
    assert_eq!(position.revision, first);

    let other = Expected::At(first + 7);
    let failing = vec![check("a", other), put("b", Expected::Any, "2")];
    let conflict = Conflict {
        index: 0,
        current: a.clone(),
    };
    assert_eq!(conflicts(&*store, failing).await, [conflict]);
    assert_eq!(got(&*store, "b").await, None);

    let both = vec![check("a", Expected::Present), put("b", Expected::Any, "2")];
    let written = committed(&*store, both).await;
    assert!(written.revision > first);
    assert_eq!(written.records, [a, got(&*store, "b").await]);
    assert_eq!(
        got(&*store, "a").await.unwrap().revision,
        first,
        "a check changes nothing"
    );
}

async fn commits_of_several_keys_never_interleave(store: Arc<dyn Store>) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let store = Arc::clone(&store);
        let value = writer.to_string();
        let changes = ["a", "b", "c"].map(|name| put(name, Expected::Any, &value));
        writers.spawn(async move {
            store
                .commit(set(changes.into()), deadline())
                .await
                .unwrap()
                .revision
        });
    }
    let revisions: BTreeSet<_> = writers.join_all().await.into_iter().collect();
    assert_eq!(revisions.len(), 32, "each commit has a revision of its own");
    let snapshot = store.snapshot().await.unwrap();
    let page = snapshot.page(&Range::default()).await.unwrap();
    let values: Vec<_> = page
        .entries
        .iter()
        .map(|entry| entry.record.value.as_json())
        .collect();
    assert_eq!(values[0], values[1]);
    assert_eq!(values[1], values[2]);
}

async fn records_and_deletions_say_who_wrote_them(store: Arc<dyn Store>) {
    let ann: Option<Name> = Some("Ann \"ü\"".parse().unwrap());
    let commit = async |changes: Vec<Change>, writer: &Option<Name>| {
        let changes: ChangeSet = set(changes).by(writer.clone());
        store.commit(changes, deadline()).await.unwrap()
    };
    let mut changes = watch(&*store, Filter::Prefix(String::new()), None).await;
    let put = |name, value| put(name, Expected::Any, value);
    let written = commit(vec![put("a", "1"), put("b", "1"), put("c", "1")], &ann).await;
    for (name, record) in ["a", "b", "c"].iter().zip(&written.records) {
        assert_eq!(record.as_ref().unwrap().modified_by, ann);
        assert_eq!(got(&*store, name).await, *record);
    }
    // Each commit has a writer of its own, and a check is no write.
    let checked = vec![put("b", "2"), check("a", Expected::Present)];
    let anonymous = commit(checked, &None).await;
    let writers = anonymous.records.iter().flatten();
    let writers: Vec<_> = writers.map(|record| &record.modified_by).collect();
    assert_eq!(writers, [&None, &ann]);
    assert_eq!(got(&*store, "b").await.unwrap().modified_by, None);

    let ben: Option<Name> = Some("ben".parse().unwrap());
    let deleted = commit(vec![delete("a", Expected::Any)], &ben).await;
    let deleted = deleted.records[0].as_ref().unwrap();
    assert_eq!(deleted.modified_by, ann, "the answer shows what was there");
    commit(vec![delete("c", Expected::Any)], &None).await;
    let events = take(&mut changes, 6).await;
    let writers = events
        .iter()
        .map(|event| event.entry.record.modified_by.clone());
    let expected = [ann.clone(), ann.clone(), ann, None, ben, None];
    assert_eq!(writers.collect::<Vec<_>>(), expected);
}

#[cfg(test)]
mod engines {
    use super::super::file::{FileStore, Journaling};
    use super::super::memory::MemoryStore;
    use super::helpers::everything;
    use super::*;

    /// The same tests for every engine.
    macro_rules! engines_pass {
        ($($test:ident),* $(,)?) => {
            mod memory {
                $(#[tokio::test]
                async fn $test() {
                    super::super::$test(std::sync::Arc::new(super::MemoryStore::new())).await;
                })*
            }
            mod memory_with_gaps {
                $(#[tokio::test]
                async fn $test() {
                    let store = super::MemoryStore::new().leaving_out_revisions(3);
                    super::super::$test(std::sync::Arc::new(store)).await;
                })*
            }
            mod file {
                $(#[tokio::test]
                async fn $test() {
                    super::on_file(super::Journaling::Never, super::super::$test).await;
                })*
            }
            mod journal {
                $(#[tokio::test]
                async fn $test() {
                    let always = super::Journaling::Above { bytes: 0 };
                    super::on_file(always, super::super::$test).await;
                })*
            }
        };
    }

    with_tests!(engines_pass);

    /// Engines that nobody shares leave no revision out.
    async fn revisions_count_the_commits(store: Arc<dyn Store>) {
        for revision in 1..=5 {
            let put = put("a", Expected::Any, "1");
            assert_eq!(committed(&*store, vec![put]).await.revision, revision);
            let refused = conflicts(&*store, vec![delete("b", Expected::Any)]).await;
            assert_eq!(refused.len(), 1);
        }
    }

    #[tokio::test]
    async fn an_engine_of_one_process_counts_its_commits() {
        revisions_count_the_commits(Arc::new(MemoryStore::new())).await;
        on_file(Journaling::Never, revisions_count_the_commits).await;
        let always = Journaling::Above { bytes: 0 };
        on_file(always, revisions_count_the_commits).await;
    }

    /// Runs a test on a store with a file of its own, and checks that opening it again shows the same
    /// content.
    async fn on_file<F: Future<Output = ()>>(
        journaling: Journaling,
        test: impl FnOnce(Arc<dyn Store>) -> F,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let store: Arc<dyn Store> = Arc::new(FileStore::open(&path, journaling).await.unwrap());
        test(Arc::clone(&store)).await;
        store.close().await.unwrap();
        let held = everything(&*store).await;
        drop(store);
        let reopened = FileStore::open(&path, journaling).await.unwrap();
        assert_eq!(everything(&reopened).await, held);
    }
}
