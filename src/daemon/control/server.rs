//! The daemon's end of the socket.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::assets::{self, AssetRequest};
use super::protocol::{Answer, LINE_BYTES_MAX, Request};
use crate::daemon::meter::{Meter, eta_secs};
use crate::daemon::{Failure, Status};
use crate::disk::{create_private_dir, remove_if_there};
use crate::http::Client;
use crate::telemetry::Operations;
use crate::vfs::{PinProgress, SyncReport, Vfs};

/// Commands that are served at a time.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take to say what it wants.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// How often a client that waits is told how far things are.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// The largest thumbnail, in bytes: no store takes more.
const PICTURE_BYTES_MAX: u64 = 5_000_000;

/// Somebody asks for the end of the mount.
pub struct UnmountAsked {
    /// Also while it is in use.
    pub lazy: bool,
    /// How long uploads may go on; `None`: as the mount was told.
    pub wait: Option<Duration>,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Result<SyncReport, Failure>>,
}

/// What commands act on.
#[derive(Clone)]
pub struct Drive {
    /// The drive.
    pub vfs: Vfs,
    /// What asks the store.
    pub client: Arc<Client>,
    /// What programs asked of the mount.
    pub operations: Arc<Operations>,
    /// How fast bytes leave.
    pub meter: Arc<Meter>,
}

/// The socket of one mount; it goes with the value.
pub struct Server {
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Opens the socket and serves it. Requests to unmount go to `unmount`: the life of the mount decides.
    pub fn start(socket: &Path, drive: Drive, unmount: mpsc::Sender<UnmountAsked>) -> Result<Self, Failure> {
        if let Some(folder) = socket.parent() {
            create_private_dir(folder)?;
        }
        remove_if_there(socket)?;
        let about =
            |e: std::io::Error| Failure::new(format!("cannot open the control socket {}: {e}", socket.display()));
        // Nobody gets in between: the folder is ours alone.
        let listener = UnixListener::bind(socket).map_err(about)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(about)?;
        let task = tokio::spawn(accept(listener, drive, unmount));
        Ok(Self {
            socket: socket.to_owned(),
            task,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = remove_if_there(&self.socket) {
            tracing::debug!(%error, "the control socket stays");
        }
    }
}

async fn accept(listener: UnixListener, drive: Drive, unmount: mpsc::Sender<UnmountAsked>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (drive, unmount) = (drive.clone(), unmount.clone());
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &drive, &unmount).await {
                        tracing::debug!(%error, "a command went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot be served");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, drive: &Drive, unmount: &mpsc::Sender<UnmountAsked>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader).take(LINE_BYTES_MAX);
    tokio::time::timeout(ASK_DEADLINE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let pinning = PinProgress::default();
            let fetches = matches!(
                &request,
                Request::Asset {
                    asked: AssetRequest::Pin { keep: true, .. }
                }
            );
            let work = carry_out(request, drive, unmount, &pinning);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => break done,
                    () = tokio::time::sleep(PROGRESS_EVERY) => {
                        let told = if fetches { fetching(&pinning) } else { progress(drive) };
                        send(&mut writer, &told).await?;
                    }
                }
            }
        }
        Err(error) => Err(Failure::usage(format!("the request makes no sense: {error}"))),
    };
    let answer = match answer {
        Ok(value) => Answer::Done { value },
        Err(failure) => Answer::Failed {
            status: failure.status,
            message: failure.message,
        },
    };
    send(&mut writer, &answer).await
}

async fn send(writer: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// How far things are.
pub fn progress(drive: &Drive) -> Answer {
    drive.meter.note(drive.client.sent_bytes());
    let left = drive.vfs.left();
    Answer::Progress {
        changes: left.changes,
        bytes: left.bytes,
        sent_bytes: left.sent_bytes,
    }
}

fn fetching(pinning: &PinProgress) -> Answer {
    let (files, bytes, here_bytes) = pinning.told();
    Answer::Fetching {
        files,
        bytes,
        here_bytes,
    }
}

/// What the drive tells, and for the whole of it what was asked of the mount and of the store, and how fast it goes.
async fn status(path: Option<&str>, drive: &Drive) -> Result<Value, Failure> {
    let mut status = drive
        .vfs
        .status(path)
        .await
        .map_err(|e| about(path.unwrap_or_default(), &e))?;
    if path.is_none()
        && let Some(fields) = status.as_object_mut()
    {
        let http = drive.client.snapshot();
        drive.meter.note(drive.client.sent_bytes());
        let rate = drive.meter.rate();
        let bytes = fields["pending_bytes"].as_u64().unwrap_or_default();
        fields.insert("bytes_per_second".into(), rate.into());
        fields.insert(
            "eta_seconds".into(),
            value(&eta_secs(bytes, rate).filter(|_| bytes > 0))?,
        );
        fields.insert("login".into(), value(&http.login)?);
        fields.insert("budget".into(), value(&http.budget)?);
        fields.insert("last_error".into(), value(&http.last_error)?);
        fields.insert("operations".into(), value(&drive.operations.snapshot())?);
        fields.insert("http".into(), value(&http)?);
    }
    Ok(status)
}

/// A failure with the path that it is about.
fn about(path: &str, error: &crate::vfs::Error) -> Failure {
    match path {
        "" => Failure::new(error),
        path => Failure::new(format!("{path}: {error}")),
    }
}

async fn read_picture(path: &Path) -> Result<Bytes, Failure> {
    let about = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", path.display()));
    let bytes = tokio::fs::metadata(path).await.map_err(|e| about(&e))?.len();
    if bytes > PICTURE_BYTES_MAX {
        return Err(about(&"a thumbnail has at most 5 MB"));
    }
    tokio::fs::read(path).await.map(Bytes::from).map_err(|e| about(&e))
}

async fn carry_out(
    request: Request,
    drive: &Drive,
    unmount: &mpsc::Sender<UnmountAsked>,
    pinning: &PinProgress,
) -> Result<Value, Failure> {
    let vfs = &drive.vfs;
    match request {
        Request::Status { path } => status(path.as_deref(), drive).await,
        Request::Queue => value(&vfs.queue(None).await.map_err(Failure::new)?),
        Request::Originals => value(&vfs.originals().await.map_err(Failure::new)?),
        Request::Sync { path, wait_ms } => {
            let wait = wait_ms.map(Duration::from_millis);
            let synced = vfs.sync(path.as_deref(), wait).await;
            value(&synced.map_err(|e| about(path.as_deref().unwrap_or_default(), &e))?)
        }
        Request::Retry { id } => Ok(json!({ "changes": vfs.retry(id).await.map_err(Failure::new)? })),
        Request::Export { id, path, to } => {
            let id = match (id, path) {
                (Some(id), _) => id,
                (None, Some(path)) => vfs.number_of(&path).await.map_err(Failure::new)?,
                (None, None) => return Err(Failure::usage("export what?")),
            };
            vfs.export(id, &to).await.map_err(Failure::new)?;
            Ok(Value::Null)
        }
        Request::Discard { id } => {
            vfs.discard(id).await.map_err(Failure::new)?;
            Ok(Value::Null)
        }
        Request::DiscardHeld => Ok(json!({ "changes": vfs.discard_held().await.map_err(Failure::new)? })),
        Request::Approve { id } => Ok(json!({ "changes": vfs.approve(id).await.map_err(Failure::new)? })),
        Request::Resolve { id, keep } => {
            vfs.resolve(id, keep).await.map_err(Failure::new)?;
            Ok(Value::Null)
        }
        Request::Refresh { path } => {
            vfs.refresh(&path).await.map_err(|e| about(&path, &e))?;
            Ok(Value::Null)
        }
        Request::Asset { asked } => assets::carry_out(asked, vfs, pinning).await,
        Request::ImportUrl { url, dest, fields } => {
            vfs.import_url(&url, &dest, fields).await.map_err(Failure::new)?;
            Ok(Value::Null)
        }
        Request::Thumbnail { path, image } => {
            let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let picture = read_picture(&image).await?;
            vfs.set_thumbnail(&path, picture, &name).await.map_err(Failure::new)?;
            Ok(Value::Null)
        }
        Request::Unmount { lazy, wait_ms } => {
            let (answer, outcome) = oneshot::channel();
            let asked = UnmountAsked {
                lazy,
                wait: wait_ms.map(Duration::from_millis),
                answer,
            };
            let going = || Failure::with(Status::NotMounted, "the mount is already on its way out");
            unmount.try_send(asked).map_err(|_| going())?;
            value(&outcome.await.map_err(|_| going())??)
        }
    }
}

fn value(of: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(Failure::new)
}
