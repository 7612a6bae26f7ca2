//! How a store is opened: its format, its secret, and the tasks that keep it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::barrier::Barrier;
use super::check::{Checked, Checker};
use super::client::Client;
use super::compact::Compactor;
use super::engine::{COMMITS_MAX, Engine};
use super::error::{ClientError, OpenError};
use super::follow::{Follower, Following};
use super::format::Format;
use super::layout::{FORMAT, Layout};
use super::load::{LoadError, load};
use super::messages::{KeyValue, RequestOp, TxnRequest};
use super::mirror::{Loaded, Mirror, Sizes};
use super::requests::{RequestLeases, StoredPast};
use super::settings::EtcdSettings;
use super::space::{self, Space};
use super::store::{EtcdStore, Tasks};
use super::text::Reader;
use super::{Address, format, nested, query};
use crate::storage::feed::DEFAULT_WATCH_BUFFER_BYTES;
use crate::storage::lease::Leases;
use crate::storage::requests::DEFAULT_IDEMPOTENCY_WINDOW;
use crate::token::random_token;

/// The quota of etcd unless its operator sets another, in bytes.
pub const DEFAULT_QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// The pause before etcd is asked again while a store is opened.
const PAUSE: Duration = Duration::from_millis(200);
/// How long etcd is waited for until it is told.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// How often two processes that open an empty store at once try to be the one that begins it.
const BEGIN_ATTEMPTS: usize = 3;

/// The settings of an [`EtcdStore`].
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// How the cluster is reached.
    pub connection: EtcdSettings,
    /// How long a request is remembered that was done, so that it is not done twice.
    pub idempotency_window: Duration,
    /// How much of the recent changes is kept for watchers, in bytes.
    pub watch_buffer_bytes: usize,
    /// How much etcd may store, in bytes: its `--quota-backend-bytes`. When it is almost used, the status says so.
    pub quota_bytes: u64,
    /// How long etcd keeps what was replaced or deleted, if this service has to compact it: for all who share it.
    pub compact_after: Option<Duration>,
    /// How long etcd is waited for at the start.
    pub start_timeout: Duration,
    /// How often what is in memory is compared with what etcd has.
    pub check_interval: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            connection: EtcdSettings::default(),
            idempotency_window: DEFAULT_IDEMPOTENCY_WINDOW,
            watch_buffer_bytes: DEFAULT_WATCH_BUFFER_BYTES,
            quota_bytes: DEFAULT_QUOTA_BYTES,
            compact_after: None,
            start_timeout: Duration::from_secs(30),
            check_interval: Duration::from_secs(5 * 60),
        }
    }
}

impl EtcdStore {
    /// Opens the store at an address, which is an empty one if nothing is there. Returns when everything is loaded
    /// and followed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(address: &Address, settings: StoreSettings) -> Result<Self, OpenError> {
        open(address, settings).await
    }
}

async fn open(address: &Address, settings: StoreSettings) -> Result<EtcdStore, OpenError> {
    let client = Client::new(&address.endpoints, &settings.connection)?;
    let patience = settings.connection.request_timeout;
    let last = Instant::now() + settings.start_timeout;
    let Prepared {
        reader,
        loaded,
        format,
        secret,
    } = prepare(&client, &address.root, patience, last).await?;
    let layout = reader.layout().clone();
    let format = Arc::new(format);
    let sizes = Sizes {
        idempotency_window: settings.idempotency_window,
        watch_buffer_bytes: settings.watch_buffer_bytes,
    };
    let mirror = Arc::new(Mirror::new(loaded, sizes));
    let following = Arc::new(Following::default());
    let follower = Follower {
        client: client.clone(),
        reader,
        mirror: Arc::clone(&mirror),
        following: Arc::clone(&following),
        patience,
    };
    let (barrier, rounds) = Barrier::new(
        client.clone(),
        layout.clone(),
        Arc::clone(&mirror),
        Arc::clone(&following),
        patience,
    );
    let space = Arc::new(Space::default());
    let watching_space = space::follow(
        client.clone(),
        Arc::clone(&space),
        settings.quota_bytes,
        patience,
    );
    let checked = Arc::new(Checked::default());
    let checking = Checker {
        client: client.clone(),
        layout: layout.clone(),
        mirror: Arc::clone(&mirror),
        following: Arc::clone(&following),
        checked: Arc::clone(&checked),
        interval: settings.check_interval,
        patience,
    };
    let mut tasks = vec![
        tokio::spawn(follower.run()),
        tokio::spawn(rounds.run()),
        tokio::spawn(watching_space),
        tokio::spawn(checking.run()),
        tokio::spawn(format::follow(
            client.clone(),
            layout.clone(),
            Arc::clone(&format),
            patience,
        )),
    ];
    if let Some(keep) = settings.compact_after {
        let compacting = Compactor {
            client: client.clone(),
            mirror: Arc::clone(&mirror),
            following: Arc::clone(&following),
            keep,
            patience,
        };
        tasks.push(tokio::spawn(compacting.run()));
    }
    let engine = Engine {
        stored: StoredPast {
            client: client.clone(),
            layout: layout.clone(),
            patience,
        },
        leases: RequestLeases::new(client.clone(), settings.idempotency_window),
        client,
        layout,
        format,
        mirror,
        barrier,
        space,
        following: Arc::clone(&following),
        checked,
        patience,
        turns: Arc::new(Semaphore::new(COMMITS_MAX as usize)),
        closed: false.into(),
    };
    let store = EtcdStore::new(engine, Tasks::new(tasks), secret);
    // The watch has to confirm what was loaded.
    let last = last.max(Instant::now() + patience);
    if timeout_at(last, following.begun()).await.is_err() {
        let silent = "the watch was not begun in time".to_owned();
        return Err(OpenError::Unavailable(silent));
    }
    let passed = store.engine().catch_up().await;
    passed.map_err(|error| OpenError::Unavailable(error.to_string()))?;
    Ok(store)
}

/// What a store begins with.
struct Prepared {
    reader: Reader,
    loaded: Loaded,
    format: Format,
    secret: Arc<str>,
}

/// Waits for etcd, refuses a root that overlaps another store, loads what is below it, and creates the store if it is new.
async fn prepare(
    client: &Client,
    root: &str,
    patience: Duration,
    last: Instant,
) -> Result<Prepared, OpenError> {
    let layout = Layout::new(root);
    if let Some(format) = reach(client, &layout, last).await? {
        format::check(root, &format.value)?;
    }
    nested::refuse_within(client, root, last).await?;
    let mut reader = Reader::new(layout.clone());
    let loaded = load_until(client, &mut reader, patience, last).await?;
    nested::refuse_around(client, root, &loaded.damaged, last).await?;
    // Only now: what is refused leaves no trace.
    let (format, secret) = begin(client, &layout, root, last).await?;
    Ok(Prepared {
        reader,
        loaded,
        format,
        secret,
    })
}

/// Loads everything, again and again until `last`.
async fn load_until(
    client: &Client,
    reader: &mut Reader,
    patience: Duration,
    last: Instant,
) -> Result<Loaded, OpenError> {
    loop {
        match load(client, reader, Leases::default(), patience).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) if Instant::now() >= last => {
                return Err(OpenError::Unavailable(error.to_string()));
            }
            Err(error @ LoadError::Client(ClientError::Denied(_))) => {
                return Err(OpenError::Unavailable(error.to_string()));
            }
            Err(error) => {
                tracing::warn!(%error, "the content of etcd cannot be loaded yet");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Waits until etcd answers. Returns the format of what is there.
async fn reach(
    client: &Client,
    layout: &Layout,
    last: Instant,
) -> Result<Option<KeyValue>, ClientError> {
    let request = query::get(layout.format());
    let mut until = last.min(Instant::now() + TOLD_AFTER);
    loop {
        let error = match client.range(&request, until).await {
            Ok(response) => return Ok(query::first(response)),
            Err(error) => error,
        };
        if !matches!(error, ClientError::Unavailable(_)) || Instant::now() >= last {
            return Err(error);
        }
        if until < last {
            let seconds = (last - until).as_secs();
            tracing::warn!(%error, "etcd cannot be reached yet: it is waited for {seconds} s longer");
        }
        until = last;
    }
}

/// Checks the format of what is there, or begins an empty store. Returns both the format and the secret.
async fn begin(
    client: &Client,
    layout: &Layout,
    root: &str,
    last: Instant,
) -> Result<(Format, Arc<str>), OpenError> {
    for _ in 0..BEGIN_ATTEMPTS {
        let format = client.range(&query::get(layout.format()), last).await?;
        let secret = client.range(&query::get(layout.secret()), last).await?;
        let format = query::first(format);
        if let Some(stored) = &format {
            format::check(root, &stored.value)?;
        }
        let secret = query::first(secret).map(|stored| stored.value);
        if let (Some(stored), Some(secret)) = (&format, &secret) {
            let format = Format::new(root, stored.mod_revision);
            return Ok((format, String::from_utf8_lossy(secret).into()));
        }
        let mut transaction = TxnRequest::default();
        if format.is_none() {
            tracing::info!(root, "there is no store below this root yet: it is begun");
            transaction.compare.push(query::is_absent(layout.format()));
            let put = RequestOp::put(layout.format(), FORMAT.to_string().into());
            transaction.success.push(put);
        }
        if secret.is_none() {
            transaction.compare.push(query::is_absent(layout.secret()));
            let secret = [random_token(), random_token()].concat();
            let put = RequestOp::put(layout.secret(), secret.into());
            transaction.success.push(put);
        }
        match client.txn(&transaction, last).await {
            // Then the next look shows it.
            Ok(_) | Err(ClientError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(OpenError::Unavailable(
        "the store could not be begun".to_owned(),
    ))
}
