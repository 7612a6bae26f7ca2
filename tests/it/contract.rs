//! `openapi.yaml` and the routes say the same. (That each answer is as documented is asserted
//! wherever a test asks through `support::api`.)

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;

use crate::support::api::Api;
use crate::support::contract::{CONTRACT, documented};

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
        .map(str::to_owned)
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
fn every_documented_error_code_is_one_of_the_service() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/error/failure.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let codes = &CONTRACT["components"]["schemas"]["ErrorCode"]["enum"];
    let codes: Vec<&str> = codes
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(!codes.is_empty(), "no error code is documented");
    for code in &codes {
        assert!(source.contains(&format!("\"{code}\"")), "{code}");
    }
}
