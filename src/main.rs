//! The program `assetfs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    assetfs::cli::run()
}
