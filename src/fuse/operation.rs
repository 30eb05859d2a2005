//! One operation of the kernel: its deadline, its errno, and the one place where its error is logged.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyWrite, ReplyXattr,
};
use tokio::time::Instant;
use tracing::Level;

use crate::model::{Ino, Name};
use crate::telemetry::Operations;
use crate::vfs;

use super::underway::Waiting;

/// The longest that an operation keeps its program waiting.
const DEADLINE: Duration = Duration::from_secs(60);

/// The longest for operations that may have to move a whole file (flush, fsync, copy) or to list a whole folder: below
/// them each step has a deadline of its own, and a large one goes on as long as it makes progress.
const DEADLINE_WHOLE: Duration = Duration::from_secs(600);

/// How long an operation may go on after its program was told EIO.
const LATE_MAX: Duration = Duration::from_secs(600);

/// What is asked, about what.
#[derive(Debug)]
pub struct Operation {
    what: &'static str,
    ino: Ino,
    name: Option<Name>,
    deadline: Duration,
    began: Instant,
    counts: Arc<Operations>,
    /// What the kernel may hold until the answer: held for its drop.
    _held: [Option<Waiting>; 2],
}

impl Operation {
    /// `what` on `ino`, counted in `counts` when it is answered. `held` ends with it.
    pub fn on(what: &'static str, ino: Ino, counts: Arc<Operations>, held: [Option<Waiting>; 2]) -> Self {
        Self {
            what,
            ino,
            name: None,
            deadline: DEADLINE,
            began: Instant::now(),
            counts,
            _held: held,
        }
    }

    /// About this entry of the folder, which may have to be listed first.
    pub fn named(mut self, name: &Name) -> Self {
        self.name = Some(name.clone());
        self.whole()
    }

    /// It may have to wait for a whole file or folder.
    pub fn whole(mut self) -> Self {
        self.deadline = DEADLINE_WHOLE;
        self
    }

    /// Runs `work` and answers with it. At the deadline the program gets EIO, while the work goes on: a change half done
    /// would be worse than a late one. What then still arrives goes to `late`.
    pub async fn serve<T, R: Refuse>(
        self,
        reply: R,
        work: impl Future<Output = vfs::Result<T>>,
        answer: impl FnOnce(R, T),
        late: impl FnOnce(T),
    ) {
        let mut work = pin!(work);
        match tokio::time::timeout(self.deadline, &mut work).await {
            Ok(done) => self.finish(reply, done, answer),
            Err(_) => {
                reply.refuse(self.expired());
                if let Ok(Ok(value)) = tokio::time::timeout(LATE_MAX, work).await {
                    late(value);
                }
            }
        }
    }

    /// Answers with what has been done already.
    pub fn finish<T, R: Refuse>(self, reply: R, done: vfs::Result<T>, answer: impl FnOnce(R, T)) {
        match done {
            Ok(value) => {
                answer(reply, value);
                self.answered(None);
            }
            Err(error) => reply.refuse(self.errno(&error)),
        }
    }

    /// Runs `work` up to the deadline: for answers that are filled while it runs, and that nothing is lost with.
    pub async fn within<T>(self, work: impl Future<Output = vfs::Result<T>>) -> Result<T, Errno> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(value)) => {
                self.answered(None);
                Ok(value)
            }
            Ok(Err(error)) => Err(self.errno(&error)),
            Err(_) => Err(self.expired()),
        }
    }

    fn answered(&self, errno: Option<i32>) {
        self.counts.answered(self.what, self.began.elapsed(), errno);
    }

    /// Logs that the deadline has passed.
    fn expired(&self) -> Errno {
        tracing::error!(operation = %self, deadline = ?self.deadline, "no answer within the deadline");
        self.answered(Some(libc::EIO));
        Errno::EIO
    }

    /// Logs `error` and gives its number.
    fn errno(&self, error: &vfs::Error) -> Errno {
        let errno = error.errno();
        self.answered(Some(errno));
        match level(errno) {
            Level::ERROR => tracing::error!(operation = %self, %error, errno),
            Level::WARN => tracing::warn!(operation = %self, %error, errno),
            Level::INFO => tracing::info!(operation = %self, %error, errno),
            _ => tracing::debug!(operation = %self, %error, errno),
        }
        Errno::from_i32(errno)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.ino)?;
        match &self.name {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

/// How much an error matters to whoever reads the log: refusals that programs provoke all the time do not.
fn level(errno: i32) -> Level {
    match errno {
        libc::ENOENT
        | libc::EEXIST
        | libc::ENOTEMPTY
        | libc::ENOTDIR
        | libc::EISDIR
        | libc::ENODATA
        | libc::EOPNOTSUPP
        | libc::ERANGE
        | libc::E2BIG
        | libc::EPERM
        | libc::EINVAL
        | libc::EROFS
        | libc::ENXIO
        | libc::EXDEV
        | libc::EAGAIN
        | libc::EBADF
        | libc::ENAMETOOLONG => Level::DEBUG,
        libc::EACCES | libc::EFBIG | libc::EBUSY | libc::ESTALE | libc::ECANCELED => Level::INFO,
        libc::ENOSPC | libc::EDQUOT | libc::ETIMEDOUT => Level::WARN,
        _ => Level::ERROR,
    }
}

/// An answer that can be an error.
pub trait Refuse {
    /// Sends the error.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyWrite,
    ReplyXattr
);

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// Notes what was answered.
    #[derive(Clone, Default)]
    struct Answered(Arc<Mutex<Vec<String>>>);

    impl Refuse for Answered {
        fn refuse(self, errno: Errno) {
            self.0.lock().push(format!("errno {}", i32::from(errno)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_hangs_is_answered_at_its_deadline_and_may_finish_late() {
        let answered = Answered::default();
        let (note, late_note) = (answered.clone(), answered.clone());
        let counts = Operations::shared();
        Operation::on("read", Ino(5), counts.clone(), [None, None])
            .serve(
                answered.clone(),
                async {
                    tokio::time::sleep(DEADLINE + Duration::from_secs(5)).await;
                    Ok(17)
                },
                |reply, value| reply.0.lock().push(format!("value {value}")),
                move |value| note.0.lock().push(format!("late {value}")),
            )
            .await;
        assert_eq!(*late_note.0.lock(), [format!("errno {}", libc::EIO), "late 17".into()]);
        let read = counts.snapshot()["read"].clone();
        assert_eq!((read.answered, read.errors[&libc::EIO]), (1, 1));
        assert!(read.seconds >= DEADLINE.as_secs_f64() && read.seconds < DEADLINE.as_secs_f64() + 1.0);
    }

    #[test]
    fn an_operation_says_what_it_is_about() {
        let operation =
            Operation::on("unlink", Ino(3), Operations::shared(), [None, None]).named(&Name::from_store("a b.jpg"));
        assert_eq!(operation.to_string(), "unlink 3 \"a b.jpg\"");
    }

    #[test]
    fn what_programs_provoke_is_no_noise() {
        assert_eq!(level(libc::ENODATA), Level::DEBUG);
        assert_eq!(level(libc::EIO), Level::ERROR);
    }
}
