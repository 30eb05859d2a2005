//! A working day on the built-in Image Relay, told by a clock that a test moves: what it costs in requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, name, start_on};
use crate::emulator::imagerelay::{ImageRelayOptions, Running, Seed, serve};
use crate::http::{
    Budget, Class, Client, ClientConfig, Context, Limits, LocalBudget, MemoryLedger, Secret, with_context,
};
use crate::journal::UploaderConfig;
use crate::model::{Ino, ManualClock, Timestamp};
use crate::store::imagerelay::{
    Auth, ImageRelay, ImageRelayConfig, RENAME_BYTES_MAX, REQUESTS_PER_DAY, REQUESTS_PER_MONTH,
};
use crate::vfs::{Lookup, OpenHow, Vfs, VfsConfig};

const FOLDERS: u64 = 10_000;
const FOLDERS_IN_USE: usize = 20;
const OPENS: usize = 200;
const SAVES: usize = 40;
const MINUTES: usize = 8 * 60;

/// The clock goes on by itself while somebody waits.
async fn patiently<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(Duration::from_millis(300), &mut work).await {
            Ok(done) => return done,
            Err(_) => clock.advance(Duration::from_secs(1)),
        }
    }
}

async fn find(vfs: &Vfs, folder: Ino, child: &str) -> Ino {
    match vfs.lookup(ME, folder, &name(child)).await.expect("an answer") {
        Lookup::Found(attr) => attr.ino,
        Lookup::Absent => panic!("{child} is not there"),
    }
}

async fn list(vfs: &Vfs, folder: Ino) -> crate::vfs::Result<Vec<(String, Ino)>> {
    let fh = vfs.opendir(ME, folder).await?;
    let entries = vfs.readdir(fh, 2, usize::MAX).await?;
    vfs.releasedir(fh).await;
    Ok(entries.into_iter().map(|e| (e.name.to_string(), e.attr.ino)).collect())
}

async fn read(vfs: &Vfs, ino: Ino) {
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let opened = vfs.open(ME, ino, how).await.expect("opens");
    vfs.read(opened.fh, 0, 65_536).await.expect("reads");
    vfs.release(opened.fh).await;
}

async fn save(vfs: &Vfs, ino: Ino, text: String) {
    let how = OpenHow {
        write: true,
        truncate: true,
        ..OpenHow::default()
    };
    let opened = vfs.open(ME, ino, how).await.expect("opens");
    vfs.write_at(opened.fh, 0, Bytes::from(text)).await.expect("writes");
    vfs.flush(ME, opened.fh).await.expect("is durable");
    vfs.release(opened.fh).await;
}

/// Gives uploads the time that they take on a busy machine: the clock does not know of that, and would call them stuck.
async fn uploads_go_on(vfs: &Vfs) {
    for _ in 0..100 {
        if vfs.uploader().is_none_or(|uploader| uploader.is_at_rest()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A drive on a library, early in the morning.
struct Day {
    clock: Arc<ManualClock>,
    server: Running,
    budget: Arc<dyn Budget>,
    vfs: Vfs,
    _dir: tempfile::TempDir,
}

async fn morning() -> Day {
    let clock = ManualClock::starting(Timestamp::parse("2026-06-09T08:00:00Z").expect("a time"));
    let options = ImageRelayOptions {
        seed: Seed::Files {
            folders: FOLDERS,
            files_per_folder: 1,
        },
        clock: clock.clone(),
        ..ImageRelayOptions::default()
    };
    let server = serve(options).await.expect("a server");
    let remote = server.remote();
    for n in 0..FOLDERS_IN_USE {
        let folder = remote
            .create_folder(remote.root(), &format!("work-{n:02}"))
            .expect("a folder");
        for file in 0..OPENS / FOLDERS_IN_USE {
            remote
                .create_file(folder, &format!("{file}.txt"), format!("{n} {file}").into_bytes())
                .expect("a file");
        }
    }
    clock.advance(Duration::from_secs(3600));
    let limits = Limits {
        daily: Some(REQUESTS_PER_DAY),
        monthly: Some(REQUESTS_PER_MONTH),
        ..Limits::default()
    };
    let budget: Arc<dyn Budget> = LocalBudget::of(clock.clone(), limits, MemoryLedger::shared());
    let base_url: crate::http::Url = server.url.parse().expect("a URL");
    let client = Client::new(ClientConfig::new(base_url.clone(), budget.clone()), clock.clone()).expect("a client");
    let dir = tempfile::tempdir().expect("a folder");
    let config = ImageRelayConfig {
        base_url,
        auth: Auth::ApiKey(Secret::new(&*server.api_key)),
        file_type: Some(6001),
        keyword_set: None,
        rename_bytes_max: RENAME_BYTES_MAX,
        orphan_links_path: dir.path().join("links.json"),
    };
    let store = Arc::new(ImageRelay::new(config, client, clock.clone()).expect("a store"));
    let (vfs_config, uploads) = (VfsConfig::default(), UploaderConfig::default());
    let vfs = start_on(
        store,
        clock.clone(),
        dir.path(),
        &vfs_config,
        &uploads,
        Some(budget.clone()),
    );
    let vfs = vfs.await;
    Day {
        clock,
        server,
        budget,
        vfs,
        _dir: dir,
    }
}

/// An indexer walks through everything; answers how many folders it was shown.
async fn crawl(vfs: &Vfs) -> usize {
    let crawler = Context {
        class: Class::Crawler,
        program: Some("updatedb".into()),
    };
    let walk = async {
        let mut seen = 0;
        for (_, folder) in list(vfs, Ino::ROOT).await.expect("known") {
            seen += usize::from(list(vfs, folder).await.is_ok());
        }
        seen
    };
    with_context(crawler, walk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_day_costs_under_1500_requests() {
    let day = morning().await;
    let Day {
        clock,
        server,
        budget,
        vfs,
        ..
    } = &day;
    // What earlier days have left behind: the folders' names.
    patiently(clock, list(vfs, Ino::ROOT)).await.expect("the folders");
    server.reset_counters();
    tokio::spawn(vfs.clone().run_upkeep());
    let (mut opened, mut saved) = (0, 0);
    for minute in 0..MINUTES {
        while opened < OPENS * (minute + 1) / MINUTES {
            let folder = find(vfs, Ino::ROOT, &format!("work-{:02}", opened % FOLDERS_IN_USE)).await;
            patiently(clock, list(vfs, folder)).await.expect("a folder");
            let file = find(vfs, folder, &format!("{}.txt", opened / FOLDERS_IN_USE)).await;
            patiently(clock, read(vfs, file)).await;
            opened += 1;
            if saved < SAVES * (minute + 1) / MINUTES {
                patiently(clock, save(vfs, file, format!("saved {saved}"))).await;
                saved += 1;
            }
        }
        if minute == MINUTES / 2 {
            let seen = crawl(vfs).await;
            assert!(seen >= FOLDERS_IN_USE, "what is known is shown: {seen}");
        }
        for _ in 0..3 {
            clock.advance(Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(4)).await;
            uploads_go_on(vfs).await;
        }
    }
    patiently(clock, vfs.shutdown(Duration::from_secs(600))).await;
    let (counters, today) = (server.counters(), budget.state().today);
    println!("{:>12}  requests in {} hours", "class", MINUTES / 60);
    for (class, requests) in &today.used.classes {
        println!("{:>12}  {requests}", format!("{class:?}").to_lowercase());
    }
    println!("{:>12}  {}", "all", counters.api);
    for (route, requests) in &counters.routes {
        println!("{requests:>12}  {route}");
    }
    assert_eq!((opened, saved), (OPENS, SAVES));
    assert_eq!(counters.of("POST /files/{id}/versions"), SAVES as u64, "{counters:?}");
    assert!(counters.api < 1500, "{counters:?}");
}
