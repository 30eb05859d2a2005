//! On whose behalf a request is made: travels in a task-local, beside the calls.

use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How urgent a request is; earlier variants go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A program waits for it.
    #[default]
    Interactive,
    /// It carries a saved change to the store.
    Upload,
    /// Somebody will probably want it.
    Prefetch,
    /// Polling, tidying up.
    Background,
    /// A program that looks at everything without anybody waiting for it: an indexer, a thumbnailer.
    Crawler,
}

impl Class {
    /// All of them, most urgent first.
    pub const ALL: [Class; 5] = [
        Class::Interactive,
        Class::Upload,
        Class::Prefetch,
        Class::Background,
        Class::Crawler,
    ];

    /// Place in [`Class::ALL`].
    pub fn rank(self) -> u32 {
        match self {
            Class::Interactive => 0,
            Class::Upload => 1,
            Class::Prefetch => 2,
            Class::Background => 3,
            Class::Crawler => 4,
        }
    }
}

/// On whose behalf something is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// How urgent it is.
    pub class: Class,
    /// Which program caused it, when one did.
    pub program: Option<Arc<str>>,
}

impl Context {
    /// A class without a program.
    pub fn of(class: Class) -> Self {
        Self { class, program: None }
    }
}

tokio::task_local! {
    static CONTEXT: Context;
}

/// Runs `future` in `context`. A task spawned inside does not inherit it: pass [`current_context`] on and wrap it again.
pub async fn with_context<F: Future>(context: Context, future: F) -> F::Output {
    CONTEXT.scope(context, future).await
}

/// Runs `work` in `context`, on this thread.
pub fn within_context<T>(context: Context, work: impl FnOnce() -> T) -> T {
    CONTEXT.sync_scope(context, work)
}

/// The context of the current task; interactive, without a program, when none was set.
pub fn current_context() -> Context {
    CONTEXT.try_with(Clone::clone).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_holds_inside_its_future_only() {
        let context = Context {
            class: Class::Upload,
            program: Some("cp".into()),
        };
        assert_eq!(
            with_context(context.clone(), async { current_context() }).await,
            context
        );
        assert_eq!(within_context(context.clone(), current_context), context);
        assert_eq!(current_context(), Context::default());
        let inside = with_context(context.clone(), async {
            let carried = current_context();
            tokio::spawn(with_context(carried, async { current_context() })).await
        });
        assert_eq!(inside.await.expect("no panic"), context);
    }
}
