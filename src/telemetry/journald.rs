//! The system's journal, in its own datagram protocol, and the priorities that it shares with syslog.
//!
//! The path of the socket is an argument: whoever tests this needs no systemd.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Another place of that socket; empty: there is none.
const SOCKET_VARIABLE: &str = "ASSETFS_JOURNAL_SOCKET";

/// What the lines are found by (`journalctl -t assetfs`).
pub const IDENTIFIER: &str = "assetfs";

/// The field that names the store.
pub const STORE_FIELD: &str = "ASSETFS_STORE";

/// The longest message, in bytes: a datagram has a bound, and half a message is better than none.
const MESSAGE_BYTES_MAX: usize = 96 << 10;

/// The journal's socket on this machine, when there is one.
pub fn journal_socket() -> Option<PathBuf> {
    match std::env::var_os(SOCKET_VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => Some(PathBuf::from(SOCKET)).filter(|path| path.exists()),
    }
}

/// syslog's number for a level.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A connection to the journal.
#[derive(Clone)]
pub struct Journald {
    socket: Arc<UnixDatagram>,
    /// The fields that every line has.
    fields: Arc<[u8]>,
}

/// A writer of whole lines of one priority.
pub struct Lines<'a> {
    journald: &'a Journald,
    priority: u8,
}

impl Journald {
    /// Connects. Every line will carry the store's name.
    pub fn connect(socket: &Path, store: &str) -> io::Result<Self> {
        let connected = UnixDatagram::unbound()?;
        connected.connect(socket)?;
        let mut fields = Vec::new();
        field(&mut fields, "SYSLOG_IDENTIFIER", IDENTIFIER.as_bytes());
        field(&mut fields, STORE_FIELD, store.as_bytes());
        Ok(Self {
            socket: Arc::new(connected),
            fields: fields.into(),
        })
    }
}

/// A field in the form that holds any bytes: its name, the length, the value.
fn field(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend_from_slice(name.as_bytes());
    to.push(b'\n');
    to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    to.extend_from_slice(value);
    to.push(b'\n');
}

impl Write for Lines<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut datagram = self.journald.fields.to_vec();
        field(&mut datagram, "PRIORITY", self.priority.to_string().as_bytes());
        let message = line.strip_suffix(b"\n").unwrap_or(line);
        field(
            &mut datagram,
            "MESSAGE",
            &message[..message.len().min(MESSAGE_BYTES_MAX)],
        );
        // A journal that is being restarted loses lines; the daemon has nowhere better to say so.
        self.journald.socket.send(&datagram).ok();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journald {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines {
            journald: self,
            priority: priority(Level::INFO),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Lines {
            journald: self,
            priority: priority(*meta.level()),
        }
    }
}

/// Standard error of a service: systemd takes the priority from the beginning of each line.
pub(super) struct ServiceStderr;

/// Puts a priority before each line.
pub(super) struct Prefixed<W> {
    to: W,
    priority: u8,
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut prefixed = Vec::with_capacity(text.len() + 4);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            prefixed.extend_from_slice(format!("<{}>", self.priority).as_bytes());
            prefixed.extend_from_slice(line);
        }
        self.to.write_all(&prefixed)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<'a> MakeWriter<'a> for ServiceStderr {
    type Writer = Prefixed<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Prefixed {
            to: io::stderr(),
            priority: priority(Level::INFO),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Prefixed {
            to: io::stderr(),
            priority: priority(*meta.level()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_arrives_with_identifier_store_priority_and_any_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let journald = Journald::connect(&path, "studio").unwrap();
        let mut lines = Lines {
            journald: &journald,
            priority: priority(Level::WARN),
        };
        lines.write_all(b"two\nlines\n").unwrap();
        let mut buffer = vec![0; 4096];
        let got = journal.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..got]).replace('\0', "");
        for expected in [
            "SYSLOG_IDENTIFIER\n\u{7}assetfs\n",
            "ASSETFS_STORE\n\u{6}studio\n",
            "PRIORITY\n\u{1}4\n",
            "MESSAGE\n\ttwo\nlines\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in {text:?}");
        }
        // Longer than any datagram: cut, not lost.
        lines.write_all(&vec![b'x'; 1 << 20]).unwrap();
        let mut buffer = vec![0; 1 << 20];
        assert!(journal.recv(&mut buffer).unwrap() > MESSAGE_BYTES_MAX);
    }

    #[test]
    fn every_line_of_a_service_carries_its_priority() {
        let mut prefixed = Prefixed {
            to: Vec::new(),
            priority: priority(Level::ERROR),
        };
        prefixed.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(prefixed.to, b"<3>one\n<3>two\n");
    }
}
