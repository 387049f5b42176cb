//! What another program needs to join the same broker, as environment variables.

use super::connect::Connection;
use super::credential::Credential;
use super::options::DEFAULT_PREFIX;

/// Variables that the `nats` CLI and our own programs read. They contain secrets: print them
/// only when a user asks for them.
#[must_use]
pub fn env_lines(connection: &Connection) -> Vec<(String, String)> {
    let mut lines = vec![("NATS_URL", connection.server.url.clone())];
    match &connection.credential {
        Credential::None => {}
        Credential::CredsFile(path) => lines.push(("NATS_CREDS", path.display().to_string())),
        Credential::NkeyFile(path) => lines.push(("NATS_NKEY", path.display().to_string())),
        Credential::Token(token) => lines.push(("NATS_TOKEN", token.clone())),
        Credential::UserPassword { user, password } => {
            lines.push(("NATS_USER", user.clone()));
            lines.push(("NATS_PASSWORD", password.clone()));
        }
    }
    let settings = &connection.settings;
    let files = [
        ("NATS_CA", &settings.tls_ca),
        ("NATS_CERT", &settings.tls_cert),
        ("NATS_KEY", &settings.tls_key),
    ];
    for (name, path) in files {
        lines.extend(path.as_ref().map(|path| (name, path.display().to_string())));
    }
    lines.extend(
        connection
            .js_domain
            .clone()
            .map(|domain| ("A3S_JS_DOMAIN", domain)),
    );
    lines.extend(
        settings
            .inbox_prefix
            .clone()
            .or_else(|| connection.credential.inbox_prefix())
            .map(|prefix| ("A3S_INBOX_PREFIX", prefix)),
    );
    if connection.prefix != DEFAULT_PREFIX {
        lines.push(("A3S_PREFIX", connection.prefix.clone()));
    }
    lines
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
