//! What was written to a key longer ago than a process remembers.

use std::sync::Arc;

use ifmatch::model::{ChangeSet, EventKind, Expected, HistoryPage, HistoryPoint, Origin, Record};
use ifmatch::storage::{PastError, Store as _};

use super::{ROOT, commit, delete, history_of, open, put, read, soon, write};
use crate::support::cluster::EtcdCluster;

/// The records of a page, which are all of entries that were written.
fn records(page: &HistoryPage) -> Vec<Arc<Record>> {
    let events = page.events.iter();
    events
        .map(|event| {
            assert_eq!(event.kind, EventKind::Put);
            assert_eq!(event.at, event.entry.record.modified_at);
            assert_eq!(event.point.revision, event.entry.record.revision);
            Arc::clone(&event.entry.record)
        })
        .collect()
}

#[tokio::test]
async fn what_was_written_to_a_key_is_known_as_far_back_as_etcd_has_it() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "deleted", "1").await;
    commit(&store, vec![delete("deleted")]).await.unwrap();
    let mut written = Vec::new();
    for number in 1..=5 {
        // In a commit with others, and not the first of it.
        let number = number.to_string();
        let changes = ["0", "a"].map(|name| put(name, Expected::Any, &number));
        commit(&store, changes.to_vec()).await.unwrap();
        written.push(read(&store, "a").await.unwrap());
    }
    let first = Some(Origin::Revert {
        revision: written[0].revision,
    });
    let reverted = ChangeSet::new(vec![put("a", Expected::Present, "1")]).unwrap();
    let reverted = reverted.from_origin(first);
    store.commit(reverted, soon()).await.unwrap();
    written.push(read(&store, "a").await.unwrap());
    // By somebody else, of which the first is no entry.
    write(&store, "mended", "1").await;
    let mended = format!("{ROOT}/k/mended");
    cluster.ctl(&["put", &mended, "garbage"]).await;
    let text = r#"{"modified_at":"2026-12-01T00:00:00.000Z","value":3}"#;
    cluster.ctl(&["put", &mended, text]).await;
    // More than a process reads at its start.
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for _ in 0..34 {
        write(&store, "long", &long).await;
    }
    write(&store, "a", "7").await;
    written.push(read(&store, "a").await.unwrap());
    written.reverse();
    drop(store);

    let store = open(&cluster).await;
    let created = written[6].revision;
    let forgotten = store.past().snapshot_at(created).await.map(drop);
    assert!(matches!(forgotten, Err(PastError::Compacted { .. })));
    let page = history_of(&store, "a", HistoryPoint::END, 1000).await;
    assert_eq!(records(&page), written);
    assert_eq!((page.next, page.oldest_revision), (None, created - 1));
    let origins: Vec<_> = page.events.iter().map(|event| event.origin).collect();
    assert_eq!(origins, [None, first, None, None, None, None, None]);
    // In pages, of which one has what is remembered and what is not.
    for limit in [1, 2, 3, 7] {
        let mut found = Vec::new();
        let mut next = Some(HistoryPoint::END);
        while let Some(before) = next {
            let page = history_of(&store, "a", before, limit).await;
            assert!(page.events.len() <= limit);
            found.extend(records(&page));
            next = page.next;
        }
        assert_eq!(found, written, "{limit}");
    }
    let page = history_of(&store, "mended", HistoryPoint::END, 1000).await;
    let versions: Vec<_> = records(&page).iter().map(|record| record.version).collect();
    assert_eq!((versions, page.next), (vec![3], None));
    // etcd does not tell when something was deleted, so what was before that is not known.
    let page = history_of(&store, "deleted", HistoryPoint::END, 1000).await;
    assert_eq!((page.events.len(), page.next), (0, None));
    assert!(page.oldest_revision > created);

    let third = written[4].revision;
    cluster.ctl(&["compact", &third.to_string()]).await;
    let page = history_of(&store, "a", HistoryPoint::END, 1000).await;
    assert_eq!(records(&page), written[..5]);
    assert_eq!(
        (page.next, page.oldest_revision),
        (None, written[3].revision - 1)
    );
}
