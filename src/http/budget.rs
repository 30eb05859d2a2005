//! The request budget: how many requests a server allows, shared by all who ask it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::allowance::{Answer, Ledger, Limits, MemoryLedger, Period, window};
use super::slots::Slots;
use super::{Class, current_context};
use crate::model::{SharedClock, Timestamp};

/// How much later a class is served than the one before it, when both came at the same time. Also the bound of
/// starvation: nothing waits behind requests that came this much (per class in between) after it.
const AGEING_STEP: Duration = Duration::from_secs(10);
/// First pause after a refusal that names no time; doubles up to the maximum while refusals go on.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(64);
/// How much later one of many requests of a program is served at most, so that other programs get their turns in between.
const FAIRNESS_MAX: Duration = Duration::from_secs(9);
/// How long counts are gathered where nothing depends on them.
const GATHER: Duration = Duration::from_secs(1);

/// Why no request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It would have to wait longer than the caller accepts; about this long.
    Wait(Duration),
    /// The allowance is used up until then (by this machine's clock).
    Exhausted(Timestamp),
}

/// Leave to send one request. Dropped when the request has surely reached the server, or never will.
pub struct Permit(Option<Box<dyn FnOnce() + Send>>);

impl Permit {
    /// A permit that tells `on_arrival` when it is dropped.
    pub fn new(on_arrival: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(on_arrival)))
    }

    /// A permit that nobody counts.
    pub fn uncounted() -> Self {
        Self(None)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(on_arrival) = self.0.take() {
            on_arrival();
        }
    }
}

/// What `status` shows of a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BudgetState {
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Seconds for which the server wants to be left alone.
    pub paused_secs: u64,
    /// Until when the allowance is used up.
    pub exhausted_until: Option<String>,
    /// What all mounts of the account on this machine used today (UTC).
    pub today: Period,
    /// And this month.
    pub this_month: Period,
}

/// Decides who may send a request when. One local implementation; one that several machines share fits behind it.
#[async_trait]
pub trait Budget: Send + Sync + 'static {
    /// Waits for leave to send one request, at most `wait_max`; fails at once when that is known not to be enough.
    async fn acquire(&self, class: Class, wait_max: Duration) -> Result<Permit, Unavailable>;
    /// The server refused a request as one too many: nothing is granted for `retry_after`, or for a time that doubles
    /// from 2 s while it names none. Answers how long.
    fn throttled(&self, retry_after: Option<Duration>) -> Duration;
    /// The server's allowance is used up until then, by this machine's clock.
    fn exhausted(&self, until: Timestamp);
    /// A request was served.
    fn served(&self);
    /// For `status`.
    fn state(&self) -> BudgetState;
    /// Requests that a day may cost, where that is limited.
    fn daily(&self) -> Option<u64>;
    /// How much is left of the allowance that is used up most: 1 is all of it.
    fn left(&self) -> f64;
}

/// Waiters by virtual time (arrival plus class rank × [`AGEING_STEP`]), then by arrival.
type Queue = BTreeMap<(Duration, u64), Arc<Notify>>;

struct State {
    /// Empty without a limit.
    windows: Vec<Slots>,
    queue: Queue,
    next_ticket: u64,
    paused_until: Duration,
    /// The pause that the next refusal without a time causes.
    next_pause: Duration,
    exhausted_until: Option<Timestamp>,
    /// Waiters of each program.
    waiting: HashMap<(Class, Arc<str>), u32>,
    /// Counts that are not in the ledger yet, and when that was brought up to date.
    gathered: HashMap<(Class, Option<Arc<str>>), u64>,
    written: Duration,
}

/// A budget of this machine: never more than `rate` requests in any window of one second, over all that share its ledger,
/// and never more than the allowances of a day and a month.
pub struct LocalBudget {
    clock: SharedClock,
    limits: Limits,
    ledger: Arc<dyn Ledger>,
    state: Arc<Mutex<State>>,
}

/// The outcome of one look at the queue.
enum Turn {
    Granted(Permit),
    /// Not before this time has passed.
    In(Duration),
    /// Others come first.
    Behind,
    Never(Unavailable),
}

impl LocalBudget {
    /// At most `rate` requests in any window of one second (below 1: one in `1/rate` seconds; 0: no limit), of which at
    /// most `burst` come at once (0, or not below `rate`: all of them).
    pub fn new(clock: SharedClock, rate: f64, burst: u32) -> Arc<Self> {
        let limits = Limits {
            rate,
            burst,
            ..Limits::default()
        };
        Self::of(clock, limits, MemoryLedger::shared())
    }

    /// Within `limits`, of which `ledger` says what is left.
    pub fn of(clock: SharedClock, limits: Limits, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        let Limits { rate, burst, .. } = limits;
        let mut windows = Vec::new();
        if rate > 0.0 {
            let (count, period) = window(rate);
            windows.push(Slots::new(count, period));
            if burst > 0 && (burst as usize) < count {
                windows.push(Slots::new(
                    burst as usize,
                    Duration::from_secs_f64(f64::from(burst) / rate),
                ));
            }
        }
        // What the server said before a restart holds after it.
        let (mut exhausted_until, now) = (None, clock.now());
        ledger.alter(&mut |book| exhausted_until = book.refusal(&Limits::default(), Class::Interactive, now));
        let state = State {
            windows,
            queue: Queue::new(),
            next_ticket: 0,
            paused_until: Duration::ZERO,
            next_pause: PAUSE_MIN,
            exhausted_until,
            waiting: HashMap::new(),
            gathered: HashMap::new(),
            written: clock.elapsed(),
        };
        Arc::new(Self {
            clock,
            limits,
            ledger,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// No limit of our own; the server's refusals are still obeyed.
    pub fn unlimited(clock: SharedClock) -> Arc<Self> {
        Self::new(clock, 0.0, 0)
    }

    fn look(&self, key: (Duration, u64), class: Class, program: Option<&Arc<str>>) -> Turn {
        let now = self.clock.elapsed();
        let wall = self.clock.now();
        let mut state = self.state.lock();
        if let Some(until) = state.exhausted_until {
            if wall < until {
                return Turn::Never(Unavailable::Exhausted(until));
            }
            state.exhausted_until = None;
        }
        if let Some((first, waiter)) = state.queue.first_key_value()
            && *first != key
        {
            waiter.notify_one();
            return Turn::Behind;
        }
        let free: Vec<(usize, Duration)> = state.windows.iter().filter_map(Slots::next).collect();
        let at = free.iter().map(|(_, at)| *at).fold(state.paused_until, Duration::max);
        if at > now {
            return Turn::In(at - now);
        }
        let ticket = match self.admit(&mut state, (class, program), wall) {
            Answer::Go(ticket) => ticket,
            Answer::Wait(span) => return Turn::In(span),
            Answer::Exhausted(until) => return Turn::Never(Unavailable::Exhausted(until)),
        };
        for (window, (slot, _)) in state.windows.iter_mut().zip(&free) {
            window.grant(*slot, now);
        }
        Turn::Granted(self.permit(free.into_iter().map(|(slot, _)| slot).collect(), now, ticket))
    }

    /// Asks the ledger where something depends on it; else only counts.
    fn admit(&self, state: &mut State, who: (Class, Option<&Arc<str>>), wall: Timestamp) -> Answer {
        if self.is_limited() {
            let (class, program) = (who.0, who.1.map(|name| &**name));
            let mut answer = Answer::Go(0);
            self.ledger
                .alter(&mut |book| answer = book.admit(&self.limits, (class, program), wall));
            return answer;
        }
        *state.gathered.entry((who.0, who.1.cloned())).or_default() += 1;
        if self.clock.elapsed().saturating_sub(state.written) >= GATHER {
            self.write(state);
        }
        Answer::Go(0)
    }

    fn is_limited(&self) -> bool {
        self.limits.rate > 0.0 || self.limits.daily.is_some() || self.limits.monthly.is_some()
    }

    /// Brings the ledger up to date.
    fn write(&self, state: &mut State) {
        state.written = self.clock.elapsed();
        let (gathered, now) = (std::mem::take(&mut state.gathered), self.clock.now());
        if !gathered.is_empty() {
            self.ledger.alter(&mut |book| {
                for ((class, program), requests) in &gathered {
                    book.count(*class, program.as_deref(), *requests, now);
                }
            });
        }
    }

    fn permit(&self, slots: Vec<usize>, since: Duration, ticket: u64) -> Permit {
        if slots.is_empty() {
            return Permit::uncounted();
        }
        let (state, clock) = (self.state.clone(), self.clock.clone());
        let (ledger, limits) = (self.ledger.clone(), self.limits);
        Permit::new(move || {
            let (now, wall) = (clock.elapsed(), clock.now());
            ledger.alter(&mut |book| book.arrived(&limits, ticket, wall));
            let mut state = state.lock();
            for (window, slot) in state.windows.iter_mut().zip(slots) {
                window.arrived(slot, since, now);
            }
            // A slot may be free earlier now: whoever is first looks again.
            wake_first(&state);
        })
    }

    /// Takes a place in the queue: one among other requests of the same program behind those of others.
    fn enqueue(&self, class: Class, program: Option<&Arc<str>>) -> Waiting {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        state.next_ticket += 1;
        let who = (class, program.cloned().unwrap_or_else(|| "".into()));
        let before = state.waiting.entry(who.clone()).or_default();
        let fair = match self.limits.rate {
            rate if rate > 0.0 => Duration::from_secs_f64(f64::from(*before) / rate).min(FAIRNESS_MAX),
            _ => Duration::ZERO,
        };
        *before += 1;
        let key = (now + AGEING_STEP * class.rank() + fair, state.next_ticket);
        let turn = Arc::new(Notify::new());
        state.queue.insert(key, turn.clone());
        Waiting {
            state: self.state.clone(),
            key,
            who,
            turn,
        }
    }
}

fn wake_first(state: &State) {
    if let Some((_, waiter)) = state.queue.first_key_value() {
        waiter.notify_one();
    }
}

/// A place in the queue: given up when dropped, and then the next in line is told.
struct Waiting {
    state: Arc<Mutex<State>>,
    key: (Duration, u64),
    who: (Class, Arc<str>),
    turn: Arc<Notify>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.queue.remove(&self.key);
        match state.waiting.get_mut(&self.who) {
            Some(waiting) if *waiting > 1 => *waiting -= 1,
            Some(_) | None => {
                state.waiting.remove(&self.who);
            }
        }
        wake_first(&state);
    }
}

impl Drop for LocalBudget {
    fn drop(&mut self) {
        let state = self.state.clone();
        self.write(&mut state.lock());
    }
}

#[async_trait]
impl Budget for LocalBudget {
    async fn acquire(&self, class: Class, wait_max: Duration) -> Result<Permit, Unavailable> {
        let give_up_at = self.clock.elapsed() + wait_max;
        let program = current_context().program;
        if self.is_limited() {
            // Known at once, without a place in the queue.
            let (mut refusal, now) = (None, self.clock.now());
            self.ledger
                .alter(&mut |book| refusal = book.refusal(&self.limits, class, now));
            if let Some(until) = refusal {
                return Err(Unavailable::Exhausted(until));
            }
        }
        let waiting = self.enqueue(class, program.as_ref());
        loop {
            let left = give_up_at.saturating_sub(self.clock.elapsed());
            match self.look(waiting.key, class, program.as_ref()) {
                Turn::Granted(permit) => return Ok(permit),
                Turn::Never(why) => return Err(why),
                Turn::In(span) if span > left => return Err(Unavailable::Wait(span)),
                Turn::Behind if left.is_zero() => return Err(Unavailable::Wait(AGEING_STEP)),
                Turn::In(span) => tokio::select! {
                    () = self.clock.sleep(span) => {}
                    () = waiting.turn.notified() => {}
                },
                Turn::Behind => tokio::select! {
                    () = self.clock.sleep(left) => {}
                    () = waiting.turn.notified() => {}
                },
            }
        }
    }

    fn throttled(&self, retry_after: Option<Duration>) -> Duration {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        let pause = match retry_after {
            Some(pause) => pause,
            // Requests in flight together are refused together: that is one refusal, not a reason to double again.
            None if state.paused_until > now => state.paused_until - now,
            None => {
                let pause = state.next_pause;
                state.next_pause = (pause * 2).min(PAUSE_MAX);
                pause
            }
        };
        state.paused_until = state.paused_until.max(now + pause);
        pause
    }

    fn exhausted(&self, until: Timestamp) {
        let mut state = self.state.lock();
        state.exhausted_until = state.exhausted_until.max(Some(until));
        self.ledger.alter(&mut |book| book.exhaust(until));
        // All waiters are to fail now: each one that leaves wakes the next.
        wake_first(&state);
    }

    fn served(&self) {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        if state.paused_until <= now {
            state.next_pause = PAUSE_MIN;
        }
    }

    fn daily(&self) -> Option<u64> {
        self.limits.daily
    }

    fn left(&self) -> f64 {
        let (mut left, now) = (1.0, self.clock.now());
        self.ledger.alter(&mut |book| left = book.left(&self.limits, now));
        left
    }

    fn state(&self) -> BudgetState {
        let (now, wall) = (self.clock.elapsed(), self.clock.now());
        let mut state = self.state.lock();
        self.write(&mut state);
        let mut periods = (Period::default(), Period::default());
        self.ledger
            .alter(&mut |book| periods = book.periods(&self.limits, wall));
        BudgetState {
            today: periods.0,
            this_month: periods.1,
            waiting: state.queue.len(),
            paused_secs: state.paused_until.saturating_sub(now).as_secs_f64().ceil() as u64,
            exhausted_until: state
                .exhausted_until
                .filter(|until| *until > wall)
                .map(Timestamp::to_rfc3339),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Clock, ManualClock};
    use proptest::prelude::*;

    const FOREVER: Duration = Duration::from_secs(86_400);

    fn clock() -> Arc<ManualClock> {
        ManualClock::starting(Timestamp::from_secs(1_780_000_000))
    }

    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    }

    /// When requests may have reached the server: at their grant, and at the latest when the answer came.
    type Arrivals = Arc<Mutex<Vec<(Duration, Duration)>>>;

    async fn run(rate: f64, burst: u32, arrivals_ms: Vec<(u64, u64)>) -> Vec<(Duration, Duration)> {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), rate, burst);
        let seen: Arrivals = Arc::default();
        let mut tasks = Vec::new();
        for (wait_ms, transit_ms) in arrivals_ms {
            let (budget, clock, seen) = (budget.clone(), clock.clone(), seen.clone());
            tasks.push(tokio::spawn(async move {
                clock.sleep(Duration::from_millis(wait_ms)).await;
                let permit = budget.acquire(Class::Upload, FOREVER).await.expect("a grant");
                let granted = clock.elapsed();
                clock.sleep(Duration::from_millis(transit_ms)).await;
                seen.lock().push((granted, clock.elapsed()));
                drop(permit);
            }));
        }
        while tasks.iter().any(|task| !task.is_finished()) {
            settle().await;
            clock.advance(Duration::from_millis(37));
        }
        let mut seen = seen.lock().clone();
        seen.sort();
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_window_of_one_second_holds_more_than_the_rate(
            rate in 1u32..7,
            burst in 0u32..4,
            arrivals in proptest::collection::vec((0u64..3_000, 0u64..450), 1..40),
            early in any::<u64>(),
        ) {
            let seen = runtime().block_on(run(f64::from(rate), burst, arrivals));
            // Each request arrives somewhere between its grant and its answer: earliest, latest or in between.
            for pick in 0..3u64 {
                let mut at: Vec<Duration> = seen.iter().enumerate().map(|(i, (granted, answered))| match pick {
                    0 => *granted,
                    1 => *answered,
                    _ if (early >> (i % 64)) & 1 == 0 => *granted,
                    _ => *answered,
                }).collect();
                at.sort();
                for window in at.windows(rate as usize + 1) {
                    prop_assert!(window[rate as usize] - window[0] >= Duration::from_secs(1), "{at:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_whole_rate_is_used() {
        let seen = run(5.0, 0, vec![(0, 0); 25]).await;
        let last = seen.last().expect("grants").0;
        assert!(last < Duration::from_millis(4_400), "{last:?}");
    }

    #[tokio::test]
    async fn a_small_burst_spreads_requests() {
        let seen = run(5.0, 1, vec![(0, 0); 5]).await;
        assert!(
            seen.windows(2).all(|w| w[1].0 - w[0].0 >= Duration::from_millis(200)),
            "{seen:?}"
        );
    }

    async fn order(budget: &Arc<LocalBudget>, clock: &Arc<ManualClock>, classes: &[(Class, u64)]) -> Vec<Class> {
        let served = Arc::new(Mutex::new(Vec::new()));
        drop(budget.acquire(Class::Interactive, FOREVER).await);
        for (class, pause_ms) in classes {
            let (budget, served, class) = (budget.clone(), served.clone(), *class);
            tokio::spawn(async move {
                let permit = budget.acquire(class, FOREVER).await;
                served.lock().push(class);
                drop(permit);
            });
            settle().await;
            clock.advance(Duration::from_millis(*pause_ms));
        }
        for _ in 0..classes.len() * 4 {
            settle().await;
            clock.advance(Duration::from_secs(25));
        }
        served.lock().clone()
    }

    #[tokio::test]
    async fn a_program_that_asks_once_is_not_behind_one_that_asks_for_everything() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 1.0, 0);
        drop(budget.acquire(Class::Interactive, FOREVER).await);
        let served = Arc::new(Mutex::new(Vec::new()));
        let ask = |program: &'static str| {
            let (budget, served) = (budget.clone(), served.clone());
            let context = crate::http::Context {
                class: Class::Interactive,
                program: Some(program.into()),
            };
            tokio::spawn(crate::http::with_context(context, async move {
                let permit = budget.acquire(Class::Interactive, FOREVER).await;
                served.lock().push(program);
                drop(permit);
            }))
        };
        for _ in 0..20 {
            ask("rsync");
            settle().await;
        }
        ask("nautilus");
        for _ in 0..60 {
            settle().await;
            clock.advance(Duration::from_secs(1));
        }
        let served = served.lock().clone();
        let place = served
            .iter()
            .position(|program| *program == "nautilus")
            .expect("served");
        assert_eq!(served.len(), 21);
        assert!(place <= 2, "{place}");
    }

    #[tokio::test]
    async fn urgent_classes_are_served_first() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 0.05, 0);
        let asked: Vec<_> = Class::ALL.iter().rev().map(|class| (*class, 1)).collect();
        assert_eq!(order(&budget, &clock, &asked).await, Class::ALL);
    }

    #[tokio::test]
    async fn an_upload_is_not_starved_by_interactive_requests_that_came_much_later() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 0.02, 0);
        let asked = [
            (Class::Upload, 11_000),
            (Class::Interactive, 0),
            (Class::Interactive, 0),
        ];
        let want = [Class::Upload, Class::Interactive, Class::Interactive];
        assert_eq!(order(&budget, &clock, &asked).await, want);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_its_place_to_the_next() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 1.0, 0);
        drop(budget.acquire(Class::Interactive, FOREVER).await);
        let first = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(Class::Interactive, FOREVER).await.is_ok() }
        });
        settle().await;
        let second = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(Class::Interactive, FOREVER).await.is_ok() }
        });
        settle().await;
        first.abort();
        settle().await;
        clock.advance(Duration::from_secs(1));
        assert!(second.await.expect("no panic"));
        assert_eq!(budget.state().waiting, 0);
    }

    #[tokio::test]
    async fn a_wait_beyond_the_deadline_fails_at_once() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 5.0, 0);
        assert_eq!(budget.throttled(Some(Duration::from_secs(60))), Duration::from_secs(60));
        let refused = budget.acquire(Class::Interactive, Duration::from_secs(30)).await;
        assert_eq!(refused.err(), Some(Unavailable::Wait(Duration::from_secs(60))));
    }

    #[tokio::test]
    async fn pauses_without_a_time_double_until_a_request_is_served() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 5.0, 0);
        assert_eq!(budget.throttled(None), Duration::from_secs(2));
        // Refused together with the first: the pause is shared.
        assert_eq!(budget.throttled(None), Duration::from_secs(2));
        clock.advance(Duration::from_secs(2));
        assert_eq!(budget.throttled(None), Duration::from_secs(4));
        clock.advance(Duration::from_secs(4));
        budget.served();
        assert_eq!(budget.throttled(None), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_used_up_allowance_fails_everyone_until_it_is_back() {
        let clock = clock();
        let budget = LocalBudget::new(clock.clone(), 0.001, 0);
        drop(budget.acquire(Class::Upload, FOREVER).await);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let budget = budget.clone();
                tokio::spawn(async move { budget.acquire(Class::Upload, FOREVER).await.err() })
            })
            .collect();
        settle().await;
        let until = clock.now().plus(Duration::from_secs(3600));
        budget.exhausted(until);
        for waiter in waiters {
            assert_eq!(waiter.await.expect("no panic"), Some(Unavailable::Exhausted(until)));
        }
        clock.advance(Duration::from_secs(3601));
        assert!(budget.acquire(Class::Upload, FOREVER).await.is_ok());
    }
}
