//! The files of many items in few requests.
//!
//! A walk (`ls -R`, `find`, `rsync`) lists one item after the other, a request each, while the list of all files tells fifty in
//! one. So when items are listed one after the other, and many that were just told are left, all files are asked for in pages,
//! where those are fewer. What came that way is used once for each item, for a short while, only as long as nothing was
//! changed, and only where it is as many files as the item was said to have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::http::{current_context, with_context};
use crate::model::SharedClock;
use crate::store::Result;

use super::api::Api;
use super::id::Resource;
use super::pages::{Page, all_of, page};

/// How long it counts that an item has so many files.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// How long files count that came ahead.
const AHEAD_FOR: Duration = Duration::from_secs(30);
/// Items listed singly before it counts as a walk.
const WALK_ITEMS: usize = 3;
/// Pages of files that are asked for at most for each item that was listed singly: who looks into a few items of many does not
/// walk through all of them.
const PAGES_PER_ITEM: usize = 10;
/// Items that must be left for it to be worth a look.
const LEFT_MIN: usize = 8;
/// Files that are kept at most.
const FILES_MAX: usize = 10_000;
/// Items that are remembered at most.
const ITEMS_MAX: usize = 200_000;
/// How long a listing waits for the files of all: those of its item alone are never far.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What is known of items that are probably listed next.
#[derive(Clone)]
pub(super) struct Ahead {
    clock: SharedClock,
    state: Arc<Mutex<State>>,
    fetched: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Counts what makes everything below void, so that no answer that was asked for before is taken.
    generation: u64,
    /// Items that nobody has listed since they were told, with the number of their files and when that was.
    due: HashMap<u64, (u64, Duration)>,
    /// Items of this walk that were asked for singly, and how many it takes for the pages that there are.
    walked: usize,
    walk_min: usize,
    /// Files by item, and when they were asked for.
    files: HashMap<u64, Vec<Value>>,
    asked_at: Duration,
    fetching: bool,
    /// All files would take more requests than the items: not looked at again before this.
    hopeless_until: Duration,
}

/// What to do for one item.
enum Next {
    /// These are its files.
    Known(Vec<Value>),
    /// Ask for it alone.
    Ask,
    /// All files are on their way.
    Wait,
    /// Ask for all files, if the walk so far and the items that are left are worth it.
    Fetch {
        generation: u64,
        walked: usize,
        left: usize,
    },
}

impl State {
    fn forget(&mut self) {
        self.generation += 1;
        self.due.clear();
        self.files.clear();
        self.walked = 0;
        self.walk_min = 0;
    }

    fn expire(&mut self, now: Duration) {
        if now.saturating_sub(self.asked_at) >= AHEAD_FOR {
            self.files.clear();
        }
        if self.due.values().all(|(_, at)| now.saturating_sub(*at) >= TOLD_FOR) {
            self.due.clear();
            self.walked = 0;
        }
    }

    /// The files of an item, when they came ahead and are all.
    fn take(&mut self, item: u64, count: u64) -> Option<Vec<Value>> {
        let files = self.files.remove(&item)?;
        (files.len() as u64 == count).then_some(files)
    }

    fn next(&mut self, item: u64, now: Duration) -> Next {
        self.expire(now);
        let Some((count, at)) = self.due.remove(&item) else {
            return Next::Ask;
        };
        if now.saturating_sub(at) >= TOLD_FOR {
            return Next::Ask;
        }
        if count == 0 {
            return Next::Known(Vec::new());
        }
        if let Some(files) = self.take(item, count) {
            return Next::Known(files);
        }
        if self.fetching {
            self.due.insert(item, (count, at));
            return Next::Wait;
        }
        self.walked += 1;
        let left = self.due.values().filter(|(count, _)| *count > 0).count();
        if self.walked <= WALK_ITEMS.max(self.walk_min)
            || left < LEFT_MIN
            || now < self.hopeless_until
            || !self.files.is_empty()
        {
            return Next::Ask;
        }
        self.fetching = true;
        self.due.insert(item, (count, at));
        Next::Fetch {
            generation: self.generation,
            walked: self.walked,
            left,
        }
    }
}

/// What came of asking for all files.
enum All {
    Files(Vec<Value>),
    /// They are more pages than the walk is worth so far: it has to go on that far.
    After(usize),
    /// They take more requests than the items, or are too many.
    Never,
}

impl Ahead {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            state: Arc::default(),
            fetched: Arc::default(),
        }
    }

    /// A list has just told these items.
    pub(super) fn note(&self, items: &[Value]) {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        for item in items {
            if let (Some(id), Some(files)) = (item["id"].as_u64(), item["files"]["count"].as_u64())
                && state.due.len() < ITEMS_MAX
            {
                state.due.insert(id, (files, now));
            }
        }
    }

    /// Something was changed: what is asked for from now on counts, and nothing from before.
    pub(super) fn forget(&self) {
        self.state.lock().forget();
    }

    /// Something is being changed, until this is dropped.
    pub(super) fn changing(&self) -> Changing<'_> {
        self.forget();
        Changing(self)
    }

    /// The files of an item, if they are known by now or soon; `None`: they are to be asked for.
    pub(super) async fn files_of(&self, api: &Api, item: u64) -> Option<Vec<Value>> {
        let fetched = self.fetched.notified();
        let next = self.state.lock().next(item, self.clock.elapsed());
        match next {
            Next::Known(files) => return Some(files),
            Next::Ask => return None,
            Next::Wait => {}
            Next::Fetch {
                generation,
                walked,
                left,
            } => self.begin(api, generation, walked, left),
        }
        tokio::select! {
            () = fetched => {}
            () = self.clock.sleep(WAIT_MAX) => {}
        }
        let mut state = self.state.lock();
        let (count, _) = state.due.remove(&item)?;
        state.take(item, count)
    }

    fn begin(&self, api: &Api, generation: u64, walked: usize, left: usize) {
        let (ahead, api) = (self.clone(), api.clone());
        tokio::spawn(with_context(current_context(), async move {
            let asked_at = ahead.clock.elapsed();
            let found = all_files(&api, walked, left).await;
            let mut state = ahead.state.lock();
            state.fetching = false;
            match found {
                Ok(All::Files(files)) if state.generation == generation => {
                    state.asked_at = asked_at;
                    for file in files {
                        if let Some(item) = file["item"]["id"].as_u64() {
                            state.files.entry(item).or_default().push(file);
                        }
                    }
                }
                Ok(All::Files(_)) => {}
                Ok(All::After(walked)) => state.walk_min = walked,
                Ok(All::Never) => state.hopeless_until = ahead.clock.elapsed() + TOLD_FOR,
                Err(error) => {
                    tracing::debug!("the files of all items could not be listed: {error}");
                    state.hopeless_until = ahead.clock.elapsed() + TOLD_FOR;
                }
            }
            drop(state);
            ahead.fetched.notify_waiters();
        }));
    }
}

/// A change under way: what was asked for before its end does not count.
pub(super) struct Changing<'a>(&'a Ahead);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// All files of the site, if that is worth it for who has listed `walked` items and has `left` before them.
async fn all_files(api: &Api, walked: usize, left: usize) -> Result<All> {
    let first: Page = page(api, Resource::Files, &Vec::new(), 1, super::pages::PER_PAGE).await?;
    let pages = first.count();
    if first.total > FILES_MAX || pages >= left {
        return Ok(All::Never);
    }
    if pages > walked * PAGES_PER_ITEM {
        return Ok(All::After(pages / PAGES_PER_ITEM));
    }
    all_of(api, Resource::Files, Vec::new(), first).await.map(All::Files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn walk(items: u64) -> State {
        State {
            due: (1..=items).map(|item| (item, (1, NOW))).collect(),
            ..State::default()
        }
    }

    #[test]
    fn a_walk_is_told_from_a_look_at_a_few_items() {
        let mut state = walk(20);
        for item in 1..=3 {
            assert!(matches!(state.next(item, NOW), Next::Ask), "{item}");
        }
        assert!(matches!(
            state.next(4, NOW),
            Next::Fetch {
                walked: 4,
                left: 16,
                ..
            }
        ));
        assert!(matches!(state.next(5, NOW), Next::Wait), "one at a time");
        let mut few = walk(9);
        assert!((1..=9).all(|item| matches!(few.next(item, NOW), Next::Ask)));
        assert!(matches!(walk(20).next(99, NOW), Next::Ask), "nobody has told of it");
        let mut long = walk(100);
        long.walk_min = 20;
        assert!((1..=20).all(|item| matches!(long.next(item, NOW), Next::Ask)));
        assert!(matches!(long.next(21, NOW), Next::Fetch { walked: 21, .. }));
    }

    #[test]
    fn what_came_ahead_counts_once_for_a_while_and_only_when_it_is_all() {
        let mut state = walk(20);
        let file = |item: u64| serde_json::json!({"item": {"id": item}});
        state.files = (1..=20).map(|item| (item, vec![file(item)])).collect();
        state.asked_at = NOW;
        state.due.insert(2, (2, NOW));
        state.due.insert(3, (0, NOW));
        assert!(matches!(state.next(1, NOW), Next::Known(files) if files.len() == 1));
        assert!(matches!(state.next(1, NOW), Next::Ask), "once");
        assert!(matches!(state.next(2, NOW), Next::Ask), "one of two files is missing");
        assert!(matches!(state.next(3, NOW), Next::Known(files) if files.is_empty()));
        assert!(matches!(state.next(4, NOW + AHEAD_FOR), Next::Ask), "too long ago");
        state.forget();
        assert!(matches!(state.next(5, NOW), Next::Ask));
    }
}
