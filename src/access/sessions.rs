//! Sessions: a browser shows a random id instead of the token that it has signed in with.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::secret::{TokenHash, hash_of, new_token};
use crate::model::Timestamp;

/// How long a session lasts without a request, in milliseconds: a working day with its breaks.
const IDLE_MAX_MILLIS: u64 = 12 * 60 * 60 * 1000;
/// How many sessions there may be; the one that was used longest ago gives way.
const MAX_SESSIONS: usize = 10_000;
/// How many of them one token may have, so that who has one cannot sign out everyone else.
const MAX_SESSIONS_OF_TOKEN: usize = 100;

/// Who has signed in. A session knows its token by its hash alone, and is worth as much as that.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<TokenHash, Session>>);

#[derive(Debug)]
struct Session {
    token: TokenHash,
    used: Timestamp,
    /// Dropped with the session, which its streams notice.
    alive: watch::Sender<()>,
}

/// Tells when a session has ended.
pub type SessionEnd = watch::Receiver<()>;

impl Session {
    fn has_ended(&self, now: Timestamp) -> bool {
        now.millis().saturating_sub(self.used.millis()) > IDLE_MAX_MILLIS
    }
}

impl Sessions {
    /// A new session for a token, by its id.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn begin(&self, token: TokenHash, now: Timestamp) -> Result<String, getrandom::Error> {
        let id = new_token()?;
        let mut sessions = self.0.lock();
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, session| !session.has_ended(now));
        }
        let of_token = |session: &&Session| session.token == token;
        if sessions.values().filter(of_token).count() >= MAX_SESSIONS_OF_TOKEN {
            remove_oldest(&mut sessions, |session| session.token == token);
        } else if sessions.len() >= MAX_SESSIONS {
            remove_oldest(&mut sessions, |_| true);
        }
        let session = Session {
            token,
            used: now,
            alive: watch::Sender::new(()),
        };
        sessions.insert(hash_of(id.as_bytes()), session);
        Ok(id)
    }

    /// The token of a session, which is used by that, and what tells when the session has ended.
    pub fn token_of(&self, id: &[u8], now: Timestamp) -> Option<(TokenHash, SessionEnd)> {
        let mut sessions = self.0.lock();
        let id = hash_of(id);
        let session = sessions.get_mut(&id)?;
        if session.has_ended(now) {
            sessions.remove(&id);
            return None;
        }
        session.used = now;
        Some((session.token, session.alive.subscribe()))
    }

    /// Ends a session.
    pub fn end(&self, id: &[u8]) {
        self.0.lock().remove(&hash_of(id));
    }
}

/// Removes the one of these that was used longest ago.
fn remove_oldest(sessions: &mut HashMap<TokenHash, Session>, of: impl Fn(&Session) -> bool) {
    let these = sessions.iter().filter(|(_, session)| of(session));
    let oldest = these.min_by_key(|(_, session)| session.used);
    if let Some(id) = oldest.map(|(id, _)| *id) {
        sessions.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(hours: u64) -> Timestamp {
        Timestamp::from_millis(hours * 60 * 60 * 1000)
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_until_it_is_ended() {
        let sessions = Sessions::default();
        let token = hash_of(b"token");
        let id = sessions.begin(token, hours(0)).unwrap();
        let other = sessions.begin(token, hours(0)).unwrap();
        assert_ne!(id, other);
        let token_of = |id: &str, now| Some(sessions.token_of(id.as_bytes(), now)?.0);
        assert_eq!(token_of(&id, hours(11)), Some(token));
        assert_eq!(token_of(&id, hours(22)), Some(token));
        assert_eq!(token_of(&other, hours(22)), None);
        assert_eq!(token_of("", hours(22)), None);
        sessions.end(id.as_bytes());
        assert_eq!(token_of(&id, hours(22)), None);
    }

    #[test]
    fn the_session_that_was_used_longest_ago_gives_way() {
        let sessions = Sessions::default();
        let begin = |number: usize, at| {
            let token = hash_of(number.to_string().as_bytes());
            sessions.begin(token, Timestamp::from_millis(at)).unwrap()
        };
        let (first, second) = (begin(0, 0), begin(1, 1));
        let now = Timestamp::from_millis(3);
        assert!(sessions.token_of(first.as_bytes(), now).is_some());
        for number in 2..=MAX_SESSIONS {
            begin(number, 2);
        }
        assert!(sessions.token_of(second.as_bytes(), now).is_none());
        assert!(sessions.token_of(first.as_bytes(), now).is_some());
        assert_eq!(sessions.0.lock().len(), MAX_SESSIONS);
    }

    #[test]
    fn who_signs_in_often_signs_out_nobody_else() {
        let sessions = Sessions::default();
        let now = Timestamp::from_millis(1);
        let other = sessions
            .begin(hash_of(b"other"), Timestamp::from_millis(0))
            .unwrap();
        let begin = |at| {
            let at = Timestamp::from_millis(at);
            sessions.begin(hash_of(b"token"), at).unwrap()
        };
        let first = begin(0);
        for _ in 0..MAX_SESSIONS_OF_TOKEN {
            begin(1);
        }
        assert!(sessions.token_of(first.as_bytes(), now).is_none());
        assert!(sessions.token_of(other.as_bytes(), now).is_some());
        assert_eq!(sessions.0.lock().len(), 1 + MAX_SESSIONS_OF_TOKEN);
    }
}
