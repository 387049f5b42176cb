//! Logs: to stderr, because stdout belongs to data.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What a user may say about logs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// How log lines look.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "A3S_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
    /// What is logged: a level, or directives such as `info,async_nats=debug`.
    #[arg(long = "log", global = true, value_name = "FILTER", env = "RUST_LOG")]
    pub log_filter: Option<String>,
}

/// Starts logging at `level` unless the options say otherwise. The library async-nats is held
/// at warnings, because ours say the same with more sense. A second call changes nothing.
///
/// # Errors
/// When the filter cannot be read; the text says which part.
pub fn init(options: &LogOptions, level: LevelFilter) -> Result<(), FilterError> {
    let filter = match options.log_filter.as_deref() {
        Some(text) if !text.is_empty() => EnvFilter::try_new(text).map_err(|source| {
            let text = text.to_owned();
            FilterError { text, source }
        })?,
        _ => EnvFilter::new(format!("{level},async_nats=warn")),
    };
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match options.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log filter {text:?}: {source}; try `info` or `a3s_worker=debug`")]
pub struct FilterError {
    text: String,
    source: tracing_subscriber::filter::ParseError,
}
