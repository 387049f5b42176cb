//! What the reply subject of a delivery says of it. The client library reads it too, with a copy of its
//! whole context and a calendar date; every task is delivered, and needs neither.
//!
//! The subject's form: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md>.

/// A delivery by a consumer, as the broker tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The stream.
    pub stream: &'a str,
    /// How often it was delivered, this time included.
    pub times: u64,
    /// The message's sequence in the stream.
    pub sequence: u64,
    /// When it was stored, in the broker's time, milliseconds since 1970.
    pub stored_at_ms: u64,
}

impl<'a> Delivered<'a> {
    /// Reads a reply subject. `None` when it is not that of a delivery.
    #[must_use]
    pub fn read(reply: &'a str) -> Option<Self> {
        let tokens = reply.strip_prefix("$JS.ACK.")?;
        let mut fields = [&[][..]; 9];
        let mut count = 0;
        for token in tokens.as_bytes().split(|byte| *byte == b'.') {
            if let Some(field) = fields.get_mut(count) {
                *field = token;
            }
            count += 1;
        }
        // stream, consumer, times, sequence, consumer's sequence, nanoseconds, pending; before them,
        // in the newer form, domain and account, and behind them what is to come.
        let fields = match count {
            7 => &fields[..7],
            9.. => &fields[2..],
            _ => return None,
        };
        let text = |field: usize| str::from_utf8(fields[field]).ok();
        let number = |field| text(field)?.parse::<u64>().ok();
        let (times, sequence, _, nanoseconds) = (number(2)?, number(3)?, number(4)?, number(5)?);
        Some(Self {
            stream: text(0)?,
            times,
            sequence,
            stored_at_ms: nanoseconds / 1_000_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let expected = Delivered {
            stream: "A3S_TASKS",
            times: 3,
            sequence: 107,
            stored_at_ms: 1_700_000_000_123,
        };
        let rest = "A3S_TASKS.pool-default-query.3.107.9.1700000000123456789.4";
        for reply in [
            format!("$JS.ACK.{rest}"),
            format!("$JS.ACK._.ACC4HASH.{rest}"),
            format!("$JS.ACK.hub.ACC4HASH.{rest}.random"),
        ] {
            assert_eq!(Delivered::read(&reply), Some(expected), "{reply}");
        }
    }

    #[test]
    fn what_is_no_delivery_is_none() {
        for reply in [
            "",
            "_INBOX.a.b",
            "$JS.ACK.",
            "$JS.ACK.stream.consumer.1.2.3.4",
            "$JS.ACK.stream.consumer.1.2.3.4.5.6",
            "$JS.ACK.stream.consumer.x.2.3.4.5",
            "$JS.ACK.stream.consumer.-1.2.3.4.5",
            "$JS.ACK.stream.consumer.1.2.x.4.5",
        ] {
            assert_eq!(Delivered::read(reply), None, "{reply}");
        }
    }
}
