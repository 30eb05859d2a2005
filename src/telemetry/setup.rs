//! Sets up `tracing` once for the process.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::LogFile;

/// Overrides the level, with the usual directives (`debug`, `assetfs::journal=trace`).
const VARIABLE: &str = "ASSETFS_LOG";

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    #[default]
    Stderr,
    /// A file of bounded size: for a daemon that has left its terminal.
    File(PathBuf),
}

/// How to log.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// 0: warnings and errors; 1: what happens; 2: requests; 3 and more: everything.
    pub verbosity: u8,
    /// How a line is written.
    pub format: LogFormat,
    /// Where lines go.
    pub target: LogTarget,
}

/// Starts logging. A second call in one process is ignored: whoever came first decides.
pub fn init(config: &LogConfig) -> std::io::Result<()> {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(directives(config.verbosity)));
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = match &config.target {
        LogTarget::Stderr => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal());
            match (config.format, under_systemd()) {
                (LogFormat::Json, _) => registry.with(layer.json()).try_init(),
                // The journal writes the time itself.
                (LogFormat::Text, true) => registry.with(layer.without_time()).try_init(),
                (LogFormat::Text, false) => registry.with(layer.with_timer(SystemTime)).try_init(),
            }
        }
        LogTarget::File(path) => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(LogFile::open(path)?)
                .with_ansi(false);
            match config.format {
                LogFormat::Json => registry.with(layer.json()).try_init(),
                LogFormat::Text => registry.with(layer).try_init(),
            }
        }
    };
    if let LogTarget::File(_) = config.target {
        // Standard error leads nowhere then, and a panic that nobody sees cannot be mended.
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task of ours died")));
    }
    if outcome.is_err() {
        tracing::debug!("logging was set up before");
    }
    Ok(())
}

/// Our own levels. The protocol library warns of a mount that somebody else has taken away, which is no fault.
fn directives(verbosity: u8) -> String {
    let level = match verbosity {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    format!("warn,fuser=error,assetfs={level}")
}

fn under_systemd() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_a_valid_filter() {
        for verbosity in 0..5 {
            let text = directives(verbosity);
            assert!(text.parse::<EnvFilter>().is_ok(), "{text}");
        }
        assert_eq!(directives(2), "warn,fuser=error,assetfs=debug");
    }
}
