//! What the suite needs of a store under test: the store, and a way past it to the server.

use std::time::Duration;

use assetfs::model::{Entry, ItemId, Kind};
use assetfs::store::SharedStore;
use async_trait::async_trait;

/// A kind of call that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Listing a folder.
    List,
    /// Reading content.
    Read,
    /// The step of an upload that publishes a new file.
    Create,
}

/// How a call is broken, each time until [`Fixture::mend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The server answers that it is overloaded, and does nothing.
    Overloaded,
    /// Something else answers, with success and a page for people (a captive portal, a login page), and does nothing.
    Page,
    /// The connection breaks before anything is done.
    Reset,
    /// It is carried out, and the answer is lost.
    LoseAnswer,
    /// It never answers.
    Hang,
    /// The answer breaks off after so many bytes of content.
    CutAfter(u64),
}

/// A store under test. Each test has one of its own, with nothing in it but the four folders.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The store.
    fn store(&self) -> SharedStore;

    /// Two folders at depth 1, with rooms and nothing else in them; where the store makes folders at all, it makes them here.
    fn homes(&self) -> [Entry; 2];

    /// Two empty folders at depth 2, one in each home, in which files may be made.
    fn rooms(&self) -> [Entry; 2];

    /// Two empty folders between which a file may be moved, the first room first.
    fn neighbours(&self) -> [Entry; 2] {
        self.rooms()
    }

    /// Puts a file into a folder behind the store's back.
    async fn put(&self, folder: &Entry, name: &str, bytes: &[u8]) -> ItemId;

    /// What the server really holds of a file; `None`: it is not there.
    async fn held(&self, file: &ItemId) -> Option<Vec<u8>>;

    /// An id of the right form that nothing has.
    fn absent(&self, kind: Kind) -> ItemId;

    /// Lets listings lag, for a store that declares that they may.
    fn delay_listings(&self);

    /// Waits, in the store's time, until listings have caught up.
    async fn settle(&self);

    /// Breaks calls until [`Fixture::mend`].
    fn break_calls(&self, call: Call, how: Break);

    /// Ends all breaking.
    fn mend(&self);

    /// How long a call may hang before the store gives up by itself; `None`: its caller must.
    fn deadline(&self) -> Option<Duration>;

    /// The same server through a login that it does not accept.
    fn stranger(&self) -> SharedStore;

    /// The same server through a login that may only read; `None` where the server knows no such login.
    fn reader(&self) -> Option<SharedStore>;

    /// What no error and no account may show.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// A field of files that takes any text; the values it may have at once.
    fn text_field(&self) -> TextField;

    /// A name for a new file that the store's own rule forbids; `None` where it has no rule.
    fn refused_name(&self) -> Option<&'static str>;

    /// Names for new files that are unusual and yet allowed.
    fn odd_names(&self) -> Vec<&'static str> {
        vec![
            "spaces in  it.txt",
            "ümläut ß.txt",
            "plus+percent%20.txt",
            "quote's & co.txt",
            "dots.in.it.txt",
        ]
    }

    /// How the server spells a new file's name.
    fn spelled(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// A field for free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// Holds one value.
    Single(&'static str),
    /// Holds one text, whose lines several values are.
    Joined(&'static str),
    /// Holds several.
    Several(&'static str),
}

impl TextField {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            TextField::Single(name) | TextField::Joined(name) | TextField::Several(name) => name,
        }
    }
}
