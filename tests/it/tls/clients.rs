//! Clients with a certificate, and without.

use std::io;

use tempfile::tempdir;

use crate::support::binary::{Process, soon};
use crate::support::raw::{exchange, get};
use crate::support::tls::{Authority, Client, start_for};

async fn status_for(client: Client, process: &Process) -> io::Result<u16> {
    let stream = soon(client.connect(&process.address)).await?;
    let answer = soon(exchange(stream, &get("/kv/a", ""))).await?;
    Ok(answer.status)
}

#[tokio::test]
async fn a_certificate_of_our_authority_is_taken_and_none_is_needed() {
    let folder = tempdir().unwrap();
    let (services, clients) = (Authority::new("services"), Authority::new("clients"));
    let process = start_for(&services, &clients, folder.path(), &[]).await;
    for client in [
        services.client(),
        services.client_with(&clients.issue_for(&["ann.example"])),
        services.client_with(&clients.issue_for_uri("spiffe://example/ann")),
    ] {
        assert_eq!(status_for(client, &process).await.unwrap(), 404);
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_time_is_refused() {
    let folder = tempdir().unwrap();
    let (services, clients) = (Authority::new("services"), Authority::new("clients"));
    let process = start_for(&services, &clients, folder.path(), &[]).await;
    for (pair, said) in [
        (
            services.issue_for(&["ann.example"]),
            "received fatal alert: UnknownCA",
        ),
        (
            Authority::new("clients").issue_for(&["ann.example"]),
            "received fatal alert: DecryptError",
        ),
        (
            clients.issue_expired(),
            "received fatal alert: CertificateExpired",
        ),
    ] {
        let client = services.client_with(&pair);
        let error = status_for(client, &process).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}
