//! Who may do what, and what nobody sees who may not read it.

mod attacks;
mod audit;
mod callers;
mod grants;
mod hidden;
mod lists;
mod property;
mod races;
mod sessions;
mod tokens_file;
mod watches;

use axum::http::Method;
use ifmatch::access::{Action, Grant, Grants, hash_of};

use crate::support::api::{Answer, Api};

/// Whom a test lets do everything, to set the scene.
const ADMIN: &str = "admin";

/// What somebody may do: prefixes, with the first letters of the actions.
type Granted<'a> = &'a [(&'a str, &'a str)];

fn actions(letters: &str) -> Vec<Action> {
    let action = |letter| match letter {
        'r' => Action::Read,
        'c' => Action::Create,
        'u' => Action::Update,
        'd' => Action::Delete,
        other => panic!("{other} is no action"),
    };
    letters.chars().map(action).collect()
}

fn grants(granted: Granted<'_>) -> Grants {
    let grant = |(prefix, letters): &(&str, &str)| Grant {
        prefix: (*prefix).to_owned(),
        actions: actions(letters),
    };
    Grants::new(granted.iter().map(grant).collect())
}

/// A file of tokens, each of which has its name as its text, and [`ADMIN`] as well.
fn file(of: &[(&str, Granted<'_>)]) -> String {
    let all: &[(&str, Granted<'_>)] = &[(ADMIN, &[("", "rcud")])];
    let token = |(name, granted): &(&str, Granted<'_>)| token(name, granted, "");
    all.iter().chain(of).map(token).collect()
}

/// A token of a file.
fn token(name: &str, granted: Granted<'_>, more: &str) -> String {
    let allow: Vec<_> = granted
        .iter()
        .map(|(prefix, letters)| {
            let actions: Vec<_> = actions(letters).iter().map(|it| it.as_str()).collect();
            format!("{{ prefix = {prefix:?}, actions = {actions:?} }}")
        })
        .collect();
    let hash = hex::encode(hash_of(name.as_bytes()));
    let allow = allow.join(", ");
    format!("[[token]]\nname = {name:?}\nsha256 = \"{hash}\"\n{more}\nallow = [{allow}]\n\n")
}

/// Writes as [`ADMIN`].
async fn put(api: &Api, key: &str, value: &str) -> Answer {
    let put = api.put(&format!("/kv/{key}"), value).by(ADMIN);
    let answer = put.send().await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer
}

async fn transact(api: &Api, by: &str, operations: &str) -> Answer {
    let body = format!("{{\"operations\":[{operations}]}}");
    let call = api.call(Method::POST, "/transactions").json(&body);
    call.by(by).send().await
}
