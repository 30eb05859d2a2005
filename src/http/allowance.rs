//! What a store's allowance is, what was used of it, and who may have the rest.
//!
//! The figures are of this machine: a [`Ledger`] keeps them across restarts and shares them with the other mounts of the
//! account. A ledger that several machines share fits behind the same trait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Class;
use crate::model::Timestamp;

/// Programs that are told apart in a period; the rest counts as one.
const PROGRAMS_MAX: usize = 64;
/// What is kept for programs that somebody waits for: everything else stops before that.
const RESERVE: f64 = 0.05;
/// What crawlers may use of a day's allowance.
const CRAWLER_SHARE: f64 = 0.01;
const DAY_SECS: i64 = 86_400;
/// How long after its grant a request may still be on its way to the server.
pub(super) const TRANSIT_MAX: Duration = Duration::from_millis(500);

/// What the store allows; `None` and 0 are no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Requests in any second (below 1: one in `1/rate` seconds).
    pub rate: f64,
    /// At most so many of them at once; 0: all.
    pub burst: u32,
    /// Requests of a UTC day.
    pub daily: Option<u64>,
    /// Requests of a calendar month.
    pub monthly: Option<u64>,
}

/// What was used in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Requests.
    pub requests: u64,
    /// By class.
    #[serde(default)]
    pub classes: BTreeMap<Class, u64>,
    /// By the program that caused them.
    #[serde(default)]
    pub programs: BTreeMap<String, u64>,
}

impl Used {
    fn count(&mut self, class: Class, program: Option<&str>, requests: u64) {
        self.requests += requests;
        *self.classes.entry(class).or_default() += requests;
        if let Some(program) = program {
            let known = self.programs.contains_key(program) || self.programs.len() < PROGRAMS_MAX;
            let program = if known { program } else { "(others)" };
            *self.programs.entry(program.to_owned()).or_default() += requests;
        }
    }
}

/// A request that may still count in the server's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    ticket: u64,
    until: Timestamp,
}

/// The figures of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The day that `today` is of, since 1970.
    #[serde(default)]
    day: i64,
    #[serde(default)]
    today: Used,
    /// The month that `month` is of, `2026-06`.
    #[serde(default)]
    month_name: String,
    #[serde(default)]
    month: Used,
    /// Until when the server refuses, by its own word.
    #[serde(default)]
    exhausted_until: Option<Timestamp>,
    #[serde(default)]
    recent: Vec<Recent>,
    #[serde(default)]
    tickets: u64,
}

/// Where a book is kept.
pub trait Ledger: Send + Sync + 'static {
    /// Alters the book in one step that nobody else interrupts.
    fn alter(&self, change: &mut dyn FnMut(&mut Book));
}

/// A book that is this process's alone.
#[derive(Default)]
pub struct MemoryLedger(Mutex<Book>);

impl MemoryLedger {
    /// An empty book.
    pub fn shared() -> Arc<dyn Ledger> {
        Arc::new(Self::default())
    }
}

impl Ledger for MemoryLedger {
    fn alter(&self, change: &mut dyn FnMut(&mut Book)) {
        change(&mut self.0.lock());
    }
}

/// What the book says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It may go; the number is for [`Book::arrived`].
    Go(u64),
    /// Others have been asking: after this.
    Wait(Duration),
    /// Not before then.
    Exhausted(Timestamp),
}

/// What was used and what is left of a period, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Period {
    /// What was used.
    #[serde(flatten)]
    pub used: Used,
    /// What the store allows in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
    /// What is left of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// When it is renewed.
    pub renewed_at: String,
}

/// The calendar month of a time, and when the next begins.
fn month_of(now: Timestamp) -> (String, Timestamp) {
    let text = now.to_rfc3339();
    let name = text.get(..7).unwrap_or_default().to_owned();
    let (year, month) = name.split_once('-').unwrap_or(("1970", "01"));
    let (year, month): (i64, u32) = (year.parse().unwrap_or(1970), month.parse().unwrap_or(1));
    let (year, month) = if month >= 12 { (year + 1, 1) } else { (year, month + 1) };
    let next = Timestamp::parse(&format!("{year:04}-{month:02}-01T00:00:00Z"));
    (name, next.unwrap_or_else(|| now.plus(Duration::from_secs(31 * 86_400))))
}

fn midnight_after(now: Timestamp) -> Timestamp {
    Timestamp::from_secs((now.secs.div_euclid(DAY_SECS) + 1) * DAY_SECS)
}

/// What of an allowance this class may use up.
fn share(class: Class, allowed: u64) -> u64 {
    match class {
        Class::Interactive => allowed,
        Class::Upload | Class::Prefetch | Class::Background | Class::Crawler => {
            allowed - (allowed as f64 * RESERVE).ceil() as u64
        }
    }
}

impl Book {
    /// Begins new periods when theirs have passed.
    fn turn(&mut self, now: Timestamp) {
        let (day, (month, _)) = (now.secs.div_euclid(DAY_SECS), month_of(now));
        if self.day != day {
            (self.day, self.today) = (day, Used::default());
        }
        if self.month_name != month {
            (self.month_name, self.month) = (month, Used::default());
        }
        self.exhausted_until = self.exhausted_until.filter(|until| *until > now);
    }

    /// Until when a request of this class may not be sent, whatever the rate.
    pub(super) fn refusal(&mut self, limits: &Limits, class: Class, now: Timestamp) -> Option<Timestamp> {
        self.turn(now);
        if self.exhausted_until.is_some() {
            return self.exhausted_until;
        }
        if let Some(daily) = limits.daily {
            let crawled = self.today.classes.get(&Class::Crawler).copied().unwrap_or(0);
            let too_much = class == Class::Crawler && crawled >= (daily as f64 * CRAWLER_SHARE) as u64;
            if too_much || self.today.requests >= share(class, daily) {
                return Some(midnight_after(now));
            }
        }
        match limits.monthly {
            Some(monthly) if self.month.requests >= share(class, monthly) => Some(month_of(now).1),
            Some(_) | None => None,
        }
    }

    /// Lets a request go, and counts it, or says why not.
    pub(super) fn admit(&mut self, limits: &Limits, (class, program): (Class, Option<&str>), now: Timestamp) -> Answer {
        if let Some(until) = self.refusal(limits, class, now) {
            return Answer::Exhausted(until);
        }
        if limits.rate > 0.0 {
            let (count, period) = window(limits.rate);
            let longest = period + TRANSIT_MAX;
            // A clock that was set back must not make the past last.
            let counts = |recent: &Recent| recent.until > now && recent.until.since(now) <= longest;
            self.recent.retain(counts);
            if self.recent.len() >= count {
                let first = self.recent.iter().map(|recent| recent.until).min();
                let pause = first.map_or(period, |until| until.since(now));
                return Answer::Wait(pause.max(Duration::from_millis(1)));
            }
            self.tickets += 1;
            self.recent.push(Recent {
                ticket: self.tickets,
                until: now.plus(longest),
            });
        }
        self.count(class, program, 1, now);
        Answer::Go(self.tickets)
    }

    /// A request that was let go has reached the server.
    pub(super) fn arrived(&mut self, limits: &Limits, ticket: u64, now: Timestamp) {
        let period = window(limits.rate).1;
        if let Some(recent) = self.recent.iter_mut().find(|recent| recent.ticket == ticket) {
            recent.until = recent.until.min(now.plus(period));
        }
    }

    /// Requests were sent.
    pub(super) fn count(&mut self, class: Class, program: Option<&str>, requests: u64, now: Timestamp) {
        self.turn(now);
        self.today.count(class, program, requests);
        self.month.count(class, program, requests);
    }

    /// The server refuses until then.
    pub(super) fn exhaust(&mut self, until: Timestamp) {
        self.exhausted_until = self.exhausted_until.max(Some(until));
    }

    /// Today and this month.
    pub(super) fn periods(&mut self, limits: &Limits, now: Timestamp) -> (Period, Period) {
        self.turn(now);
        let period = |used: &Used, allowed: Option<u64>, renewed: Timestamp| Period {
            used: used.clone(),
            allowed,
            left: allowed.map(|allowed| allowed.saturating_sub(used.requests)),
            renewed_at: renewed.to_rfc3339(),
        };
        (
            period(&self.today, limits.daily, midnight_after(now)),
            period(&self.month, limits.monthly, month_of(now).1),
        )
    }

    /// How much is left of what is used up most.
    pub(super) fn left(&mut self, limits: &Limits, now: Timestamp) -> f64 {
        self.turn(now);
        if self.exhausted_until.is_some() {
            return 0.0;
        }
        let left = |used: &Used, allowed: Option<u64>| match allowed {
            Some(allowed) => 1.0 - (used.requests as f64 / allowed.max(1) as f64).min(1.0),
            None => 1.0,
        };
        left(&self.today, limits.daily).min(left(&self.month, limits.monthly))
    }
}

/// How many requests may fall into which time.
pub(super) fn window(rate: f64) -> (usize, Duration) {
    let count = rate.floor().clamp(1.0, 10_000.0) as usize;
    (count, Duration::from_secs_f64((1.0 / rate).clamp(1.0, 86_400.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn spend(book: &mut Book, limits: &Limits, class: Class, requests: u64, now: Timestamp) -> u64 {
        (0..requests)
            .filter(|_| matches!(book.admit(limits, (class, Some("cp")), now), Answer::Go(_)))
            .count() as u64
    }

    const LIMITS: Limits = Limits {
        rate: 0.0,
        burst: 0,
        daily: Some(1000),
        monthly: Some(2500),
    };

    #[test]
    fn the_last_twentieth_is_for_what_somebody_waits_for() {
        let (mut book, now) = (Book::default(), at("2026-06-09T10:00:00Z"));
        assert_eq!(spend(&mut book, &LIMITS, Class::Upload, 2000, now), 950);
        assert_eq!(spend(&mut book, &LIMITS, Class::Background, 10, now), 0);
        assert_eq!(spend(&mut book, &LIMITS, Class::Interactive, 100, now), 50);
        let refused = book.admit(&LIMITS, (Class::Interactive, None), now);
        assert_eq!(refused, Answer::Exhausted(at("2026-06-10T00:00:00Z")));
    }

    #[test]
    fn crawlers_have_a_small_share_of_their_own() {
        let (mut book, now) = (Book::default(), at("2026-06-09T10:00:00Z"));
        assert_eq!(spend(&mut book, &LIMITS, Class::Crawler, 500, now), 10);
        assert_eq!(spend(&mut book, &LIMITS, Class::Background, 10, now), 10);
    }

    #[test]
    fn a_day_begins_anew_and_a_month_goes_on() {
        let mut book = Book::default();
        for day in 9..11 {
            let now = at(&format!("2026-12-{day:02}T23:59:59Z"));
            assert_eq!(spend(&mut book, &LIMITS, Class::Interactive, 5000, now), 1000);
        }
        let now = at("2026-12-11T00:00:00Z");
        assert_eq!(spend(&mut book, &LIMITS, Class::Interactive, 5000, now), 500);
        let refused = book.admit(&LIMITS, (Class::Interactive, None), now);
        assert_eq!(refused, Answer::Exhausted(at("2027-01-01T00:00:00Z")));
        let (today, month) = book.periods(&LIMITS, now);
        assert_eq!((today.used.requests, today.left), (500, Some(500)));
        assert_eq!((month.used.programs["cp"], month.left), (2500, Some(0)));
        assert_eq!(book.left(&LIMITS, now), 0.0);
    }

    #[test]
    fn the_rate_is_one_for_all_who_share_the_book() {
        let limits = Limits {
            rate: 5.0,
            ..Limits::default()
        };
        let (mut book, now) = (Book::default(), at("2026-06-09T10:00:00Z"));
        assert_eq!(spend(&mut book, &limits, Class::Interactive, 9, now), 5);
        for ticket in 1..=5 {
            book.arrived(&limits, ticket, now);
        }
        let soon = now.plus(Duration::from_millis(999));
        assert_eq!(spend(&mut book, &limits, Class::Interactive, 9, soon), 0);
        let later = now.plus(Duration::from_millis(1001));
        assert_eq!(spend(&mut book, &limits, Class::Interactive, 9, later), 5);
        // The clock is set back by a day: nobody waits for a day.
        let before = now.minus(Duration::from_secs(86_400));
        assert_eq!(spend(&mut book, &limits, Class::Interactive, 9, before), 5);
    }
}
