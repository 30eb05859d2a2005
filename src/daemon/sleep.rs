//! The machine falls asleep: chunks that are under way finish, nothing new is sent, and all is on the disk before.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::zvariant::OwnedFd;

use crate::http::Client;
use crate::vfs::Vfs;

/// logind, its object, and what it manages.
const SERVICE: &str = "org.freedesktop.login1";
const OBJECT: &str = "/org/freedesktop/login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";

/// How long logind waits for who asked it to, unless configured otherwise, and a little less.
const CHUNKS_DEADLINE: Duration = Duration::from_millis(4500);

/// Follows logind for as long as the mount lives; without one it ends at once.
pub async fn follow(vfs: Vfs, client: Arc<Client>) {
    if let Err(error) = watch(&vfs, &client).await {
        tracing::debug!(%error, "nobody tells when this machine falls asleep");
    }
    // Whatever ended it, a gate that was closed for the night must not stay so.
    client.resume();
}

async fn watch(vfs: &Vfs, client: &Client) -> zbus::Result<()> {
    let bus = zbus::connection::Builder::system()?.build().await?;
    let logind = zbus::Proxy::new(&bus, SERVICE, OBJECT, INTERFACE).await?;
    let mut signals = logind.receive_signal("PrepareForSleep").await?;
    let mut lock = Some(inhibit(&logind).await?);
    tracing::debug!("falling asleep waits for chunks under way");
    while let Some(signal) = signals.next().await {
        let falls_asleep: bool = signal.body().deserialize()?;
        if falls_asleep {
            settle(vfs, client).await;
            // Closing it lets the machine sleep.
            lock = None;
        } else {
            tracing::info!("the machine woke up: uploads go on");
            client.resume();
            if let Err(error) = vfs.try_now().await {
                tracing::warn!("what waits to be tried again waits on: {error}");
            }
            lock = Some(inhibit(&logind).await?);
        }
    }
    drop(lock);
    Ok(())
}

async fn settle(vfs: &Vfs, client: &Client) {
    client.hold();
    let chunks = tokio::time::timeout(CHUNKS_DEADLINE, client.at_rest()).await;
    if let Err(error) = vfs.settle_down().await {
        tracing::error!("the journal could not be synced before the machine sleeps: {error}");
    }
    match chunks {
        Ok(()) => tracing::info!("the machine falls asleep: no request is under way"),
        Err(_) => tracing::info!("the machine falls asleep with requests under way: they are sent again afterwards"),
    }
}

/// Asks logind to wait for us. The lock is a descriptor, so it goes with this process, whatever happens.
async fn inhibit(logind: &zbus::Proxy<'_>) -> zbus::Result<OwnedFd> {
    logind
        .call("Inhibit", &("sleep", "assetfs", "Uploads come to rest", "delay"))
        .await
}
