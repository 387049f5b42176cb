//! Manifests and places in packs of their own.
//!
//! A text of many lines is cut where the digest of a line's content says so, and nowhere else
//! unless a piece gets too large. So a file that changes touches one piece, and the others are in
//! the store already.

use futures::{StreamExt, TryStreamExt};
use tokio::task::spawn_blocking;

use super::fetch::{FetchError, pack_bytes};
use super::pack::{PACK_SIZE, Pack};
use crate::broker::{Broker, BrokerError};
use crate::protocol::Digest;

/// How many pieces are under way at a time.
const AT_ONCE: usize = 32;

/// The longest text, in bytes.
const MAX_TEXT: usize = 512 * 1024 * 1024;

/// A text that is stored.
#[derive(Debug, Clone, Default)]
pub struct SentText {
    /// Its pieces, in order.
    pub pieces: Vec<Digest>,
    /// Those that had to be sent.
    pub sent: Vec<Digest>,
    /// Their size as they were sent.
    pub bytes: u64,
}

/// Cuts a text; each line comes with its newline and with whether it is cut behind it.
fn cut(lines: impl Iterator<Item = (String, bool)>) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for (line, cut) in lines {
        if piece.len() + line.len() > PACK_SIZE {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(&line);
        if cut {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    pieces.push(piece);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Stores a text, but for the pieces that `has`.
///
/// # Errors
/// When the broker refuses a piece or does not answer.
pub async fn send(
    broker: &Broker,
    lines: Vec<(String, bool)>,
    has: impl Fn(&Digest) -> bool + Send + 'static,
) -> Result<SentText, BrokerError> {
    let cutting = spawn_blocking(move || {
        let (mut pieces, mut packs) = (Vec::new(), Vec::new());
        for piece in cut(lines.into_iter()) {
            let digest = Digest::of(piece.as_bytes());
            pieces.push(digest);
            if !has(&digest) {
                packs.push(Pack::of(piece.as_bytes()));
            }
        }
        (pieces, packs)
    });
    // It does not panic; nothing would then be stored, and a text without pieces is found out.
    let (pieces, packs) = cutting.await.unwrap_or_default();
    let mut text = SentText {
        pieces,
        ..SentText::default()
    };
    let puts = futures::stream::iter(packs).map(|pack| {
        let broker = broker.clone();
        async move {
            let stored = broker.put_pack(&pack.digest, pack.body.clone()).await;
            stored.map(|()| pack)
        }
    });
    let mut puts = puts.buffer_unordered(AT_ONCE);
    while let Some(pack) = puts.try_next().await? {
        text.sent.push(pack.digest);
        text.bytes += pack.body.len() as u64;
    }
    Ok(text)
}

/// Reads a text from its pieces.
///
/// # Errors
/// When a piece is gone or damaged, or the text is no UTF-8.
pub async fn fetch(broker: &Broker, pieces: &[Digest]) -> Result<String, FetchError> {
    let gets =
        futures::stream::iter(pieces.to_vec()).map(|piece| pack_bytes(broker.clone(), piece));
    let mut gets = gets.buffered(AT_ONCE);
    let mut text = Vec::new();
    while let Some(bytes) = gets.try_next().await? {
        text.extend_from_slice(&bytes);
        if text.len() > MAX_TEXT {
            let why = "more than 512 MiB of text".to_owned();
            return Err(FetchError::Senseless { why });
        }
    }
    String::from_utf8(text).map_err(|e| FetchError::Senseless { why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that are sorted by their content, as places are.
    fn lines(changed: Option<usize>) -> impl Iterator<Item = (String, bool)> {
        let content = |n: usize| match changed {
            Some(at) if at == n => Digest::of(b"changed"),
            _ => Digest::of(&n.to_be_bytes()),
        };
        let mut contents: Vec<Digest> = (0..20_000).map(content).collect();
        contents.sort_unstable();
        let line = |content: Digest| (format!("{content}\n"), content.is_cut());
        contents.into_iter().map(line)
    }

    #[test]
    fn a_changed_line_touches_one_piece() {
        let (before, after) = (cut(lines(None)), cut(lines(Some(9_000))));
        assert_eq!(before.concat().lines().count(), 20_000);
        let new = after.iter().filter(|piece| !before.contains(piece));
        assert!(new.count() <= 3, "where it was, and where it is");
        assert!((200..450).contains(&before.len()), "{}", before.len());
    }

    #[test]
    fn no_piece_is_too_large_for_a_pack() {
        let long = (0..10_000).map(|n| (format!("{n:099}\n"), false));
        let pieces = cut(long);
        assert!(pieces.iter().all(|piece| piece.len() <= PACK_SIZE));
        assert_eq!(pieces.concat().len(), 1_000_000);
        assert!(cut(std::iter::empty()).is_empty());
    }
}
