//! The signals that end a command, for commands that report something before they end.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::task::Poll;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    CtrlC,
    /// SIGTERM, which `kill` sends.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

impl Interrupt {
    /// 128 plus the number of the signal, as in shells.
    pub fn exit_code(self) -> ExitCode {
        let number = match self {
            Self::HangUp => 1,
            Self::CtrlC => 2,
            Self::Terminate => 15,
        };
        ExitCode::from(128 + number)
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CtrlC => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        })
    }
}

/// The process cannot wait for a signal.
#[derive(Debug, Error)]
#[error("cannot wait for {interrupt}: {error}")]
pub struct SignalError {
    interrupt: Interrupt,
    error: io::Error,
}

/// Signals that do not end the process any more once this exists.
#[derive(Debug)]
pub struct Interrupts(Vec<(Interrupt, Signal)>);

impl Interrupts {
    pub fn listen(these: &[Interrupt]) -> Result<Self, SignalError> {
        let signals = these.iter().map(|interrupt| {
            let kind = match interrupt {
                Interrupt::CtrlC => SignalKind::interrupt(),
                Interrupt::Terminate => SignalKind::terminate(),
                Interrupt::HangUp => SignalKind::hangup(),
            };
            let signal = signal(kind).map_err(|error| SignalError {
                interrupt: *interrupt,
                error,
            })?;
            Ok((*interrupt, signal))
        });
        signals.collect::<Result<_, _>>().map(Self)
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Interrupt {
        poll_fn(|context| {
            for (interrupt, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*interrupt);
                }
            }
            Poll::Pending
        })
        .await
    }
}
