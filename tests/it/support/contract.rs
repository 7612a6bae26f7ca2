//! Every answer that a test sees, held against `openapi.yaml`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex};

use axum::http::{HeaderMap, Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Value, json};

/// The contract as a tree.
pub static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    yaml_serde::from_str(&text).unwrap()
});

/// A tree with what `$ref` points to in its place, one level deep.
fn resolved(tree: &Value) -> &Value {
    match tree.get("$ref").and_then(Value::as_str) {
        Some(reference) => resolved(CONTRACT.pointer(&reference[1..]).expect(reference)),
        None => tree,
    }
}

/// The documented path that a request's path is an instance of.
pub fn documented_path(path: &str) -> Option<&'static str> {
    for documented in ["/kv/{key}", "/history/{key}", "/revert/{key}"] {
        let before = documented.strip_suffix("{key}").unwrap();
        // Without a key there is nothing at the last two.
        if path.starts_with(before) && (path.len() > before.len() || before == "/kv/") {
            return Some(documented);
        }
    }
    let paths = CONTRACT["paths"].as_object().unwrap();
    let found = paths.keys().find(|documented| *documented == path);
    found.map(String::as_str)
}

/// The documented methods of a path, in upper case, with the HEAD that comes with each GET.
pub fn documented_methods(path: &str) -> BTreeSet<String> {
    let operations = CONTRACT["paths"][path].as_object().unwrap().keys();
    let mut methods: BTreeSet<_> = operations
        .filter(|name| *name != "parameters")
        .map(|name| name.to_uppercase())
        .collect();
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    methods
}

/// Asserts that an answer is one that the contract documents: its status, its headers, its body.
pub fn check(method: &Method, path: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let shown = || {
        let body = String::from_utf8_lossy(body);
        format!("{method} {path}: {status} {headers:?} {body}")
    };
    let documented = documented_path(path)
        .filter(|documented| documented_methods(documented).contains(method.as_str()));
    let Some(documented) = documented else {
        if *method == Method::OPTIONS && status == StatusCode::NO_CONTENT {
            assert!(
                headers.contains_key("allow") && body.is_empty(),
                "{}",
                shown()
            );
            return;
        }
        // What is not in the contract is refused, in the shape of every error.
        assert!(
            matches!(status.as_u16(), 403 | 404 | 405 | 421),
            "{}",
            shown()
        );
        if *method != Method::HEAD {
            assert_valid("/components/schemas/Error", body, &shown());
        }
        return;
    };
    let operation = match method.as_str() {
        "HEAD" => "get".to_owned(),
        other => other.to_lowercase(),
    };
    let code = status.as_str();
    let pointer = format!("{documented}/{operation}/responses/{code}");
    let answer = CONTRACT["paths"][documented][&operation]["responses"].get(code);
    let answer =
        resolved(answer.unwrap_or_else(|| panic!("{pointer} is not documented: {}", shown())));
    let no_headers = json!({});
    let documented_headers = answer
        .get("headers")
        .unwrap_or(&no_headers)
        .as_object()
        .unwrap();
    for (name, header) in documented_headers {
        let required = resolved(header)["required"] == true;
        assert!(
            !required || headers.contains_key(name),
            "{name} is missing: {}",
            shown()
        );
    }
    for name in headers.keys() {
        let known = documented_headers
            .keys()
            .any(|known| known.eq_ignore_ascii_case(name.as_str()));
        assert!(
            known || OF_ANY_ANSWER.contains(&name.as_str()),
            "{name} is not documented: {}",
            shown()
        );
    }
    let Some(content) = answer.get("content").and_then(Value::as_object) else {
        assert!(body.is_empty(), "{}", shown());
        return;
    };
    let content_type = headers
        .get("content-type")
        .map(|value| value.to_str().unwrap());
    let media_type = content_type.and_then(|value| value.split(';').next());
    let media_type = media_type.unwrap_or_else(|| panic!("no media type: {}", shown()));
    let media = content.get(media_type);
    let media = media.unwrap_or_else(|| panic!("{media_type} is not documented: {}", shown()));
    if *method != Method::HEAD && media_type == "application/json" {
        let reference = media["schema"].get("$ref").and_then(Value::as_str);
        if let Some(reference) = reference {
            assert_valid(&reference[1..], body, &shown());
        }
    }
}

/// Headers that say nothing of one operation.
const OF_ANY_ANSWER: [&str; 7] = [
    "content-type",
    "content-length",
    "x-request-id",
    "x-content-type-options",
    "content-security-policy",
    "referrer-policy",
    "x-frame-options",
];

static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> =
    LazyLock::new(Mutex::default);

fn assert_valid(schema: &str, body: &[u8], shown: &str) {
    // The deepest value stands some levels below the top, where serde_json gives up.
    let body = ifmatch::json::parse_within(body, 2 * ifmatch::json::MAX_DEPTH_LEVELS)
        .unwrap_or_else(|error| panic!("{error}: {shown}"));
    let validator = *VALIDATORS
        .lock()
        .unwrap()
        .entry(schema.to_owned())
        .or_insert_with(|| Box::leak(Box::new(validator(schema))));
    let errors: Vec<_> = validator
        .iter_errors(&body)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}: {shown}");
}

/// The contract says `nullable` where JSON Schema says `null`, and lets an object have members that
/// are not named. A test wants to hear of each, so the objects of answers are closed.
fn validator(schema: &str) -> Validator {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#{schema}"),
        "components": CONTRACT["components"].clone(),
    });
    let schemas = root["components"]["schemas"].as_object_mut().unwrap();
    for schema in schemas.values_mut() {
        to_json_schema(schema);
    }
    jsonschema::validator_for(&root).unwrap()
}

fn to_json_schema(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    members.remove("example");
    if members.contains_key("properties") {
        members
            .entry("additionalProperties")
            .or_insert(Value::Bool(false));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            to_json_schema(inner);
        }
    }
    if let Some(properties) = members.get_mut("properties") {
        properties
            .as_object_mut()
            .unwrap()
            .values_mut()
            .for_each(to_json_schema);
    }
    if members.remove("nullable").is_some() {
        *schema = json!({ "anyOf": [schema.clone(), { "type": "null" }] });
    }
}

/// Every documented pair of path and methods.
pub fn documented() -> BTreeMap<&'static str, BTreeSet<String>> {
    let paths = CONTRACT["paths"].as_object().unwrap().keys();
    paths
        .map(|path| (path.as_str(), documented_methods(path)))
        .collect()
}

/// Every documented response with its status, once for each operation that has it.
pub fn responses() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let operations = documented().into_iter().flat_map(|(path, methods)| {
        let operations = CONTRACT["paths"][path].as_object().unwrap();
        let is_operation = move |name: &str| methods.contains(&name.to_uppercase());
        operations
            .iter()
            .filter(move |(name, _)| is_operation(name))
            .map(|(_, operation)| operation)
    });
    operations.flat_map(|operation| {
        let responses = operation["responses"].as_object().unwrap();
        responses
            .iter()
            .map(|(status, response)| (status.as_str(), resolved(response)))
    })
}

/// The documented error codes.
pub fn error_codes() -> BTreeSet<&'static str> {
    let codes = &CONTRACT["components"]["schemas"]["ErrorCode"]["enum"];
    let codes = codes.as_array().unwrap().iter();
    codes.map(|code| code.as_str().unwrap()).collect()
}
