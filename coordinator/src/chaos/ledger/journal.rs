//! Appending to a file of the ledger: a line is on disk before its writer goes on, and lines that
//! come together share the wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Lines that wait for the disk.
const WAITING: usize = 1_024;

/// A line, and where to say that it is on disk.
type Entry = (Vec<u8>, oneshot::Sender<()>);

/// A file that is only appended to. Clones write to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    entries: mpsc::Sender<Entry>,
}

impl Journal {
    /// Opens the file, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or no thread can be started.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // An earlier writer may have been killed in the middle of a line.
        file.write_all(b"\n")?;
        let (entries, inbox) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        thread.spawn(move || keep(&mut file, inbox))?;
        Ok(Self { entries })
    }

    /// Writes a line and returns when it is on disk.
    ///
    /// # Errors
    /// When the disk did not take it.
    pub(crate) async fn note(&self, line: &impl Serialize) -> io::Result<()> {
        let on_disk = self.pass(line).await?;
        on_disk.await.map_err(|_| gone())
    }

    /// Writes a line soon: for what is only heard of, where nobody must wait for the disk.
    ///
    /// # Errors
    /// When the disk did not take an earlier line.
    pub(crate) async fn note_soon(&self, line: &impl Serialize) -> io::Result<()> {
        self.pass(line).await.map(drop)
    }

    async fn pass(&self, line: &impl Serialize) -> io::Result<oneshot::Receiver<()>> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let (done, on_disk) = oneshot::channel();
        self.entries.send((text, done)).await.map_err(|_| gone())?;
        Ok(on_disk)
    }
}

fn gone() -> io::Error {
    io::Error::other("the ledger cannot be written: is the disk full?")
}

/// Ends with the last journal, or with the first error: the writers hear of it.
fn keep(file: &mut File, mut inbox: mpsc::Receiver<Entry>) {
    let mut batch = Vec::new();
    while inbox.blocking_recv_many(&mut batch, WAITING) > 0 {
        let text: Vec<u8> = batch.iter().flat_map(|(text, _)| text.clone()).collect();
        if file
            .write_all(&text)
            .and_then(|()| file.sync_data())
            .is_err()
        {
            return;
        }
        for (_, done) in batch.drain(..) {
            let _ = done.send(());
        }
    }
}
