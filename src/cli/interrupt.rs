//! The signals that end a command, for those that have something to say before they end.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::task::Poll;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    CtrlC,
    /// What `kill` sends.
    Terminate,
    /// The terminal is gone.
    HangUp,
}

impl Interrupt {
    /// 128 and the number of the signal, as shells have it.
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

/// A signal cannot be waited for.
#[derive(Debug, Error)]
#[error("cannot wait for {interrupt}: {error}")]
pub struct SignalError {
    interrupt: Interrupt,
    error: io::Error,
}

/// Some of them, which from its creation on do not end the process.
#[derive(Debug)]
pub struct Interrupts(Vec<(Interrupt, Signal)>);

impl Interrupts {
    pub fn of(these: &[Interrupt]) -> Result<Self, SignalError> {
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

    /// The next one.
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
