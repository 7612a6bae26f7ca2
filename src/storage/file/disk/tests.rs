//! Steps of the files that no request can time.

use std::path::Path;

use super::*;
use crate::model::{Change, Expected, Operation, Value};
use crate::storage::file::open::{Opened, open};
use crate::storage::file::{Journaling, Settings};
use crate::storage::table::Table;

const ALWAYS: Journaling = Journaling::Above { bytes: 0 };

/// The files of a folder with the table that they hold.
struct Store(Disk, Table);

impl Store {
    fn open(folder: &Path) -> Self {
        let settings = Settings::from(ALWAYS);
        let Opened { disk, table } = open(&folder.join("data.json"), &settings).unwrap();
        Self(disk, table)
    }

    fn snapshot(&self) -> TableSnapshot {
        self.1.snapshot()
    }

    fn put(&mut self, key: &str) {
        let change = Change {
            key: key.parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Put(Value::from_json(b"1").unwrap()),
        };
        let mut staged = Staged::on(&self.1);
        let moment = Timestamp::from_millis(1);
        staged.stage(&self.1, change.into(), moment).unwrap();
        let table = self.snapshot();
        self.0.commit(|| table.clone(), &staged).unwrap();
        staged.apply_to(&mut self.1);
        self.0.is_checkpoint_due(self.1.live_bytes());
    }
}

#[tokio::test]
async fn the_result_of_a_cancelled_checkpoint_is_ignored_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path());
    store.put("in the data file");
    store.put("in the journal");
    let cancelled = store.0.begin_checkpoint(store.snapshot()).unwrap().await;
    let table = store.snapshot();
    store.0.close(|| table.clone()).unwrap();

    store.put("in the next journal");
    let next = store.0.begin_checkpoint(store.snapshot()).unwrap();
    store
        .0
        .finish_checkpoint(cancelled, || table.clone())
        .unwrap();
    store.put("after that");
    let next = next.await;
    let table = store.snapshot();
    store.0.finish_checkpoint(next, || table.clone()).unwrap();
    store.put("at last");
    drop(store);
    assert_eq!(Store::open(folder.path()).1.count(), 5);
}
