//! Mount options: one list for the command line, for `-o` and for the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

use super::Failure;
use super::words::{bytes, listen_address, span, suggestion};

/// Which call waits for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CommitWhen {
    /// None: uploads follow in the background.
    Background,
    /// close() answers when the store has the file.
    Close,
    /// fsync() answers when the store has the file.
    Fsync,
}

/// What becomes of new pictures where the site would encode them anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImagesWhen {
    /// They are sent; what the site made of them is shown, and what was sent is kept for 30 days.
    Accept,
    /// They cannot be put there.
    Refuse,
}

/// Where the version made here goes when somebody else was faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConflictsGo {
    /// Beside the other one, on this machine, until `assetfs resolve`.
    Local,
    /// To the store, as a file of its own.
    Upload,
}

/// Everything that a mount can be told; what is not said is `None`.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct MountOptions {
    /// Refuse every change
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub read_only: Option<bool>,
    /// Let other users use the mount
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub allow_other: Option<bool>,
    /// Owner of everything in the mount [default: who mounts]
    #[arg(long, value_name = "ID")]
    pub uid: Option<u32>,
    /// Group of everything in the mount [default: that of who mounts]
    #[arg(long, value_name = "ID")]
    pub gid: Option<u32>,
    /// Permissions that nobody gets, octal [default: 022, as root 0022]
    #[arg(long, value_name = "OCTAL", value_parser = octal)]
    pub umask: Option<u16>,
    /// Which call waits until the store has the file [default: background]
    #[arg(long, value_name = "WHEN")]
    pub commit: Option<CommitWhen>,
    /// Where your version goes when somebody else changed the file too: `local`, beside theirs until `assetfs resolve`,
    /// or `upload`, as a file of its own [default: local]
    #[arg(long, value_name = "WHERE")]
    pub conflicts: Option<ConflictsGo>,
    /// Let nothing be deleted from the store
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub no_delete: Option<bool>,
    /// Deletions in 10 minutes beyond which they wait for `assetfs approve`; 0: no limit [default: 1000]
    #[arg(long, value_name = "N")]
    pub delete_max: Option<u32>,
    /// Refuse names that the store refuses when a file is created, not later
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub strict_names: Option<bool>,
    /// How long a file rests before it is uploaded [default: 2s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub quiet: Option<Duration>,
    /// The same for an empty file, which is rarely the last word [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub quiet_empty: Option<Duration>,
    /// How long a listing counts as fresh [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub list_ttl: Option<Duration>,
    /// How often changes made by others are looked for; 0: never [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub poll: Option<Duration>,
    /// Ask the store before an old listing is shown, and not after
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub fresh: Option<bool>,
    /// How long ago a listing may have been confirmed and still be shown before the store is asked [default: 30d]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub stale_max: Option<Duration>,
    /// Names that stay on this machine, besides the usual ones: patterns with `*` and `?`, separated by `:`
    #[arg(long, value_name = "PATTERNS")]
    pub junk: Option<String>,
    /// How long a program waits for the store, without any progress, before it gets an error [default: 40s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub deadline: Option<Duration>,
    /// Requests a second; 0: no limit [default: the store's]
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Requests at once after a rest [default: as many as a second has]
    #[arg(long, value_name = "N")]
    pub burst: Option<u32>,
    /// Requests a day (UTC), over all mounts of the account here; 0: no limit [default: the store's]
    #[arg(long, value_name = "N")]
    pub daily_quota: Option<u64>,
    /// The same for a calendar month
    #[arg(long, value_name = "N")]
    pub monthly_quota: Option<u64>,
    /// Programs that look at everything and must not use the allowance up, besides the usual ones: patterns, separated by `:`
    #[arg(long, value_name = "PATTERNS")]
    pub crawlers: Option<String>,
    /// The most that is kept of what was read [default: 20G or a tenth of the free disk]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub cache_size: Option<u64>,
    /// Memory for bytes on their way to readers [default: 128M]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub read_memory: Option<u64>,
    /// Never let the kernel read the local copy itself
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub no_passthrough: Option<bool>,
    /// Send credentials over plain http to another machine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub allow_http: Option<bool>,
    /// Mail address or URL that tells the server's operator whom to ask
    #[arg(long, value_name = "TEXT")]
    pub contact: Option<String>,
    /// Largest file that is uploaded again for a new name, where the store has no other way [default: 1G]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub rename_max: Option<u64>,
    /// Largest file that the store takes, where it does not say [default: the store's]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub upload_max: Option<u64>,
    /// Image Relay: type of new files, by id [default: the folder's]
    #[arg(long, value_name = "ID")]
    pub file_type: Option<u64>,
    /// Image Relay: keyword set, by id or name, in which unknown tags are made [default: none, they are refused]
    #[arg(long, value_name = "SET")]
    pub keyword_set: Option<String>,
    /// Omeka: publish new collections and items at once
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub public: Option<bool>,
    /// Omeka: a file that is put into a collection gets an item of its own
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub item_per_file: Option<bool>,
    /// Omeka: try any extension, because the site's validation is off
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub any_extension: Option<bool>,
    /// Flextype: the site's list of extensions, separated by `:` [default: that of a new site]
    #[arg(long, value_name = "LIST")]
    pub extensions: Option<String>,
    /// Flextype: whether new pictures are accepted although the site encodes them anew [default: accept]
    #[arg(long, value_name = "WHAT")]
    pub images: Option<ImagesWhen>,
    /// im4: show this project alone, its categories at the root
    #[arg(long, value_name = "ID")]
    pub project: Option<u64>,
    /// im4: show the projects of this agency only
    #[arg(long, value_name = "ID")]
    pub agency: Option<u64>,
    /// im4: show the projects of the last so many days only
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// Serve figures for Prometheus at this address, `127.0.0.1:9090`; a port alone means this machine only
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    pub metrics: Option<SocketAddr>,
    /// Listen for the store's webhooks at this address, for a reverse proxy; the last part of the path is the secret that lies
    /// in `webhook-secret` beside the store's journal
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    pub webhook_listen: Option<SocketAddr>,
    /// Where the store reaches that proxy: the webhooks are subscribed at mount and taken back at unmount
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<url::Url>,
    /// How long uploads may go on after the mount is gone, or after SIGTERM [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub drain: Option<Duration>,
}

/// The options as a command of their own, to read them from elsewhere than the command line.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    options: MountOptions,
}

/// What `mount(8)`, `fstab` and systemd add, and what is so anyway.
const IGNORED: [&str; 24] = [
    "rw",
    "_netdev",
    "nofail",
    "noauto",
    "auto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "defaults",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "relatime",
    "async",
    "default_permissions",
    "nonempty",
    "fsname",
];

impl MountOptions {
    /// The long names of all options.
    pub fn names() -> Vec<String> {
        Alone::command()
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    }

    /// These options, and `base` where they say nothing.
    pub fn over(self, base: Self) -> Self {
        macro_rules! either {
            ($($field:ident),*) => {
                Self { $($field: self.$field.or(base.$field)),* }
            };
        }
        either!(
            read_only,
            allow_other,
            uid,
            gid,
            umask,
            commit,
            conflicts,
            no_delete,
            delete_max,
            strict_names,
            quiet,
            quiet_empty,
            list_ttl,
            poll,
            fresh,
            stale_max,
            junk,
            deadline,
            rate,
            burst,
            daily_quota,
            monthly_quota,
            crawlers,
            cache_size,
            read_memory,
            no_passthrough,
            allow_http,
            contact,
            rename_max,
            upload_max,
            file_type,
            keyword_set,
            public,
            item_per_file,
            any_extension,
            extensions,
            images,
            project,
            agency,
            days,
            metrics,
            webhook_listen,
            webhook_url,
            drain
        )
    }

    /// Reads the arguments of `-o`, each a list separated by commas. A later one wins.
    pub fn from_lists(lists: &[String]) -> Result<Self, Failure> {
        let mut said = Self::default();
        for word in lists.iter().flat_map(|list| list.split(',')).map(str::trim) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            if name.is_empty() || name.starts_with("x-") || name.starts_with("comment") || IGNORED.contains(&name) {
                continue;
            }
            let name = if name == "ro" { "read-only" } else { name };
            said = Self::one(name, value)?.over(said);
        }
        Ok(said)
    }

    /// Reads the mount options of a section of the configuration.
    pub fn from_section(section: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let names = Self::names();
        let mut said = Self::default();
        for (key, value) in section {
            if names.contains(&key.replace('_', "-")) {
                said = Self::one(key, Some(value))?.over(said);
            }
        }
        Ok(said)
    }

    /// Reads one option by its long name, `_` and `-` being equal.
    fn one(name: &str, value: Option<&str>) -> Result<Self, Failure> {
        let long = name.replace('_', "-");
        let names = Self::names();
        if !names.contains(&long) {
            let near = suggestion(&long, names.iter().map(String::as_str));
            return Err(Failure::usage(format!("unknown mount option `{name}`{near}")));
        }
        let argument = match value {
            Some(value) => format!("--{long}={value}"),
            None => format!("--{long}"),
        };
        let matches = Alone::command()
            .try_get_matches_from([argument])
            .map_err(|e| Failure::usage(format!("mount option `{name}`: {}", first_line(&e))))?;
        Alone::from_arg_matches(&matches)
            .map(|alone| alone.options)
            .map_err(|e| Failure::usage(format!("mount option `{name}`: {}", first_line(&e))))
    }
}

/// What clap says, without its usage lines.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn octal(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| format!("`{text}` is no octal mask, such as 022"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, Failure> {
        MountOptions::from_lists(&[list.to_owned()])
    }

    #[test]
    fn a_list_takes_every_long_option_by_its_name() {
        let said = parse("ro,allow_other,rate=0,poll=0,commit=close,quiet=500ms,umask=077,cache_size=1G").unwrap();
        assert_eq!(
            said,
            MountOptions {
                read_only: Some(true),
                allow_other: Some(true),
                rate: Some(0.0),
                poll: Some(Duration::ZERO),
                commit: Some(CommitWhen::Close),
                quiet: Some(Duration::from_millis(500)),
                umask: Some(0o077),
                cache_size: Some(1 << 30),
                ..MountOptions::default()
            }
        );
    }

    #[test]
    fn what_fstab_adds_is_ignored() {
        let said = parse("rw,_netdev,nofail,noauto,user,x-systemd.automount,x-gvfs-name=Studio,defaults").unwrap();
        assert_eq!(said, MountOptions::default());
    }

    #[test]
    fn an_unknown_option_is_named() {
        let failure = parse("qiuet=5s").unwrap_err();
        assert_eq!(failure.message, "unknown mount option `qiuet` (did you mean `quiet`?)");
        assert!(parse("commit=sometimes").unwrap_err().message.contains("commit"));
        assert!(parse("rate").is_err(), "a value is missing");
        assert!(parse("umask=999").is_err());
    }

    #[test]
    fn a_later_word_wins_and_the_base_fills_the_gaps() {
        let said = MountOptions::from_lists(&["quiet=1s,uid=5".into(), "quiet=3s".into()]).unwrap();
        assert_eq!(said.quiet, Some(Duration::from_secs(3)));
        let base = MountOptions {
            quiet: Some(Duration::ZERO),
            gid: Some(9),
            ..MountOptions::default()
        };
        let both = said.over(base);
        assert_eq!(
            (both.quiet, both.uid, both.gid),
            (Some(Duration::from_secs(3)), Some(5), Some(9))
        );
    }

    #[test]
    fn a_switch_may_be_turned_off_again() {
        assert_eq!(parse("read_only=false").unwrap().read_only, Some(false));
    }
}
