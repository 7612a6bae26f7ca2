//! Values keep what their text said.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::api::Api;

#[tokio::test]
async fn every_digit_and_the_order_of_members_survive_file_and_restart() {
    let texts = [
        "12345678901234567890123.4500",
        "1e400",
        "1E-400",
        "1E+2",
        "-0.0",
        "-0",
        "0.10",
        r#"{"b":1,"a":2}"#,
        r#"{"z":{"y":[1.0,1.00]},"":null,"a b":"\u0000"}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"$serde_json::private::RawValue":"[1]"}"#,
        r#""\"\\/ \n é 😀""#,
        "[]",
        "null",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut api = Api::in_folder(folder.path()).await;
    for restart in [false, true] {
        for (index, text) in texts.iter().enumerate() {
            let path = format!("/kv/{index}");
            if !restart {
                assert_eq!(
                    api.put(&path, text).send().await.status.as_u16(),
                    201,
                    "{text}"
                );
            }
            let answer = api.get(&path).send().await;
            let shown = format!("\"value\":{text},\"version\":1");
            assert!(answer.text().contains(&shown), "{text}: {}", answer.text());
            let file = std::fs::read_to_string(folder.path().join("data.json")).unwrap();
            assert!(file.contains(&shown), "{text}: {file}");
        }
        api.close().await;
        api = Api::in_folder(folder.path()).await;
    }
    api.close().await;
}

#[tokio::test]
async fn of_a_repeated_member_the_last_wins_and_white_space_goes() {
    let api = Api::in_memory();
    let answer = api
        .put("/kv/a", "{ \"a\" : 1,\r\n\t\"b\":2, \"a\" :[ 3 ] }")
        .send()
        .await;
    assert!(
        answer.text().contains(r#""value":{"a":[3],"b":2},"#),
        "{answer:?}"
    );
}

#[tokio::test]
async fn values_may_be_as_deep_and_as_long_as_the_contract_says() {
    let api = Api::in_memory();
    let deep = "[".repeat(128) + &"]".repeat(128);
    assert_eq!(api.put("/kv/deep", &deep).send().await.status.as_u16(), 201);
    let long = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    let answer = api.put("/kv/long", &long).send().await;
    assert_eq!(answer.status.as_u16(), 201);
    assert_eq!(
        answer.json()["value"].as_str().unwrap().len(),
        long.len() - 2
    );
    let longer = format!("\"{}\"", "x".repeat(1024 * 1024 - 1));
    let answer = api.put("/kv/long", &longer).send().await;
    answer.assert_error(413, "value_too_large");
}

fn vectors() -> Option<Vec<(String, PathBuf)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/suites/json-parsing");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: the JSON parsing vectors are not there");
        return None;
    };
    let vectors = files.map(|file| {
        let path = file.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), path)
    });
    Some(
        vectors
            .filter(|(name, _)| Path::new(name).extension().is_some())
            .collect(),
    )
}

#[tokio::test]
async fn the_public_parsing_vectors_are_taken_and_refused_as_they_say() {
    let Some(vectors) = vectors() else { return };
    assert!(vectors.len() > 250, "{} vectors", vectors.len());
    for (name, path) in vectors {
        let body = std::fs::read(&path).unwrap();
        let api = Api::in_memory();
        let answer = api.put("/kv/a", "").body(body.clone()).send().await;
        match name.split('_').next().unwrap() {
            "y" => {
                assert_eq!(answer.status.as_u16(), 201, "{name}: {answer:?}");
                let read = api.get("/kv/a").send().await;
                let sent: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(read.json()["value"], sent, "{name}");
            }
            "n" => {
                answer.assert_error(400, "invalid_json");
                api.get("/kv/a").send().await.assert_error(404, "not_found");
            }
            "i" => {
                assert!(!answer.status.is_server_error(), "{name}: {answer:?}");
                if answer.status.is_success() {
                    api.get("/kv/a").send().await.json();
                }
            }
            other => panic!("{other}: {name}"),
        }
    }
}

#[tokio::test]
async fn a_value_is_shown_to_the_digit_wherever_its_entry_is_shown() {
    let text = r#"{"z":12345678901234567890123.4500,"$serde_json::private::Number":"1","a":1e400}"#;
    let shown = format!("{{\"key\":\"k\",\"value\":{text},\"version\":1,");
    let api = Api::in_memory();
    let put = api.put("/kv/k", text).send().await;
    for answer in [
        api.put("/kv/k", "1").if_match("\"x\"").send().await,
        api.get("/kv").send().await,
        api.delete("/kv/k").if_match(&put.etag()).send().await,
        put,
    ] {
        assert!(answer.text().contains(&shown), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_deepest_value_and_the_strangest_key_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let deep = "[".repeat(128) + &"]".repeat(128);
    let mut tags = Vec::new();
    let paths = [
        "/kv/$serde_json::private::RawValue",
        "/kv/%22%5C%22%2C",
        "/kv/%C2%85%E2%80%A8",
    ];
    for path in paths {
        let created = api.put(path, &deep).send().await;
        assert_eq!(created.status.as_u16(), 201, "{path}");
        tags.push(created.etag());
    }
    api.close().await;
    let api = Api::in_folder(folder.path()).await;
    for (path, tag) in paths.into_iter().zip(tags) {
        let answer = api.get(path).send().await;
        assert!(answer.text().contains(&format!("\"value\":{deep},")));
        assert_eq!(answer.etag(), tag, "{path}");
    }
    api.close().await;
}

#[tokio::test]
async fn what_the_public_vectors_say_is_stored_survives_a_restart() {
    let Some(vectors) = vectors() else { return };
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let mut answers = Vec::new();
    for (index, (name, file)) in vectors.iter().enumerate() {
        let path = format!("/kv/{index}");
        let body = std::fs::read(file).unwrap();
        let answer = api.put(&path, "").body(body).send().await;
        if name.starts_with("y_") {
            assert_eq!(answer.status.as_u16(), 201, "{name}");
        }
        if answer.status.is_success() {
            answers.push((name, path, answer.body));
        }
    }
    let list = api.get("/kv").send().await.body;
    api.close().await;
    let api = Api::in_folder(folder.path()).await;
    for (name, path, body) in answers {
        assert_eq!(api.get(&path).send().await.body, body, "{name}");
    }
    assert_eq!(api.get("/kv").send().await.body, list);
    api.close().await;
}
