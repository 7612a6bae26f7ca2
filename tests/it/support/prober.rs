//! An orchestrator that probes a service all the time and remembers what it was told, and when.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is probed.
const PATHS: [&str; 3] = [LIVENESS, "/health/ready", "/health"];
const LIVENESS: &str = "/health/live";
/// How long it rests between two rounds.
const REST: Duration = Duration::from_millis(20);
/// After how long a probe counts as not answered. It is far above every bound.
const GIVE_UP: Duration = Duration::from_secs(10);

/// One probe.
#[derive(Debug)]
pub struct Probe {
    /// Which path, on which connection.
    pub what: String,
    pub began: Instant,
    pub took: Duration,
    /// The status, or why there was none.
    pub answer: Result<u16, String>,
}

impl Probe {
    /// Whether it was answered as the contract says: what cannot commit is not ready, but alive.
    pub fn is_answered(&self) -> bool {
        match self.answer {
            Ok(200) => true,
            Ok(503) => !self.what.starts_with("/health/live"),
            _ => false,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.began <= other.began + other.took && other.began <= self.began + self.took
    }

    /// By how much it was slower than every probe of an idle service at the same time. What slows
    /// those down is the machine.
    pub fn slower_than(&self, control: &[Self]) -> Duration {
        let meanwhile = control.iter().filter(|probe| self.overlaps(probe));
        let slowest = meanwhile.map(|probe| probe.took).max();
        self.took.saturating_sub(slowest.unwrap_or_default())
    }
}

/// Probes one service, on a thread of its own: nothing that a test does delays it.
pub struct Prober {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Probe>>,
}

impl Prober {
    /// From now on.
    pub fn of(address: &str) -> Self {
        let address = address.parse().unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let mut client = Client {
                    address,
                    kept: None,
                };
                let mut probes = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    client.round(&mut probes);
                    thread::sleep(REST);
                }
                probes
            }
        });
        Self { is_over, thread }
    }

    /// Ends, and returns all probes.
    pub fn end(self) -> Vec<Probe> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Client {
    address: SocketAddr,
    /// A connection that is kept alive as long as the service does so.
    kept: Option<TcpStream>,
}

impl Client {
    /// Each path on a connection of its own, and one on the connection that is kept alive.
    fn round(&mut self, probes: &mut Vec<Probe>) {
        for path in PATHS {
            probes.push(timed(path, || {
                let mut stream = self.connect()?;
                ask(&mut stream, path, "Connection: close\r\n")
            }));
        }
        let path = LIVENESS;
        probes.push(timed(&format!("{path}, kept alive"), || {
            self.ask_kept(path)
        }));
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, GIVE_UP)?;
        stream.set_read_timeout(Some(GIVE_UP))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A service may close a connection that is kept alive between two requests; then the client
    /// asks again on another one (RFC 9112 §9.3.1).
    fn ask_kept(&mut self, path: &str) -> io::Result<Told> {
        if let Some(mut stream) = self.kept.take() {
            match ask(&mut stream, path, "") {
                Ok(told) => {
                    self.kept = (!told.closes).then_some(stream);
                    return Ok(told);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
        }
        let mut stream = self.connect()?;
        let told = ask(&mut stream, path, "")?;
        self.kept = (!told.closes).then_some(stream);
        Ok(told)
    }
}

/// What a probe was told.
struct Told {
    status: u16,
    closes: bool,
}

fn timed(what: &str, probe: impl FnOnce() -> io::Result<Told>) -> Probe {
    let began = Instant::now();
    let answer = probe();
    Probe {
        what: what.to_owned(),
        began,
        took: began.elapsed(),
        answer: answer
            .map(|told| told.status)
            .map_err(|error| error.to_string()),
    }
}

fn ask(stream: &mut TcpStream, path: &str, headers: &str) -> io::Result<Told> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&piece[..read]);
        if let Some(told) = read_answer(&seen) {
            return Ok(told);
        }
    }
}

/// What a whole answer says.
fn read_answer(seen: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(seen).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    (body.len() >= length.parse().ok()?).then(|| Told {
        status: head[9..12].parse().unwrap_or_default(),
        closes: head.contains("\r\nconnection: close"),
    })
}
