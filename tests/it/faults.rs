//! A disk that stops taking writes, and takes them again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::api::Api;

/// The data file and what lies beside it, to compare before and after.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "filler")
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Asserts what holds while the disk takes no writes, and that nothing is lost when it does again.
async fn assert_survives(
    api: &Api,
    folder: &Path,
    break_disk: impl FnOnce(),
    mend_disk: impl FnOnce(),
) {
    let big = format!("\"{}\"", "x".repeat(20_000));
    let before = api.put("/kv/a", "\"before\"").send().await;
    assert_eq!(before.status.as_u16(), 201);
    let on_disk = files(folder);
    break_disk();

    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (api, big) = (api.clone(), big.clone());
        writers.spawn(async move { api.put(&format!("/kv/{writer}"), &big).send().await });
    }
    for answer in writers.join_all().await {
        answer.assert_error(500, "io");
        assert!(!answer.text().contains('/'), "no path is shown: {answer:?}");
    }
    api.put("/kv/a", &big)
        .if_match(&before.etag())
        .send()
        .await
        .assert_error(500, "io");
    api.delete("/kv/a").send().await.assert_error(500, "io");
    let read = api.get("/kv/a").send().await;
    assert_eq!(
        (read.status.as_u16(), read.body),
        (200, before.body.clone())
    );
    api.get("/kv/0").send().await.assert_error(404, "not_found");
    assert_eq!(api.get("/health/ready").send().await.status.as_u16(), 503);
    assert_eq!(
        api.get("/health").send().await.json()["store"]["writable"],
        false
    );
    assert_eq!(api.get("/health/live").send().await.status.as_u16(), 200);

    mend_disk();
    assert_eq!(
        files(folder),
        on_disk,
        "nothing changed, and nothing was left behind"
    );
    let after = api.put("/kv/a", &big).if_match(&before.etag()).send().await;
    assert_eq!(after.status.as_u16(), 200, "{after:?}");
    assert_eq!(after.json()["version"], 2);
    assert_eq!(after.json()["revision"], 2, "what failed took no number");
    assert_eq!(api.get("/health/ready").send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_folder_that_goes_away_and_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let api = Api::in_folder(&folder).await;
    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
    assert_survives(
        &api,
        &folder,
        || rename(&folder, &away),
        || rename(&away, &folder),
    )
    .await;
    let last = api.get("/kv/a").send().await;
    api.close().await;
    let api = Api::in_folder(&folder).await;
    assert_eq!(api.get("/kv/a").send().await.body, last.body);
    assert_eq!(
        api.get("/kv").send().await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    api.close().await;
}

#[tokio::test]
async fn a_store_finds_out_by_itself_that_the_disk_is_back() {
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let api = Api::in_folder(&folder).await;
    api.put("/kv/a", "1").send().await;
    std::fs::rename(&folder, &away).unwrap();
    api.put("/kv/a", "2").send().await.assert_error(500, "io");
    std::fs::rename(&away, &folder).unwrap();
    let ready = async {
        while api.get("/health/ready").send().await.status.as_u16() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .unwrap();
    assert_eq!(api.get("/kv/a").send().await.json()["value"], 1);
    api.close().await;
}

#[tokio::test]
async fn without_its_lock_file_a_store_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    std::fs::remove_file(folder.path().join("data.json.lock")).unwrap();
    // Now somebody else can take it.
    let other = Api::in_folder(folder.path()).await;
    other.put("/kv/a", "2").send().await;
    api.put("/kv/a", "3").send().await.assert_error(500, "io");
    other.close().await;
    api.close().await;
    let last = Api::in_folder(folder.path()).await;
    assert_eq!(last.get("/kv/a").send().await.json()["value"], 2);
    last.close().await;
}

/// A small file system in memory, gone when this goes away.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None`, with a line that says so, where the test may not mount.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: a tmpfs cannot be mounted here");
        None
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        let mount = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0.path())
            .status();
        assert!(mount.unwrap().success(), "remount,{option}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the store may still have its lock file open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_is_full_and_emptied() {
    let Some(tmpfs) = Tmpfs::mount("256k") else {
        return;
    };
    let folder = tmpfs.0.path();
    let api = Api::in_folder(folder).await;
    let filler = folder.join("filler");
    let fill = || {
        let full = std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    };
    assert_survives(&api, folder, fill, || {
        std::fs::remove_file(&filler).unwrap();
    })
    .await;
    api.close().await;
}

#[tokio::test]
async fn a_disk_that_turns_read_only_and_back() {
    let Some(tmpfs) = Tmpfs::mount("256k") else {
        return;
    };
    let folder = tmpfs.0.path();
    let api = Api::in_folder(folder).await;
    assert_survives(&api, folder, || tmpfs.remount("ro"), || tmpfs.remount("rw")).await;
    api.close().await;
}
