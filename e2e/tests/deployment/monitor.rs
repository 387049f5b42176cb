//! What a server tells at its monitoring address, which KEDA asks too.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The JSON at `path` of the server that answers at `address`.
///
/// # Errors
/// What went wrong on the way; a server that is not up yet is an error too.
pub(crate) async fn get(address: &str, path: &str) -> Result<Value, String> {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = answer.await.map_err(|e| format!("{address}: {e}"))?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let body = body.ok_or_else(|| format!("{address}: no body: {answer}"))?;
    serde_json::from_str(body).map_err(|e| format!("{address}: {e}: {body}"))
}
