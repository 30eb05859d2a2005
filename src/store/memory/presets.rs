//! Capabilities of the real stores, for tests of what lies above them.

use std::time::Duration;

use super::NameRule;
use crate::store::{
    Batches, Capabilities, ChangeFeed, CreateFile, CreateFolder, Groups, IdScheme, MoveFile, MoveFolder, Overwrite,
    Reads, RenameFile, SiblingNames, Sizes, Support,
};

/// Everything works natively, at once.
pub fn whole() -> Capabilities {
    Capabilities {
        kind: "memory",
        label: "Memory",
        reads: Reads::Ranged,
        ids: IdScheme::Stable,
        sibling_names: SiblingNames::Shared,
        overwrite: Overwrite::Replace,
        rename_file: RenameFile::Relocate,
        move_file: MoveFile::Relocate,
        rename_folder: Support::Yes,
        move_folder: MoveFolder::Relocate,
        links: Support::Yes,
        server_copy: Support::Yes,
        copy_keeps_name: false,
        create_file: CreateFile::Anywhere,
        create_folder: CreateFolder::Anywhere,
        remove_folder: Support::Yes,
        empty_files: Support::Yes,
        sizes: Sizes::Known,
        change_feed: ChangeFeed::Feed,
        counts: Support::No,
        listing_lag_max: Duration::ZERO,
        file_bytes_max: None,
        rename_bytes_max: 1 << 30,
        unlisted_names: Support::No,
        batches: Batches::NONE,
        search: Support::Yes,
        groups: Groups {
            tags: Support::Yes,
            recent: Support::Yes,
            collections: Support::Yes,
        },
        alters_content: false,
        trash: Some("nowhere but here"),
    }
}

/// Files are renamed by uploading a version, may be in several folders, and listings lag.
pub fn like_imagerelay() -> Capabilities {
    Capabilities {
        label: "Memory (Image Relay)",
        rename_file: RenameFile::Replace,
        copy_keeps_name: true,
        counts: Support::Yes,
        listing_lag_max: Duration::from_secs(600),
        trash: Some("the web application's trash"),
        ..whole()
    }
}

/// Ids are paths, names are unique, images are re-encoded.
pub fn like_flextype() -> Capabilities {
    Capabilities {
        label: "Memory (Flextype)",
        ids: IdScheme::Path,
        sibling_names: SiblingNames::Unique,
        links: Support::No,
        change_feed: ChangeFeed::Relist,
        file_bytes_max: Some(8_000_000),
        search: Support::No,
        groups: Groups::NONE,
        alters_content: true,
        trash: None,
        ..whole()
    }
}

/// Two levels of folders, files only in the lower one, and no file can be changed.
pub fn like_omeka() -> Capabilities {
    Capabilities {
        label: "Memory (Omeka)",
        overwrite: Overwrite::Reupload,
        rename_file: RenameFile::Reupload,
        move_file: MoveFile::Reupload,
        links: Support::No,
        server_copy: Support::No,
        create_file: CreateFile::FromDepth(2),
        create_folder: CreateFolder::AboveDepth(2),
        empty_files: Support::No,
        trash: None,
        ..whole()
    }
}

/// Folders are given, content comes as a bundle, sizes come late.
pub fn like_im4() -> Capabilities {
    Capabilities {
        label: "Memory (im4)",
        reads: Reads::Bundle,
        overwrite: Overwrite::Reupload,
        rename_file: RenameFile::Reupload,
        rename_folder: Support::No,
        move_folder: MoveFolder::Unsupported,
        links: Support::No,
        server_copy: Support::No,
        create_file: CreateFile::FromDepth(2),
        create_folder: CreateFolder::Nowhere,
        remove_folder: Support::No,
        sizes: Sizes::Late,
        change_feed: ChangeFeed::Relist,
        batches: Batches {
            create_files_max: 20,
            create_bytes_max: 1 << 20,
            relocate_files_max: 100,
            remove_files_max: 100,
            set_fields_files_max: 100,
        },
        search: Support::No,
        groups: Groups::NONE,
        trash: None,
        ..whole()
    }
}

/// Stores that serve files by their names want an extension.
pub(super) fn name_rule(capabilities: &Capabilities) -> NameRule {
    match (capabilities.ids, capabilities.rename_file) {
        (IdScheme::Path, _) | (IdScheme::Stable, RenameFile::Replace) => NameRule::Extension,
        (IdScheme::Stable, RenameFile::Relocate | RenameFile::Reupload) => NameRule::Any,
    }
}
