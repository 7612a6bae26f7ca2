//! The function of the README that sends a request again.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::binary::Process;

/// A proxy that passes the first request on, and loses the answer.
async fn losing_proxy(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut is_first = true;
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut service = TcpStream::connect(&to).await.unwrap();
            if is_first {
                let mut request = [0; 4096];
                let length = client.read(&mut request).await.unwrap();
                service.write_all(&request[..length]).await.unwrap();
                service.readable().await.unwrap();
                is_first = false;
                continue;
            }
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut service).await });
        }
    });
    address
}

#[tokio::test]
async fn the_shell_function_of_the_readme_gets_the_answer_that_was_lost() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let mut blocks = readme.split("```sh\n").skip(1);
    let once = blocks.find(|block| block.contains("\nonce() {")).unwrap();
    let (once, _) = once.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let address = losing_proxy(process.address.clone()).await;
    let call = format!(
        "uuidgen() {{ cat /proc/sys/kernel/random/uuid; }}\n{once}\n\
         once -X PUT http://{address}/kv/a -H 'If-None-Match: *' \
         -H 'Content-Type: application/json' -d 1"
    );
    let run = || {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", &call]).current_dir(folder.path());
        shell.output()
    };
    let first = run().await.unwrap();
    if String::from_utf8_lossy(&first.stderr).contains("not found") {
        println!("skipped: the README's examples need curl");
        return;
    }
    assert!(first.status.success(), "{first:?}");
    let entry: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(
        (&entry["version"], &entry["revision"]),
        (&json!(1), &json!(1))
    );
    // Another call is another request.
    let second = run().await.unwrap();
    assert!(!second.status.success(), "{second:?}");
    let refused: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(refused["error"], "precondition_failed");
    assert_eq!(refused["current"], entry);
}
