//! Changes that ask for the same go to the store in one call, and each of them ends as if it had gone alone.

use std::time::Duration;

use super::rig::{ME, Rig};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, CreateFile, CreateFolder, ErrorKind, Retry, Support};
use crate::vfs::SetXattrMode;

/// A store with batches and with folders of the user's own.
fn store() -> Capabilities {
    Capabilities {
        create_file: CreateFile::Anywhere,
        create_folder: CreateFolder::Anywhere,
        remove_folder: Support::Yes,
        ..presets::like_im4()
    }
}

const FILES: [&str; 6] = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"];

async fn rig() -> Rig {
    let rig = Rig::new(store()).await;
    for folder in ["here", "there"] {
        rig.mkdir(folder).await.expect("a folder");
    }
    rig.settle().await;
    rig
}

async fn write_all(rig: &Rig) {
    for file in FILES {
        rig.write(&format!("here/{file}"), file.as_bytes()).await.expect(file);
    }
}

async fn filled() -> Rig {
    let rig = rig().await;
    write_all(&rig).await;
    rig.settle().await;
    rig
}

async fn in_the_end(rig: &Rig, folder: &str, files: &[&str]) {
    rig.settle().await;
    assert_eq!(rig.tree().await, rig.stored());
    let mut wanted: std::collections::BTreeMap<String, Option<Vec<u8>>> =
        [("/here".to_owned(), None), ("/there".to_owned(), None)].into();
    wanted.extend(
        files
            .iter()
            .map(|file| (format!("/{folder}/{file}"), Some(file.as_bytes().to_vec()))),
    );
    assert_eq!(rig.stored(), wanted);
    assert_eq!(rig.vfs.queue(None).await.expect("a queue").len(), 0);
}

/// Waits until `op` was called, and until what follows from it is taken down.
async fn asked(rig: &Rig, op: Op) {
    rig.vfs
        .sync(None, Some(Duration::ZERO))
        .await
        .expect("the journal can be read");
    for _ in 0..30_000 {
        if rig.store.faults().calls(op) > 0 && rig.rest().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{op:?} is never called");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_the_same_is_one_call() {
    let rig = filled().await;
    let calls = |op| rig.store.faults().calls(op);
    assert_eq!(calls(Op::Create), 1);
    for file in FILES {
        let ino = rig.at(&format!("here/{file}")).await.expect(file).ino;
        let how = SetXattrMode::Any;
        rig.vfs
            .setxattr(ME, ino, "user.memory.caption", b"all the same", how)
            .await
            .expect(file);
    }
    rig.settle().await;
    assert_eq!(calls(Op::SetFields), 1);
    for file in FILES {
        rig.rename(&format!("here/{file}"), &format!("there/{file}"))
            .await
            .expect(file);
    }
    in_the_end(&rig, "there", &FILES).await;
    assert_eq!(calls(Op::Relocate), 1);
    for file in FILES {
        rig.unlink(&format!("there/{file}")).await.expect(file);
    }
    in_the_end(&rig, "there", &[]).await;
    assert_eq!(calls(Op::Remove), 1);
    assert_eq!(calls(Op::Stat), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_not_mixed_up() {
    let rig = filled().await;
    for (file, text) in FILES.iter().zip(["x", "x", "y", "y", "y", "z"]) {
        let ino = rig.at(&format!("here/{file}")).await.expect(file).ino;
        let how = SetXattrMode::Any;
        rig.vfs
            .setxattr(ME, ino, "user.memory.caption", text.as_bytes(), how)
            .await
            .expect(file);
    }
    rig.settle().await;
    assert_eq!(rig.store.faults().calls(Op::SetFields), 3, "x, y and z");
    for (file, text) in FILES.iter().zip(["x", "x", "y", "y", "y", "z"]) {
        let ino = rig.at(&format!("here/{file}")).await.expect(file).ino;
        let told = rig.vfs.getxattr(ino, "user.memory.caption").await.expect(file);
        assert_eq!(&told[..], text.as_bytes(), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_whose_answer_was_lost_are_each_found_and_never_sent_twice() {
    for restarts in [false, true] {
        let mut rig = rig().await;
        rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
        write_all(&rig).await;
        asked(&rig, Op::Create).await;
        if restarts {
            rig.crash().await;
        }
        in_the_end(&rig, "here", &FILES).await;
        // An end right before the answer counts as lost leaves uploads that the store itself goes on with: it is asked for
        // them by their own numbers, which makes nothing.
        let calls = rig.store.faults().calls(Op::Create);
        assert!((1..=1 + u64::from(restarts)).contains(&calls), "{calls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_call_that_was_carried_out_in_part_the_rest_follows() {
    for restarts in [false, true] {
        let mut rig = rig().await;
        rig.store.faults().inject(Op::Create, 1, Fault::Partly(4));
        write_all(&rig).await;
        asked(&rig, Op::Create).await;
        if restarts {
            rig.crash().await;
        }
        in_the_end(&rig, "here", &FILES).await;
        // Whatever failed with others goes alone.
        let calls = rig.store.faults().calls(Op::Create);
        assert!((2..=3).contains(&calls), "{calls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_all_parks_only_the_one_that_it_is_about() {
    let rig = rig().await;
    let refused = |calls: u64| {
        let fault = Fault::Fail(ErrorKind::Invalid, Retry::Never);
        rig.store.faults().inject(Op::Create, calls, fault);
    };
    // The call about all, and one of those that follow.
    refused(1);
    refused(3);
    write_all(&rig).await;
    rig.settle().await;
    let parked = rig.vfs.queue(None).await.expect("a queue");
    assert_eq!(parked.len(), 1);
    assert_eq!(rig.store.faults().calls(Op::Create), 1 + FILES.len() as u64);
    rig.vfs.retry(Some(parked[0].id)).await.expect("a retry");
    in_the_end(&rig, "here", &FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_and_removals_in_part_or_without_an_answer_come_to_their_end() {
    for fault in [
        Fault::LoseAnswer,
        Fault::Partly(2),
        Fault::Fail(ErrorKind::NotFound, Retry::Never),
        Fault::Fail(ErrorKind::Server, Retry::After(Duration::from_secs(1))),
    ] {
        for restarts in [false, true] {
            let mut rig = filled().await;
            rig.store.faults().inject(Op::Relocate, 1, fault.clone());
            for file in FILES {
                rig.rename(&format!("here/{file}"), &format!("there/{file}"))
                    .await
                    .expect(file);
            }
            asked(&rig, Op::Relocate).await;
            if restarts {
                rig.crash().await;
            }
            in_the_end(&rig, "there", &FILES).await;
            if fault != Fault::Fail(ErrorKind::NotFound, Retry::Never) {
                rig.store.faults().inject(Op::Remove, 1, fault.clone());
            }
            for file in FILES {
                rig.unlink(&format!("there/{file}")).await.expect(file);
            }
            asked(&rig, Op::Remove).await;
            if restarts {
                rig.crash().await;
            }
            in_the_end(&rig, "there", &[]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_together_that_are_taken_back_are_taken_back_in_the_store() {
    for restarts in [false, true] {
        let mut rig = filled().await;
        rig.store.faults().inject(Op::Relocate, 1, Fault::LoseAnswer);
        for file in FILES {
            let (from, to) = (format!("here/{file}"), format!("there/{file}"));
            rig.rename(&from, &to).await.expect(file);
        }
        asked(&rig, Op::Relocate).await;
        if restarts {
            rig.crash().await;
        }
        for file in FILES {
            let (from, to) = (format!("here/{file}"), format!("there/{file}"));
            rig.rename(&to, &from).await.expect(file);
        }
        in_the_end(&rig, "here", &FILES).await;
    }
}

/// Somebody removes one of the files that are to be moved together: the others move all the same.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_gone_does_not_hold_the_others_up() {
    let rig = filled().await;
    for file in FILES {
        rig.rename(&format!("here/{file}"), &format!("there/{file}"))
            .await
            .expect(file);
    }
    let file = rig.store.remote().find("/here/c.txt").expect("the file");
    rig.store.remote().remove(&file.id).expect("removed");
    rig.settle().await;
    let rest: Vec<String> = rig.stored().into_keys().filter(|path| path.contains("txt")).collect();
    assert_eq!(rest.len(), 5, "{rest:?}");
    assert!(rest.iter().all(|path| path.starts_with("/there/")), "{rest:?}");
}

/// The brake counts files and not requests.
#[tokio::test(flavor = "multi_thread")]
async fn removals_together_are_held_beyond_the_brake() {
    let uploader = crate::journal::UploaderConfig { delete_max: 4 };
    let rig = Rig::with(store(), crate::vfs::VfsConfig::default(), uploader).await;
    rig.mkdir("here").await.expect("a folder");
    write_all(&rig).await;
    rig.settle().await;
    for file in FILES {
        rig.unlink(&format!("here/{file}")).await.expect(file);
    }
    rig.settle().await;
    assert_eq!(rig.stored().len(), 1 + FILES.len() - 4);
    assert_eq!(rig.store.faults().calls(Op::Remove), 1);
}
