//! Where things are kept: configuration, cache, state, and what lives as long as a login session.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::disk::create_private_dir;

/// The name of a store's log.
pub const LOG_NAME: &str = "assetfs.log";

/// The folders of this user, or those named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The configuration file.
    pub config: PathBuf,
    /// Everything that can be fetched again.
    pub cache: PathBuf,
    /// What would be lost: pending changes and dirty bodies.
    pub state: PathBuf,
    /// Control sockets and the registry of mounts.
    pub run: PathBuf,
}

/// What the command line says about places.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlacesArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", global = true, env = "ASSETFS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder for everything that can be fetched again
    #[arg(long, value_name = "DIR", global = true, env = "ASSETFS_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Folder for pending changes: losing it loses them
    #[arg(long, value_name = "DIR", global = true, env = "ASSETFS_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
}

impl Places {
    /// The places of the user who runs this program.
    pub fn find(args: &PlacesArgs) -> Result<Self, Failure> {
        let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Self::of(args, is_root(), env)
    }

    fn of(args: &PlacesArgs, root: bool, env: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, Failure> {
        // As the XDG rules want it: a relative path is as good as none.
        let dir = |name: &str| env(name).filter(|path| path.is_absolute());
        // What a service manager made for the unit. It may be several, of which the first is the unit's own.
        let unit = |name: &str| {
            let list = env(name)?.into_os_string().into_string().ok()?;
            let first = list.split(':').next().map(PathBuf::from);
            first.filter(|path| path.is_absolute())
        };
        let home = |below: &str| {
            dir("HOME").map(|home| home.join(below)).ok_or_else(|| {
                Failure::usage("HOME is not set: name the folders with --config, --cache-dir and --state-dir")
            })
        };
        let user = |variable: &str, below: &str| match dir(variable) {
            Some(path) => Ok(path.join("assetfs")),
            None => home(below).map(|path| path.join("assetfs")),
        };
        let named = |path: &PathBuf| std::path::absolute(path).map_err(Failure::new);
        let config = match &args.config {
            Some(file) => named(file)?,
            None if root => PathBuf::from("/etc/assetfs/config.toml"),
            None => user("XDG_CONFIG_HOME", ".config")?.join("config.toml"),
        };
        let cache = match &args.cache_dir {
            Some(folder) => named(folder)?,
            None => match unit("CACHE_DIRECTORY") {
                Some(folder) => folder,
                None if root => PathBuf::from("/var/cache/assetfs"),
                None => user("XDG_CACHE_HOME", ".cache")?,
            },
        };
        let state = match &args.state_dir {
            Some(folder) => named(folder)?,
            None => match unit("STATE_DIRECTORY") {
                Some(folder) => folder,
                None if root => PathBuf::from("/var/lib/assetfs"),
                None => user("XDG_STATE_HOME", ".local/state")?,
            },
        };
        let run = match dir("ASSETFS_RUNTIME_DIR").or_else(|| dir("XDG_RUNTIME_DIR").map(|path| path.join("assetfs"))) {
            Some(folder) => folder,
            None if root => PathBuf::from("/run/assetfs"),
            // Not below --state-dir: other commands must find the mounts without knowing it.
            None => user("XDG_STATE_HOME", ".local/state")?.join("run"),
        };
        Ok(Self {
            config,
            cache,
            state,
            run,
        })
    }

    /// Folders of one store, made for this user alone.
    pub fn store(&self, name: &str) -> Result<StorePlaces, Failure> {
        let places = StorePlaces {
            cache: self.cache.join(name),
            state: self.state.join(name),
        };
        create_private_dir(&places.cache)?;
        create_private_dir(&places.state)?;
        Ok(places)
    }
}

/// The folders of one store.
#[derive(Clone, Debug)]
pub struct StorePlaces {
    /// Catalog and clean bodies.
    pub cache: PathBuf,
    /// Journal, staged bodies, log, lock.
    pub state: PathBuf,
}

impl StorePlaces {
    /// The lock that only one daemon holds.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// What a detached daemon writes its log to.
    pub fn log(&self) -> PathBuf {
        self.state.join(LOG_NAME)
    }
}

/// Whether we may do everything.
pub fn is_root() -> bool {
    own_ids().0 == 0
}

/// Our user and group.
pub fn own_ids() -> (u32, u32) {
    // The owner of our own entry in /proc is who we act as.
    std::fs::metadata("/proc/self").map_or((u32::MAX, u32::MAX), |own| (own.uid(), own.gid()))
}

/// `~/…` as people write it in files.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(below), Some(home)) => Path::new(&home).join(below),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<PathBuf> + 'a {
        |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v))
    }

    #[test]
    fn a_user_has_the_desktops_folders() {
        let places = Places::of(
            &PlacesArgs::default(),
            false,
            env(&[
                ("HOME", "/home/ada"),
                ("XDG_CACHE_HOME", "/fast"),
                ("XDG_RUNTIME_DIR", "/run/user/7"),
                ("XDG_CONFIG_HOME", "relative"),
            ]),
        )
        .unwrap();
        assert_eq!(places.config, Path::new("/home/ada/.config/assetfs/config.toml"));
        assert_eq!(places.cache, Path::new("/fast/assetfs"));
        assert_eq!(places.state, Path::new("/home/ada/.local/state/assetfs"));
        assert_eq!(places.run, Path::new("/run/user/7/assetfs"));
    }

    #[test]
    fn root_has_the_systems() {
        let places = Places::of(&PlacesArgs::default(), true, env(&[("HOME", "/root")])).unwrap();
        assert_eq!(places.cache, Path::new("/var/cache/assetfs"));
        assert_eq!(places.state, Path::new("/var/lib/assetfs"));
        assert_eq!(places.run, Path::new("/run/assetfs"));
    }

    #[test]
    fn a_unit_has_what_its_manager_made_for_it() {
        let set = [
            ("HOME", "/root"),
            ("CACHE_DIRECTORY", "/var/cache/assetfs:/var/cache/other"),
            ("STATE_DIRECTORY", "/var/lib/private/assetfs"),
        ];
        let places = Places::of(&PlacesArgs::default(), true, env(&set)).unwrap();
        assert_eq!(places.cache, Path::new("/var/cache/assetfs"));
        assert_eq!(places.state, Path::new("/var/lib/private/assetfs"));
        assert_eq!(places.run, Path::new("/run/assetfs"), "other commands look there");
    }

    #[test]
    fn the_command_line_wins_and_a_missing_home_is_said() {
        let args = PlacesArgs {
            config: Some("/c.toml".into()),
            cache_dir: Some("/c".into()),
            state_dir: Some("/s".into()),
        };
        let runtime = [("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(Places::of(&args, false, env(&runtime)).unwrap().state, Path::new("/s"));
        let failure = Places::of(&PlacesArgs::default(), false, env(&[])).unwrap_err();
        assert!(failure.message.contains("HOME"), "{failure}");
    }
}
