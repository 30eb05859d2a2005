//! How far something is that takes long: a bar for who looks on, a plain line now and then for who reads it later.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// How often there is a line. What takes less time says nothing.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar, or lines.
pub struct Progress {
    bar: ProgressBar,
    /// Nobody looks on.
    plain: bool,
    every: Duration,
    told: Instant,
    done: u64,
    whole: Option<u64>,
    /// What is counted.
    what: &'static str,
}

impl Progress {
    fn new(bar: impl FnOnce() -> ProgressBar, template: &str) -> Self {
        let plain = !output::is_watched();
        let bar = if plain { ProgressBar::hidden() } else { bar() };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            plain,
            every: LINE_EVERY,
            told: Instant::now(),
            done: 0,
            whole: None,
            what: "",
        }
    }

    /// Of bytes that are sent or fetched.
    pub fn of_bytes() -> Self {
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left, {msg}";
        Self::new(|| ProgressBar::new(0), template)
    }

    /// Of things that are done one after the other; how many there are is not always known.
    pub fn of_things(whole: Option<u64>, what: &'static str) -> Self {
        let mut progress = match whole {
            Some(whole) => Self::new(|| ProgressBar::new(whole), "{wide_bar} {pos}/{len} {msg}, {eta} left"),
            None => Self::new(ProgressBar::new_spinner, "{spinner} {pos} {msg}"),
        };
        progress.bar.set_message(what);
        (progress.whole, progress.what) = (whole, what);
        progress
    }

    /// So many bytes are there of all, and `left` is to be done.
    pub fn at(&mut self, done: u64, whole: u64, left: &str) {
        self.bar.set_length(whole);
        self.bar.set_position(done);
        self.bar.set_message(left.to_owned());
        self.tell(|_| format!("{} of {}, {left} left", output::size(done), output::size(whole)));
    }

    /// One more thing is done.
    pub fn one_more(&mut self) {
        self.bar.inc(1);
        self.done += 1;
        self.tell(|at| match at.whole {
            Some(whole) => format!("{} of {whole} {}", at.done, at.what),
            None => format!("{} {}", at.done, at.what),
        });
    }

    /// Prints something else meanwhile.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes it away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }

    fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if let Some(line) = self.line(line) {
            output::say(line);
        }
    }

    /// The line that is due, if one is.
    fn line(&mut self, line: impl FnOnce(&Self) -> String) -> Option<String> {
        if !self.plain || self.told.elapsed() < self.every {
            return None;
        }
        self.told = Instant::now();
        Some(line(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_where_nobody_looks_on_and_not_too_often() {
        let mut progress = Progress::of_things(Some(9), "assets");
        let mut line = |plain: bool, every: Duration| {
            (progress.plain, progress.every) = (plain, every);
            progress.line(|at| format!("{} of {:?}", at.what, at.whole))
        };
        let (always, rarely) = (Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(line(true, always).as_deref(), Some("assets of Some(9)"));
        assert_eq!(line(true, rarely), None);
        assert_eq!(line(false, always), None, "there is a bar");
    }
}
