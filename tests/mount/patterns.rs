//! How programs save: whatever way they take, one save is one new version of the same asset, with its terms and tags, for no
//! more requests than an overwrite costs. What separate programs do keeps the identities of an ordinary disk.

#![allow(clippy::disallowed_methods)] // Programs write as they do.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assetfs::emulator::imagerelay::{Edit, Item, Seed, TreeFile};

use crate::support::{Mount, World, shell};

/// A quiet time in which every program below is done, on a busy machine too; `sync` does not wait for it.
const CALM: &str = "rate=0,poll=0,quiet=20s,quiet_empty=20s";
const NAME: &str = "hero.txt";

/// A library with one asset in it that has a term and a tag.
struct Library {
    world: World,
    folder: u64,
    id: u64,
}

impl Library {
    fn new(name: &str, bytes: Vec<u8>) -> Self {
        let world = World::new(Seed::Small);
        let remote = world.server().remote();
        let folder = remote.create_folder(remote.root(), "work").expect("a folder");
        let id = remote.create_file(folder, name, bytes).expect("a file");
        let set = Edit::SetTerm {
            id,
            term: "Credit".into(),
            value: "Anna".into(),
        };
        remote.edit(set).expect("a term");
        Self { world, folder, id }
    }

    fn file(&self) -> TreeFile {
        self.world.server().remote().file(self.id).expect("the asset is there")
    }

    /// The names of all that the folder holds.
    fn names(&self) -> Vec<String> {
        let tree = self.world.server().remote().tree(false);
        let folder = tree
            .folders
            .into_iter()
            .find(|f| f.id == self.folder)
            .expect("the folder");
        let mut names: Vec<_> = folder.files.into_iter().map(|f| f.name).collect();
        names.sort();
        names
    }

    fn bytes(&self) -> Vec<u8> {
        self.world.server().remote().bytes(self.id).expect("its bytes").to_vec()
    }

    fn mount(&self) -> Mount {
        let mount = self.world.mount(CALM);
        shell(
            &mount.at("work"),
            "ls -l > /dev/null; cat * > /dev/null; getfattr -d * > /dev/null",
        );
        mount
    }
}

/// One save by a script, run in the asset's folder.
fn script_saves_once(library: &Library, mount: &Mount, script: &str) {
    saves_once(library, mount, script, |folder| {
        shell(folder, script);
    });
}

/// One save in the asset's folder: what must be so after it, whatever the program.
fn saves_once(library: &Library, mount: &Mount, script: &str, save: impl FnOnce(&Path)) {
    let before = library.file();
    let asked = library.world.requests(mount, || save(&mount.at("work")));
    let here = std::fs::read(mount.at("work").join(&before.name)).expect("the file is there");
    let after = library.file();
    assert_eq!(after.name, before.name, "{script}");
    assert_eq!(after.folder_ids, before.folder_ids, "{script}");
    assert_eq!((after.terms, after.tags), (before.terms, before.tags), "{script}");
    assert_eq!(library.bytes(), here, "{script}");
    assert_eq!(library.names(), [before.name], "{script}: nothing else has come");
    assert_eq!(asked.of("POST /files/{id}/versions"), 1, "{script}: {asked:?}");
    assert_eq!(
        asked.of("POST /files/{id}/versions/{uuid}/complete"),
        1,
        "{script}: {asked:?}"
    );
    assert_eq!(asked.of("POST /upload_jobs"), 0, "{script}: {asked:?}");
    assert_eq!(asked.of("DELETE /files/{id}"), 0, "{script}: {asked:?}");
    // Begin, chunk, complete; the check of the version and the look at the result.
    let links = asked.of("POST /quick_links") + asked.of("DELETE /quick_links/{id}");
    assert!(asked.api - links <= 5, "{script}: {asked:?}");
}

fn text(mount: &Mount) -> String {
    std::fs::read_to_string(mount.at("work").join(NAME)).expect("a text")
}

#[test]
fn vim_saves_one_version_whatever_its_backupcopy() {
    let library = Library::new(NAME, b"first line\n".to_vec());
    let mount = library.mount();
    for (n, way) in ["yes", "no", "auto", "auto,breakhardlink"].iter().enumerate() {
        for backup in ["nobackup", "backup"] {
            let script = format!(
                "vim -u NONE -i NONE -n -es -c 'set backupcopy={way} {backup} writebackup' -c 'normal Goline {n} {backup}' -c wq {NAME}
                 rm -f {NAME}~"
            );
            script_saves_once(&library, &mount, &script);
            assert!(
                text(&mount).ends_with(&format!("line {n} {backup}\n")),
                "{}",
                text(&mount)
            );
        }
    }
}

#[test]
fn sed_rsync_and_gio_save_one_version() {
    let library = Library::new(NAME, b"one\n".to_vec());
    let mount = library.mount();
    script_saves_once(&library, &mount, &format!("sed -i s/one/two/ {NAME}"));
    assert_eq!(text(&mount), "two\n");
    script_saves_once(&library, &mount, &format!("perl -pi -e s/two/three/ {NAME}"));
    script_saves_once(
        &library,
        &mount,
        &format!("seq 100 > ../../new.txt; rsync ../../new.txt {NAME}"),
    );
    script_saves_once(
        &library,
        &mount,
        &format!("seq 101 > ../../new.txt; rsync --inplace ../../new.txt {NAME}"),
    );
    script_saves_once(
        &library,
        &mount,
        &format!("seq 102 > ../../new.txt; rsync --delay-updates ../../new.txt {NAME}"),
    );
    script_saves_once(&library, &mount, &format!("seq 103 | gio save {NAME}"));
    script_saves_once(
        &library,
        &mount,
        &format!("seq 104 > ../../new.txt; gio copy ../../new.txt {NAME}"),
    );
    script_saves_once(
        &library,
        &mount,
        &format!("seq 105 > ../../new.txt; cp ../../new.txt {NAME}"),
    );
    script_saves_once(
        &library,
        &mount,
        &format!("seq 106 > ../../new.txt; cp --remove-destination ../../new.txt {NAME}"),
    );
    script_saves_once(
        &library,
        &mount,
        &format!("seq 107 > ../../new.txt; install -m 644 ../../new.txt {NAME}"),
    );
    assert_eq!(text(&mount), shell(Path::new("/"), "seq 107"));
}

#[test]
fn exiftool_and_imagemagick_save_one_version() {
    let picture = shell(
        Path::new("/"),
        "convert -size 64x48 gradient:red-blue jpg:- | base64 -w0",
    );
    let library = Library::new("hero.jpg", base64(&picture));
    let mount = library.mount();
    script_saves_once(
        &library,
        &mount,
        "exiftool -q -overwrite_original -Artist=Anna hero.jpg",
    );
    script_saves_once(
        &library,
        &mount,
        "exiftool -q -overwrite_original_in_place -Artist=Berta hero.jpg",
    );
    // As it comes, exiftool keeps the old file beside the new one: the asset goes with the name, and not with the backup.
    script_saves_once(&library, &mount, "exiftool -q -Artist=Bruno hero.jpg");
    shell(&mount.at("work"), "rm hero.jpg_original");
    script_saves_once(
        &library,
        &mount,
        "exiftool -q -Artist=Clara hero.jpg && rm -f hero.jpg_original",
    );
    script_saves_once(&library, &mount, "mogrify -rotate 90 hero.jpg");
    assert_eq!(
        shell(&mount.at("work"), "exiftool -s3 -Artist hero.jpg").trim(),
        "Clara"
    );
}

fn base64(text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("in"), text).expect("written");
    shell(dir.path(), "base64 -d in > out");
    std::fs::read(dir.path().join("out")).expect("decoded")
}

/// A way of saving `hero.txt` in a folder.
type Way = fn(&Path) -> std::io::Result<()>;

/// QSaveFile: a temporary beside it, synced, renamed over.
fn qt(dir: &Path) -> std::io::Result<()> {
    let temporary = dir.join("hero.txt.AbCdEf");
    let mut file = File::create_new(&temporary)?;
    file.write_all(b"qt")?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, dir.join(NAME))
}

/// LibreOffice: a lock file, the document made elsewhere, and the old one written over.
fn libreoffice(dir: &Path) -> std::io::Result<()> {
    let (lock, made) = (dir.join(".~lock.hero.txt#"), dir.join("lu123abc.tmp"));
    fs::write(&lock, ",me,here;")?;
    fs::write(&made, "office")?;
    let mut file = OpenOptions::new().write(true).truncate(true).open(dir.join(NAME))?;
    file.write_all(&fs::read(&made)?)?;
    file.sync_all()?;
    drop(file);
    fs::remove_file(made)?;
    fs::remove_file(lock)
}

/// Word and Excel: the new one under a temporary name, the old one aside, the new one in its place, the old one deleted.
fn word(dir: &Path) -> std::io::Result<()> {
    let (new, old) = (dir.join("~WRD0001.tmp"), dir.join("~WRL0002.tmp"));
    fs::write(&new, "word")?;
    fs::rename(dir.join(NAME), &old)?;
    fs::rename(&new, dir.join(NAME))?;
    fs::remove_file(old)
}

/// Photoshop: a temporary, the old one deleted, the temporary renamed.
fn photoshop(dir: &Path) -> std::io::Result<()> {
    let temporary = dir.join("hero.txt.sb-1234-abcd");
    let mut file = File::create_new(&temporary)?;
    file.write_all(b"photo")?;
    file.sync_all()?;
    drop(file);
    fs::remove_file(dir.join(NAME))?;
    fs::rename(temporary, dir.join(NAME))
}

fn deleted_first(dir: &Path) -> std::io::Result<()> {
    fs::remove_file(dir.join(NAME))?;
    fs::write(dir.join(NAME), "deleted first")
}

fn with_a_backup(dir: &Path) -> std::io::Result<()> {
    fs::rename(dir.join(NAME), dir.join("hero.txt.bak"))?;
    fs::write(dir.join(NAME), "with a backup")?;
    fs::remove_file(dir.join("hero.txt.bak"))
}

/// What programs do that cannot be run here, call by call.
#[test]
fn office_programs_and_toolkits_save_one_version() {
    let library = Library::new(NAME, b"base\n".to_vec());
    let mount = library.mount();
    let ways: [(Way, &str); 6] = [
        (qt, "qt"),
        (libreoffice, "office"),
        (word, "word"),
        (photoshop, "photo"),
        (deleted_first, "deleted first"),
        (with_a_backup, "with a backup"),
    ];
    for (way, bytes) in ways {
        saves_once(&library, &mount, bytes, |dir| way(dir).expect("a save"));
        assert_eq!(text(&mount), bytes);
    }
}

#[test]
fn separate_programs_keep_the_identities_of_an_ordinary_disk() {
    let library = Library::new("hero.jpg", b"hero".to_vec());
    let mount = library.mount();
    let work = mount.at("work");
    let id = |path: &str| match library.world.server().remote().find(path) {
        Some(Item::File(id)) => id,
        other => panic!("{path}: {other:?}"),
    };
    shell(
        &work,
        "mkdir archive; echo new > ../../new.jpg; mv hero.jpg archive/; cp ../../new.jpg hero.jpg",
    );
    mount.sync();
    assert_eq!(id("work/archive/hero.jpg"), library.id);
    let second = id("work/hero.jpg");
    assert_ne!(second, library.id);
    assert_eq!(library.bytes(), b"hero");
    // rm a; cp b a.
    shell(&work, "rm hero.jpg; cp archive/hero.jpg hero.jpg");
    mount.sync();
    let third = id("work/hero.jpg");
    assert!(third != second && third != library.id, "{third}");
    assert!(library.world.server().remote().file(second).is_none(), "it was removed");
    // mv of a stored file over another: it stays who it is, the other goes.
    shell(&work, "mv archive/hero.jpg hero.jpg");
    mount.sync();
    assert_eq!(id("work/hero.jpg"), library.id);
    assert!(library.world.server().remote().file(third).is_none(), "it was replaced");
}

#[test]
fn what_changes_nothing_costs_nothing() {
    let library = Library::new(NAME, b"same\n".to_vec());
    let mount = library.mount();
    for script in [
        "echo same > hero.txt",
        "cp hero.txt tmp.txt; mv tmp.txt hero.txt",
        "echo x > tmp.txt; rm tmp.txt; mkdir d; rmdir d",
        "mv hero.txt b.txt; mv b.txt c.txt; mv c.txt hero.txt",
        "touch hero.txt; chmod 600 hero.txt",
    ] {
        let asked = library.world.requests(&mount, || {
            shell(&mount.at("work"), script);
        });
        let links = asked.of("POST /quick_links") + asked.of("DELETE /quick_links/{id}");
        assert_eq!(asked.api - links, 0, "{script}: {asked:?}");
    }
    assert_eq!(library.names(), [NAME]);
}
