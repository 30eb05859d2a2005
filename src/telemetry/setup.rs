//! Sets up `tracing` once for the process.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::LogFile;
use super::journald::{Journald, ServiceStderr};

/// Overrides the level, with the usual directives (`debug`, `assetfs::journal=trace`).
const VARIABLE: &str = "ASSETFS_LOG";

/// What is worth a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// What went wrong for good
    Error,
    /// What a person should look at
    #[default]
    Warn,
    /// What happens to the mount
    Info,
    /// Every request
    Debug,
    /// Everything
    Trace,
}

impl LogLevel {
    /// So many levels more talkative.
    pub fn raised(self, by: u8) -> Self {
        let all = Self::value_variants();
        all[(self as usize + usize::from(by)).min(all.len() - 1)]
    }

    fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    #[default]
    Stderr,
    /// The system's journal.
    Journal {
        /// Its socket.
        socket: PathBuf,
        /// The store that the lines are about.
        store: String,
    },
    /// A file of bounded size: for a daemon that has left its terminal.
    File(PathBuf),
}

/// How to log.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// What is worth a line.
    pub level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
    /// Where lines go.
    pub target: LogTarget,
}

/// Starts logging. A second call in one process is ignored: whoever came first decides.
pub fn init(config: &LogConfig) -> std::io::Result<()> {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(directives(config.level)));
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = match &config.target {
        LogTarget::Stderr if under_systemd() => {
            // The journal has the time and the level of every line itself.
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(ServiceStderr)
                .with_ansi(false)
                .without_time();
            match config.format {
                LogFormat::Json => registry.with(layer.json()).try_init(),
                LogFormat::Text => registry.with(layer.with_level(false)).try_init(),
            }
        }
        LogTarget::Stderr => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(colours);
            match config.format {
                LogFormat::Json => registry.with(layer.json()).try_init(),
                LogFormat::Text => registry.with(layer.with_timer(SystemTime)).try_init(),
            }
        }
        LogTarget::Journal { socket, store } => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(Journald::connect(socket, store)?)
                .with_ansi(false)
                .without_time();
            match config.format {
                LogFormat::Json => registry.with(layer.json()).try_init(),
                LogFormat::Text => registry.with(layer.with_level(false)).try_init(),
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
    if config.target != LogTarget::Stderr {
        // Standard error leads nowhere then, and a panic that nobody sees cannot be mended.
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task of ours died")));
    }
    if outcome.is_err() {
        tracing::debug!("logging was set up before");
    }
    Ok(())
}

/// Our own levels. The protocol libraries warn of a mount that somebody else has taken away, which is no fault, and of
/// a message bus that goes with the desktop.
fn directives(level: LogLevel) -> String {
    format!("warn,fuser=error,zbus=error,assetfs={}", level.word())
}

/// Whether standard error is the journal's. The variable alone proves nothing: a terminal's programs inherit it.
pub fn under_systemd() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else {
        return false;
    };
    let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() else {
        return false;
    };
    std::fs::File::from(stderr)
        .metadata()
        .is_ok_and(|own| stream == format!("{}:{}", own.dev(), own.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_a_valid_filter() {
        for level in LogLevel::value_variants() {
            let text = directives(*level);
            assert!(text.parse::<EnvFilter>().is_ok(), "{text}");
        }
        assert_eq!(directives(LogLevel::Debug), "warn,fuser=error,zbus=error,assetfs=debug");
    }

    #[test]
    fn levels_rise_to_the_most_talkative_and_stay_there() {
        assert_eq!(LogLevel::Warn.raised(0), LogLevel::Warn);
        assert_eq!(LogLevel::Warn.raised(2), LogLevel::Debug);
        assert_eq!(LogLevel::Info.raised(200), LogLevel::Trace);
    }
}
