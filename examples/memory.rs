//! A drive on the store in memory, which no server stands behind: what the public suites are run on to see the drive alone.
//!
//! `memory MOUNTPOINT FOLDER [--allow-other]` mounts, keeps what it needs below FOLDER, and prints `ready`. For every line
//! `tree FILE` on its standard input it waits until the store has everything, writes what the store holds to FILE (as
//! `sha256  path`, and `folder  path`), and prints `done`, or what is wrong. At the end of its input it unmounts.

use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use assetfs::cache::{Cache, CacheConfig};
use assetfs::catalog::Catalog;
use assetfs::disk::{create_private_dir, write_atomic};
use assetfs::fuse::{Mount, MountConfig};
use assetfs::journal::{Journal, UploaderConfig};
use assetfs::model::{Kind, SharedClock, SystemClock, hex};
use assetfs::store::memory::{MemoryStore, whole};
use assetfs::telemetry::Operations;
use assetfs::vfs::{Parts, Vfs, VfsConfig};
use sha2::{Digest, Sha256};

/// How long everything may take to reach the store.
const SYNC: Duration = Duration::from_secs(240);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mountpoint, folder, allow_other) = match arguments.as_slice() {
        [mountpoint, folder] => (mountpoint, folder, false),
        [mountpoint, folder, flag] if flag == "--allow-other" => (mountpoint, folder, true),
        _ => bail!("usage: memory MOUNTPOINT FOLDER [--allow-other]"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(Path::new(mountpoint), Path::new(folder), allow_other))
}

async fn serve(mountpoint: &Path, folder: &Path, allow_other: bool) -> anyhow::Result<()> {
    let clock: SharedClock = SystemClock::shared();
    let store = MemoryStore::new(whole(), clock.clone());
    let vfs = drive(&store, &clock, folder).await?;
    tokio::spawn(vfs.clone().run_upkeep());
    let config = MountConfig {
        mountpoint: mountpoint.to_owned(),
        name: "memory".into(),
        read_only: false,
        allow_other,
        cache_is_stacked: false,
    };
    let (mounting, runtime) = (vfs.clone(), tokio::runtime::Handle::current());
    let mount =
        tokio::task::spawn_blocking(move || Mount::new(mounting, &runtime, Operations::shared(), &config)).await??;
    say("ready")?;
    while let Some(line) = tokio::task::spawn_blocking(read_line).await?? {
        let Some(file) = line.strip_prefix("tree ") else {
            bail!("`{line}` is no command");
        };
        let report = vfs.sync(None, Some(SYNC)).await?;
        if report.is_clean() {
            write_atomic(Path::new(file), tree(&store).as_bytes())?;
            say("done")?;
        } else {
            say(&format!("not everything is in the store: {report:?}"))?;
        }
    }
    mount.unmount(false).await?;
    vfs.shutdown(SYNC).await;
    Ok(())
}

/// The whole stack over a folder of its own.
async fn drive(store: &MemoryStore, clock: &SharedClock, folder: &Path) -> anyhow::Result<Vfs> {
    let (cache_dir, state) = (folder.join("cache"), folder.join("state"));
    let staging_dir = state.join("staging");
    for dir in [folder, &cache_dir, &state, &staging_dir] {
        create_private_dir(dir)?;
    }
    let shared = store.shared();
    let cache_config = CacheConfig::new(cache_dir.join("content"), &staging_dir);
    let parts = Parts {
        store: shared.clone(),
        catalog: Arc::new(Catalog::open(&cache_dir.join("catalog.db"))?),
        cache: Cache::open(cache_config, shared.clone(), clock.clone()).await?,
        journal: Journal::open(&state)?,
        clock: clock.clone(),
        config: VfsConfig {
            poll: Duration::ZERO,
            ..VfsConfig::default()
        },
        uploader: UploaderConfig { delete_max: 0 },
        staging_dir,
        budget: None,
    };
    Ok(Vfs::start(parts, shared.root().await?).await?)
}

/// What the store holds.
fn tree(store: &MemoryStore) -> String {
    let remote = store.remote();
    let mut text = "folder  .\n".to_owned();
    let mut folders = vec![(".".to_owned(), remote.root())];
    while let Some((path, id)) = folders.pop() {
        for child in remote.children(&id) {
            let below = format!("{path}/{}", child.name);
            let line = match child.kind {
                Kind::Folder => writeln!(text, "folder  {below}"),
                Kind::File => {
                    let bytes = remote.bytes(&child.id).unwrap_or_default();
                    writeln!(text, "{}  {below}", hex(&Sha256::digest(&bytes)))
                }
            };
            line.unwrap_or_default();
            if child.kind == Kind::Folder {
                folders.push((below, child.id));
            }
        }
    }
    text
}

fn read_line() -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
