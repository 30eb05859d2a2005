//! Which program asks: its name, and whether it is one that looks at everything without anybody waiting. Remembered for a
//! moment, because every request would have to look it up again. Of what the system tells of a process only `status`, `comm`
//! and `cmdline` are read: the rest is behind a lock that the process may hold while it waits for us.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use crate::disk::ProcessStatus;
use crate::http::{Class, Context};
use crate::vfs::matches;

/// Programs that are remembered.
const PROGRAMS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// How long it holds: a process keeps its number while it becomes another program with exec.
const HOLDS: Duration = Duration::from_secs(2);

/// How long one waits for another that is looking.
const LOOKING_MAX: Duration = Duration::from_millis(100);

/// How far up it is looked who started a program: a thumbnailer works through helpers.
const PARENTS_MAX: usize = 4;

/// Programs that index the whole tree, or look into every file of a folder that is shown. Names of programs, of the first
/// word of their command line, of plug-ins among its other words, and of threads (at most 15 bytes).
const CRAWLERS: [&str; 19] = [
    "updatedb*",
    "mlocate*",
    "plocate*",
    "slocate*",
    "tracker-miner*",
    "tracker-extract*",
    "tracker3",
    "localsearch*",
    "baloo*",
    "recoll*",
    "nepomuk*",
    "strigi*",
    "zeitgeist*",
    "beagle*",
    "Digikam::Scan*",
    "ScanController*",
    "rygel*",
    "minidlna*",
    "clamscan",
];

/// Those among them that make thumbnails.
const THUMBNAILERS: [&str; 6] = [
    "tumblerd",
    "*thumbnailer*",
    "thumbnail.so",
    "kde-thumbnail*",
    "glycin-*",
    "gnome-desktop-thumb*",
];

#[derive(Clone)]
struct Known {
    context: Context,
    makes_thumbnails: bool,
    since: Instant,
}

impl Known {
    fn new(program: Option<String>, class: Class, makes_thumbnails: bool) -> Self {
        Self {
            context: Context {
                class,
                program: program.map(Arc::from),
            },
            makes_thumbnails,
            since: Instant::now(),
        }
    }
}

/// Programs by process.
pub struct Programs {
    /// Where the system tells of processes.
    proc: PathBuf,
    more: Vec<String>,
    known: Mutex<LruCache<u32, Known>>,
    /// Held by who reads a command line. That waits as long as the program's memory is locked, and so it may be for a request
    /// to us: no more than one thread must ever wait so.
    looking: Mutex<()>,
}

impl Programs {
    /// Nothing known yet; `more` are patterns of crawlers beside the usual ones.
    pub fn new(more: Vec<String>) -> Self {
        Self::of(Path::new("/proc"), more)
    }

    fn of(proc: &Path, more: Vec<String>) -> Self {
        Self {
            proc: proc.to_owned(),
            more,
            known: Mutex::new(LruCache::new(PROGRAMS_MAX)),
            looking: Mutex::new(()),
        }
    }

    /// On whose behalf a request of thread `pid` is made; nobody's for the kernel and for one that has gone.
    pub fn context(&self, pid: u32) -> Context {
        match pid {
            0 => Context::of(Class::Interactive),
            pid => self.known(pid).context,
        }
    }

    /// The same where it is remembered: never waits.
    pub fn remembered(&self, pid: u32) -> Option<Context> {
        match pid {
            0 => Some(Context::of(Class::Interactive)),
            pid => self.remember(pid).map(|known| known.context),
        }
    }

    /// Whether it is one that makes thumbnails of files that nobody asked to open.
    pub fn makes_thumbnails(&self, pid: u32) -> bool {
        pid != 0 && self.known(pid).makes_thumbnails
    }

    fn known(&self, pid: u32) -> Known {
        if let Some(known) = self.remember(pid) {
            return known;
        }
        let Some(_looking) = self.looking.try_lock_for(LOOKING_MAX) else {
            return Known::new(self.name(pid), Class::Interactive, false);
        };
        let known = self.find(pid);
        self.known.lock().put(pid, known.clone());
        known
    }

    fn remember(&self, pid: u32) -> Option<Known> {
        let mut known = self.known.lock();
        known.get(&pid).filter(|known| known.since.elapsed() < HOLDS).cloned()
    }

    fn find(&self, thread: u32) -> Known {
        let status = ProcessStatus::below(&self.proc, thread);
        let process = status.number("Tgid").unwrap_or(thread);
        let program = self.name(process);
        let words = self.words_of(process, self.name(thread));
        let makes_thumbnails = any_is(&words, THUMBNAILERS.iter().copied());
        let crawlers = CRAWLERS.iter().copied().chain(self.more.iter().map(String::as_str));
        let class = match makes_thumbnails || any_is(&words, crawlers) {
            true => Class::Crawler,
            false => Class::Interactive,
        };
        Known::new(program, class, makes_thumbnails)
    }

    /// What the process, and those that started it, are known by; and the name of the thread.
    fn words_of(&self, process: u32, thread: Option<String>) -> Vec<String> {
        let mut words: Vec<String> = thread.into_iter().collect();
        let mut at = process;
        for _ in 0..=PARENTS_MAX {
            words.extend(self.name(at));
            let line = self.read(at, "cmdline");
            for (place, word) in line.split('\0').enumerate() {
                let last = word.rsplit('/').next().unwrap_or_default();
                if place == 0 || last.ends_with(".so") {
                    words.push(last.to_owned());
                }
            }
            match ProcessStatus::below(&self.proc, at).number("PPid") {
                Some(parent) if parent > 1 => at = parent,
                Some(_) | None => break,
            }
        }
        words
    }

    fn name(&self, pid: u32) -> Option<String> {
        let name = self.read(pid, "comm");
        Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
    }

    fn read(&self, pid: u32, file: &str) -> String {
        let bytes = std::fs::read(self.proc.join(pid.to_string()).join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn any_is<'a>(words: &[String], mut patterns: impl Iterator<Item = &'a str>) -> bool {
    patterns.any(|pattern| words.iter().any(|word| matches(pattern.as_bytes(), word.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_name() {
        let programs = Programs::new(Vec::new());
        let own = programs.context(std::process::id());
        assert!(own.program.is_some_and(|name| !name.is_empty() && !name.contains('\n')));
        assert_eq!(own.class, Class::Interactive);
        assert_eq!(programs.context(0), Context::of(Class::Interactive));
        assert_eq!(programs.context(u32::MAX).program, None);
    }

    fn process(proc: &Path, pid: u32, parent: u32, name: &str, line: &str) {
        let dir = proc.join(pid.to_string());
        std::fs::create_dir_all(&dir).expect("a folder");
        for (file, text) in [
            ("comm", format!("{name}\n")),
            ("cmdline", line.replace(' ', "\0")),
            ("status", format!("Name:\t{name}\nTgid:\t{pid}\nPPid:\t{parent}\n")),
        ] {
            let mut out = std::fs::File::create(dir.join(file)).expect("a file");
            std::io::Write::write_all(&mut out, text.as_bytes()).expect("written");
        }
    }

    #[test]
    fn crawlers_are_known_by_their_name_their_command_line_and_by_who_started_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let proc = dir.path();
        process(proc, 10, 1, "updatedb.plocat", "/usr/sbin/updatedb.plocate");
        process(
            proc,
            11,
            1,
            "kioworker",
            "/usr/lib/kf6/kioworker /usr/lib/qt6/plugins/kf6/kio/thumbnail.so thumbnail",
        );
        process(
            proc,
            12,
            1,
            "kioworker",
            "/usr/lib/kf6/kioworker /usr/lib/qt6/plugins/kf6/kio/file.so file",
        );
        process(proc, 13, 10, "sh", "sh -c find");
        process(proc, 14, 13, "find", "find /mnt");
        process(proc, 15, 1, "find", "find /mnt -name thumbnailer");
        process(proc, 16, 1, "python3", "backup-all");
        let programs = Programs::of(proc, vec!["backup-*".to_owned()]);
        for (pid, class) in [
            (10, Class::Crawler),
            (11, Class::Crawler),
            (12, Class::Interactive),
            (14, Class::Crawler),
            (15, Class::Interactive),
            (16, Class::Crawler),
        ] {
            assert_eq!(programs.context(pid).class, class, "{pid}");
            assert_eq!(programs.makes_thumbnails(pid), pid == 11, "{pid}");
        }
        assert_eq!(programs.context(14).program.as_deref(), Some("find"));
    }
}
