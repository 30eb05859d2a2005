//! A Flextype site's uploads as a drive.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use assetfs::emulator::flextype::{FILES_TOKEN, FOLDERS_TOKEN, FlextypeOptions, Running, Version};

use crate::support::{QUICK, World, fails, shell, text};

fn site(change: impl FnOnce(&mut FlextypeOptions)) -> World<Running> {
    let mut options = FlextypeOptions::default();
    change(&mut options);
    World::flextype(options)
}

/// A tree as a site has it: `cp -a` in, out again from the store with an empty cache, and nothing differs.
fn a_tree_goes_in_and_comes_out(version: Version) {
    let world = site(|options| options.version = version);
    let mount = world.mount(QUICK);
    let tree = "mkdir -p ../tree/'season 1'/deep ../tree/empty && cd ../tree
        seq 1 2000 > numbers.txt && echo 'Ünïcode & 100%' > 'season 1/ä #1 (copy)+.txt'
        head -c 300000 /dev/urandom > 'season 1/deep/data.zip' && : > 'season 1/none.txt'
        touch -d 2020-02-02T02:02:02 numbers.txt";
    shell(&mount.path(), tree);
    shell(&mount.path(), "cp -a ../tree . && rsync -aX ../tree/ synced/");
    mount.sync();
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    // Where a release lists no files beside a folder, they are there by name.
    let names = shell(&world.path("tree"), "find . -type f");
    for name in names.lines() {
        shell(
            &mount.path(),
            &format!("cmp tree/'{name}' ../tree/'{name}' && cmp synced/'{name}' ../tree/'{name}'"),
        );
    }
    if version == Version::V0_9_12 {
        shell(
            &mount.path(),
            "diff -r tree ../tree && cp -a tree ../out && diff -r ../out ../tree",
        );
        assert_eq!(shell(&mount.path(), "stat -c %Y tree/numbers.txt"), "1580608922\n");
        shell(
            &mount.path(),
            "rsync -aX synced/ ../synced/ && diff -r ../synced ../tree",
        );
    }
    assert_eq!(world.server().escapes(), 0);
}

#[test]
fn a_tree_goes_in_and_comes_out_of_0_9_12() {
    a_tree_goes_in_and_comes_out(Version::V0_9_12);
}

#[test]
fn a_tree_goes_in_and_comes_out_of_0_9_11() {
    a_tree_goes_in_and_comes_out(Version::V0_9_11);
}

#[test]
fn files_and_folders_move_are_saved_over_and_go() {
    let world = site(|_| {});
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "mkdir -p a/b c && echo 1 > a/x.txt && echo 2 > a/b/y.txt",
    );
    mount.sync();
    shell(&mount.path(), "setfattr -n user.flextype.credit -v 'Ada L.' a/x.txt");
    mount.sync();
    let asked = world.requests(&mount, || {
        shell(
            &mount.path(),
            "mv a/x.txt 'a/X (new).txt' && mv 'a/X (new).txt' c/ && mv a/b c/moved",
        );
    });
    assert_eq!(asked.of("PUT /api/files"), 1, "a rename and a move are one");
    assert_eq!(asked.of("PUT /api/folders"), 1);
    assert_eq!(asked.of("POST /api/files"), 0);
    shell(
        &mount.path(),
        "printf 'new\\n' > 'c/.X.tmp.txt' && mv 'c/.X.tmp.txt' 'c/X (new).txt'",
    );
    mount.sync();
    let held = world.server().snapshot().files;
    assert_eq!(held.keys().collect::<Vec<_>>(), ["c/X (new).txt", "c/moved/y.txt"]);
    assert_eq!(held["c/X (new).txt"], "new\n");
    let credit = "getfattr --only-values -n user.flextype.credit 'c/X (new).txt'";
    assert_eq!(
        shell(&mount.path(), credit),
        "Ada L.",
        "an overwrite keeps the metadata"
    );
    shell(&mount.path(), "cp -a 'c/X (new).txt' copy.txt && cat copy.txt");
    mount.sync();
    assert_eq!(
        world.server().field("copy.txt", "credit"),
        Some(serde_json::json!("Ada L.")),
        "cp -a takes the fields along"
    );
    shell(&mount.path(), "setfattr -x user.flextype.credit copy.txt");
    mount.sync();
    assert_eq!(world.server().field("copy.txt", "credit"), None);
    fails(&mount, "rmdir c", "Directory not empty");
    fails(&mount, "cp -r c c/below", "into itself");
    shell(&mount.path(), "rm -r a c copy.txt");
    mount.sync();
    let left = world.server().snapshot();
    assert!(
        left.files.is_empty() && left.folders.iter().all(String::is_empty),
        "{left:?}"
    );
}

#[test]
fn what_the_site_cannot_hold_is_refused_with_the_right_errno() {
    let world = site(|options| options.max_file_size = 1_000_000);
    // Nothing is sent before `sync`: a file that the site has already may get the name of a picture, it is not encoded then.
    let mount = world.mount("rate=0,poll=0,quiet=60s,quiet_empty=60s,images=refuse,upload_max=1000000");
    fails(&mount, "echo x > shell.php", "Invalid argument");
    fails(&mount, "echo x > shell.PhP.txt", "Invalid argument");
    fails(
        &mount,
        "echo x > ok.txt && mv ok.txt .htaccess",
        "subdirectory of itself",
    );
    fails(&mount, "head -c 1000001 /dev/zero > big.zip", "File too large");
    fails(&mount, "echo x > photo.jpg", "Operation not permitted");
    fails(
        &mount,
        "echo x > ok.txt && mv ok.txt photo.png",
        "Operation not permitted",
    );
    fails(&mount, "mkdir .hidden", "Invalid argument");
    fails(&mount, "mkdir .meta", "Invalid argument");
    shell(&mount.path(), "rm -f big.zip ok.txt && echo fine > ok.txt");
    mount.sync();
    // GNU mv tells EINVAL in these words, whatever it is about.
    fails(&mount, "mv ok.txt Makefile", "subdirectory of itself");
    fails(&mount, "mv ok.txt notes.md", "subdirectory of itself");
    fails(
        &mount,
        "setfattr -n user.flextype.filesize -v 1 ok.txt",
        "Operation not permitted",
    );
    fails(&mount, "setfattr -n user.other.x -v 1 ok.txt", "not supported");
    assert_eq!(
        world.server().snapshot().files.into_keys().collect::<Vec<_>>(),
        ["ok.txt"]
    );
    assert_eq!(world.server().escapes(), 0);
}

/// Finds and reads everything eight times at once, and copies eight folders meanwhile: no error may reach anybody.
fn eight_at_once(world: &World<Running>, meanwhile: impl FnOnce(&World<Running>)) {
    for folder in 0..8 {
        for file in 0..10 {
            world
                .server()
                .put_file(&format!("f{folder}/sub/{file}-{folder}.txt"), format!("{file}\n"));
        }
    }
    let mount = world.mount(QUICK);
    let at_once = "for i in 0 1 2 3 4 5 6 7; do
            { find . -type f -exec cat {} + > ../found.$i; } 2> ../errors.$i &
            { cp -r f$i copy$i; } 2>> ../copies.$i &
        done; wait; cat ../errors.* ../copies.*";
    assert_eq!(shell(&mount.path(), at_once), "", "no error reaches anybody");
    meanwhile(world);
    let again =
        "for i in 0 1 2 3 4 5 6 7; do { find copy$i -type f -exec cat {} + ; } > /dev/null 2>> ../again.$i & done
        wait; cat ../again.*";
    assert_eq!(shell(&mount.path(), again), "", "no error reaches anybody");
    mount.sync();
    assert_eq!(world.server().snapshot().files.len(), 160);
    let status = mount.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["mounts"][0]["status"]["parked"], 0, "{status}");
}

/// Each call rewrites its token's file without a lock: of calls without a common session every fourth failed.
#[test]
fn eight_finds_and_copies_at_once_never_trip_over_the_token() {
    let world = site(|options| options.token_rewrite = std::time::Duration::from_millis(3));
    eight_at_once(&world, |_| {});
    assert_eq!(world.server().clashes(), 0, "they take turns: not one call failed");
}

/// Another program with the same token, and no cookie, makes every fourth call that comes beside it fail, reads and writes
/// alike; and a session ends when the site says so.
#[test]
fn calls_that_fail_because_of_another_program_with_the_token_are_made_again() {
    let world = site(|options| options.token_rewrite = std::time::Duration::from_millis(3));
    let over = AtomicBool::new(false);
    let address = world.server().base_url().replace("http://", "");
    std::thread::scope(|scope| {
        for noun in ["files", "folders"] {
            let token = if noun == "files" { FILES_TOKEN } else { FOLDERS_TOKEN };
            let request = format!(
                "GET /api/{noun}?path=f0&token={token} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
            );
            let (address, over) = (&address, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut line = TcpStream::connect(address).expect("the site listens");
                    line.write_all(request.as_bytes()).expect("a line");
                    line.read_to_end(&mut Vec::new()).expect("an answer");
                }
            });
        }
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eight_at_once(&world, |world| world.server().end_sessions());
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(why) = work {
            std::panic::resume_unwind(why);
        }
    });
    assert!(world.server().clashes() > 0, "nothing was tried");
}

#[test]
fn a_picture_is_shown_as_the_site_made_it_and_can_be_had_back() {
    let world = site(|options| options.sample = true);
    // Nothing is sent before `sync`: not a program's temporary file either, however slow it is to rename it.
    let mount = world.mount("rate=0,poll=0,quiet=60s,quiet_empty=60s");
    shell(
        &mount.path(),
        "convert -size 1800x900 plasma:red-blue -quality 97 ../photo.jpg && cp ../photo.jpg big.jpg",
    );
    mount.sync();
    let stored = world.server().snapshot().files["big.jpg"].clone();
    shell(
        &mount.path(),
        "! cmp -s big.jpg ../photo.jpg && cp big.jpg ../stored.jpg",
    );
    assert_eq!(std::fs::read(world.path("stored.jpg")).expect("a copy"), stored);
    let why = shell(&mount.path(), "getfattr --only-values -n user.assetfs.altered big.jpg");
    assert!(why.contains("encoded this picture anew"), "{why}");
    let back = world.path("back.jpg");
    let picture = mount.at("big.jpg");
    let exported = mount.run(&[
        "export",
        picture.to_str().expect("UTF-8"),
        back.to_str().expect("UTF-8"),
    ]);
    assert!(exported.status.success(), "{}", text(&exported));
    shell(&world.path("."), "cmp back.jpg photo.jpg");
    let listed = mount.run(&["queue", "--originals"]);
    assert!(text(&listed).contains("/big.jpg"), "{}", text(&listed));
    // Each way round, and as often as one likes.
    for script in [
        "rsync -a ../photo.jpg ./big.jpg",
        "cp ../stored.jpg big.jpg",
        "cp ../photo.jpg big.jpg",
        "touch ../photo.jpg && rsync -a ../photo.jpg big.jpg",
        "cp ../stored.jpg big.jpg",
    ] {
        let sent = world.requests(&mount, || {
            shell(&mount.path(), script);
        });
        let uploads = sent.of("POST /api/files");
        assert_eq!(uploads, 0, "neither the stored nor the sent bytes go again: {script}");
        // Once it showed the size of what was sent, which the kernel still remembered.
        let size = shell(&mount.path(), "stat -c %s big.jpg");
        assert_eq!(size.trim(), stored.len().to_string(), "{script}");
    }
    shell(&mount.path(), "cmp big.jpg ../stored.jpg");
    let once_more = world.path("once-more.jpg");
    let exported = mount.run(&[
        "export",
        picture.to_str().expect("UTF-8"),
        once_more.to_str().expect("UTF-8"),
    ]);
    assert!(exported.status.success(), "{}", text(&exported));
    shell(&world.path("."), "cmp once-more.jpg photo.jpg");
}

#[test]
fn two_thousand_files_are_listed_in_a_few_requests() {
    let world = site(|_| {});
    for number in 0..2_000 {
        world.server().put_file(&format!("many/file-{number:04}.txt"), "x");
    }
    let mount = world.mount(QUICK);
    let asked = world.requests(&mount, || {
        assert_eq!(shell(&mount.path(), "ls -l many | wc -l").trim(), "2001");
        shell(&mount.path(), "ls -l many > /dev/null");
    });
    assert!(asked.api <= 6, "{asked:?}");
}

/// Every new file has its name for a title. The second `rsync -aX` took it away, in three requests a file, and a copy got
/// the title of what it was copied from.
#[test]
fn a_title_that_repeats_the_name_is_neither_copied_nor_taken_away() {
    let world = site(|_| {});
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "mkdir ../set folder && seq 9 > ../set/a.txt && rsync -aX ../set/ folder/",
    );
    mount.sync();
    let again = world.requests(&mount, || {
        shell(&mount.path(), "rsync -aX ../set/ folder/");
    });
    assert!(again.routes.keys().all(|route| route.starts_with("GET ")), "{again:?}");
    shell(
        &mount.path(),
        "cd folder && cp -a a.txt b.txt && setfattr -n user.flextype.title -v Ours a.txt && cp -a a.txt c.txt",
    );
    mount.sync();
    let title = |name: &str| {
        let script = format!("getfattr --only-values -n user.flextype.title folder/{name}");
        shell(&mount.path(), &script)
    };
    assert_eq!([title("a.txt"), title("b.txt"), title("c.txt")], ["Ours", "b", "Ours"]);
}
