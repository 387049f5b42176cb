//! `env`: what the `nats` CLI and workers need to join our server.

use a3s_shared::runtime;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::app::Globals;
use super::failure::{DONE, Failure};
use super::output::Output;

/// Print what the `nats` CLI and workers need to join the server
///
/// Lines of `export NAME=value` for a shell. They contain the credential: whoever has it can run
/// commands on the workers. Starts no server: there must be one.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  eval \"$(a3s-coordinator env)\"
  nats stream ls")]
pub(crate) struct Env {
    /// JSON instead of shell lines
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Env {
    /// Prints the lines.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let connection = globals.connect(false).await?;
        let lines = runtime::env_lines(&connection);
        let mut output = Output::new();
        let written = match self.json {
            true => output.json(&lines.into_iter().collect()).await,
            false => output.line(&shell(&lines)?).await,
        };
        connection.close().await;
        written.map(|()| DONE)
    }
}

fn shell(lines: &[(String, String)]) -> Result<String, Failure> {
    let export = |(name, value): &(String, String)| {
        let value = shlex::try_quote(value)
            .map_err(|_| Failure::broker(format!("{name} contains a NUL byte")))?;
        Ok(format!("export {name}={value}"))
    };
    let lines: Result<Vec<String>, Failure> = lines.iter().map(export).collect();
    Ok(lines?.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell() {
        let lines = [
            ("A".to_owned(), "x y'z".to_owned()),
            ("B".to_owned(), "b".to_owned()),
        ];
        let text = shell(&lines).expect("no NUL byte");
        assert_eq!(text, "export A=\"x y'z\"\nexport B=b");
    }
}
