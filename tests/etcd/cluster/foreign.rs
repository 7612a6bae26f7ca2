//! Others who use the same cluster.

use reqwest::Method;

use crate::support::binary::Process;
use crate::support::cluster::EtcdCluster;
use crate::support::service::{Caller, command, send, serve, serve_two, try_send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_leaves_gaps_and_nothing_else() {
    let Some(cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    send(callers[0].put("/kv/a", 0)).await.expect(201);
    // Two stores of others: one whose root begins as ours does, and one within a folder.
    let others = ["/ifmatch2", "/team/ifmatch"].map(|root| command(&cluster.address(root)));
    let [near, far] = others.map(Process::spawn);
    let others = [near.await, far.await];
    let foreign: Vec<_> = others.iter().map(Caller::of).collect();
    for caller in &foreign {
        assert_eq!(caller.get("/kv").await.body["items"], serde_json::json!([]));
    }
    let mut stream = callers[0].watch("/watch", None).await;
    let begun = stream.block().await.unwrap().id.unwrap();
    let list = callers[1].get("/kv").await.expect(200);
    let writing = foreign.clone().into_iter().map(|caller| {
        tokio::spawn(async move {
            let mut written = 0_u64;
            while let Some(answer) = try_send(caller.put("/kv/a", written)).await {
                assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                written += 1;
            }
            written
        })
    });
    let writing: Vec<_> = writing.collect();
    let mut revisions = Vec::new();
    for round in 0..30 {
        // Nothing of ours has changed.
        if round == 0 {
            for caller in &callers {
                let call = caller.call(Method::GET, "/kv");
                send(call.header("if-none-match", list.etag()))
                    .await
                    .expect(304);
            }
        }
        let written = send(callers[round % 2].put("/kv/a", round))
            .await
            .expect(200);
        let read = callers[(round + 1) % 2].get("/kv/a").await;
        assert_eq!(read.body, written.body);
        revisions.push(written.revision());
    }
    let dense = revisions.windows(2).all(|two| two[1] == two[0] + 1);
    assert!(!dense, "others have written meanwhile: {revisions:?}");
    // The others go on alone, and all that was is compacted.
    let seen = callers[0].get("/kv").await.expect(200);
    let before = foreign[0].get("/kv/a").await.version();
    while foreign[0].get("/kv/a").await.version() < before + 20 {}
    let newest = foreign[0].get("/kv/a").await.revision();
    cluster.ctl(&["compact", &newest.to_string()]).await;
    let third = serve(&cluster).await;
    for caller in [&callers[0], &callers[1], &Caller::of(&third)] {
        let again = caller.get("/kv").await.expect(200);
        assert_eq!((again.etag(), &again.body), (seen.etag(), &seen.body));
    }
    let written = send(Caller::of(&third).put("/kv/b", 1)).await.expect(201);
    revisions.push(written.revision());
    let mut resumed = callers[1].watch("/watch", Some(&begun)).await;
    assert_eq!(resumed.block().await.unwrap().event, None, "no reset");
    for stream in [&mut stream, &mut resumed] {
        let told = stream.told(revisions.len()).await;
        let told = told.into_iter().map(|(_, _, revision)| revision);
        assert_eq!(told.collect::<Vec<_>>(), revisions);
    }
    for process in others {
        process.kill().await;
    }
    for writer in writing {
        assert!(writer.await.unwrap() > 0);
    }
}
