//! The libraries that a server can start with. Ids, names, dates and bytes are the same at every start.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::content::Content;
use super::library::{Change, Planted};
use super::options::Seed;
use super::records::{Collection, File, FileType, Folder, Keyword, KeywordSet, Term};
use super::samples::{PDF, PICTURE_PX, PICTURES};
use super::state::{ROOT, State};
use crate::emulator::common::{Pattern, mix};

/// 2024-01-01: seeded things were made on this day or soon after.
const BEGIN_MS: i64 = 1_704_067_200_000;
/// The file type of most things.
const DEFAULT_TYPE: u64 = 6001;
/// Another one.
const PRESS_TYPE: u64 = 6002;
/// The big file of the sample library.
const BIG_BYTES: u64 = 64 << 20;

/// Fills an empty state.
pub(super) fn plant(state: &mut State, seed: Seed) {
    state.file_types = vec![default_type()];
    let metagroup = (seed == Seed::Small).then_some(DEFAULT_TYPE);
    put_folder(state, ROOT, "4242", None, metagroup);
    match seed {
        Seed::None => {}
        Seed::Small => small(state),
        Seed::Large => large(state),
        Seed::Files {
            folders,
            files_per_folder,
        } => files(state, folders, files_per_folder),
    }
}

fn term(id: u64, name: &'static str, field_type: &'static str, options: &[(u64, &'static str)]) -> Term {
    Term {
        id,
        name,
        field_type,
        options: options.to_vec(),
    }
}

fn default_type() -> FileType {
    FileType {
        id: DEFAULT_TYPE,
        name: "Default",
        terms: vec![
            term(23001, "Credit", "text_field", &[]),
            term(23002, "Description", "text_area", &[]),
            term(
                23003,
                "Usage",
                "select",
                &[(501, "Internal"), (502, "Public"), (503, "Embargoed")],
            ),
            term(23004, "Taken on", "date", &[]),
            term(
                23005,
                "Channels",
                "check_box",
                &[(511, "Web"), (512, "Print"), (513, "Social")],
            ),
        ],
    }
}

fn press_type() -> FileType {
    FileType {
        id: PRESS_TYPE,
        name: "Press",
        terms: vec![
            term(23101, "Contact", "text_field", &[]),
            term(23102, "Release date", "date", &[]),
        ],
    }
}

fn put_folder(state: &mut State, id: u64, name: &str, parent: Option<u64>, metagroup: Option<u64>) {
    let made = BEGIN_MS + (id as i64 % 1_000_000) * 1000;
    state.library.apply(Change::PutFolder(Arc::new(Folder {
        id,
        name: name.into(),
        parent,
        created_ms: made,
        updated_ms: made,
        metagroup,
    })));
}

fn new_folder(state: &mut State, parent: u64, name: &str) -> u64 {
    state.ids.folder += 1;
    let id = state.ids.folder;
    put_folder(state, id, name, Some(parent), None);
    id
}

fn new_file(state: &mut State, folder: u64, name: &str, content: Content) -> File {
    state.ids.file += 1;
    file_of(state.ids.file, folder, name, content)
}

fn file_of(id: u64, folder: u64, name: &str, content: Content) -> File {
    let made = BEGIN_MS + (id as i64 - 201_000_000) * 1000;
    let size_px = match content {
        Content::Sample { index, .. } if index < PICTURES => Some(PICTURE_PX),
        Content::Awaited | Content::Pattern(_) | Content::Sample { .. } | Content::Pieces(_) => None,
    };
    File {
        id,
        name: name.into(),
        content,
        size_px,
        created_ms: made,
        updated_ms: made,
        content_ms: made,
        file_type: DEFAULT_TYPE,
        folders: Box::from([folder]),
        extra: None,
    }
}

/// Adds a file and returns its id.
fn add(state: &mut State, folder: u64, name: &str, content: Content) -> u64 {
    add_with(state, folder, name, content, |_| {})
}

fn add_with(state: &mut State, folder: u64, name: &str, content: Content, change: impl FnOnce(&mut File)) -> u64 {
    let mut file = new_file(state, folder, name, content);
    change(&mut file);
    let id = file.id;
    state.library.apply(Change::PutFile(Arc::new(file)));
    id
}

fn text(seed: u64, bytes: u64) -> Content {
    Content::Pattern(Pattern {
        seed,
        bytes,
        text: true,
    })
}

fn binary(seed: u64, bytes: u64) -> Content {
    Content::Pattern(Pattern {
        seed,
        bytes,
        text: false,
    })
}

fn sample(state: &State, index: u32) -> Content {
    Content::Sample {
        index,
        bytes: state.vault.sample_bytes(index),
    }
}

fn small(state: &mut State) {
    state.file_types.push(press_type());
    let tags = plant_keywords(state);
    let campaigns = new_folder(state, ROOT, "Campaigns");
    let spring = new_folder(state, campaigns, "Spring 2026");
    let autumn = new_folder(state, campaigns, "Autumn 2026");
    state.ids.folder += 1;
    let press = state.ids.folder;
    put_folder(state, press, "Press", Some(ROOT), Some(PRESS_TYPE));
    let archive = new_folder(state, ROOT, "Archive");
    let old = new_folder(state, archive, "Old things");
    let older = new_folder(state, old, "Even older");
    new_folder(state, ROOT, "Empty");

    let hero = sample(state, 0);
    let hero = add_with(state, spring, "Spring Hero.jpg", hero, |file| {
        let extra = file.extra_mut();
        extra.terms.insert(23001, "Jane Doe".into());
        extra
            .terms
            .insert(23002, "Blossom in the old town.\nSecond line.".into());
        extra.terms.insert(23003, "Public".into());
        extra.terms.insert(23004, "2026-03-20".into());
        extra.terms.insert(23005, "Web, Print".into());
        extra.tags.extend(&tags);
    });
    let banner = sample(state, 1);
    let banner = add(state, spring, "Banner.png", banner);
    add(state, spring, "Photo Release Form.txt", text(11, 1800));
    for (index, name) in [(2, "Leaves.jpg"), (3, "Fog.png"), (4, "Harvest.jpg")] {
        let picture = sample(state, index);
        add(state, autumn, name, picture);
    }
    let logo = sample(state, 5);
    let logo = add_with(state, press, "Logo.png", logo, |file| {
        // One asset in two folders.
        file.folders = Box::from([campaigns, press]);
    });
    let kit = sample(state, PDF);
    add_with(state, press, "Press kit.pdf", kit, |file| {
        file.file_type = PRESS_TYPE;
        file.extra_mut().terms.insert(23101, "press@example.com".into());
    });
    add(state, press, "Report.txt", text(12, 640));
    add(state, press, "Report.txt", text(13, 1280));
    add(state, press, "Bob's notes.txt", text(14, 300));
    add(state, press, "L'été à Paris.txt", text(15, 4096));
    add(state, press, "日本語 ファイル.txt", text(16, 512));
    add(state, press, "Incoming clip.mp4", Content::Awaited);
    add(state, archive, "footage.bin", binary(17, BIG_BYTES));
    let expired = sample(state, 6);
    add_with(state, archive, "Expired.jpg", expired, |file| {
        file.extra_mut().expires_on = Some("2024-06-30".into());
    });
    add(state, old, "data (1).csv", text(18, 10_000));
    let deep = sample(state, 7);
    add(state, older, "deep.png", deep);
    plant_collection(state, BTreeSet::from([hero, banner, logo]));
}

fn plant_keywords(state: &mut State) -> Vec<u64> {
    let mut tags = Vec::new();
    let sets = [
        (17_001, "Season", ["Spring", "Autumn"]),
        (17_002, "Channel", ["Web", "Print"]),
    ];
    for ((set, name, words), first) in sets.into_iter().zip([190_001, 190_003]) {
        let set = KeywordSet {
            id: set,
            name: name.into(),
            created_ms: BEGIN_MS,
        };
        for (word, id) in words.into_iter().zip(first..) {
            let keyword = Keyword {
                id,
                set: set.id,
                name: word.into(),
                created_ms: BEGIN_MS,
            };
            state.keywords.insert(id, keyword);
        }
        tags.push(first);
        state.keyword_sets.insert(set.id, set);
    }
    tags
}

fn plant_collection(state: &mut State, assets: BTreeSet<u64>) {
    let collection = Collection {
        id: 52_001,
        name: "Favourites".into(),
        created_ms: BEGIN_MS,
        assets,
    };
    state.collections.insert(collection.id, collection);
}

/// 6 folders with 9 in each, and 1,000 files spread over all of them.
fn large(state: &mut State) {
    let mut folders = Vec::new();
    for top in 1..=6 {
        let parent = new_folder(state, ROOT, &format!("Project {top}"));
        folders.push(parent);
        for part in 1..=9 {
            folders.push(new_folder(state, parent, &format!("Part {top}.{part}")));
        }
    }
    for number in 0..1000_u64 {
        let folder = folders[(mix(number) % folders.len() as u64) as usize];
        let bytes = 500 + mix(number + 7) % 100_000;
        match number % 4 {
            0 => {
                let picture = sample(state, (number / 4 % 4) as u32 * 2);
                add(state, folder, &format!("IMG_{number:04}.jpg"), picture);
            }
            1 => {
                let picture = sample(state, (number / 4 % 4) as u32 * 2 + 1);
                add(state, folder, &format!("Layout {number:04}.png"), picture);
            }
            2 => {
                add(
                    state,
                    folder,
                    &format!("notes-{number:04}.txt"),
                    text(number, bytes / 10),
                );
            }
            _ => {
                add(state, folder, &format!("data-{number:04}.bin"), binary(number, bytes));
            }
        }
    }
}

/// The folders are made at once; the files are, when they are asked for.
fn files(state: &mut State, folders: u64, files_per_folder: u64) {
    let planted = Planted {
        first_folder: state.ids.folder + 1,
        folders,
        first_file: state.ids.file + 1,
        files_per_folder,
        make: |n, id, folder| {
            let bytes = 1024 + mix(n) % 65_536;
            file_of(id, folder, &format!("file-{n:06}.bin"), binary(n, bytes))
        },
    };
    for folder in 0..folders {
        new_folder(state, ROOT, &format!("folder-{folder:05}"));
    }
    state.ids.file += folders * files_per_folder;
    if files_per_folder > 0 {
        state.library.plant(planted);
    }
}
