//! A cluster of etcd on free ports of loopback. It goes away with its data.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::etcd::Etcd;
use super::network::Network;
use super::tls::Authority;

/// How long a cluster may take until it serves.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(50);
/// The password of all users of [`EtcdCluster::enable_auth`].
pub const PASSWORD: &str = "secret";

/// What a cluster is to be like.
#[derive(Debug)]
pub struct Plan {
    members: usize,
    is_durable: bool,
    uses_tls: bool,
    in_namespaces: bool,
    arguments: Vec<String>,
}

impl Plan {
    /// Members sync their files, for tests that cut their power.
    #[allow(dead_code, reason = "for tests of durability")]
    pub fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// Members speak TLS with certificates of [`EtcdCluster::authority`], and want one from clients.
    pub fn tls(mut self) -> Self {
        self.uses_tls = true;
        self
    }

    /// Members are in a [network](EtcdCluster::network) that can be cut.
    pub fn in_namespaces(mut self) -> Self {
        self.in_namespaces = true;
        self
    }

    /// An argument of all members.
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// How large the data may become.
    pub fn quota(self, bytes: u64) -> Self {
        self.with(format!("--quota-backend-bytes={bytes}"))
    }

    /// Tokens are numbers that each member knows, for so many seconds after they were last used.
    pub fn simple_tokens(self, ttl_seconds: u32) -> Self {
        self.with(format!("--auth-token-ttl={ttl_seconds}"))
    }

    /// Starts it; all members serve when this returns. `None` with a printed line if no etcd is installed, or if the
    /// network that it needs cannot be made.
    pub async fn start(self) -> Option<EtcdCluster> {
        let etcd = Etcd::find().await?;
        let mut attempts = 0;
        loop {
            let mut cluster = EtcdCluster::new(&etcd, &self);
            if self.in_namespaces {
                cluster.move_into_namespaces(Network::of(self.members)?);
            }
            match cluster.start_all().await {
                Ok(()) => return Some(cluster),
                // Somebody else may have taken a port.
                Err(log) => {
                    attempts += 1;
                    assert!(attempts < 5, "etcd does not start: {log}");
                }
            }
        }
    }

    /// The same with tokens that say who it is, and in which state of users and roles.
    pub async fn start_with_jwt(self) -> Option<EtcdCluster> {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        let key = key.display();
        let argument = format!("--auth-token=jwt,sign-method=HS256,priv-key={key},ttl=10m");
        let mut cluster = self.with(argument).start().await?;
        cluster.others.push(folder);
        Some(cluster)
    }
}

/// A running cluster.
pub struct EtcdCluster {
    etcd: Etcd,
    folder: TempDir,
    /// Folders that its arguments name.
    others: Vec<TempDir>,
    members: Vec<Member>,
    network: Option<Network>,
    /// Who has issued its certificates, if it has some.
    pub authority: Option<Authority>,
    /// `--user` of etcdctl.
    root: Option<String>,
}

struct Member {
    name: String,
    host: String,
    client_port: u16,
    peer_port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
    is_frozen: bool,
}

impl EtcdCluster {
    /// One with so many members.
    pub fn of(members: usize) -> Plan {
        Plan {
            members,
            is_durable: false,
            uses_tls: false,
            in_namespaces: false,
            arguments: Vec::new(),
        }
    }

    fn new(etcd: &Etcd, plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = plan.arguments.clone();
        if etcd.can_skip_fsync && !plan.is_durable {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        let authority = plan.uses_tls.then(|| {
            let authority = Authority::new("etcd");
            authority.issue().write(folder.path());
            fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
            arguments.extend(tls_flags(
                folder.path(),
                "cert-file",
                "key-file",
                "trusted-ca-file",
            ));
            arguments.push("--client-cert-auth".to_owned());
            authority
        });
        let members = (0..plan.members).map(|index| Member {
            name: format!("m{index}"),
            host: "127.0.0.1".to_owned(),
            client_port: free_port(),
            peer_port: free_port(),
            arguments: arguments.clone(),
            process: None,
            is_frozen: false,
        });
        Self {
            etcd: etcd.clone(),
            members: members.collect(),
            network: None,
            others: Vec::new(),
            authority,
            root: None,
            folder,
        }
    }

    fn move_into_namespaces(&mut self, network: Network) {
        for (index, member) in self.members.iter_mut().enumerate() {
            member.host = network.host(index);
        }
        self.network = Some(network);
    }

    /// What its members are connected by, if that can be cut.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("it is in namespaces")
    }

    /// The version of etcd.
    #[allow(dead_code, reason = "for tests of what versions do differently")]
    pub fn version(&self) -> &str {
        &self.etcd.version
    }

    /// The addresses of all members, by their index.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// The address of the store with this root, such as `/ifmatch`.
    #[allow(dead_code, reason = "for tests of the binary")]
    pub fn address(&self, root: &str) -> String {
        format!("etcd://{}{root}", self.endpoints().join(","))
    }

    async fn start_all(&mut self) -> Result<(), String> {
        for index in 0..self.members.len() {
            self.spawn(index);
        }
        for index in 0..self.members.len() {
            self.until_healthy(index).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, index: usize) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_of(index))
            .unwrap();
        let scheme = self.scheme();
        let all = self.initial_cluster();
        let data = self.data_of(index);
        let member = &mut self.members[index];
        let client = format!("{scheme}://{}", member.endpoint());
        let mut command = match &self.network {
            Some(network) => self.etcd.command_in(&network.namespace(index), "etcd"),
            None => self.etcd.command("etcd"),
        };
        command
            .arg("--data-dir")
            .arg(data)
            .args(["--name", &member.name, "--logger", "zap"])
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &member.peer()])
            .args(["--initial-advertise-peer-urls", &member.peer()])
            .args(["--initial-cluster", &all])
            .args(&member.arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        member.process = Some(command.spawn().unwrap());
        member.is_frozen = false;
    }

    /// Waits until a member has answered a read that all had to agree on.
    ///
    /// The error is the end of its log, if it has ended.
    async fn until_healthy(&mut self, index: usize) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let process = self.members[index]
                .process
                .as_mut()
                .expect("it was started");
            let has_ended = process.try_wait().unwrap().is_some();
            if has_ended || begun.elapsed() > DEADLINE {
                let log = fs::read(self.log_of(index)).unwrap();
                let end = &log[log.len().saturating_sub(3000)..];
                return Err(String::from_utf8_lossy(end).into_owned());
            }
            let endpoint = self.members[index].endpoint();
            let asked = self.try_ctl_on(&endpoint, &["endpoint", "health"]).await;
            if asked.status.success() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether a member answers a read that all have to agree on.
    pub async fn serves(&self, index: usize) -> bool {
        let asked = ["--command-timeout=1s", "endpoint", "health"];
        let endpoint = self.members[index].endpoint();
        self.try_ctl_on(&endpoint, &asked).await.status.success()
    }

    /// Sends SIGKILL to a member and waits for its end.
    pub async fn kill(&mut self, index: usize) {
        let mut process = self.members[index].process.take().expect("it runs");
        process.kill().await.unwrap();
    }

    /// Starts a member again that was killed, and returns when it serves.
    pub async fn restart(&mut self, index: usize) {
        self.begin_restart(index);
        self.until_healthy(index).await.expect("it starts");
    }

    /// Starts a member again that was killed.
    pub fn begin_restart(&mut self, index: usize) {
        assert!(self.members[index].process.is_none(), "it was killed");
        self.spawn(index);
    }

    /// Stops a member without ending it; none of its threads does anything when this returns.
    pub fn freeze(&mut self, index: usize) {
        self.members[index].signal(Signal::STOP);
        // Under load a thread goes on for a while.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.members[index].id()), stopped).unwrap();
        self.members[index].is_frozen = true;
    }

    /// Lets a frozen member go on.
    pub fn thaw(&mut self, index: usize) {
        self.members[index].signal(Signal::CONT);
        self.members[index].is_frozen = false;
    }

    /// The index of the member that leads, as one that runs sees it.
    pub async fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            let mut ids = Vec::new();
            let mut leader = None;
            for (index, member) in self.members.iter().enumerate() {
                if member.process.is_none() || member.is_frozen {
                    continue;
                }
                let asked = ["endpoint", "status", "--write-out=json"];
                let output = self.try_ctl_on(&member.endpoint(), &asked).await;
                let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
                    continue;
                };
                let status = &answer[0]["Status"];
                ids.push((status["header"]["member_id"].as_u64(), index));
                leader = status["leader"].as_u64().filter(|id| *id != 0).or(leader);
            }
            let found = ids
                .into_iter()
                .find(|(id, _)| leader.is_some() && *id == leader);
            if let Some((_, index)) = found {
                return index;
            }
            assert!(begun.elapsed() < DEADLINE, "nobody leads");
            sleep(PAUSE).await;
        }
    }

    /// Runs `etcdctl` on the members that run; returns what it printed.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let running = self.members.iter();
        let running = running.filter(|member| member.process.is_some() && !member.is_frozen);
        let endpoints: Vec<_> = running.map(Member::endpoint).collect();
        let output = self.try_ctl_on(&endpoints.join(","), arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn try_ctl_on(&self, endpoints: &str, arguments: &[&str]) -> Output {
        let mut command = self.etcd.command("etcdctl");
        command.args(["--endpoints", endpoints]);
        if self.authority.is_some() {
            command.args(tls_flags(self.folder.path(), "cert", "key", "cacert"));
        }
        if let Some(root) = &self.root {
            command.args(["--user", root]);
        }
        command.args(arguments).output().await.unwrap()
    }

    /// Turns users on: `root`, and `ifmatch`, who may do everything below `/ifmatch`.
    pub async fn enable_auth(&mut self) {
        let root = format!("root:{PASSWORD}");
        self.ctl(&["user", "add", &root]).await;
        self.ctl(&["user", "grant-role", "root", "root"]).await;
        self.ctl(&["role", "add", "ifmatch"]).await;
        let permission = [
            "role",
            "grant-permission",
            "--prefix",
            "ifmatch",
            "readwrite",
        ];
        self.ctl(&[&permission[..], &["/ifmatch"]].concat()).await;
        self.ctl(&["user", "add", &format!("ifmatch:{PASSWORD}")])
            .await;
        self.ctl(&["user", "grant-role", "ifmatch", "ifmatch"])
            .await;
        self.ctl(&["auth", "enable"]).await;
        self.root = Some(root);
    }

    /// Saves all that the cluster has.
    pub async fn save(&self, file: &Path) {
        let first = self.members[0].endpoint();
        let saved = self
            .try_ctl_on(&first, &["snapshot", "save", file.to_str().unwrap()])
            .await;
        assert!(saved.status.success(), "{saved:?}");
    }

    /// Replaces all that the cluster has by what was saved, with the names that it had, as operators do.
    pub async fn restore(&mut self, file: &Path) {
        for index in 0..self.members.len() {
            if self.members[index].process.is_some() {
                self.kill(index).await;
            }
            fs::remove_dir_all(self.data_of(index)).unwrap();
            let restored = self
                .etcd
                .command("etcdctl")
                .args(["snapshot", "restore", file.to_str().unwrap()])
                .args(["--name", &self.members[index].name])
                .args(["--initial-cluster", &self.initial_cluster()])
                .args(["--initial-advertise-peer-urls", &self.members[index].peer()])
                .arg("--data-dir")
                .arg(self.data_of(index))
                .output()
                .await
                .unwrap();
            assert!(restored.status.success(), "{restored:?}");
        }
        self.start_all().await.expect("it starts");
    }

    fn scheme(&self) -> &'static str {
        if self.authority.is_some() {
            "https"
        } else {
            "http"
        }
    }

    fn initial_cluster(&self) -> String {
        let members = self.members.iter();
        let members: Vec<_> = members
            .map(|member| format!("{}={}", member.name, member.peer()))
            .collect();
        members.join(",")
    }

    fn data_of(&self, index: usize) -> PathBuf {
        self.folder.path().join(&self.members[index].name)
    }

    fn log_of(&self, index: usize) -> PathBuf {
        self.data_of(index).with_extension("log")
    }
}

impl Member {
    fn endpoint(&self) -> String {
        format!("{}:{}", self.host, self.client_port)
    }

    fn peer(&self) -> String {
        format!("http://{}:{}", self.host, self.peer_port)
    }

    fn id(&self) -> Pid {
        let id = self.process.as_ref().expect("it runs").id();
        Pid::from_raw(id.expect("it runs").try_into().unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }
}

/// The flags with these names for the files of an authority and a pair in `folder`.
fn tls_flags(folder: &Path, certificate: &str, key: &str, ca: &str) -> [String; 3] {
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    [
        flag(certificate, "tls.crt"),
        flag(key, "tls.key"),
        flag(ca, "ca.crt"),
    ]
}

/// A port that nobody listens on. The system gives none of these to connections that others make, so it is still
/// free when a member is started again.
fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start at the same time begin in different places.
    let start = std::process::id().wrapping_mul(7919) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + number % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
