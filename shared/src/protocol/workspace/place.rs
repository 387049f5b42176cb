//! Where the contents of a tree are: in which packs, from which byte on.
//!
//! The text has a line for each part of a content, `<content> <pack> <offset> <length> <stored>`,
//! in the order of the contents' digests. A content that is larger than a pack has several lines.

use std::collections::BTreeMap;

use super::Digest;

/// A part of a content, or all of it, in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The pack, by the digest of its bytes before they are compressed.
    pub pack: Digest,
    /// Where the part begins in them.
    pub offset: u32,
    /// In bytes.
    pub length: u32,
    /// When the pack was stored, in seconds since 1970: the store keeps it for a while only.
    pub stored_s: u64,
}

/// Where each content is. A content's places are in the order of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(pub BTreeMap<Digest, Vec<Place>>);

/// A line that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} says no place of a content")]
pub struct InvalidPlace(String);

impl Place {
    fn line(&self, content: &Digest) -> String {
        let Self {
            pack,
            offset,
            length,
            stored_s,
        } = self;
        format!(
            "{} {} {offset} {length} {stored_s}\n",
            content.hex(),
            pack.hex()
        )
    }

    fn read(line: &str) -> Option<(Digest, Self)> {
        let mut parts = line.split(' ');
        let content = parts.next()?.parse().ok()?;
        let place = Self {
            pack: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
            length: parts.next()?.parse().ok()?,
            stored_s: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some((content, place))
    }
}

impl Places {
    /// Reads a text.
    ///
    /// # Errors
    /// [`InvalidPlace`]: the first line that makes no sense.
    pub fn parse(text: &str) -> Result<Self, InvalidPlace> {
        let mut places = Self::default();
        for line in text.lines() {
            let read = Place::read(line);
            let (content, place) =
                read.ok_or_else(|| InvalidPlace(line.chars().take(200).collect()))?;
            places.0.entry(content).or_default().push(place);
        }
        Ok(places)
    }

    /// Its lines, each with its newline, and whether a text that is stored in pieces is cut
    /// behind it.
    pub fn lines(&self) -> impl Iterator<Item = (String, bool)> {
        self.0.iter().flat_map(|(content, places)| {
            let cut = content.is_cut();
            places.iter().map(move |place| (place.line(content), cut))
        })
    }

    /// The packs, each once.
    #[must_use]
    pub fn packs(&self) -> std::collections::BTreeSet<Digest> {
        self.0.values().flatten().map(|place| place.pack).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back_as_written_in_the_order_of_a_contents_bytes() {
        let place = |offset| Place {
            pack: Digest::of(b"pack"),
            offset,
            length: 5,
            stored_s: 1_700_000_000,
        };
        let mut places = Places::default();
        places.0.insert(Digest::of(b"a"), vec![place(5), place(0)]);
        places.0.insert(Digest::of(b"b"), vec![place(10)]);
        let text: String = places.lines().map(|(line, _)| line).collect();
        assert_eq!(Places::parse(&text), Ok(places.clone()));
        assert_eq!(places.packs().len(), 1);
        assert!(Places::parse("x").is_err());
        assert!(Places::parse(&text.replace(" 5 ", " -5 ")).is_err());
    }
}
