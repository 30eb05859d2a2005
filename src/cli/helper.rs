//! Started as `mount.assetfs` or `mount.fuse.assetfs`, as mount(8) does for `mount -t assetfs` and for fstab:
//! `mount.assetfs SOURCE DIR [-sfnvrw] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.
//!
//! mount(8) has its own meaning for the short options (`-f` pretends), hands places on within `-o` (`config=FILE`), and
//! knows exit status 32 as the failure of a helper.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use super::output;
use crate::daemon::Failure;
use crate::daemon::config::Config;
use crate::daemon::options::MountOptions;
use crate::daemon::places::Places;
use crate::daemon::source::Source;
use crate::fuse::mounts;

/// What mount(8) calls the failure of a mount.
const MOUNT_FAILED: u8 = 32;

/// What mount(8) asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    source: String,
    folder: OsString,
    lists: Vec<String>,
    /// Check only.
    pretend: bool,
    verbose: bool,
}

/// Whether the program was started under a helper's name.
pub fn is_helper(program: Option<&OsString>) -> bool {
    program
        .and_then(|program| Path::new(program).file_name()?.to_str())
        .is_some_and(|name| name.starts_with("mount."))
}

impl Call {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut call = Self::default();
        let mut places = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            let Some(flags) = text.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
                places.push(argument);
                continue;
            };
            for (at, flag) in flags.char_indices() {
                match flag {
                    'f' => call.pretend = true,
                    'v' => call.verbose = true,
                    'r' => call.lists.push("ro".into()),
                    // Unknown options are errors anyway; nothing is written to mtab; `rw` is how it is.
                    's' | 'n' | 'w' | 'i' => {}
                    'o' | 't' | 'N' => {
                        let rest = &flags[at + flag.len_utf8()..];
                        let value = match rest {
                            "" => arguments.next().map(|value| value.to_string_lossy().into_owned()),
                            rest => Some(rest.to_owned()),
                        };
                        let value = value.ok_or_else(|| Failure::usage(format!("-{flag} wants a value")))?;
                        if flag == 'o' {
                            call.lists.push(value);
                        }
                        break;
                    }
                    other => return Err(Failure::usage(format!("unknown option `-{other}`"))),
                }
            }
        }
        match <[OsString; 2]>::try_from(places) {
            Ok([source, folder]) => {
                call.source = source.to_string_lossy().into_owned();
                call.folder = folder;
                Ok(call)
            }
            Err(_) => Err(Failure::usage(
                "mount.assetfs SOURCE DIR [-o OPTIONS]: mount(8) calls it like that",
            )),
        }
    }

    /// The same as arguments of this program's own command line.
    fn words(&self, program: OsString) -> Result<Vec<OsString>, Failure> {
        let mut words = vec![program];
        let mut rest = Vec::new();
        for word in self.lists.iter().flat_map(|list| list.split(',')) {
            let place = ["config", "cache_dir", "state_dir"].into_iter().find_map(|name| {
                let value = word.replace("cache-dir", "cache_dir").replace("state-dir", "state_dir");
                Some((name, value.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
            });
            match place {
                Some((name, value)) => {
                    words.push(format!("--{}", name.replace('_', "-")).into());
                    words.push(value.into());
                }
                None => rest.push(word),
            }
        }
        let rest = rest.join(",");
        // Said here, before anything is started, under the name that stands in fstab.
        MountOptions::from_lists(std::slice::from_ref(&rest))?;
        words.push("mount".into());
        words.push(self.source.clone().into());
        words.push(self.folder.clone());
        words.push("-o".into());
        words.push(rest.into());
        if self.verbose {
            words.push("-v".into());
        }
        Ok(words)
    }

    /// Whether this very store is mounted there: `mount -a` may be said twice.
    fn is_done(&self, places: &Places) -> Result<bool, Failure> {
        let source = Source::parse(&self.source, &Config::load(&places.config)?)?;
        let folder = std::fs::canonicalize(&self.folder).unwrap_or_else(|_| Path::new(&self.folder).to_owned());
        let there = mounts::at(&folder).map_err(Failure::new)?;
        let answers = || crate::disk::free_space(&folder).is_ok();
        Ok(there.is_some_and(|mounted| mounted.source == mounts::source_of(&source.name)) && answers())
    }
}

/// Does what mount(8) asked for, by way of `run`, which takes a command line of this program.
pub fn run(
    mut words: impl Iterator<Item = OsString>,
    run: impl FnOnce(Vec<OsString>) -> Result<ExitCode, Failure>,
    places: impl FnOnce(&[OsString]) -> Result<Places, Failure>,
) -> ExitCode {
    let program = words.next().unwrap_or_else(|| OsStr::new("assetfs").to_owned());
    let outcome = Call::parse(words).and_then(|call| {
        let words = call.words(program)?;
        if call.pretend {
            return Ok(ExitCode::SUCCESS);
        }
        if call.is_done(&places(&words)?)? {
            output::say(format_args!(
                "{} is mounted at {} already",
                call.source,
                Path::new(&call.folder).display()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        run(words)
    });
    match outcome {
        Ok(code) if code == ExitCode::SUCCESS => code,
        Ok(_) => ExitCode::from(MOUNT_FAILED),
        Err(failure) => {
            output::say(&failure);
            ExitCode::from(MOUNT_FAILED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Call, Failure> {
        Call::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn it_is_called_as_mount_calls_it() {
        let call = parse(&[
            "studio:/Press",
            "/srv/studio",
            "-sv",
            "-o",
            "rw,noauto,config=/etc/a.toml,uid=5",
            "-t",
            "fuse.assetfs",
            "-N",
            "/proc/1/ns/mnt",
        ])
        .unwrap();
        assert!(call.verbose && !call.pretend);
        let words = call.words("mount.fuse.assetfs".into()).unwrap();
        let expected = [
            "mount.fuse.assetfs",
            "--config",
            "/etc/a.toml",
            "mount",
            "studio:/Press",
            "/srv/studio",
            "-o",
            "rw,noauto,uid=5",
            "-v",
        ];
        assert_eq!(words, expected.map(OsString::from));
    }

    #[test]
    fn f_pretends_and_r_is_read_only() {
        let call = parse(&["-fr", "studio", "/mnt"]).unwrap();
        assert!(call.pretend);
        assert_eq!(call.lists, ["ro"]);
    }

    #[test]
    fn mistakes_are_told_before_anything_is_started() {
        assert!(parse(&["studio"]).is_err());
        assert!(parse(&["studio", "/mnt", "-o"]).is_err());
        assert!(parse(&["studio", "/mnt", "-x"]).is_err());
        let failure = parse(&["studio", "/mnt", "-o", "qiuet=5s"])
            .unwrap()
            .words("m".into())
            .unwrap_err();
        assert!(failure.message.contains("did you mean `quiet`"), "{failure}");
    }

    #[test]
    fn only_the_names_of_helpers_are_helpers() {
        assert!(is_helper(Some(&"/sbin/mount.fuse.assetfs".into())));
        assert!(is_helper(Some(&"mount.assetfs".into())));
        assert!(!is_helper(Some(&"/usr/bin/assetfs".into())));
    }
}
