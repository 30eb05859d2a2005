//! What is made to go wrong, and a count of every call.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::store::{ErrorKind, Result, Retry, StoreError};

/// A call that can be counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `account` and `root`.
    Account,
    /// `list`, once a page.
    List,
    /// `stat`.
    Stat,
    /// `read` and `read_bundle`.
    Read,
    /// One chunk of an upload.
    Chunk,
    /// `create`, when it publishes.
    Create,
    /// `replace`, when it publishes.
    Replace,
    /// `create_folder`.
    CreateFolder,
    /// `relocate`.
    Relocate,
    /// `link`.
    Link,
    /// `copy`.
    Copy,
    /// `remove`.
    Remove,
    /// `set_fields`.
    SetFields,
    /// `changes`.
    Changes,
    /// `search`.
    Search,
}

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is carried out, and this is the answer.
    Fail(ErrorKind, Retry),
    /// It is carried out, and the answer is lost on the way.
    LoseAnswer,
    /// Of a request about several files only the first so many are carried out, and the rest is not mentioned.
    Partly(usize),
    /// It never answers; nothing is carried out.
    Hang,
    /// It is carried out only after [`Faults::release`].
    Wait,
    /// It is refused with this answer, after [`Faults::release`].
    WaitThenFail(ErrorKind, Retry),
    /// A download breaks off after so many bytes; of a new file no more arrive.
    CutAfter(u64),
}

/// What is left of a fault once the call goes ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    AnswerLost,
    CutAfter(u64),
    Partly(usize),
}

impl Fate {
    /// The answer of a call that was carried out, if it arrives.
    pub(super) fn deliver<T>(self, operation: &'static str, item: &str, answer: T) -> Result<T> {
        match self {
            Fate::Answered | Fate::CutAfter(_) | Fate::Partly(_) => Ok(answer),
            Fate::AnswerLost => Err(StoreError::new(ErrorKind::Network, operation, item).retry(Retry::Ambiguous)),
        }
    }
}

#[derive(Default)]
struct Plan {
    calls: u64,
    /// By the number of the call, counted from 1.
    once: BTreeMap<u64, Fault>,
    always: Option<Fault>,
}

/// The faults of one store.
#[derive(Default)]
pub struct Faults {
    plans: Mutex<HashMap<Op, Plan>>,
    everything: Mutex<Option<Fault>>,
    released: tokio::sync::watch::Sender<()>,
}

impl Faults {
    /// Makes the `nth` call of `op` from now on go wrong; 1 is the next.
    pub fn inject(&self, op: Op, nth: u64, fault: Fault) {
        let mut plans = self.plans.lock();
        let plan = plans.entry(op).or_default();
        plan.once.insert(plan.calls + nth, fault);
    }

    /// Makes each call of `op` go wrong until [`Faults::clear`].
    pub fn always(&self, op: Op, fault: Fault) {
        self.plans.lock().entry(op).or_default().always = Some(fault);
    }

    /// Makes every call go wrong: `Some(Fail(Network, …))` is a pulled cable, `None` plugs it in again.
    pub fn everything(&self, fault: Option<Fault>) {
        *self.everything.lock() = fault;
    }

    /// Lets the calls go ahead that wait.
    pub fn release(&self) {
        self.released.send_replace(());
    }

    /// No more faults; the counts stay.
    pub fn clear(&self) {
        *self.everything.lock() = None;
        for plan in self.plans.lock().values_mut() {
            plan.once.clear();
            plan.always = None;
        }
    }

    /// How often `op` was called.
    pub fn calls(&self, op: Op) -> u64 {
        self.plans.lock().get(&op).map_or(0, |plan| plan.calls)
    }

    /// How many calls there were in all.
    pub fn calls_total(&self) -> u64 {
        self.plans.lock().values().map(|plan| plan.calls).sum()
    }

    /// Counts a call and lets it fail, hang, or go ahead.
    pub(super) async fn meet(&self, op: Op, operation: &'static str, item: &str) -> Result<Fate> {
        match self.next(op) {
            None => Ok(Fate::Answered),
            Some(Fault::LoseAnswer) => Ok(Fate::AnswerLost),
            Some(Fault::Partly(files)) => Ok(Fate::Partly(files)),
            Some(Fault::CutAfter(bytes)) => Ok(Fate::CutAfter(bytes)),
            Some(Fault::Fail(kind, retry)) => Err(StoreError::new(kind, operation, item).retry(retry)),
            Some(Fault::Wait) => {
                self.until_released().await;
                Ok(Fate::Answered)
            }
            Some(Fault::WaitThenFail(kind, retry)) => {
                self.until_released().await;
                Err(StoreError::new(kind, operation, item).retry(retry))
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    async fn until_released(&self) {
        // The sender lives as long as this does.
        self.released.subscribe().changed().await.ok();
    }

    fn next(&self, op: Op) -> Option<Fault> {
        let everything = self.everything.lock().clone();
        let mut plans = self.plans.lock();
        let plan = plans.entry(op).or_default();
        plan.calls += 1;
        let once = plan.once.remove(&plan.calls);
        everything.or(once).or_else(|| plan.always.clone())
    }
}
