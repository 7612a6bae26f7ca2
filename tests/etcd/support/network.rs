//! Members in network namespaces of their own, so that one can be cut off from others while it runs.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// A bridge, and a namespace for each member that is connected to it. They go away with it.
#[derive(Debug)]
pub struct Network {
    /// What the names of all its parts begin with.
    name: String,
    /// The address of the bridge without its last number.
    prefix: String,
    members: usize,
}

impl Network {
    /// One for so many members. `None` with a printed line if this user or system cannot make one.
    pub fn of(members: usize) -> Option<Self> {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let process = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Processes that run at the same time have networks of their own.
        let [.., second, third] = (process * 16 + u32::from(count)).to_be_bytes();
        let mut network = Self {
            name: format!("im{process:x}-{count}"),
            prefix: format!("10.{}.{third}", second | 128),
            members: 0,
        };
        let bridge = network.bridge();
        if let Err(reason) = try_ip(&format!("link add {bridge} type bridge")) {
            println!("SKIPPED: a network for the members cannot be made: {reason}");
            return None;
        }
        ip(&format!("addr add {}.1/24 dev {bridge}", network.prefix));
        ip(&format!("link set {bridge} up"));
        for index in 0..members {
            network.members += 1;
            let (namespace, link) = (network.namespace(index), network.link(index));
            ip(&format!("netns add {namespace}"));
            ip(&format!(
                "link add {link} type veth peer name eth0 netns {namespace}"
            ));
            ip(&format!("link set {link} master {bridge} up"));
            let host = network.host(index);
            ip(&format!("-n {namespace} addr add {host}/24 dev eth0"));
            ip(&format!("-n {namespace} link set eth0 up"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        Some(network)
    }

    /// The namespace of a member.
    pub fn namespace(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }

    /// The address of a member.
    pub fn host(&self, index: usize) -> String {
        format!("{}.{}", self.prefix, 10 + index)
    }

    /// From now on nothing that a member sends to other members arrives. Clients reach it as before.
    pub fn cut_from_members(&self, index: usize) {
        self.route(index, "add");
    }

    /// They reach each other again.
    pub fn mend_to_members(&self, index: usize) {
        self.route(index, "del");
    }

    fn route(&self, index: usize, action: &str) {
        let namespace = self.namespace(index);
        for other in (0..self.members).filter(|other| *other != index) {
            let host = self.host(other);
            ip(&format!(
                "-n {namespace} route {action} blackhole {host}/32"
            ));
        }
    }

    /// From now on nothing reaches a member, and nothing that it sends arrives.
    pub fn cut(&self, index: usize) {
        ip(&format!("link set {} down", self.link(index)));
    }

    /// Everybody reaches it again.
    pub fn mend(&self, index: usize) {
        ip(&format!("link set {} up", self.link(index)));
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn link(&self, index: usize) -> String {
        format!("{}v{index}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What is left of a test that has failed may be incomplete.
        for index in 0..self.members {
            let _ = try_ip(&format!("link del {}", self.link(index)));
            let _ = try_ip(&format!("netns del {}", self.namespace(index)));
        }
        let _ = try_ip(&format!("link del {}", self.bridge()));
    }
}

fn ip(arguments: &str) {
    if let Err(reason) = try_ip(arguments) {
        panic!("ip {arguments}: {reason}");
    }
}

fn try_ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
