//! Whether etcd has room for what is written: its alarms, and how much of its quota is used.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::error::ClientError;
use super::messages::{AlarmType, StatusResponse};

/// How often etcd is asked.
const INTERVAL: Duration = Duration::from_secs(10);
/// From how much of the quota on it is told, in percent.
const TOLD_PERCENT: u64 = 80;

/// What is known of the room in etcd.
#[derive(Debug, Default)]
pub struct Space(Mutex<Known>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    is_full: bool,
    problem: Option<String>,
}

impl Space {
    /// Whether etcd refuses writes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.lock().is_full
    }

    /// What is wrong, or will be soon.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.lock().problem.clone()
    }

    /// Notes what etcd says, and logs it if it is new.
    fn note(&self, now: Known) {
        let mut known = self.0.lock();
        if *known == now {
            return;
        }
        match (&now.problem, now.is_full) {
            (Some(problem), true) => tracing::error!("{problem}"),
            (Some(problem), false) if known.problem.is_none() || known.is_full => {
                tracing::warn!("{problem}");
            }
            (Some(_), false) => {}
            (None, _) => tracing::info!("etcd has room again"),
        }
        *known = now;
    }
}

/// Asks etcd now and then.
pub async fn follow(client: Client, space: Arc<Space>, quota_bytes: u64, patience: Duration) {
    loop {
        // If it does not answer, others say so.
        if let Ok(now) = ask(&client, quota_bytes, patience).await {
            space.note(now);
        }
        sleep(INTERVAL).await;
    }
}

async fn ask(client: &Client, quota_bytes: u64, patience: Duration) -> Result<Known, ClientError> {
    let deadline = Instant::now() + patience;
    let alarms = client.alarms(deadline).await?;
    let alarms: Vec<_> = alarms.iter().map(|alarm| alarm.alarm).collect();
    let status = client.status(deadline).await?;
    Ok(judge(&alarms, &status, quota_bytes))
}

fn judge(alarms: &[i32], status: &StatusResponse, quota_bytes: u64) -> Known {
    if alarms.contains(&i32::from(AlarmType::NoSpace)) {
        let problem = "etcd has the alarm NOSPACE and refuses writes until its history is \
                       compacted, its members are defragmented and the alarm is disarmed";
        return Known {
            is_full: true,
            problem: Some(problem.to_owned()),
        };
    }
    if alarms.contains(&i32::from(AlarmType::Corrupt)) {
        let problem =
            "etcd has the alarm CORRUPT: the data of a member differs from that of others";
        return Known {
            is_full: true,
            problem: Some(problem.to_owned()),
        };
    }
    let used = u64::try_from(status.db_size).unwrap_or(0);
    let percent = used.saturating_mul(100) / quota_bytes.max(1);
    let problem = (percent >= TOLD_PERCENT).then(|| {
        format!(
            "etcd uses {percent} % of its quota of {quota_bytes} bytes; without room it refuses \
             writes: compact its history and defragment its members, or raise the quota"
        )
    });
    Known {
        is_full: false,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_and_a_quota_that_is_almost_used_are_told() {
        let status = |db_size| StatusResponse {
            db_size,
            ..StatusResponse::default()
        };
        let none = judge(&[], &status(799), 1000);
        assert_eq!(none, Known::default());
        let almost = judge(&[], &status(800), 1000);
        assert!(!almost.is_full && almost.problem.unwrap().contains("80 %"));
        let full = judge(&[AlarmType::NoSpace.into()], &status(1), 1000);
        assert!(full.is_full && full.problem.unwrap().contains("NOSPACE"));
        let corrupt = judge(&[AlarmType::Corrupt.into()], &status(1), 1000);
        assert!(corrupt.is_full && corrupt.problem.unwrap().contains("CORRUPT"));
    }
}
