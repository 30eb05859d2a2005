//! What a service manager is told (`sd_notify(3)`): one datagram a message, to the socket that it names.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;

/// The service manager that started this process, if one did.
#[derive(Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// The last status: the same one is not told twice.
    told: Mutex<String>,
}

impl ServiceManager {
    /// That of this process's environment.
    pub fn of_this_process() -> Self {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) => Self::at(Path::new(&name)),
            None => Self::default(),
        }
    }

    /// The one that listens there; a name that begins with `@` is no file.
    fn at(name: &Path) -> Self {
        let bytes = name.as_os_str().as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
            None => SocketAddr::from_pathname(name),
        };
        let connected = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => Self {
                socket: Some(socket),
                told: Mutex::default(),
            },
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told: NOTIFY_SOCKET does not answer");
                Self::default()
            }
        }
    }

    /// The mount can be used.
    pub fn ready(&self, status: &str) {
        self.send(&format!(
            "READY=1\nSTATUS={}\nMAINPID={}\n",
            line(status),
            std::process::id()
        ));
        *self.told.lock() = status.to_owned();
    }

    /// How things are, in one line for `systemctl status`.
    pub fn status(&self, status: &str) {
        let mut told = self.told.lock();
        if *told != status {
            self.send(&format!("STATUS={}\n", line(status)));
            status.clone_into(&mut told);
        }
    }

    /// The end has begun, and may take this long.
    pub fn stopping(&self, status: &str, at_most: Duration) {
        self.send(&format!(
            "STOPPING=1\nSTATUS={}\nEXTEND_TIMEOUT_USEC={}\n",
            line(status),
            at_most.as_micros()
        ));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A line break would begin the next assignment.
fn line(text: &str) -> String {
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let got = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..got]).into_owned()
    }

    #[test]
    fn the_manager_hears_that_the_mount_is_ready_how_it_is_and_that_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::at(&path);
        manager.ready("idle");
        assert!(heard(&listening).starts_with("READY=1\nSTATUS=idle\n"));
        manager.status("idle");
        manager.status("3 changes\nwait");
        assert_eq!(heard(&listening), "STATUS=3 changes wait\n", "nothing is told twice");
        manager.stopping("going", Duration::from_secs(60));
        assert_eq!(
            heard(&listening),
            "STOPPING=1\nSTATUS=going\nEXTEND_TIMEOUT_USEC=60000000\n"
        );
    }

    #[test]
    fn sockets_without_a_file_and_missing_ones_are_understood() {
        let name = format!("assetfs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listening = UnixDatagram::bind_addr(&address).unwrap();
        ServiceManager::at(Path::new(&format!("@{name}"))).ready("up");
        assert!(heard(&listening).contains("STATUS=up"));
        ServiceManager::at(Path::new("/no/such/socket")).ready("nobody hears this");
    }
}
