//! A few projects with pictures to look around in.

use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;

use super::state::{Project, State};

/// Fills an empty server.
pub(super) fn fill(state: &mut State) {
    let people = [
        (101, "Ada", "Lovelace"),
        (102, "Alan", "Turing"),
        (103, "Grace", "Hopper"),
    ];
    for (id, firstname, lastname) in people {
        let categories = BTreeMap::from([(1, "Portraits".to_owned()), (2, "Ceremony".to_owned())]);
        let project = Project {
            firstname: firstname.to_owned(),
            lastname: lastname.to_owned(),
            ordernumber: format!("2026-{id}"),
            agency: 1 + id % 2,
            age_days: (id - 100) * 20,
            categories,
            ..Project::default()
        };
        state.projects.insert(id, project);
        for (category, name) in [
            (1, "portrait.jpg"),
            (1, "portrait-black-white.jpg"),
            (2, "group.jpg"),
            (2, "flowers.jpg"),
            (0, "scan.jpg"),
        ] {
            let seed = (id * 7 + category) as u32 + name.len() as u32;
            // The project was just made, so every category is there.
            state.add_file(id, category, name, picture(seed));
        }
        state.add_file(
            id,
            0,
            "notes.txt",
            Bytes::from(format!("Project of {firstname} {lastname}.\n")),
        );
    }
}

fn picture(seed: u32) -> Bytes {
    let picture = image::RgbImage::from_fn(480, 320, |x, y| {
        let wave = |a: u32| (((x * (seed % 7 + a)) / 3) ^ ((y * (a + 1)) / 2)) as u8;
        image::Rgb([wave(1), wave(seed % 5), wave(2).wrapping_add((y / 2) as u8)])
    });
    let mut out = Cursor::new(Vec::new());
    let written = picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, 85));
    written.map_or_else(|_| Bytes::new(), |()| out.into_inner().into())
}
