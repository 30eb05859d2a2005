//! `assetfs serve`

use std::process::ExitCode;

use clap::Subcommand;

use super::builtin::{BuiltIn, ImageRelayArgs, ServerArgs};
use super::output;
use crate::daemon::credentials::secrets_of;
use crate::daemon::{Failure, run::until_signal};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// The Image Relay REST API v2
    #[command(name = "imagerelay")]
    ImageRelay {
        #[command(flatten)]
        common: ServerArgs,
        #[command(flatten)]
        own: ImageRelayArgs,
    },
    /// The Omeka Classic REST API
    Omeka {
        #[command(flatten)]
        common: ServerArgs,
        /// Take any file, as a site does whose administrator has switched the validation of files off
        #[arg(long)]
        no_validation: bool,
    },
    /// The Flextype files and folders API
    Flextype {
        #[command(flatten)]
        common: ServerArgs,
    },
    /// The im4 (inmemory4) API
    Im4 {
        #[command(flatten)]
        common: ServerArgs,
    },
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(async {
        let server = match &args.kind {
            Kind::ImageRelay { common, own } => BuiltIn::image_relay(common, own).await?,
            Kind::Omeka { common, no_validation } => BuiltIn::omeka(common, !no_validation).await?,
            Kind::Flextype { common } => BuiltIn::flextype(common).await?,
            Kind::Im4 { common } => BuiltIn::im4(common).await?,
        };
        // One line on standard output, for programs that wait for it.
        output::line(server.url())?;
        output::say(format_args!("{}; Ctrl-C stops it", how_to_mount(&server)));
        until_signal().await?;
        server.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The command that mounts it, with the keys that it takes.
fn how_to_mount(server: &BuiltIn) -> String {
    let secrets = server.secrets();
    let variables: String = secrets_of(server.kind())
        .iter()
        .filter_map(|name| {
            let (_, value) = secrets.iter().find(|(key, _)| *key == name.key)?;
            Some(format!("{}={value} ", name.variable))
        })
        .collect();
    format!("{variables}assetfs mount {}+{} MOUNTPOINT", server.kind(), server.url())
}
