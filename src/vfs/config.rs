//! What a mount's semantics can be configured with.

use std::path::PathBuf;
use std::time::Duration;

/// When a save is reported as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// When it is durable on this machine; the upload follows.
    #[default]
    Background,
    /// `close` waits for the store.
    Close,
    /// `fsync` waits for the store.
    Fsync,
}

/// What becomes of the version made here when somebody else was faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflicts {
    /// It stays beside the other one, on this machine, until the user resolves it.
    #[default]
    Local,
    /// It is sent as a file of its own, under its conflict name.
    Upload,
}

/// The choices of one mount.
#[derive(Clone, Debug)]
pub struct VfsConfig {
    /// Owner shown for everything.
    pub uid: u32,
    /// Group shown for everything.
    pub gid: u32,
    /// Permission bits taken away.
    pub umask: u16,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Why the login may change nothing, if that is so.
    pub login_may_not: Option<&'static str>,
    /// Nothing published may be deleted.
    pub no_delete: bool,
    /// What becomes of the losing side of a conflict.
    pub conflicts: Conflicts,
    /// When a save counts as done.
    pub commit: Commit,
    /// How long a change waits for the next one before it is sent.
    pub quiet: Duration,
    /// The same for a file without bytes: it is rarely the last word.
    pub quiet_empty: Duration,
    /// Age at which a folder's listing is read again.
    pub list_ttl: Duration,
    /// How often the store is asked for changes made by others; zero: never.
    pub poll: Duration,
    /// Ask before answering when a listing is older than `list_ttl`.
    pub fresh: bool,
    /// Ask before answering when a listing is older than this, in any case.
    pub stale_max: Duration,
    /// Names that the store refuses are refused at create, and not kept local for a while.
    pub strict_names: bool,
    /// Whether complete files may be handed to the kernel.
    pub passthrough: bool,
    /// This machine's name, for conflict copies.
    pub host: String,
    /// Names that stay on this machine, beside the built-in list: with `*` and `?`.
    pub junk: Vec<String>,
    /// Programs that look at everything without anybody waiting, beside the built-in list: with `*` and `?`.
    pub crawlers: Vec<String>,
    /// How long an operation waits for the store.
    pub deadline: Duration,
    /// Where the desktop looks for thumbnails; `None`: they are not filled in.
    pub thumbnails: Option<ThumbnailPlace>,
}

/// The desktop's thumbnails, and what they call the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThumbnailPlace {
    /// `$XDG_CACHE_HOME/thumbnails` of whoever mounts.
    pub folder: PathBuf,
    /// The mount, absolute.
    pub mountpoint: PathBuf,
    /// Who mounts: nobody else's thumbnails are touched.
    pub uid: u32,
}

impl Default for VfsConfig {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            umask: 0o022,
            read_only: false,
            login_may_not: None,
            no_delete: false,
            conflicts: Conflicts::Local,
            commit: Commit::Background,
            quiet: Duration::from_secs(2),
            quiet_empty: Duration::from_secs(30),
            list_ttl: Duration::from_secs(60),
            poll: Duration::from_secs(60),
            fresh: false,
            stale_max: Duration::from_secs(30 * 86_400),
            strict_names: false,
            passthrough: true,
            host: "this machine".into(),
            junk: Vec::new(),
            crawlers: Vec::new(),
            deadline: Duration::from_secs(40),
            thumbnails: None,
        }
    }
}
