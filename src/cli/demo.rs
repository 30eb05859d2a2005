//! `assetfs demo`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::builtin::{BuiltIn, ServerArgs};
use super::output;
use super::tour::Tour;
use crate::daemon::config::Config;
use crate::daemon::options::MountOptions;
use crate::daemon::places::Places;
use crate::daemon::run::{Plan, run as run_mount};
use crate::daemon::service::ServiceManager;
use crate::daemon::source::{Source, StoreKind};
use crate::daemon::{Failure, mountpoint};
use crate::disk::create_private_dir;

/// How long uploads may go on at the end: the server goes with the demonstration.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An empty folder, made when missing [default: one below the folder for temporary files]
    mountpoint: Option<PathBuf>,
    /// Which kind of store to show
    #[arg(long, value_name = "KIND", default_value = "imagerelay")]
    store: StoreKind,
    /// One minute that shows what the drive does, and ends by itself
    #[arg(long)]
    tour: bool,
}

pub fn run(args: Args, places: &Places) -> Result<ExitCode, Failure> {
    mountpoint::check_system(false)?;
    let scratch = Scratch::new()?;
    let place = args.mountpoint.unwrap_or_else(|| scratch.0.join("mount"));
    let place = std::path::absolute(place).map_err(Failure::new)?;
    if args.tour {
        return tour(args.store, &place, &scratch);
    }
    super::runtime()?.block_on(async {
        // A demonstration that was killed may have left its mount there.
        let place = mountpoint::prepare(&place, true).await?;
        let server = BuiltIn::of(args.store, &ServerArgs::default()).await?;
        let outcome = show(&server, &place, &scratch, places).await;
        server.shutdown().await;
        outcome
    })
}

/// The server runs here and the mount in a process of its own, which can be killed.
fn tour(kind: StoreKind, place: &Path, scratch: &Scratch) -> Result<ExitCode, Failure> {
    let runtime = super::runtime()?;
    let place = runtime.block_on(mountpoint::prepare(place, true))?;
    let server = runtime.block_on(BuiltIn::of(kind, &ServerArgs::default()))?;
    let outcome = Tour::new(&server, &place, &scratch.0).run();
    runtime.block_on(server.shutdown());
    outcome
}

async fn show(server: &BuiltIn, place: &Path, scratch: &Scratch, places: &Places) -> Result<ExitCode, Failure> {
    let address = format!("{}+{}", server.kind(), server.url());
    let plan = Plan {
        source: Source {
            name: "demo".into(),
            ..Source::parse(&address, &Config::empty())?
        },
        credentials: server.credentials(),
        mountpoint: place.to_owned(),
        options: MountOptions {
            drain: Some(DRAIN),
            ..MountOptions::default()
        },
        // Other commands find the mount; everything else goes with the demonstration.
        places: Places {
            cache: scratch.0.join("cache"),
            state: scratch.0.join("state"),
            ..places.clone()
        },
    };
    let kind = server.kind();
    let ending = run_mount(plan, ServiceManager::default(), |place| {
        if let Err(failure) = output::line(what_to_try(kind, place)) {
            output::say(failure);
        }
    })
    .await?;
    Ok(super::tell(place, &ending.report))
}

fn what_to_try(kind: StoreKind, place: &Path) -> String {
    let at = place.display();
    let change = match kind {
        StoreKind::ImageRelay | StoreKind::Flextype | StoreKind::Im4 => {
            format!("mkdir {at}/New && cp /etc/hostname {at}/New/hello.txt")
        }
        // An archive takes files where there is an item for them.
        StoreKind::Omeka => format!("find {at} -type f | head"),
    };
    format!(
        "A built-in {kind} is mounted at {at}. In another terminal:\n\n  \
           ls -lR {at}\n  \
           {change}\n  \
           getfattr -d -R {at} | head -40\n  \
           assetfs status\n  \
           assetfs queue\n\n\
         Ctrl-C unmounts and removes everything."
    )
}

/// A folder for the time of the demonstration.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("assetfs-demo-{}", std::process::id()));
        create_private_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "what the demonstration kept stays");
        }
    }
}
