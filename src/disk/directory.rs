//! Folders that nobody else may look into.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::durable::sync_dir;
use super::error::{Named, Result};

/// Makes `folder`, and what is missing above it, with mode 0700; an existing one is brought to that mode. What was made is
/// there after a loss of power, and with it what will be synced inside.
pub fn create_private_dir(folder: &Path) -> Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .named("create", folder)?;
    for above in missing.into_iter().filter_map(Path::parent) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        // Not every file system can be asked for that, and not everybody may ask.
        if let Err(error) = sync_dir(above) {
            tracing::debug!("a new folder may not outlive a loss of power: {error}");
        }
    }
    let mode = std::fs::metadata(folder).named("look at", folder)?.permissions().mode() & 0o777;
    if mode != 0o700 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).named("protect", folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_private_even_when_they_were_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let deep = dir.path().join("a/b");
        create_private_dir(&deep).unwrap();
        assert_eq!(mode(&deep), 0o700);
        assert_eq!(mode(&dir.path().join("a")), 0o700);
        std::fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
        create_private_dir(&deep).unwrap();
        assert_eq!(mode(&deep), 0o700);
    }
}
