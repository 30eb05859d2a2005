//! The projects of an im4 as a drive.

use std::os::fd::AsRawFd;

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::im4::{Im4Options, Running, Shape, ZipSizes};

use crate::support::{QUICK, World, shell, text, try_shell, wait_for};

#[test]
fn a_project_is_listed_read_and_written() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(QUICK);
    let category = shell(&mount.path(), "find . -mindepth 2 -maxdepth 2 -type d -print -quit");
    shell(
        &mount.at(category.trim()),
        "seq 1000 > numbers.txt && sha256sum numbers.txt > ../../../sums",
    );
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    shell(&mount.at(category.trim()), "sha256sum --quiet -c ../../../sums");
}

#[test]
fn categories_are_filled_changed_and_emptied_and_the_rest_is_refused() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(QUICK);
    // Every name of the project's own folder, from the top.
    let at = |script: &str| {
        let below = |text: String, name: &&str| text.replace(name, &format!("'Lovelace, Ada (101)'/{name}"));
        let names = ["Ceremony", "Portraits", "stray", "Party"];
        names.iter().fold(script.replace("../../", "../"), below)
    };
    shell(
        &mount.path(),
        "mkdir ../set && seq 500 > ../set/a.txt && seq 900 > ../set/b.txt",
    );
    shell(
        &mount.path(),
        &at("cp -a ../../set/. Ceremony/ && rsync -aX ../../set/ Ceremony/"),
    );
    mount.sync();
    shell(
        &mount.path(),
        &at("cmp Ceremony/a.txt ../../set/a.txt && cp -a Portraits ../../out"),
    );
    shell(
        &mount.path(),
        &at("setfattr -n user.im4.byline -v 'With love' Ceremony/a.txt"),
    );
    mount.sync();
    let moved = world.requests(&mount, || {
        shell(&mount.path(), &at("mv Ceremony/a.txt Portraits/"));
    });
    assert_eq!(
        moved.of("POST /api/project/{id}/files/{id}/set-metadata"),
        1,
        "{moved:?}"
    );
    shell(&mount.path(), &at("mv Portraits/a.txt Portraits/renamed.txt"));
    shell(
        &mount.path(),
        &at("echo new > Ceremony/.b.txt.new && mv Ceremony/.b.txt.new Ceremony/b.txt"),
    );
    mount.sync();
    let byline = at("getfattr --only-values -n user.im4.byline Portraits/renamed.txt");
    assert_eq!(
        shell(&mount.path(), &byline),
        "With love",
        "a rename takes the metadata along"
    );
    assert_eq!(shell(&mount.path(), &at("cat Ceremony/b.txt")), "new\n");
    for (script, why) in [
        ("mkdir Ceremony/below", "Operation not permitted"),
        ("echo x > stray.txt", "Operation not permitted"),
        ("mv Ceremony Party", "Operation not permitted"),
        ("setfattr -n user.im4.priority -v 7 Ceremony/b.txt", "Invalid argument"),
    ] {
        let output = try_shell(&mount.path(), &at(script));
        assert!(!output.status.success(), "{script} must fail");
        assert!(text(&output).contains(why), "{script}: {}", text(&output));
    }
    shell(&mount.path(), &at("rm -r Ceremony/* Portraits/renamed.txt"));
    mount.sync();
    let project = world.server().project(101).expect("the project");
    assert!(
        project.files.values().all(|file| file.category != 2),
        "the category is empty"
    );
}

#[test]
fn two_thousand_files_of_a_project_are_listed_in_one_request() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    for number in 0..2_000 {
        let name = format!("file-{number:04}.txt");
        assert!(world.server().put_file(101, 1, &name, "x").is_some());
    }
    let mount = world.mount(QUICK);
    let asked = world.requests(&mount, || {
        let listed = shell(&mount.path(), "ls -l > /dev/null && ls -l */Portraits | grep -c file-");
        assert_eq!(listed.trim(), "2000");
    });
    assert_eq!(
        asked.of("GET /api/project/{id}"),
        0,
        "no request for a project: {asked:?}"
    );
    assert_eq!(
        asked.of("GET /api/project/{id}/files/all"),
        3,
        "one for each project: {asked:?}"
    );
}

#[test]
fn who_copies_a_project_gets_it_in_two_downloads_and_every_file_as_it_is() {
    let world = sample();
    for number in 0..5 {
        let name = format!("f{number}.txt");
        assert!(world.server().put_file(101, 0, &name, name.clone()).is_some());
    }
    let mount = world.mount(QUICK);
    let asked = world.requests(&mount, || {
        shell(&mount.path(), "cp -r 'Lovelace, Ada (101)' ../out");
    });
    let [category, all] = ["category/{id}", "all"].map(|what| format!("GET /api/project/{{id}}/files/{what}/download"));
    assert_eq!((asked.of(&category), asked.of(&all)), (1, 1), "{asked:?}");
    let files = world.server().project(101).expect("the project").files;
    assert!(files.len() > 9 && files.values().any(|file| file.category == 2));
    for file in files.values() {
        let found = shell(&world.path("out"), &format!("find . -name '{}'", file.name));
        let bytes = std::fs::read(world.path("out").join(found.trim())).expect("copied");
        assert_eq!(bytes, file.bytes, "{}", file.name);
    }
}

fn sample() -> World<Running> {
    World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    })
}

#[test]
fn details_of_a_category_are_asked_for_once_however_many_files_are_looked_at() {
    let world = sample();
    for number in 0..40 {
        assert!(
            world
                .server()
                .put_file(101, 1, &format!("f{number:02}.txt"), "x")
                .is_some()
        );
    }
    let mount = world.mount(QUICK);
    let portraits = mount.at("Lovelace, Ada (101)/Portraits");
    shell(&portraits, "ls -l > /dev/null");
    let asked = world.requests(&mount, || {
        // Told by no listing; and that a field is absent has to be learned, too.
        let told = shell(
            &portraits,
            "getfattr -n user.im4.filter_possible * | grep -c filter_possible=",
        );
        assert_eq!(told.trim(), "42");
        shell(
            &portraits,
            "getfattr -d * > /dev/null; getfattr -n user.im4.filter * 2> /dev/null || true",
        );
        let picture = "for name in width height preview_url; do getfattr -n user.im4.$name portrait.jpg; done";
        shell(&portraits, &format!("set -e; {picture}"));
    });
    let details = "GET /api/project/{id}/files/category/{id}";
    assert_eq!(asked.of(details), 1, "{asked:?}");
    let both = world.requests(&mount, || {
        shell(
            &portraits,
            "getfattr -n user.im4.filter_possible * ../Ceremony/* > /dev/null",
        );
    });
    assert_eq!(both.of(details), 1, "one for the other category: {both:?}");
}

/// Deleting a file in use answered 0 each time, and each time the file came back a moment later. The server tells it only
/// by not deleting, so the first time cannot be known; from then on it is.
#[test]
fn a_file_that_a_product_uses_comes_back_with_the_reason_and_is_busy_from_then_on() {
    let world = sample();
    let used = world.server().put_file(101, 1, "used.txt", "precious").expect("added");
    world.server().edit_file(101, used, |file| file.in_use = true);
    let mount = world.mount(QUICK);
    let portraits = mount.at("Lovelace, Ada (101)/Portraits");
    shell(&portraits, "rm used.txt && ! test -e used.txt");
    wait_for("the file is there again", || portraits.join("used.txt").exists());
    let status = text(&mount.run(&["status"]));
    assert!(status.contains("a product uses this file"), "{status}");
    let is_busy = |script: &str| {
        let output = try_shell(&portraits, script);
        assert!(!output.status.success(), "{script} must fail");
        assert!(
            text(&output).contains("Device or resource busy"),
            "{script}: {}",
            text(&output)
        );
    };
    let sent = world.requests(&mount, || {
        for script in [
            "rm used.txt",
            "mv used.txt other.txt",
            "echo x > used.txt",
            "truncate -s 3 used.txt",
            "mv -f portrait.jpg used.txt",
        ] {
            is_busy(script);
        }
    });
    assert_eq!(sent.of("DELETE /api/project/{id}/files/{id}"), 0, "{sent:?}");
    assert_eq!(sent.of("POST /api/project/{id}/files/category/{id}"), 0, "{sent:?}");
    is_busy("echo y > .new; mv -f .new used.txt; failed=$?; rm .new; exit $failed");
    assert_eq!(shell(&portraits, "cat used.txt"), "precious");
    // It stays the same file in another category.
    shell(
        &portraits,
        "setfattr -n user.im4.caption -v us used.txt && mv used.txt ../Ceremony/",
    );
    mount.sync();
    let file = world.server().file(101, used).expect("kept");
    assert_eq!((file.category, &*file.caption), (2, "us"));
}

/// What a first save over a file in use replaced was hidden until the folder was listed again, and with it went whatever had
/// been set meanwhile.
#[test]
fn a_first_save_over_a_file_that_a_product_uses_leaves_both_in_the_folder() {
    for (script, name) in [
        ("echo mine > used.txt", "used.txt"),
        ("echo mine > .used.new; mv -f .used.new used.txt", "used.txt"),
        (
            "echo mine > used.txt; setfattr -n user.im4.caption -v us used.txt",
            "used.txt",
        ),
        ("mv used.txt other.txt", "other.txt"),
        ("echo mine > other.txt; sync -f .; mv -f other.txt used.txt", "used.txt"),
    ] {
        let world = sample();
        let used = world.server().put_file(101, 1, "used.txt", "precious").expect("added");
        world.server().edit_file(101, used, |file| file.in_use = true);
        let mount = world.mount(QUICK);
        let portraits = mount.at("Lovelace, Ada (101)/Portraits");
        shell(&portraits, &format!("cat used.txt > /dev/null; {script}"));
        mount.sync();
        let kept = match name {
            "used.txt" => format!("used (101-{used}).txt"),
            _ => "used.txt".to_owned(),
        };
        wait_for(&format!("{script}: {kept}"), || portraits.join(&kept).exists());
        let held = |name: &str| std::fs::read_to_string(portraits.join(name)).expect("a file");
        assert_eq!(held(&kept), "precious", "{script}");
        let mine = if name == "used.txt" { "mine\n" } else { "precious" };
        assert_eq!(held(name), mine, "{script}");
        if script.contains("setfattr") {
            let caption = shell(&portraits, "getfattr --only-values -n user.im4.caption used.txt");
            assert_eq!(caption, "us");
        }
        let status = text(&mount.run(&["status"]));
        assert!(status.contains("a product uses this file"), "{script}: {status}");
        let refused = try_shell(&portraits, &format!("rm '{kept}'"));
        assert!(
            text(&refused).contains("Device or resource busy"),
            "{script}: {}",
            text(&refused)
        );
        // And no more than these two, here and there.
        let names = shell(&portraits, "ls | grep -c 'used\\|other'");
        let files = world.server().project(101).expect("the project").files;
        let there = files
            .values()
            .filter(|file| file.name.contains("used") || file.name.contains("other"));
        assert_eq!((names.trim(), there.count()), ("2", 2), "{script}");
    }
}

#[test]
fn the_order_of_a_category_and_an_enhancement_are_attributes() {
    let world = sample();
    let mount = world.mount(QUICK);
    let project = mount.at("Lovelace, Ada (101)");
    let order = "getfattr --only-values -n user.im4.order Portraits";
    assert_eq!(shell(&project, order), "portrait.jpg\nportrait-black-white.jpg");
    let sorted = "POST /api/project/{id}/files/sortorder/{id}";
    let asked = world.requests(&mount, || {
        shell(
            &project,
            "setfattr -n user.im4.order -v $'portrait-black-white.jpg\\nportrait.jpg' Portraits",
        );
    });
    assert_eq!(asked.of(sorted), 1, "{asked:?}");
    assert_eq!(shell(&project, order), "portrait-black-white.jpg\nportrait.jpg");
    let places = "cd Portraits && for f in portrait-black-white.jpg portrait.jpg; do
            getfattr --only-values -n user.im4.sortcode $f; done";
    assert_eq!(shell(&project, places), "12");
    let filter = |of: &str| {
        let files = world.server().project(101).expect("the project").files;
        files.into_values().find(|file| file.name == of).expect("there").filter
    };
    let used = "getfattr --only-values -n user.im4.filter Portraits/portrait.jpg";
    shell(&project, "setfattr -n user.im4.filter -v warm Portraits/portrait.jpg");
    mount.sync();
    assert_eq!(
        (shell(&project, used), filter("portrait.jpg")),
        ("warm".to_owned(), Some("warm".to_owned()))
    );
    world.server().finish_queue();
    shell(&project, "setfattr -n user.im4.filter -v clear Portraits/portrait.jpg");
    mount.sync();
    assert_eq!(filter("portrait.jpg"), None);
    assert!(!try_shell(&project, used).status.success());
}

/// Of a server that tells no sizes, in its other shape, with zips that tell them at their end.
#[test]
fn files_whose_size_nobody_tells_are_read_whole_saved_and_renamed() {
    let world = World::im4(Im4Options {
        sample: true,
        tell_sizes: false,
        shape: Shape::B,
        zip_sizes: ZipSizes::Behind,
        ..Im4Options::default()
    });
    let held = |name: &str| {
        let files = world.server().project(101).expect("the project").files;
        let found: Vec<_> = files.into_values().filter(|file| file.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0].bytes.to_vec()
    };
    let mount = world.mount(QUICK);
    let portraits = mount.at("Lovelace, Ada (101)/Portraits");
    let portrait = held("portrait.jpg");
    let counted = shell(
        &portraits,
        "cat portrait.jpg > ../../../read.jpg; cp portrait-black-white.jpg ../../../copied.jpg; wc -c < portrait.jpg",
    );
    assert_eq!(counted.trim(), portrait.len().to_string());
    assert_eq!(std::fs::read(world.path("read.jpg")).expect("read"), portrait);
    assert_eq!(
        std::fs::read(world.path("copied.jpg")).expect("copied"),
        held("portrait-black-white.jpg")
    );
    shell(&portraits, "seq 100 > a.txt");
    mount.sync();
    shell(
        &portraits,
        "echo one more >> a.txt; setfattr -n user.im4.caption -v ours portrait.jpg",
    );
    mount.sync();
    shell(&portraits, "mv a.txt b.txt && mv portrait.jpg ../Ceremony/");
    mount.sync();
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    let project = mount.at("Lovelace, Ada (101)");
    let saved = shell(
        &project,
        "cat Portraits/b.txt | tail -n 2; cat Ceremony/portrait.jpg | sha256sum; ls Portraits",
    );
    let sum = shell(&world.path("."), "sha256sum < read.jpg");
    assert_eq!(saved, format!("100\none more\n{sum}b.txt\nportrait-black-white.jpg\n"));
    assert_eq!(held("b.txt").len(), 292 + "one more\n".len());
}

#[test]
fn between_projects_a_file_is_copied_and_the_rest_is_refused() {
    let world = sample();
    let mount = world.mount(QUICK);
    let errno = |from: &str, to: &str| {
        let moved = std::fs::rename(mount.at(from), mount.at(to));
        moved.err().and_then(|error| error.raw_os_error())
    };
    let (ada, alan) = ("Lovelace, Ada (101)", "Turing, Alan (102)");
    let portrait = format!("{ada}/Portraits/portrait.jpg");
    assert_eq!(
        errno(&portrait, &format!("{alan}/Portraits/hers.jpg")),
        Some(libc::EXDEV)
    );
    for to in [format!("{alan}/hers.jpg"), "hers.jpg".to_owned()] {
        assert_eq!(errno(&portrait, &to), Some(libc::EPERM), "{to}");
    }
    assert_eq!(
        errno(&format!("{ada}/Ceremony"), &format!("{alan}/Feast")),
        Some(libc::EPERM)
    );
    let before = world.server().project(101).expect("the project");
    let bytes = before.files.values().find(|file| file.name == "portrait.jpg");
    let bytes = bytes.expect("in the sample").bytes.clone();
    shell(&mount.path(), &format!("mv '{portrait}' '{alan}/Portraits/hers.jpg'"));
    mount.sync();
    let files = |project| world.server().project(project).expect("the project").files;
    assert!(files(101).values().all(|file| file.name != "portrait.jpg"));
    let there = files(102).into_values().find(|file| file.name == "hers.jpg");
    assert_eq!(there.expect("copied").bytes, bytes);
}

#[test]
fn a_program_stays_in_its_folder_whatever_is_saved_there() {
    let world = sample();
    let mount = world.mount(QUICK);
    let category = mount.at("Lovelace, Ada (101)/Ceremony");
    let within = std::fs::File::open(&category).expect("the category");
    let link = format!("/proc/self/fd/{}", within.as_raw_fd());
    let set = world.path("set");
    let set = set.to_str().expect("UTF-8");
    for script in [
        &*format!("mkdir {set} && seq 500 > {set}/a.txt && seq 900 > {set}/b.txt && cp -a {set}/. ."),
        "echo new > .b.txt.new && mv .b.txt.new b.txt",
        "mv a.txt ../Portraits/ && rm b.txt",
    ] {
        shell(&category, script);
        mount.sync();
        shell(&category, "ls -l . .. > /dev/null");
        // The kernel calls a folder deleted that it was told to forget.
        let now = std::fs::read_link(&link).expect("an open folder");
        assert_eq!(now, category, "after {script}");
    }
}

/// 20 uploads cost 60 requests, 20 equal field changes 40, 20 moves 40, 20 removals 20.
#[test]
fn what_twenty_files_ask_for_alike_costs_one_request_and_its_confirmation() {
    let world = sample();
    let mount = world.mount(QUICK);
    let portraits = mount.at("Lovelace, Ada (101)/Portraits");
    shell(
        &mount.path(),
        "mkdir ../set && for n in $(seq 10 29); do seq $n > ../set/f$n.txt; done; ls -lR > /dev/null",
    );
    for (script, requests) in [
        // Looked at before, so that a lost answer can be told from somebody else's upload; sent; and confirmed.
        ("cp -a ../../../set/. .", 3),
        ("setfattr -n user.im4.caption -v 'The same' f*.txt", 2),
        ("mv f*.txt ../Ceremony/", 2),
        ("rm ../Ceremony/f*.txt", 1),
    ] {
        let asked = world.requests(&mount, || {
            shell(&portraits, script);
        });
        assert_eq!(asked.api, requests, "{script}: {asked:?}");
        let project = world.server().project(101).expect("the project");
        let category = if script.contains("Ceremony") { 2 } else { 1 };
        let files = project
            .files
            .values()
            .filter(|file| file.name.starts_with('f') && file.name.ends_with(".txt"));
        let files: Vec<_> = files.collect();
        assert_eq!(files.len(), if script.starts_with("rm") { 0 } else { 20 }, "{script}");
        for file in files {
            let number: usize = file.name[1..3].parse().expect("a number");
            let bytes: String = (1..=number).map(|line| format!("{line}\n")).collect();
            assert_eq!(file.bytes, bytes.as_bytes(), "{}", file.name);
            assert_eq!(file.category, category, "{script}");
            let caption = if script.starts_with("cp") { "" } else { "The same" };
            assert_eq!(file.caption, caption, "{script}");
        }
    }
}

/// Each of many uploads whose one answer was lost is found, and none is sent again.
#[test]
fn many_uploads_whose_answer_is_lost_are_there_once_also_after_a_crash() {
    let world = sample();
    let upload = "POST /api/project/{id}/files/category/{id}";
    let rule = FaultRule::new(upload, When::First(1), Action::ApplyThenDropAnswer);
    world.faults().add(rule);
    let mount = world.mount(QUICK);
    shell(
        &mount.at("Lovelace, Ada (101)/Ceremony"),
        "for n in $(seq 10 29); do seq $n > f$n.txt; done",
    );
    wait_for("the upload is taken", || world.counters().of(upload) >= 1);
    mount.kill_daemon();
    drop(mount);
    let mount = world.mount(QUICK);
    mount.sync();
    let project = world.server().project(101).expect("the project");
    let mut names: Vec<_> = project.files.values().map(|file| file.name.clone()).collect();
    names.retain(|name| name.ends_with(".txt") && name.starts_with('f'));
    names.sort();
    let wanted: Vec<String> = (10..30).map(|n| format!("f{n}.txt")).collect();
    assert_eq!(names, wanted);
}

/// A file that had just been uploaded could not be opened before the server had worked on it, and its next save after that
/// was taken for a conflict.
#[test]
fn a_queued_file_is_read_and_written_and_read_anew_when_the_server_is_done() {
    let world = World::im4(Im4Options {
        sample: true,
        queue_uploads: true,
        ..Im4Options::default()
    });
    // Nothing is sent before `sync`.
    let mount = world.mount("rate=0,poll=0,quiet=60s,quiet_empty=60s");
    let ceremony = mount.at("Lovelace, Ada (101)/Ceremony");
    shell(&ceremony, "echo first > a.txt");
    mount.sync();
    let attribute = "getfattr --only-values -n user.im4.queue a.txt";
    assert_eq!(shell(&ceremony, attribute), "upload");
    assert_eq!(shell(&ceremony, "cat a.txt"), "first\n");
    let before = world.server().project(101).expect("the project");
    let (id, _) = before
        .files
        .iter()
        .find(|(_, file)| file.name == "a.txt")
        .expect("uploaded");
    world.server().edit_file(101, *id, |file| file.bytes = "FIRST\n".into());
    world.server().finish_queue();
    let refreshed = mount.run(&["refresh", ceremony.to_str().expect("UTF-8")]);
    assert!(refreshed.status.success(), "{}", text(&refreshed));
    assert_eq!(shell(&ceremony, "cat a.txt"), "FIRST\n", "what the server made of it");
    // The next save begins on a queued file, and ends when that is no longer one.
    shell(&ceremony, "echo second > a.txt");
    mount.sync();
    shell(&ceremony, "exec 9>> a.txt; echo third >&9; exec 9>&-");
    world.server().finish_queue();
    mount.sync();
    assert_eq!(shell(&ceremony, "cat a.txt; ls *.txt"), "second\nthird\na.txt\n");
    let status = text(&mount.run(&["queue"]));
    assert!(!status.contains("conflict"), "{status}");
}

/// `rsync -aX` takes away the attributes that its source does not have. A file's place in the order cannot be taken away, and
/// so the second run into a category ended with status 23.
#[test]
fn rsync_with_attributes_goes_in_as_often_as_one_likes() {
    let world = sample();
    let mount = world.mount(QUICK);
    // From within, right after mounting: a program that had just gone in was told that its folder was deleted.
    let within = |script: &str| shell(&mount.at("Lovelace, Ada (101)/Ceremony"), script);
    within("mkdir ../../../set && seq 9 > ../../../set/a.txt && rsync -aX ../../../set/ ./");
    mount.sync();
    within("getfattr -n user.im4.sortcode -n user.im4.priority a.txt flowers.jpg");
    let again = world.requests(&mount, || {
        within("rsync -aX ../../../set/ ./ && cmp a.txt ../../../set/a.txt");
    });
    assert!(again.routes.keys().all(|route| route.starts_with("GET ")), "{again:?}");
}
