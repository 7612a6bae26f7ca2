//! Which tags and dates are stale.

use std::time::{Duration, SystemTime};

use super::with_entry;
use crate::support::api::Api;

/// An entry whose date is an hour ahead: the clock was set back since it was written.
async fn with_clock_set_back() -> (tempfile::TempDir, Api, String) {
    let folder = tempfile::tempdir().unwrap();
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    let moment = humantime::format_rfc3339_millis(ahead);
    let text = format!(
        "{{\"format\":1,\"revision\":1,\"entries\":{{\n\"a\":{{\"value\":1,\"version\":1,\
         \"revision\":1,\"modified_at\":\"{moment}\"}}\n}}}}\n"
    );
    std::fs::write(folder.path().join("data.json"), text).unwrap();
    let api = Api::in_folder(folder.path()).await;
    (folder, api, httpdate::fmt_http_date(ahead))
}

#[tokio::test]
async fn after_the_clock_was_set_back_a_changed_value_is_not_taken_for_the_old_one() {
    let (folder, mut api, date) = with_clock_set_back().await;
    let since = |api: &Api, name: &'static str| {
        let (api, date) = (api.clone(), date.clone());
        async move {
            let read = api.get("/kv/a").header(name, &date).send().await;
            read.status.as_u16()
        }
    };
    assert_eq!(since(&api, "if-modified-since").await, 304);
    assert_eq!(since(&api, "if-unmodified-since").await, 200);
    for value in 2..5 {
        let changed = api.put("/kv/a", &value.to_string()).send().await;
        assert_eq!(changed.status.as_u16(), 200);
        assert_eq!(since(&api, "if-modified-since").await, 200, "{value}");
        let lost = api.put("/kv/a", "9").header("if-unmodified-since", &date);
        lost.send().await.assert_error(412, "precondition_failed");
        api.close().await;
        api = Api::in_folder(folder.path()).await;
        assert_eq!(since(&api, "if-modified-since").await, 200, "{value}");
        assert_eq!(since(&api, "if-unmodified-since").await, 412, "{value}");
        assert_eq!(api.get("/kv/a").send().await.json()["value"], value);
    }
    api.close().await;
}

#[tokio::test]
async fn last_modified_is_never_still_to_come() {
    let (_folder, api, _) = with_clock_set_back().await;
    let tag = api.get("/kv/a").send().await.etag();
    for (call, status) in [
        (api.get("/kv/a"), 200),
        (api.get("/kv/a").if_none_match(&tag), 304),
        (api.put("/kv/a", "2").if_match("\"x\""), 412),
        (api.put("/kv/a", "2"), 200),
        (api.delete("/kv/a").header("prefer", "return=minimal"), 204),
    ] {
        let answer = call.send().await;
        assert_eq!(answer.status.as_u16(), status);
        let shown = answer.header("last-modified").unwrap();
        let shown = httpdate::parse_http_date(shown).unwrap();
        assert!(shown <= SystemTime::now(), "{answer:?}");
    }
    api.close().await;
}

#[tokio::test]
async fn a_list_has_a_tag_that_any_commit_changes() {
    let (api, _) = with_entry().await;
    let mut tags = vec![api.get("/kv").send().await.etag()];
    for call in [
        api.put("/kv/a", "1"),
        api.put("/kv/a", "1"),
        api.delete("/kv/a"),
    ] {
        let last = tags.last().unwrap();
        let same = api.get("/kv?prefix=x").if_none_match(last).send().await;
        assert_eq!(same.status.as_u16(), 304);
        assert!(call.send().await.status.is_success());
        let answer = api.get("/kv").if_none_match(last).send().await;
        assert_eq!(answer.status.as_u16(), 200);
        let revision = answer.json()["revision"].to_string();
        let tag = answer.etag();
        let (shown, history) = tag.trim_matches('"').split_once('-').unwrap();
        assert_eq!(shown, revision);
        assert!(!history.is_empty());
        assert!(!tags.contains(&tag));
        tags.push(tag);
    }
    let last = tags.last().unwrap();
    assert_eq!(
        api.get("/kv").if_match(last).send().await.status.as_u16(),
        200
    );
    let stale = api.get("/kv").if_match(&tags[0]).send().await;
    stale.assert_error(412, "precondition_failed");
}

#[tokio::test]
async fn a_tag_never_comes_back_also_not_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let old = api.put("/kv/a", "{\"same\":true}").send().await.etag();
    api.delete("/kv/a").send().await;
    api.put("/kv/a", "{\"same\":true}").send().await;
    let stale = api.put("/kv/a", "0").if_match(&old).send().await;
    stale.assert_error(412, "precondition_failed");
    let old_list = api.get("/kv").send().await.etag();
    api.delete("/kv/a").send().await;
    api.close().await;

    let api = Api::in_folder(folder.path()).await;
    let again = api.put("/kv/a", "{\"same\":true}").send().await;
    assert_eq!(again.json()["version"], 1);
    let stale = api.put("/kv/a", "0").if_match(&old).send().await;
    stale.assert_error(412, "precondition_failed");
    let list = api.get("/kv").if_none_match(&old_list).send().await;
    assert_eq!(list.status.as_u16(), 200);
    api.close().await;
}

#[tokio::test]
async fn a_file_edited_by_hand_makes_old_tags_stale() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let old = api.put("/kv/a", "\"before\"").send().await.etag();
    api.close().await;
    let file = folder.path().join("data.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("before", "edited")).unwrap();
    let api = Api::in_folder(folder.path()).await;
    let stale = api.put("/kv/a", "0").if_match(&old).send().await;
    stale.assert_error(412, "precondition_failed");
    assert_eq!(stale.json()["current"]["value"], "edited");
    api.close().await;
}

#[tokio::test]
async fn an_older_file_that_is_restored_makes_newer_tags_stale() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.json");
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    let older = std::fs::read(&file).unwrap();
    let newer = api.put("/kv/a", "2").send().await.etag();
    api.close().await;
    std::fs::write(&file, older).unwrap();
    let api = Api::in_folder(folder.path()).await;
    // The same version and revision as the one that is forgotten.
    let other = api.put("/kv/a", "3").send().await;
    assert_eq!(other.json()["version"], 2);
    let stale = api.put("/kv/a", "4").if_match(&newer).send().await;
    stale.assert_error(412, "precondition_failed");
    assert_eq!(stale.json()["current"], other.json());
    api.close().await;
}
