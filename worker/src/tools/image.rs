//! A picture as the answer of `read`: models look at screenshots and diagrams.

use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

/// Bytes of a picture: models take no larger ones, and it grows by a third on its way.
const MAX_IMAGE: u64 = 8 * 1024 * 1024;

/// What a file is by its name, if models can look at it.
pub(super) fn media_type(path: &str) -> Option<&'static str> {
    let extension = Path::new(path).extension()?.to_str()?;
    match extension.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        _ => None,
    }
}

/// The picture in `images`, as agents take it, and words for who sees none.
///
/// # Errors
/// When it cannot be read, or is over 8 MiB.
pub(super) fn read(
    shown: &str,
    media_type: &'static str,
    file: impl Read,
) -> Result<Value, String> {
    let mut data = Vec::new();
    let read = file.take(MAX_IMAGE + 1).read_to_end(&mut data);
    read.map_err(|e| format!("{shown}: {e}"))?;
    let bytes = data.len();
    if bytes as u64 > MAX_IMAGE {
        return Err(format!(
            "{shown} is a picture of over {MAX_IMAGE} bytes: make a smaller copy first"
        ));
    }
    let data = base64::engine::general_purpose::STANDARD.encode(data);
    Ok(json!({
        "output": format!("[Image: {media_type} ({bytes} bytes)]"),
        "images": [{ "media_type": media_type, "data": data }],
        "metadata": { "media_type": media_type, "bytes": bytes },
    }))
}
