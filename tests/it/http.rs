//! Every route, and what its answers carry.

use crate::support::api::Api;

#[tokio::test]
async fn a_key_that_does_not_exist_is_not_found() {
    let api = Api::in_memory();
    let answer = api.get("/kv/username").send().await;
    answer.assert_error(404, "not_found");
    assert_eq!(
        answer.text(),
        r#"{"error":"not_found","message":"key does not exist"}"#
    );
}
