//! A message bus of the test's own, with the two services that a mount talks to: the desktop's notifications and logind.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use zbus::zvariant::{OwnedFd, Value};

/// A private bus; it goes with the value.
pub struct Bus {
    daemon: Child,
    pub address: String,
}

impl Bus {
    pub fn start() -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon: `apt install dbus`");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().expect("its output"))
            .read_line(&mut address)
            .expect("an address");
        Self {
            daemon,
            address: address.trim().to_owned(),
        }
    }

    /// A connection that serves `object` under a well-known name.
    pub async fn serve(
        &self,
        name: &'static str,
        path: &'static str,
        object: impl zbus::object_server::Interface,
    ) -> zbus::Connection {
        zbus::connection::Builder::address(self.address.as_str())
            .expect("an address")
            .name(name)
            .expect("a name")
            .serve_at(path, object)
            .expect("a path")
            .build()
            .await
            .expect("a connection")
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

/// What the desktop was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Shown {
        replaces: u32,
        summary: String,
        body: String,
    },
    Closed(u32),
}

/// A desktop that shows notifications.
#[derive(Clone, Default)]
pub struct Desktop(pub Arc<Mutex<Vec<Notice>>>);

/// What the first notification is called.
pub const FIRST: u32 = 41;

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desktop {
    #[allow(clippy::too_many_arguments)] // The desktop's own interface.
    fn notify(
        &self,
        _app_name: &str,
        replaces_id: u32,
        _app_icon: &str,
        summary: &str,
        body: &str,
        _actions: Vec<String>,
        _hints: HashMap<String, Value<'_>>,
        _expire_timeout: i32,
    ) -> u32 {
        self.0.lock().push(Notice::Shown {
            replaces: replaces_id,
            summary: summary.to_owned(),
            body: body.to_owned(),
        });
        if replaces_id == 0 { FIRST } else { replaces_id }
    }

    fn close_notification(&self, id: u32) {
        self.0.lock().push(Notice::Closed(id));
    }
}

/// A logind that is asked to wait before the machine sleeps.
#[derive(Clone, Default)]
pub struct Logind {
    /// The other ends of the locks that were given.
    pub locks: Arc<Mutex<Vec<std::io::PipeReader>>>,
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn inhibit(&self, what: &str, _who: &str, _why: &str, mode: &str) -> zbus::fdo::Result<OwnedFd> {
        if (what, mode) != ("sleep", "delay") {
            return Err(zbus::fdo::Error::InvalidArgs(format!("{what}, {mode}")));
        }
        let (held, given) = std::io::pipe().map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
        self.locks.lock().push(held);
        Ok(std::os::fd::OwnedFd::from(given).into())
    }

    #[zbus(signal)]
    pub async fn prepare_for_sleep(emitter: &zbus::object_server::SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}
