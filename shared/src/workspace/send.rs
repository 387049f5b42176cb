//! Contents of files to the broker. They are read and packed on a thread of their own while the
//! packs before them are on their way.

use std::io::Read;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::pack::{Finished, PACK_SIZE, Packer};
use super::read::{self, ReadError};
use crate::broker::{Broker, BrokerError};
use crate::protocol::{Digest, Places};

/// How many packs are on their way at a time: enough for a broker that is far away.
const AT_ONCE: usize = 32;
/// How many packs wait for that: more would be memory for nothing.
const READY: usize = 16;

/// A file whose content is to be sent.
#[derive(Debug, Clone)]
pub struct Source {
    /// What its content must be.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// What was sent.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Contents.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that they are in.
    pub packs: u64,
    /// The bytes of the packs, as they went over the network.
    pub packed_bytes: u64,
    /// Where the contents are now.
    pub places: Places,
}

/// Why contents could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The broker refused a pack or did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file is not what it was a moment ago.
    #[error("{0} was changed meanwhile")]
    Changed(PathBuf),
}

impl Sent {
    fn add(&mut self, finished: Finished) {
        self.packs += 1;
        self.packed_bytes += finished.pack.body.len() as u64;
        for (content, place) in finished.places {
            let places = self.places.0.entry(content).or_default();
            self.files += u64::from(places.is_empty());
            self.bytes += u64::from(place.length);
            places.push(place);
        }
    }
}

/// Sends the contents of `sources`, each of which has another one. `told` hears of each pack that
/// the broker has confirmed.
///
/// # Errors
/// [`SendError`]; what was sent until then stays for a while and is used by nobody.
pub async fn send(
    broker: &Broker,
    sources: Vec<Source>,
    told: impl Fn(&Sent),
) -> Result<Sent, SendError> {
    let (packs, mut finished) = mpsc::channel(READY);
    let reader =
        spawn_blocking(move || pack_all(&sources, |pack| packs.blocking_send(pack).is_ok()));
    let puts = futures::stream::poll_fn(move |cx| finished.poll_recv(cx));
    let puts = puts.map(|finished: Finished| {
        let broker = broker.clone();
        async move {
            let pack = &finished.pack;
            broker.put_pack(&pack.digest, pack.body.clone()).await?;
            Ok::<_, BrokerError>(finished)
        }
    });
    // In order, because the parts of a large content have one.
    let mut puts = std::pin::pin!(puts.buffered(AT_ONCE));
    let mut sent = Sent::default();
    while let Some(finished) = puts.try_next().await? {
        sent.add(finished);
        told(&sent);
    }
    match reader.await {
        Ok(read) => read.map(|()| sent),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Packs everything; ends early when nobody wants it any more.
fn pack_all(sources: &[Source], mut emit: impl FnMut(Finished) -> bool) -> Result<(), SendError> {
    let mut packer = Packer::default();
    for source in sources {
        if !pack(source, &mut packer, &mut emit)? {
            return Ok(());
        }
    }
    if let Some(last) = packer.finish() {
        emit(last);
    }
    Ok(())
}

fn pack(
    source: &Source,
    packer: &mut Packer,
    emit: &mut impl FnMut(Finished) -> bool,
) -> Result<bool, SendError> {
    let mut file = read::open(&source.path)?;
    let mut hasher = Sha256::new();
    let mut left = source.size;
    let mut buffer = Vec::with_capacity(PACK_SIZE.min(usize::try_from(left).unwrap_or(PACK_SIZE)));
    let changed = || SendError::Changed(source.path.clone());
    loop {
        buffer.clear();
        part(&source.path, &mut file, &mut buffer)?;
        hasher.update(&buffer);
        left = left.checked_sub(buffer.len() as u64).ok_or_else(changed)?;
        if left == 0 {
            break;
        }
        if buffer.is_empty() {
            return Err(changed());
        }
        if !packer.add(source.digest, &buffer).is_none_or(&mut *emit) {
            return Ok(false);
        }
    }
    // The last part is added when the whole is known to be right.
    if Digest::finish(hasher) != source.digest {
        return Err(changed());
    }
    Ok(packer.add(source.digest, &buffer).is_none_or(emit))
}

fn part(path: &Path, file: &mut std::fs::File, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
    let mut limited = file.take(PACK_SIZE as u64);
    limited
        .read_to_end(buffer)
        .map(drop)
        .map_err(|e| ReadError::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::pack::Pack;

    fn source(dir: &Path, name: &str, content: &[u8]) -> Source {
        let path = dir.join(name);
        std::fs::write(&path, content).expect("a file");
        Source {
            digest: Digest::of(content),
            size: content.len() as u64,
            path,
        }
    }

    fn packs(sources: &[Source]) -> Result<Vec<Finished>, SendError> {
        let mut all = Vec::new();
        pack_all(sources, |finished| {
            all.push(finished);
            true
        })?;
        Ok(all)
    }

    #[test]
    fn a_large_content_is_in_several_packs_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let large: Vec<u8> = (0..700_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 2])
            .collect();
        let sources = [
            source(dir.path(), "large", &large),
            source(dir.path(), "small", b"small"),
            source(dir.path(), "empty", b""),
        ];
        let (mut sent, mut bytes) = (Sent::default(), Vec::new());
        for finished in packs(&sources).expect("packed") {
            for (content, place) in &finished.places {
                let opened = Pack::open(place.pack, &finished.pack.body).expect("whole");
                let from = place.offset as usize;
                if *content == sources[0].digest {
                    bytes.extend_from_slice(&opened[from..from + place.length as usize]);
                }
            }
            sent.add(finished);
        }
        assert!(bytes == large, "its parts are in order");
        assert_eq!((sent.files, sent.bytes), (3, 700_005));
    }

    #[test]
    fn a_file_that_is_not_what_it_was_is_not_sent() {
        let dir = tempfile::tempdir().expect("a directory");
        for now in ["other!", "longer than before", "x", ""] {
            let source = source(dir.path(), "file", b"before");
            std::fs::write(&source.path, now).expect("a file");
            let packed = packs(&[source]);
            assert!(matches!(packed, Err(SendError::Changed(_))), "{now}");
        }
    }
}
