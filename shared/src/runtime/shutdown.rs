//! When a process stops: the first SIGINT or SIGTERM drains it, the second stops it now.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How urgent the stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nobody asked to stop.
    #[default]
    Running,
    /// Finish what runs, take nothing new.
    Drain,
    /// Stop now; what runs is given back.
    Now,
}

/// Tells whoever holds a copy when to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    level: watch::Receiver<Level>,
}

/// Asks the holders of a [`Shutdown`] to stop; the level only ever rises.
#[derive(Debug, Clone)]
pub struct Trigger {
    level: watch::Sender<Level>,
}

impl Shutdown {
    /// Listens to SIGINT and SIGTERM for the rest of the process's life. Call it inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let (trigger, shutdown) = Self::manual();
        tokio::spawn(follow(interrupt, terminate, trigger));
        Ok(shutdown)
    }

    /// A shutdown that follows no signal, only its trigger: for hosts and tests.
    #[must_use]
    pub fn manual() -> (Trigger, Self) {
        let (sender, level) = watch::channel(Level::Running);
        (Trigger { level: sender }, Self { level })
    }

    /// How urgent it is at this moment.
    #[must_use]
    pub fn level(&self) -> Level {
        *self.level.borrow()
    }

    /// Resolves when the process must take nothing new. Never resolves if nobody can ask.
    pub async fn draining(&self) {
        self.reached(Level::Drain).await;
    }

    /// Resolves when the process must stop at once. Never resolves if nobody can ask.
    pub async fn now(&self) {
        self.reached(Level::Now).await;
    }

    async fn reached(&self, wanted: Level) {
        let mut level = self.level.clone();
        let reached = level.wait_for(|level| *level >= wanted).await.is_ok();
        if !reached {
            std::future::pending::<()>().await;
        }
    }
}

impl Trigger {
    /// Asks to drain.
    pub fn drain(&self) {
        self.raise(Level::Drain);
    }

    /// Asks to stop now.
    pub fn now(&self) {
        self.raise(Level::Now);
    }

    fn raise(&self, to: Level) {
        self.level.send_if_modified(|level| {
            let rises = *level < to;
            *level = to.max(*level);
            rises
        });
    }
}

async fn follow(mut interrupt: Signal, mut terminate: Signal, trigger: Trigger) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let next = match *trigger.level.borrow() {
            Level::Running => Level::Drain,
            Level::Drain | Level::Now => Level::Now,
        };
        trigger.raise(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_stops_now() {
        let shutdown = Shutdown::listen().expect("handlers are installed");
        assert_eq!(shutdown.level(), Level::Running);
        kill_process(getpid(), Signal::TERM).expect("a signal to ourselves");
        shutdown.draining().await;
        assert_eq!(shutdown.level(), Level::Drain);
        kill_process(getpid(), Signal::TERM).expect("a signal to ourselves");
        shutdown.now().await;
        assert_eq!(shutdown.level(), Level::Now);
    }

    #[tokio::test]
    async fn a_level_never_falls() {
        let (trigger, shutdown) = Shutdown::manual();
        trigger.now();
        trigger.drain();
        assert_eq!(shutdown.level(), Level::Now);
        shutdown.draining().await;
    }
}
