//! A clock that was set back.

use super::*;
use crate::model::Entry;
use crate::precondition::Preconditions;
use crate::service::{AsOf, Reading};
use crate::storage::Store as _;
use crate::storage::file::FileStore;
use crate::{Error, Principal, Service};

const HOUR_MILLIS: u64 = 60 * 60 * 1000;

/// The entry of a key at a moment.
async fn entry_at(service: &Service, name: &str, at: Timestamp) -> Result<Entry, Error> {
    let operations = service.acting_as(Principal::unrestricted());
    let conditions = Preconditions::default();
    let reading = operations.read_as_of(key(name), AsOf::Time(at), &conditions);
    match reading.await? {
        Reading::Found(entry) | Reading::NotModified(entry) => Ok(entry),
    }
}

#[tokio::test]
async fn what_was_committed_is_not_still_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), SMALL);
    let now = Timestamp::from(SystemTime::now()).millis();
    let ahead = Timestamp::from_millis(now + HOUR_MILLIS);
    store.commit_group(&[&[("a", Some("1"))]], ahead);
    store.commit_group(&[&[("b", Some("1"))]], ahead);
    // Dated after the one before.
    store.commit(&[("a", Some("2"))]);
    store.commit(&[("c", Some("1"))]);
    store.close();
    let store = FileStore::open(&data(folder.path()), SMALL).await.unwrap();
    let store = Arc::new(store);
    let service = Service::new(Arc::clone(&store) as _, crate::Settings::default());
    for name in ["a", "b"] {
        let current = store.get(&key(name)).await.unwrap().unwrap();
        assert!(current.modified_at >= ahead);
        let entry = entry_at(&service, name, current.modified_at).await.unwrap();
        assert_eq!(entry.record, current);
    }
    let first = entry_at(&service, "a", ahead).await.unwrap();
    assert_eq!(first.record.value.as_json(), "1");
    // By the clock it was there before the others.
    let current = store.get(&key("c")).await.unwrap().unwrap();
    let then = entry_at(&service, "c", current.modified_at).await;
    assert!(matches!(then, Err(Error::AbsentThen { revision: 0 })));
    let later = Timestamp::from_millis(ahead.millis() + 10_000);
    let then = entry_at(&service, "a", later).await;
    assert!(matches!(then, Err(Error::MomentToCome)));
}
