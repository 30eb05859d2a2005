//! What programs may do to a local folder they may do to a mount, call by call.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom as At, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use assetfs::emulator::imagerelay::Seed;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, RenameFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, fallocate,
    flock, renameat_with, seek, statvfs, utimensat,
};
use rustix::io::Errno;

use crate::support::{Mount, QUICK, World, shell, try_shell};

fn mounted() -> (World, Mount) {
    let world = World::new(Seed::None);
    let mount = world.mount(QUICK);
    (world, mount)
}

fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    try_put(path, bytes.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn try_put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    File::create(path)?.write_all(bytes)
}

fn get(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn errno(outcome: std::io::Result<impl Sized>) -> Option<Errno> {
    outcome.err().and_then(|e| Errno::from_io_error(&e))
}

fn read_write() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
}

#[test]
fn a_name_of_256_bytes_is_too_long_and_one_of_255_is_not() {
    let (_world, mount) = mounted();
    let name = |bytes: usize| mount.at(&format!("{}.txt", "ü".repeat((bytes - 4) / 2) + &"x".repeat(bytes % 2)));
    put(&name(255), "a");
    assert_eq!(get(&name(255)), "a");
    assert_eq!(errno(try_put(&name(256), b"a")), Some(Errno::NAMETOOLONG));
    assert_eq!(errno(fs::metadata(name(256))), Some(Errno::NAMETOOLONG));
    assert_eq!(errno(fs::create_dir(name(256))), Some(Errno::NAMETOOLONG));
    assert_eq!(errno(fs::rename(name(255), name(256))), Some(Errno::NAMETOOLONG));
}

#[test]
fn a_folders_times_move_with_its_entries() {
    let (_world, mount) = mounted();
    let (one, two) = (mount.at("one"), mount.at("two"));
    fs::create_dir(&one).expect("mkdir");
    fs::create_dir(&two).expect("mkdir");
    // Long ago, so that any move shows.
    let past = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let moved = |folder: &Path, what: &str, work: &dyn Fn()| {
        let times = fs::FileTimes::new().set_modified(past);
        File::open(folder).expect("a folder").set_times(times).expect("set");
        let before = fs::metadata(folder).expect("stat");
        assert_eq!(before.mtime(), 1_000_000_000, "{what}");
        work();
        let after = fs::metadata(folder).expect("stat");
        assert!(after.mtime() > 1_000_000_000, "mtime after {what}");
        assert!(after.ctime() >= before.ctime(), "ctime after {what}");
    };
    moved(&one, "create", &|| put(&one.join("a.txt"), "a"));
    moved(&one, "mkdir", &|| fs::create_dir(one.join("sub")).expect("mkdir"));
    moved(&one, "rename within", &|| {
        fs::rename(one.join("a.txt"), one.join("b.txt")).expect("rename")
    });
    moved(&one, "rename out of it", &|| {
        fs::rename(one.join("b.txt"), two.join("b.txt")).expect("rename")
    });
    moved(&one, "rename into it", &|| {
        fs::rename(two.join("b.txt"), one.join("c.txt")).expect("rename")
    });
    moved(&one, "unlink", &|| fs::remove_file(one.join("c.txt")).expect("unlink"));
    moved(&one, "rmdir", &|| fs::remove_dir(one.join("sub")).expect("rmdir"));
}

#[test]
fn times_beyond_2038_below_a_second_and_one_at_a_time_are_kept() {
    let (_world, mount) = mounted();
    let file = mount.at("f.txt");
    put(&file, "f");
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let set = |access, modification| {
        let times = Timestamps {
            last_access: access,
            last_modification: modification,
        };
        utimensat(CWD, &file, &times, AtFlags::empty()).expect("utimensat");
        let stat = fs::metadata(&file).expect("stat");
        [(stat.atime(), stat.atime_nsec()), (stat.mtime(), stat.mtime_nsec())]
    };
    let late = (16_725_225_600, 123_456_789);
    assert_eq!(set(time(5, 7), time(late.0, late.1)), [(5, 7), late]);
    // GNU tar sets the one and leaves the other.
    let omit = time(0, UTIME_OMIT);
    assert_eq!(set(omit, time(-3, 500_000_000)), [(5, 7), (-3, 500_000_000)]);
    assert_eq!(set(time(9, 1), omit), [(9, 1), (-3, 500_000_000)]);
    mount.sync();
    let stat = fs::metadata(&file).expect("stat");
    assert_eq!(
        (stat.mtime(), stat.mtime_nsec()),
        (-3, 500_000_000),
        "in the store, and still so"
    );
}

#[test]
fn a_length_and_a_mode_are_set_by_path() {
    let (_world, mount) = mounted();
    let file = mount.at("f.txt");
    put(&file, "0123456789");
    shell(&mount.path(), "truncate -s 4 f.txt");
    assert_eq!(get(&file), "0123");
    shell(&mount.path(), "truncate -s +3 f.txt");
    assert_eq!(get(&file), "0123\0\0\0");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4750)).expect("chmod");
    assert_eq!(fs::metadata(&file).expect("stat").mode() & 0o7777, 0o4750);
    shell(&mount.path(), "chown $(id -u):$(id -g) f.txt && chgrp $(id -g) f.txt");
}

#[test]
fn an_unlinked_open_file_lives_until_its_last_close() {
    let (world, mount) = mounted();
    let path = mount.at("f.txt");
    put(&path, "stored");
    mount.sync();
    let mut file = read_write().open(&path).expect("open");
    fs::remove_file(&path).expect("unlink");
    assert!(!path.exists());
    assert_eq!(file.metadata().expect("fstat").nlink(), 0);
    file.write_all(b"STO").expect("write");
    let mut whole = String::new();
    file.seek(At::Start(0)).expect("seek");
    file.read_to_string(&mut whole).expect("read");
    assert_eq!(whole, "STOred");
    drop(file);
    mount.sync();
    assert_eq!(
        shell(&world.path("."), "find state -path '*/staging/*' -type f | wc -l").trim(),
        "0"
    );
    assert_eq!(shell(&mount.path(), "ls -A"), "");
}

#[test]
fn an_open_file_keeps_its_bytes_when_another_takes_its_name() {
    let (_world, mount) = mounted();
    let (old, new) = (mount.at("f.txt"), mount.at("g.txt"));
    put(&old, "old");
    mount.sync();
    let mut reader = File::open(&old).expect("open");
    put(&new, "new");
    fs::rename(&new, &old).expect("rename");
    let mut read = String::new();
    reader.read_to_string(&mut read).expect("read");
    assert_eq!((read.as_str(), get(&old).as_str()), ("old", "new"));
}

#[test]
fn an_open_dirty_file_and_its_folder_may_be_renamed() {
    let (_world, mount) = mounted();
    fs::create_dir(mount.at("a")).expect("mkdir");
    let mut file = File::create(mount.at("a/f.txt")).expect("create");
    file.write_all(b"one ").expect("write");
    fs::rename(mount.at("a/f.txt"), mount.at("a/g.txt")).expect("rename");
    file.write_all(b"two ").expect("write");
    fs::rename(mount.at("a"), mount.at("b")).expect("rename");
    file.write_all(b"three").expect("write");
    drop(file);
    assert_eq!(get(&mount.at("b/g.txt")), "one two three");
    mount.sync();
    assert_eq!(shell(&mount.path(), "find . -type f").trim(), "./b/g.txt");
}

#[test]
fn programs_that_append_to_one_file_lose_nothing() {
    let (_world, mount) = mounted();
    for round in 0..4 {
        let script = format!(
            "seq 40 | xargs -P8 -I{{}} sh -c 'echo {{}} >> all-{round}.txt'; sort -n all-{round}.txt | cmp - <(seq 40)"
        );
        shell(&mount.path(), &script);
    }
    mount.sync();
    shell(&mount.path(), "sort -n all-0.txt | cmp - <(seq 40)");
}

#[test]
fn of_many_who_create_exclusively_one_succeeds() {
    let (_world, mount) = mounted();
    let path = mount.at("lock.txt");
    let create = || OpenOptions::new().write(true).create_new(true).open(&path).is_ok();
    let won: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..16).map(|_| scope.spawn(create)).collect();
        all.into_iter().map(|one| usize::from(one.join().expect("runs"))).sum()
    });
    assert_eq!(won, 1);
    let again = OpenOptions::new().write(true).create_new(true).open(&path);
    assert_eq!(again.map(drop).map_err(|e| e.kind()), Err(ErrorKind::AlreadyExists));
}

#[test]
fn truncation_at_open_needs_none_of_the_old_bytes() {
    let (world, mount) = mounted();
    put(&mount.at("f.txt"), vec![b'x'; 300_000]);
    mount.unmount();
    // Nothing of it is here any more.
    fs::remove_dir_all(world.path("cache")).expect("removable");
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -l > /dev/null");
    let asked = world.requests(&mount, || put(&mount.at("f.txt"), "short"));
    assert_eq!(asked.content, 0, "{asked:?}");
    assert_eq!(get(&mount.at("f.txt")), "short");
}

#[test]
fn direct_io_reads_and_writes_what_others_see() {
    let (_world, mount) = mounted();
    shell(
        &mount.path(),
        "dd if=/dev/urandom of=f.bin bs=4096 count=64 oflag=direct status=none
         dd if=f.bin of=g.bin bs=8192 iflag=direct oflag=direct status=none
         cmp f.bin g.bin",
    );
    mount.sync();
    shell(
        &mount.path(),
        "dd if=f.bin iflag=direct bs=64k status=none | cmp - g.bin",
    );
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32)
        .open(mount.at("f.bin"));
    assert_eq!(file.expect("open").metadata().expect("stat").len(), 262_144);
}

#[test]
fn locks_hold_among_the_programs_of_this_machine() {
    let (_world, mount) = mounted();
    let path = mount.at("f.txt");
    put(&path, "f");
    let (one, two) = (File::open(&path).expect("open"), File::open(&path).expect("open"));
    flock(&one, FlockOperation::LockExclusive).expect("lock");
    let refused = flock(&two, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused, Err(Errno::WOULDBLOCK));
    drop(one);
    flock(&two, FlockOperation::NonBlockingLockExclusive).expect("free again");
    // Locks of fcntl are a process's, so another one must ask.
    let script = "python3 - <<'P'
import fcntl, os
mine = open('f.txt', 'r+')
fcntl.lockf(mine, fcntl.LOCK_EX)
child = os.fork()
if child == 0:
    try:
        fcntl.lockf(open('f.txt', 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os._exit(0)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
P";
    shell(&mount.path(), script);
}

#[test]
fn holes_are_holes_here_and_what_is_not_here_yet_is_data() {
    let (world, mount) = mounted();
    let path = mount.at("f.bin");
    let file = read_write().open(&path).expect("create");
    file.write_all_at(&[b'x'; 4096], 0).expect("write");
    file.write_all_at(&[b'y'; 4096], 1 << 20).expect("write");
    assert_eq!(seek(&file, SeekFrom::Data(0)), Ok(0));
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(4096));
    assert_eq!(seek(&file, SeekFrom::Data(4096)), Ok(1 << 20));
    assert_eq!(seek(&file, SeekFrom::Hole(1 << 20)), Ok((1 << 20) + 4096));
    assert_eq!(seek(&file, SeekFrom::Data(2 << 20)), Err(Errno::NXIO));
    drop(file);
    mount.unmount();
    fs::remove_dir_all(world.path("cache")).expect("removable");
    let mount = world.mount(QUICK);
    let file = File::open(mount.at("f.bin")).expect("open");
    assert_eq!(seek(&file, SeekFrom::Data(8192)), Ok(8192));
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok((1 << 20) + 4096));
}

#[test]
fn room_is_reserved_zeroed_and_punched() {
    let (_world, mount) = mounted();
    let file = read_write().open(mount.at("f.bin")).expect("create");
    fallocate(&file, FallocateFlags::empty(), 0, 100_000).expect("posix_fallocate");
    assert_eq!(file.metadata().expect("stat").len(), 100_000);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 200_000).expect("keep size");
    assert_eq!(file.metadata().expect("stat").len(), 100_000);
    file.write_all_at(&[b'x'; 100_000], 0).expect("write");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 8192, 8192).expect("punch");
    fallocate(&file, FallocateFlags::ZERO_RANGE, 99_000, 2000).expect("zero");
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).expect("read");
    let mut want = vec![b'x'; 101_000];
    want[8192..16_384].fill(0);
    want[99_000..].fill(0);
    assert_eq!(bytes.len(), want.len());
    assert!(bytes == want, "other bytes");
    let collapse = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapse, Err(Errno::OPNOTSUPP));
}

#[test]
fn a_folder_is_synced_by_fsync() {
    let (_world, mount) = mounted();
    put(&mount.at("f.txt"), "f");
    File::open(mount.path()).expect("a folder").sync_all().expect("fsync");
    shell(&mount.path(), "sync . && sync -f f.txt && sync -d f.txt");
}

#[test]
fn renames_that_keep_and_that_exchange() {
    let (_world, mount) = mounted();
    let at = |name: &str| mount.at(name);
    put(&at("a.txt"), "a");
    put(&at("b.txt"), "b");
    fs::create_dir(at("d")).expect("mkdir");
    put(&at("d/x.txt"), "x");
    // Once as what was only made here, and once as what the store has.
    for published in [false, true] {
        if published {
            mount.sync();
        }
        let rename = |from: &str, to: &str, flags| renameat_with(CWD, at(from), CWD, at(to), flags);
        assert_eq!(rename("a.txt", "b.txt", RenameFlags::NOREPLACE), Err(Errno::EXIST));
        rename("a.txt", "c.txt", RenameFlags::NOREPLACE).expect("free");
        rename("c.txt", "a.txt", RenameFlags::NOREPLACE).expect("free again");
        assert_eq!(rename("a.txt", "no.txt", RenameFlags::EXCHANGE), Err(Errno::NOENT));
        let inode = |name: &str| fs::metadata(at(name)).expect("stat").ino();
        let before = (inode("a.txt"), inode("b.txt"));
        rename("a.txt", "b.txt", RenameFlags::EXCHANGE).expect("exchange");
        assert_eq!((get(&at("a.txt")).as_str(), get(&at("b.txt")).as_str()), ("b", "a"));
        assert_eq!((inode("b.txt"), inode("a.txt")), before);
        rename("d/x.txt", "a.txt", RenameFlags::EXCHANGE).expect("exchange across folders");
        assert_eq!((get(&at("a.txt")).as_str(), get(&at("d/x.txt")).as_str()), ("x", "b"));
        mount.sync();
        assert_eq!((get(&at("a.txt")).as_str(), get(&at("b.txt")).as_str()), ("x", "a"));
        // Back to where it began.
        rename("a.txt", "d/x.txt", RenameFlags::EXCHANGE).expect("exchange");
        rename("a.txt", "b.txt", RenameFlags::EXCHANGE).expect("exchange");
        mount.sync();
    }
    assert_eq!(shell(&mount.path(), "find . -type f | sort | xargs cat"), "abx");
}

#[test]
fn an_exchange_is_what_the_store_shows_in_the_end() {
    let (world, mount) = mounted();
    put(&mount.at("a.txt"), "a");
    put(&mount.at("b.txt"), "b");
    mount.sync();
    renameat_with(CWD, mount.at("a.txt"), CWD, mount.at("b.txt"), RenameFlags::EXCHANGE).expect("exchange");
    mount.unmount();
    // Nothing but the store tells from now on.
    fs::remove_dir_all(world.path("cache")).expect("removable");
    fs::remove_dir_all(world.path("state")).expect("removable");
    let mount = world.mount(QUICK);
    assert_eq!(shell(&mount.path(), "cat a.txt b.txt && ls"), "baa.txt\nb.txt\n");
}

#[test]
fn free_room_is_what_may_be_written() {
    let (_world, mount) = mounted();
    let told = statvfs(mount.path()).expect("statvfs");
    assert!(told.f_blocks > 0 && told.f_bavail > 0 && told.f_bavail <= told.f_blocks);
    assert!(told.f_files > 0 && told.f_ffree > 0, "programs take 0 for a full disk");
    assert_eq!(told.f_namemax, 255);
    shell(
        &mount.path(),
        "df . > /dev/null && df -i . > /dev/null && stat -f . > /dev/null",
    );
}

/// What a file takes of this machine's disk is what has been fetched of it; a staged file has its holes.
#[test]
fn du_shows_what_is_held_on_this_machine() {
    let (world, mount) = mounted();
    let held = |mount: &Mount, name: &str| fs::metadata(mount.at(name)).expect("there").blocks() * 512;
    put(&mount.at("film.mov"), vec![7; 4 << 20]);
    assert!(held(&mount, "film.mov") >= 4 << 20);
    let sparse = File::create(mount.at("sparse.mov")).expect("made");
    sparse.set_len(64 << 20).expect("longer");
    sparse.write_all_at(b"end", (64 << 20) - 3).expect("written");
    drop(sparse);
    assert!(held(&mount, "sparse.mov") < 1 << 20, "{}", held(&mount, "sparse.mov"));
    mount.sync();
    mount.unmount();
    fs::remove_dir_all(world.path("cache")).expect("removable");
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -l");
    // Never nothing: `tar --sparse` takes such a file for one hole.
    assert_eq!(held(&mount, "film.mov"), 512);
    File::open(mount.at("film.mov"))
        .expect("opens")
        .read_exact(&mut [0; 10])
        .expect("ten bytes");
    let some = held(&mount, "film.mov");
    assert!((10..4 << 20).contains(&some), "{some}");
    shell(
        &mount.path(),
        "tar -c --sparse -f ../film.tar film.mov && tar -d -f ../film.tar",
    );
    assert_eq!(held(&mount, "film.mov"), 4 << 20);
    assert_eq!(
        shell(&mount.path(), "du -k --apparent-size film.mov | cut -f 1"),
        "4096\n"
    );
}

#[test]
fn a_map_writes_and_reads_the_file() {
    let (_world, mount) = mounted();
    let script = "python3 - <<'P'
import mmap
with open('m.bin', 'wb+') as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 1 << 20) as view:
        view[:5], view[-5:] = b'hello', b'world'
data = open('m.bin', 'rb').read()
assert data[:5] == b'hello' and data[-5:] == b'world' and len(data) == 1 << 20
P";
    shell(&mount.path(), script);
    mount.sync();
    shell(
        &mount.path(),
        "test \"$(head -c 5 m.bin)$(tail -c 5 m.bin)\" = helloworld; cp m.bin n.bin; cmp m.bin n.bin",
    );
}

/// What a map writes goes where it is in the map, also where the descriptor that it was made with appends: it was appended.
#[test]
fn a_map_of_a_file_opened_for_appending_writes_in_its_place() {
    let (_world, mount) = mounted();
    put(&mount.at("m.bin"), vec![b'.'; 10_000]);
    mount.sync();
    let script = "python3 - <<'P'
import mmap
with open('m.bin', 'rb+') as other, open('m.bin', 'ab+') as file:
    with mmap.mmap(file.fileno(), 10_000) as view:
        view[:5] = b'hello'
        view.flush()
        file.write(b'more')
        file.flush()
        view[5:7] = b', '
data = open('m.bin', 'rb').read()
assert data == b'hello, ' + b'.' * 9993 + b'more', (len(data), data[:10], data[-10:])
P";
    shell(&mount.path(), script);
    mount.sync();
    assert_eq!(shell(&mount.path(), "head -c 7 m.bin; tail -c 4 m.bin"), "hello, more");
}

/// A private map is the program's own: nothing of it reaches the file, or the store.
#[test]
fn a_private_map_changes_nothing() {
    let (_world, mount) = mounted();
    put(&mount.at("m.bin"), "hello, world");
    mount.sync();
    let script = "python3 - <<'P'
import mmap
with open('m.bin', 'rb') as file:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        view[:5] = b'other'
        assert view[:] == b'other, world'
        assert file.read() == b'hello, world'
P";
    shell(&mount.path(), script);
    let queue = mount.run(&["queue", "--json"]);
    let queue: serde_json::Value = serde_json::from_slice(&queue.stdout).expect("JSON");
    assert_eq!(queue["changes"], serde_json::json!([]));
    assert_eq!(shell(&mount.path(), "cat m.bin"), "hello, world");
}

#[test]
fn what_no_store_can_keep_is_refused_at_once() {
    let (_world, mount) = mounted();
    put(&mount.at("f.txt"), "f");
    assert_eq!(
        errno(std::os::unix::fs::symlink("f.txt", mount.at("l.txt"))),
        Some(Errno::PERM)
    );
    assert!(!try_shell(&mount.path(), "mkfifo pipe").status.success());
    assert!(!try_shell(&mount.path(), "mkdir .Trash-0").status.success());
    assert_eq!(shell(&mount.path(), "ls -A"), "f.txt\n");
}

#[test]
fn a_removed_folder_is_empty_for_who_stands_in_it() {
    let (_world, mount) = mounted();
    shell(
        &mount.path(),
        "mkdir d && cd d && rmdir ../d && test -z \"$(ls -A)\" && stat . > /dev/null && (! touch x 2> /dev/null)",
    );
}

#[test]
fn an_unlinked_file_is_opened_again_through_proc() {
    let (_world, mount) = mounted();
    shell(
        &mount.path(),
        "exec 7<> f.txt; echo hello >&7; rm f.txt; test \"$(cat /proc/self/fd/7)\" = hello",
    );
}
