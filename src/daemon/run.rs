//! The life of a mount: take the store's lock, put the stack together, mount, serve, unmount, upload what is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::assemble::{self, Stack};
use super::control::{Server, UnmountAsked};
use super::credentials::Credentials;
use super::options::MountOptions;
use super::places::{Places, StorePlaces};
use super::registry::{Registered, socket_of};
use super::service::ServiceManager;
use super::source::Source;
use super::watcher::Watcher;
use super::webhooks::Webhooks;
use super::{Failure, metrics, mountpoint, sleep};
use crate::disk::LockFile;
use crate::fuse::{Mount, MountConfig, mounts};
use crate::vfs::SyncReport;

/// How long a new mount waits for the daemon that had the store before it.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// How long uploads may go on when the mount is gone or a signal came: service managers do not wait much longer.
const DRAIN: Duration = Duration::from_secs(60);

/// The same for who asked in words, and sees how far it is.
const DRAIN_WHEN_ASKED: Duration = Duration::from_secs(300);

/// How long chunks that are under way then may take.
const CHUNKS: Duration = Duration::from_secs(20);

/// Files named in the log when something is left.
const LEFT_NAMED_MAX: usize = 20;

/// How long files that are still open keep a mount that was taken away.
const IN_USE: Duration = Duration::from_secs(10);

/// What to mount, where, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which store.
    pub source: Source,
    /// Its keys.
    pub credentials: Credentials,
    /// Where; absolute.
    pub mountpoint: PathBuf,
    /// How.
    pub options: MountOptions,
    /// Where things are kept.
    pub places: Places,
}

/// What is left when a mount has ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What is in the store, and what is not.
    pub report: SyncReport,
}

/// What is left to do when the mount itself is gone.
struct Served {
    /// Who asked for the end and waits for the outcome.
    answer: Option<oneshot::Sender<Result<SyncReport, Failure>>>,
    /// How long uploads may go on.
    drain: Duration,
    /// Carries that outcome, so it stays until then.
    server: Server,
}

/// Why a mount ends.
enum End {
    Signal,
    Gone,
    Asked(UnmountAsked),
}

/// Takes the lock of the store's state; a daemon that still drains is waited for.
pub(super) async fn lock_state(plan: &Plan, places: &StorePlaces, wait: Duration) -> Result<LockFile, Failure> {
    let path = places.lock();
    let lock = tokio::task::spawn_blocking(move || LockFile::acquire(&path, wait));
    lock.await.map_err(Failure::new)?.map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => Failure::new(format!(
            "{} is mounted already by this user; `assetfs status` shows where",
            plan.source.name
        )),
        _ => e.into(),
    })
}

/// Mounts, calls `ready` when the mount can be used, and returns when it has ended. `service` hears how it goes.
pub async fn run(plan: Plan, service: ServiceManager, ready: impl FnOnce(&Path)) -> Result<Ending, Failure> {
    let mut signals = Signals::new()?;
    let places = plan.places.store(&plan.source.state_name())?;
    let service = Arc::new(service);
    // A killed daemon that the system cannot let go of would hold the lock.
    mountpoint::release_dead(&plan.places.run, &plan.mountpoint, &plan.source.name).await?;
    // Its lock will not be free soon: only a daemon that sends what is left is waited for.
    if let Some(place) = mountpoint::standing(&plan.places.run, &plan.source.name)? {
        return Err(Failure::new(format!(
            "{} is mounted at {} already",
            plan.source.name,
            place.display()
        )));
    }
    service.status("waiting for the store's lock");
    let lock = tokio::select! {
        lock = lock_state(&plan, &places, LOCK_WAIT) => lock?,
        () = signals.any() => return Err(Failure::new("interrupted before the mount was there")),
    };
    service.status("asking the store");
    let stack = tokio::select! {
        stack = assemble::assemble(&plan, &places) => stack?,
        () = signals.any() => return Err(Failure::new("interrupted before the mount was there")),
    };
    let sleep = tokio::spawn(sleep::follow(stack.vfs.clone(), stack.client.clone()));
    let served = serve(&plan, &stack, &service, &mut signals, ready).await;
    let ending = match served {
        Ok(served) => Ok(finish(&plan, &places, &stack, &service, served, &mut signals).await),
        Err(failure) => {
            stack.vfs.stop().await;
            stack.vfs.close().await;
            Err(failure)
        }
    };
    sleep.abort();
    drop(lock);
    ending
}

/// From the mount to its end.
async fn serve(
    plan: &Plan,
    stack: &Stack,
    service: &Arc<ServiceManager>,
    signals: &mut Signals,
    ready: impl FnOnce(&Path),
) -> Result<Served, Failure> {
    let place = mountpoint::prepare(&plan.mountpoint, false).await?;
    let config = mount_config(plan, stack, &place);
    // Before the mount: an address that is taken is said while nothing has to be undone yet.
    let _metrics = match plan.options.metrics {
        Some(address) => Some(metrics::Server::start(address, stack.drive()).await?),
        None => None,
    };
    let webhooks = match plan.options.webhook_listen {
        Some(listen) => {
            let public = plan.options.webhook_url.as_ref();
            let places = plan.places.store(&plan.source.state_name())?;
            Some(Webhooks::start(listen, public, &places, stack.vfs.clone()).await?)
        }
        None if plan.options.webhook_url.is_some() => {
            return Err(Failure::usage(
                "--webhook-url needs --webhook-listen: nobody would hear the store",
            ));
        }
        None => None,
    };
    let (vfs, runtime) = (stack.vfs.clone(), tokio::runtime::Handle::current());
    let operations = stack.operations.clone();
    let mounting = tokio::task::spawn_blocking(move || Mount::new(vfs, &runtime, operations, &config));
    let mount = mounting
        .await
        .map_err(Failure::new)?
        .map_err(|e| mountpoint::explain(&e, &place))?;
    let (unmount, mut asked) = mpsc::channel(1);
    let opened = Server::start(&socket_of(&plan.places.run, &place), stack.drive(), unmount)
        .and_then(|server| Ok((server, Registered::new(&plan.places.run, &place, &plan.source.name)?)));
    let (server, registered) = match opened {
        Ok(both) => both,
        Err(failure) => {
            leave(&mount).await;
            return Err(failure);
        }
    };
    tracing::info!(store = %plan.source.name, mountpoint = %place.display(), "mounted");
    ready(&place);
    service.ready(&format!("{} at {}", plan.source.name, place.display()));
    let watcher = Watcher {
        vfs: stack.vfs.clone(),
        client: stack.client.clone(),
        meter: stack.meter.clone(),
        service: service.clone(),
        store: plan.source.name.clone(),
        configured: !plan.source.section.is_empty(),
        mountpoint: place.clone(),
    };
    let watcher = tokio::spawn(watcher.run());
    let (answer, drain) = until_end(plan, &mount, &mut asked, signals).await;
    watcher.abort();
    service.stopping("sending what is left", drain + CHUNKS + IN_USE);
    // Who found the mount may no longer use it; who asked for its end still waits for an answer.
    drop(registered);
    if tokio::time::timeout(IN_USE, mount.ended()).await.is_err() {
        tracing::warn!("files of the mount are still open: their programs will get errors");
    }
    if let Some(webhooks) = webhooks {
        webhooks.end().await;
    }
    tracing::info!(mountpoint = %place.display(), "unmounted");
    Ok(Served { answer, drain, server })
}

/// Waits for a reason to end that leads to the end: a mount that is in use stays when somebody only asks.
async fn until_end(
    plan: &Plan,
    mount: &Mount,
    asked: &mut mpsc::Receiver<UnmountAsked>,
    signals: &mut Signals,
) -> (Option<oneshot::Sender<Result<SyncReport, Failure>>>, Duration) {
    let drain = plan.options.drain;
    loop {
        let end = tokio::select! {
            () = mount.ended() => End::Gone,
            () = signals.any() => End::Signal,
            Some(asked) = asked.recv() => End::Asked(asked),
        };
        match end {
            End::Gone => return (None, drain.unwrap_or(DRAIN)),
            End::Signal => {
                leave(mount).await;
                return (None, drain.unwrap_or(DRAIN));
            }
            End::Asked(asked) => match mount.unmount(asked.lazy).await {
                Ok(()) => return (Some(asked.answer), asked.wait.or(drain).unwrap_or(DRAIN_WHEN_ASKED)),
                Err(error) => refuse(asked.answer, &error, mount.mountpoint()),
            },
        }
    }
}

fn refuse(answer: oneshot::Sender<Result<SyncReport, Failure>>, error: &std::io::Error, place: &Path) {
    let why = match error.kind() {
        std::io::ErrorKind::ResourceBusy => format!(
            "{0} is in use: close what is open there (`fuser -vm {0}` lists it), or add --lazy",
            place.display()
        ),
        _ => format!("cannot unmount {}: {error}", place.display()),
    };
    if answer.send(Err(Failure::new(why))).is_err() {
        tracing::debug!("who asked to unmount has gone");
    }
}

/// Takes the mount away, in use or not.
async fn leave(mount: &Mount) {
    let gone = match mount.unmount(false).await {
        Ok(()) => Ok(()),
        Err(_) => mount.unmount(true).await,
    };
    if let Err(error) = gone {
        tracing::error!(%error, mountpoint = %mount.mountpoint().display(), "the mount cannot be taken away");
    }
}

/// Uploads what is left for as long as it may take, and says what stays for the next mount.
async fn finish(
    plan: &Plan,
    places: &StorePlaces,
    stack: &Stack,
    service: &ServiceManager,
    served: Served,
    signals: &mut Signals,
) -> Ending {
    let Served { answer, drain, server } = served;
    tokio::select! {
        _ = stack.vfs.drain(drain) => {}
        () = signals.any() => tracing::info!("a second signal: uploads stop here and go on with the next mount"),
    }
    service.stopping("chunks under way finish", CHUNKS);
    let report = come_to_rest(stack).await;
    say_what_is_left(plan, places, stack, &report).await;
    if let Some(answer) = answer
        && answer.send(Ok(report.clone())).is_ok()
    {
        // The answer leaves from another task, and the process is about to end.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(server);
    Ending { report }
}

/// Nothing new is sent; chunks under way finish. Answers what is left.
pub(super) async fn come_to_rest(stack: &Stack) -> SyncReport {
    let stopped = async {
        // The drive first: what fails at the gate from then on fails because the mount ends.
        tokio::join!(stack.vfs.stop(), async { stack.client.shut() });
    };
    if tokio::time::timeout(CHUNKS, stopped).await.is_err() {
        tracing::info!("a request under way does not end: it is looked into at the next mount");
    }
    let report = stack.vfs.drain(Duration::ZERO).await;
    stack.client.resume();
    stack.vfs.close().await;
    report
}

/// What is not in the store, and where it is kept.
async fn say_what_is_left(plan: &Plan, places: &StorePlaces, stack: &Stack, report: &SyncReport) {
    if report.is_clean() {
        return;
    }
    let left = stack.vfs.queue(None).await.unwrap_or_default();
    let left: Vec<_> = left.iter().filter(|item| item.state != "local").collect();
    for item in left.iter().take(LEFT_NAMED_MAX) {
        tracing::warn!(
            id = item.id,
            state = %item.state,
            bytes = item.bytes,
            "left: {} {}",
            item.what,
            item.path
        );
    }
    tracing::warn!(
        pending = report.pending,
        parked = report.parked,
        held = report.held,
        "{} changes are not in {}: they are kept in {} and go on with the next mount, or with `assetfs sync {}`",
        left.len(),
        plan.source.name,
        places.state.display(),
        plan.source.name
    );
}

fn mount_config(plan: &Plan, stack: &Stack, place: &Path) -> MountConfig {
    let cache = mounts::holding(&plan.places.cache).ok().flatten();
    MountConfig {
        mountpoint: place.to_owned(),
        name: plan.source.name.clone(),
        read_only: stack.read_only,
        allow_other: plan.options.allow_other.unwrap_or(false),
        cache_is_stacked: cache.is_some_and(|mounted| mounted.fs_type == "overlay"),
    }
}

/// Waits for a signal that ends a program.
pub async fn until_signal() -> Result<(), Failure> {
    Signals::new()?.any().await;
    Ok(())
}

/// The signals that end a mount. The terminal's going away is none.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    _hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::new);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            // Listening keeps it from ending the process.
            _hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
