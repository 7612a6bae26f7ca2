//! `openapi.yaml` and the routes say the same. (That each answer is as documented is asserted
//! wherever a test asks through `support::api`.)

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::Method;
use ifmatch::model::DEFAULT_MAX_VALUE_BYTES;
use serde_json::Value;

use crate::sources::sources;
use crate::support::api::Api;
use crate::support::contract::{CONTRACT, documented, error_codes};

#[tokio::test]
async fn every_documented_operation_is_routed_and_no_other_method_is() {
    let api = Api::in_memory();
    for (path, methods) in documented() {
        let path = path.replace("{key}", "some-key");
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = api.call(method.clone(), &path).send().await;
            let is_question = method == Method::OPTIONS;
            let refused = if is_question { 204 } else { 405 };
            let routed = answer.status.as_u16() != refused;
            assert_eq!(routed, methods.contains(method.as_str()), "{method} {path}");
            if !routed {
                let allow = answer.header("allow").unwrap();
                let allowed: BTreeSet<_> = allow
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect();
                assert_eq!(allowed, methods, "{path}");
            }
        }
    }
}

#[test]
fn every_route_is_documented() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/router.rs");
    let table = std::fs::read_to_string(table).unwrap();
    let routed: BTreeSet<String> = table
        .split(".route(\"")
        .skip(1)
        .map(|route| route.split('"').next().unwrap())
        // What the pages consist of.
        .filter(|path| !["/docs/{*file}", "/console/{file}"].contains(path))
        // The routes of entries have no pattern: a key may be any text.
        .chain(["/kv/{key}"])
        .map(|path| path.replace("{*key}", "{key}"))
        .collect();
    let documented: BTreeSet<String> = documented().into_keys().map(str::to_owned).collect();
    assert_eq!(routed, documented);
}

#[tokio::test]
async fn the_contract_is_served_as_yaml_and_as_json() {
    let api = Api::in_memory();
    let yaml = api.get("/openapi.yaml").send().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");
    assert_eq!(yaml.text(), std::fs::read_to_string(file).unwrap());
    let json = api.get("/openapi.json").send().await;
    assert_eq!(json.json(), *CONTRACT);
    assert_eq!(CONTRACT["openapi"], "3.0.3");
    assert_eq!(CONTRACT["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_page_and_all_that_it_asks_for_come_from_the_binary() {
    let api = Api::in_memory();
    let page = api.get("/docs").send().await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("default-src 'self'")
    );
    let mut asked = 0;
    for attribute in ["href=\"", "src=\""] {
        for link in page.text().split(attribute).skip(1) {
            let link = link.split('"').next().unwrap();
            // Relative to the page, so that it works below any path.
            assert!(link.starts_with("docs/"), "{link}");
            let link = &format!("/{link}");
            assert_eq!(api.get(link).send().await.status.as_u16(), 200, "{link}");
            asked += 1;
        }
    }
    assert!(asked >= 5, "{asked} links");
    let start = api.get("/docs/swagger-initializer.js").send().await;
    assert!(
        start.text().contains("\"openapi.json\""),
        "{}",
        start.text()
    );
    api.get("/docs/nothing.js")
        .send()
        .await
        .assert_error(404, "not_found");
}

#[test]
fn every_operation_has_a_name_a_summary_and_a_description() {
    let mut names = BTreeSet::new();
    for (path, methods) in documented() {
        for method in methods.iter().filter(|method| *method != "HEAD") {
            let operation = &CONTRACT["paths"][path][method.to_lowercase()];
            for member in ["operationId", "summary", "description"] {
                assert!(
                    operation[member].is_string(),
                    "{method} {path} has no {member}"
                );
            }
            assert!(
                names.insert(operation["operationId"].to_string()),
                "{operation}"
            );
        }
    }
}

#[test]
fn the_documented_error_codes_are_those_of_the_service() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/error/failure.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let is_code = |text: &&str| !text.is_empty() && text.chars().all(is_letter);
    let source = source.replace("\\\"", "\\'");
    let codes: BTreeSet<&str> = source
        .lines()
        // A header's value is no code.
        .filter(|line| !line.contains("from_static(") && !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(is_code)
        .collect();
    assert_eq!(codes, error_codes());
}

/// That each is the right one is what these tests assert; here only that none is without a test.
#[test]
fn each_error_code_is_expected_by_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let mut left = error_codes();
    for file in sources(Path::new(folder)) {
        // A client only gets them.
        let name = file.strip_prefix(folder).unwrap().to_str().unwrap();
        if !name.starts_with("support/") && !name.starts_with("cli") {
            let text = std::fs::read_to_string(&file).unwrap();
            left.retain(|code| !text.contains(&format!("\"{code}\"")));
        }
    }
    assert_eq!(left, BTreeSet::new());
}

/// An error without when its current entry was written, and by whom.
fn without_its_write(error: &Value) -> Value {
    let mut error = error.clone();
    if let Some(Value::Object(current)) = error.get_mut("current") {
        current.retain(|name, _| !name.starts_with("modified_"));
    }
    error
}

#[tokio::test]
async fn the_service_says_what_the_examples_of_errors_say() {
    let api = Api::in_memory();
    let plan = "/kv/doc/plan";
    let first = api
        .put(plan, r#"{"title":"Plan","budget":100}"#)
        .send()
        .await;
    let tag = first.header("etag").unwrap().to_owned();
    api.put(plan, r#"{"title":"Plan","budget":120}"#)
        .send()
        .await;
    let patch = |content_type, body: &'static str| {
        let call = api.call(Method::PATCH, plan).body(body);
        call.header("content-type", content_type)
    };
    let operations = r#"[{"op":"test","path":"/budget","value":100}]"#;
    let large = format!("\"{}\"", "x".repeat(DEFAULT_MAX_VALUE_BYTES));
    for (name, call) in [
        ("BadRequest", api.put(plan, "[1,]")),
        (
            "Forbidden",
            api.put(plan, "1").header("sec-fetch-site", "cross-site"),
        ),
        ("NotFound", api.get("/kv/username")),
        (
            "PatchConflict",
            patch("application/json-patch+json", operations),
        ),
        ("PreconditionFailed", api.put(plan, "1").if_match(&tag)),
        ("ValueTooLarge", api.put(plan, &large)),
        (
            "UnsupportedMediaType",
            api.call(Method::PUT, plan).body("1"),
        ),
        ("UnsupportedPatchType", patch("text/plain", "{}")),
        (
            "Misdirected",
            api.get(plan).header("host", "elsewhere.example"),
        ),
    ] {
        let response = &CONTRACT["components"]["responses"][name];
        let example = &response["content"]["application/json"]["example"];
        let answer = call.send().await.json();
        assert_eq!(
            without_its_write(&answer),
            without_its_write(example),
            "{name}"
        );
    }
}
