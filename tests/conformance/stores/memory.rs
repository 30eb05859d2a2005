//! The store in memory, as itself and with the capabilities of each real one.

use std::time::Duration;

use assetfs::model::{Entry, ItemId, Kind, ManualClock, Timestamp};
use assetfs::store::memory::{self, Fault, MemoryStore, Op};
use assetfs::store::{Capabilities, ChangeFeed, ErrorKind, IdScheme, Retry, SharedStore};
use async_trait::async_trait;

use crate::fixture::{Break, Call, Fixture, TextField};

pub struct Memory {
    store: MemoryStore,
    clock: std::sync::Arc<ManualClock>,
    homes: [Entry; 2],
    rooms: [Entry; 2],
}

pub async fn whole() -> Memory {
    fixture(memory::whole())
}

pub async fn like_imagerelay() -> Memory {
    fixture(memory::like_imagerelay())
}

pub async fn like_flextype() -> Memory {
    fixture(memory::like_flextype())
}

pub async fn like_omeka() -> Memory {
    fixture(memory::like_omeka())
}

pub async fn like_im4() -> Memory {
    fixture(memory::like_im4())
}

fn fixture(capabilities: Capabilities) -> Memory {
    let clock = ManualClock::starting(Timestamp::from_secs(1_777_716_060));
    let store = MemoryStore::new(capabilities, clock.clone());
    let remote = store.remote();
    let mkdir = |parent: &ItemId, name: &str| remote.mkdir(parent, name).expect("a folder");
    let homes = [
        mkdir(&remote.root(), "first home"),
        mkdir(&remote.root(), "second home"),
    ];
    let rooms = [mkdir(&homes[0].id, "first room"), mkdir(&homes[1].id, "second room")];
    clock.advance(Duration::from_secs(3600));
    Memory {
        store,
        clock,
        homes,
        rooms,
    }
}

#[async_trait]
impl Fixture for Memory {
    fn store(&self) -> SharedStore {
        self.store.shared()
    }

    fn homes(&self) -> [Entry; 2] {
        self.homes.clone()
    }

    fn rooms(&self) -> [Entry; 2] {
        self.rooms.clone()
    }

    async fn put(&self, folder: &Entry, name: &str, bytes: &[u8]) -> ItemId {
        self.store
            .remote()
            .put(&folder.id, name, bytes.to_vec())
            .expect("a file")
            .id
    }

    async fn held(&self, file: &ItemId) -> Option<Vec<u8>> {
        self.store.remote().bytes(file).map(|bytes| bytes.to_vec())
    }

    fn absent(&self, kind: Kind) -> ItemId {
        match kind {
            Kind::File => ItemId::of("file", "999999"),
            Kind::Folder => ItemId::of("folder", "999999"),
        }
    }

    fn delay_listings(&self) {
        let lag = self.store().capabilities().listing_lag_max;
        self.store.turn(|knobs| knobs.listing_lag = lag);
    }

    async fn settle(&self) {
        self.clock
            .advance(self.store().capabilities().listing_lag_max + Duration::from_secs(1));
    }

    fn break_calls(&self, call: Call, how: Break) {
        let op = match call {
            Call::List => Op::List,
            Call::Read => Op::Read,
            Call::Create => Op::Create,
        };
        let fault = match how {
            Break::Overloaded => Fault::Fail(ErrorKind::Server, Retry::After(Duration::from_secs(1))),
            Break::Page => Fault::Fail(ErrorKind::Protocol, Retry::Never),
            Break::Reset => Fault::Fail(ErrorKind::Network, Retry::Ambiguous),
            Break::LoseAnswer => Fault::LoseAnswer,
            Break::Hang => Fault::Hang,
            Break::CutAfter(bytes) => Fault::CutAfter(bytes),
        };
        self.store.faults().always(op, fault);
    }

    fn mend(&self) {
        self.store.faults().clear();
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn stranger(&self) -> SharedStore {
        self.login(ErrorKind::Unauthenticated, None)
    }

    fn reader(&self) -> Option<SharedStore> {
        Some(self.login(ErrorKind::Denied, Some(Op::Create)))
    }

    fn text_field(&self) -> TextField {
        match self.store().capabilities().change_feed {
            ChangeFeed::Feed => TextField::Several("note"),
            ChangeFeed::Relist => TextField::Single("caption"),
        }
    }

    fn refused_name(&self) -> Option<&'static str> {
        let capabilities = self.store().capabilities().clone();
        let ruled = capabilities.ids == IdScheme::Path || capabilities.copy_keeps_name;
        ruled.then_some("no extension")
    }
}

impl Memory {
    /// The same tree for somebody whose calls (or whose `op` only) are refused.
    fn login(&self, refusal: ErrorKind, op: Option<Op>) -> SharedStore {
        let other = self.store.other_login();
        let fault = Fault::Fail(refusal, Retry::Never);
        match op {
            Some(op) => other.faults().always(op, fault),
            None => other.faults().everything(Some(fault)),
        }
        other.shared()
    }
}
