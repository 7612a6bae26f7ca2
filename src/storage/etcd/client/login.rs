//! The token of a user. It is renewed when etcd does not accept it any more, once for all calls that learn that.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::joint::Joint;
use super::rpc::{Token, framed};
use super::verdict::{Failure, Verdict};
use crate::storage::etcd::credentials::{CredentialFiles, Password, Renewed};
use crate::storage::etcd::error::SetupError;
use crate::storage::etcd::messages::AuthenticateRequest;
use crate::storage::etcd::settings::EtcdSettings;

/// A user with a password, and the token that etcd gave for it.
pub struct Login {
    user: String,
    password: Renewed<Password>,
    files: CredentialFiles,
    /// `None` in it if etcd does not want to know users.
    token: RwLock<Option<Arc<Option<Token>>>>,
}

impl Login {
    /// `None` without a user: a client certificate may tell etcd who this is, or nothing has to.
    ///
    /// # Errors
    /// [`SetupError::Login`].
    pub fn new(settings: &EtcdSettings) -> Result<Option<Self>, SetupError> {
        let (user, password) = match (&settings.user, &settings.password) {
            (None, None) => return Ok(None),
            (Some(user), Some(password)) => (user.clone(), password.clone()),
            _ => return Err(SetupError::Login),
        };
        Ok(Some(Self {
            user,
            password: Renewed::new("password", password),
            files: settings.files.clone(),
            token: RwLock::default(),
        }))
    }

    /// An [`AuthenticateRequest`], framed, with the password that is in its file now if it can be read.
    pub async fn request(&self) -> Bytes {
        let password = match self.files.read_password().await {
            Ok(None) => self.password.last(),
            Ok(Some(password)) => self.password.renew(Ok(password)),
            Err(reason) => self.password.renew(Err(reason)),
        };
        framed(&AuthenticateRequest {
            name: self.user.clone(),
            password: password.reveal().to_owned(),
        })
    }

    /// A token other than `stale`. If there is no such token yet, one login gets it, by `authenticate`, for all callers with
    /// the same `logging_in`.
    ///
    /// # Errors
    /// Those of `authenticate`.
    pub async fn token<F>(
        self: &Arc<Self>,
        stale: Option<&Arc<Option<Token>>>,
        logging_in: &Joint<Result<(), Failure>>,
        authenticate: impl Fn() -> F,
    ) -> Result<Arc<Option<Token>>, Failure>
    where
        F: Future<Output = Result<Option<Token>, Failure>> + Send + 'static,
    {
        loop {
            if let Some(token) = self.other_than(stale) {
                return Ok(token);
            }
            let (login, stale, authenticated) = (Arc::clone(self), stale.cloned(), authenticate());
            let renewing = async move {
                // It may have been renewed since this was asked.
                if login.other_than(stale.as_ref()).is_none() {
                    let token = Arc::new(authenticated.await?);
                    *login.token.write() = Some(token);
                }
                Ok(())
            };
            match logging_in.join(renewing).await {
                // Others may have found another token stale.
                Some(logged_in) => logged_in?,
                None => {
                    return Err(Failure {
                        verdict: Verdict::NotDone,
                        text: "the login has failed".to_owned(),
                        is_answer: false,
                    });
                }
            }
        }
    }

    fn other_than(&self, stale: Option<&Arc<Option<Token>>>) -> Option<Arc<Option<Token>>> {
        let token = self.token.read();
        let token = token.as_ref()?;
        let is_stale = stale.is_some_and(|stale| Arc::ptr_eq(stale, token));
        (!is_stale).then(|| Arc::clone(token))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_token_is_renewed_once_for_all_who_found_it_stale() {
        let settings = EtcdSettings {
            user: Some("ann".to_owned()),
            password: Some(Password::from("p".to_owned())),
            ..EtcdSettings::default()
        };
        let login = Arc::new(Login::new(&settings).unwrap().unwrap());
        let logging_in = Joint::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let authenticate = || {
            let asked = Arc::clone(&asked);
            async move {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(Some(format!("token{number}").parse().unwrap()))
            }
        };
        let token = async |stale: Option<&Arc<Option<Token>>>| {
            let token = login.token(stale, &logging_in, authenticate).await;
            token.map_err(|failure| failure.text).unwrap()
        };
        let first = join_all((0..8).map(|_| token(None))).await;
        let first = first[0].clone();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let second = join_all((0..8).map(|_| token(Some(&first)))).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        for token in second {
            assert_eq!(token.as_ref().as_ref().unwrap(), "token1");
        }
        // Who still has the first one gets the second one without asking.
        token(Some(&first)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_user_and_a_password_need_each_other() {
        let settings = EtcdSettings {
            user: Some("ann".to_owned()),
            ..EtcdSettings::default()
        };
        assert_eq!(Login::new(&settings).err(), Some(SetupError::Login));
        assert!(Login::new(&EtcdSettings::default()).unwrap().is_none());
    }
}
