//! New files (upload jobs) and new versions.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;

use super::chunks::{Stage, Target, Transfer, resumed};
use super::known::OwnChange;
use super::wire::{File, Job, Version};
use super::{Core, errors, fields, keys};
use crate::model::{Availability, ContentVersion, Entry, FieldChanges, ItemId, Name};
use crate::store::{Body, Progress, Result, Resume, Retry};

const CREATE: &str = "upload file";
const REPLACE: &str = "upload version";
/// How long a job that has all its bytes is waited for; after that the upload is asked about again later.
const JOB_WAIT_MAX: Duration = Duration::from_secs(120);

/// What is needed to begin an upload job.
struct Plan<'a> {
    parent: u64,
    parent_id: &'a ItemId,
    name: &'a Name,
    fields: &'a FieldChanges,
}

impl Core {
    /// A new file: 1 + c requests, and one to see it where the server may have given it another name.
    pub(super) async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        changes: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        let plan = Plan {
            parent: keys::folder(CREATE, parent)?,
            parent_id: parent,
            name,
            fields: changes,
        };
        if body.size_bytes() == 0 {
            return self.create_empty(&plan, body, progress).await;
        }
        let size = body.size_bytes();
        let asset = self.upload_job(&plan, body, None, progress).await?;
        if !is_kept_as_sent(name) {
            return self.created(&plan, asset, size).await;
        }
        self.known.touch(plan.parent);
        self.new_content(asset, size, None);
        let entry = self.unseen(&plan, asset, size).await;
        self.known.answered(asset, &entry.version);
        self.known.made_unseen(asset, plan.parent, self.api.server_now());
        Ok(entry)
    }

    /// A new file that nobody has looked at. What is not known of it is in the next listing, a hundred files a request, and
    /// asked for when somebody wants it before.
    async fn unseen(&self, plan: &Plan<'_>, asset: u64, size: u64) -> Entry {
        let file_type = self.file_type_for(plan.parent, plan.fields).await.ok();
        let parents = vec![plan.parent_id.clone()];
        Entry {
            created: Some(self.api.server_now()),
            fields: fields::as_sent(plan.fields, file_type),
            fields_complete: false,
            ..Entry::file(
                keys::file_id(asset),
                plan.name.to_store(),
                parents,
                size,
                fields::version(size, ""),
            )
        }
    }

    /// The service makes no file without bytes: one byte first, then a version without any.
    async fn create_empty(&self, plan: &Plan<'_>, body: &Body, progress: &dyn Progress) -> Result<Entry> {
        let asset = match resumed(progress) {
            // The one byte is there already: only its emptying was interrupted.
            Some((Target::Version { file, .. }, ..)) => file,
            _ => {
                self.upload_job(plan, body, Some(Bytes::from_static(b"\n")), progress)
                    .await?
            }
        };
        let one_byte = self.created(plan, asset, 1).await?;
        self.replace(&one_byte, None, None, body, progress).await
    }

    async fn created(&self, plan: &Plan<'_>, asset: u64, size: u64) -> Result<Entry> {
        self.known.touch(plan.parent);
        self.new_content(asset, size, None);
        let entry = match self.fetch_file(CREATE, asset).await {
            Ok(file) => {
                let entry = self.entry(&file);
                Entry {
                    version: fields::version(size, &file.updated_on),
                    ..entry
                }
            }
            // The job said that it is done: a look that fails does not undo it.
            Err(e) if e.is_not_found() || e.is_transient() => self.unseen(plan, asset, size).await,
            Err(e) => return Err(e),
        };
        self.known.answered(asset, &entry.version);
        let parents = if entry.parents.is_empty() {
            vec![plan.parent_id.clone()]
        } else {
            entry.parents.clone()
        };
        Ok(Entry {
            parents,
            size: Some(size),
            availability: Availability::Ready,
            ..entry
        })
    }

    /// Uploads the bytes as a job and answers the new asset's id.
    async fn upload_job(
        &self,
        plan: &Plan<'_>,
        body: &Body,
        stand_in: Option<Bytes>,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let mut transfer = Transfer {
            operation: CREATE,
            item: plan.name.as_str(),
            body,
            stand_in,
            progress,
            target: Target::Job { job: 0, file: 0 },
            stage: Stage::Sending,
            chunk_bytes: self.chunk_bytes(),
            acknowledged: Vec::new(),
        };
        if let Some((Target::Job { job, file }, stage, resume)) = resumed(progress) {
            adopt(&mut transfer, Target::Job { job, file }, stage, resume);
            match self.job(plan.name, job).await {
                Ok(Job {
                    finished: true,
                    asset_id: Some(asset),
                    ..
                }) => return Ok(asset),
                Ok(_) if transfer.missing().is_empty() => return self.finish_job(plan.name, job).await,
                Ok(_) => return self.run_job(plan, transfer, job).await,
                Err(e) if e.is_not_found() && stage == Stage::Sending => {
                    // Forgotten by the server before anything could be published: begin anew.
                    transfer.acknowledged.clear();
                    transfer.chunk_bytes = self.chunk_bytes();
                }
                Err(e) if e.is_not_found() => return Err(e.retry(Retry::Ambiguous)),
                Err(e) => return Err(e),
            }
        }
        let (job, file) = self.begin_job(plan, transfer.size_bytes()).await?;
        transfer.target = Target::Job { job, file };
        transfer.stage = Stage::Sending;
        transfer.save();
        self.run_job(plan, transfer, job).await
    }

    async fn begin_job(&self, plan: &Plan<'_>, size: u64) -> Result<(u64, u64)> {
        let file_type = self.file_type_for(plan.parent, plan.fields).await?;
        let carried = self.upload_fields(plan.fields, file_type).await?;
        let name = plan.name.to_store();
        let mut description = json!({
            "folder_id": plan.parent,
            "file_type_id": file_type,
            "files": [{"name": name, "size": size}],
            "terms": carried.terms,
            "prefix": "",
        });
        if !carried.keyword_ids.is_empty() {
            description["keyword_ids"] = json!(carried.keyword_ids);
        }
        let request = self
            .api
            .post("upload_jobs.json", "POST /upload_jobs")
            .json(&description);
        let job: Job = self.api.json(CREATE, plan.name.as_str(), request).await?;
        match job.files.first() {
            Some(file) => Ok((job.id, file.id)),
            None => Err(errors::protocol(
                CREATE,
                plan.name.as_str(),
                "the upload job has no file",
            )),
        }
    }

    /// Sends all but the last chunk, then, if these are still the newest bytes, the last one: it publishes.
    async fn run_job(&self, plan: &Plan<'_>, mut transfer: Transfer<'_>, job: u64) -> Result<u64> {
        let mut was_cut = false;
        loop {
            match self.try_job(plan, &mut transfer, job).await {
                Err(e) if self.cut_smaller(&mut transfer, &e) => was_cut = true,
                Ok(asset) => {
                    self.learn_limit(&transfer, was_cut);
                    return Ok(asset);
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn try_job(&self, plan: &Plan<'_>, transfer: &mut Transfer<'_>, job: u64) -> Result<u64> {
        let last = transfer.count();
        let before: Vec<u32> = transfer.missing().into_iter().filter(|n| *n < last).collect();
        self.send_chunks(transfer, &before).await?;
        transfer.begin_publishing().await?;
        let told = match self.send_chunk(transfer, last).await {
            Ok(answer) => answer.json::<Job>().ok(),
            Err(e) => match self.job(plan.name, job).await {
                // The answer was lost, or the chunk was sent twice: the job knows.
                Ok(done) if done.finished => Some(done),
                _ => return Err(e),
            },
        };
        transfer.acknowledge(last);
        match told {
            Some(Job {
                finished: true,
                asset_id: Some(asset),
                ..
            }) => Ok(asset),
            _ => self.finish_job(plan.name, job).await,
        }
    }

    async fn job(&self, name: &Name, job: u64) -> Result<Job> {
        let request = self
            .api
            .get(&format!("upload_jobs/{job}.json"), "GET /upload_jobs/{id}");
        self.api.json(CREATE, name.as_str(), request).await
    }

    /// Waits until a job that has all its bytes has made its asset.
    async fn finish_job(&self, name: &Name, job: u64) -> Result<u64> {
        let give_up_at = self.clock.elapsed() + JOB_WAIT_MAX;
        let mut pause = Duration::from_millis(500);
        loop {
            if let Job {
                finished: true,
                asset_id: Some(asset),
                ..
            } = self.job(name, job).await?
            {
                return Ok(asset);
            }
            if self.clock.elapsed() + pause > give_up_at {
                return Err(errors::not_ready(
                    CREATE,
                    name.as_str(),
                    "the upload is complete, the server still works on it",
                ));
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    /// New content, and with `name` a new name: 2 + c requests, one to check the version, one to see it.
    pub(super) async fn replace(
        &self,
        item: &Entry,
        base: Option<&ContentVersion>,
        name: Option<&Name>,
        body: &Body,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        let id = keys::file(REPLACE, &item.id)?;
        let mut transfer = Transfer {
            operation: REPLACE,
            item: item.id.as_str(),
            body,
            stand_in: None,
            progress,
            target: Target::Version {
                file: id,
                uuid: String::new(),
            },
            stage: Stage::Sending,
            chunk_bytes: self.chunk_bytes(),
            acknowledged: Vec::new(),
        };
        if let Some((target @ Target::Version { file, .. }, stage, resume)) = resumed(progress)
            && file == id
        {
            adopt(&mut transfer, target, stage, resume);
            if stage == Stage::Publishing {
                let there = self.fetch_file(REPLACE, id).await?;
                // Others move the time as well: what was to be renamed has its new name.
                let is_renamed = name.is_none_or(|name| has_got_name(&there, item, name));
                // Where nobody has looked at it since it was made, the time says nothing.
                let is_told = name.is_some() && item.revision.is_empty();
                let is_later = is_told || there.updated_on != item.revision;
                if is_renamed && is_later && self.has_bytes(&there, body).await? {
                    return Ok(self.replaced(item, name, body.size_bytes(), &there));
                }
            }
            match self.send_version(item, base, name, &mut transfer).await {
                // Forgotten by the server: begin anew.
                Err(e) if e.is_not_found() => {
                    transfer.acknowledged.clear();
                    transfer.chunk_bytes = self.chunk_bytes();
                }
                done => return done,
            }
        }
        self.begin_version(id, &mut transfer).await?;
        self.send_version(item, base, name, &mut transfer).await
    }

    /// Whether a file has exactly these bytes: after a crash in the middle of publishing, only they can tell whether the
    /// version that is there is ours.
    async fn has_bytes(&self, there: &File, body: &Body) -> Result<bool> {
        let size = body.size_bytes();
        if there.size != Some(size) {
            return Ok(false);
        }
        let mut at = 0;
        if size > 0 {
            let mut theirs = self.read(&self.entry(there), 0..size).await?.stream;
            while let Some(piece) = theirs.next().await {
                let piece = piece?;
                let end = at + piece.len() as u64;
                if end > size || body.part(at, piece.len()).await? != piece {
                    return Ok(false);
                }
                at = end;
            }
        }
        Ok(at == size)
    }

    async fn begin_version(&self, id: u64, transfer: &mut Transfer<'_>) -> Result<()> {
        // One that nobody completes changes nothing, so it may be asked for twice.
        let request = self
            .api
            .post(&format!("files/{id}/versions"), "POST /files/{id}/versions")
            .safe();
        let begun: Version = self.api.json(REPLACE, transfer.item, request).await?;
        transfer.target = Target::Version {
            file: id,
            uuid: begun.uuid,
        };
        transfer.stage = Stage::Sending;
        transfer.save();
        Ok(())
    }

    async fn send_version(
        &self,
        item: &Entry,
        base: Option<&ContentVersion>,
        name: Option<&Name>,
        transfer: &mut Transfer<'_>,
    ) -> Result<Entry> {
        let mut was_cut = false;
        loop {
            let missing = transfer.missing();
            match self.send_chunks(transfer, &missing).await {
                Err(e) if self.cut_smaller(transfer, &e) => was_cut = true,
                done => break done?,
            }
        }
        self.learn_limit(transfer, was_cut);
        // As late as possible: what somebody else does between this look and the next request is lost. The service offers
        // nothing better.
        let seen = match base {
            Some(base) => Some(self.check_base(item, base).await?),
            None => None,
        };
        transfer.begin_publishing().await?;
        self.complete(item, name, seen, transfer).await
    }

    async fn complete(
        &self,
        item: &Entry,
        name: Option<&Name>,
        seen: Option<File>,
        transfer: &Transfer<'_>,
    ) -> Result<Entry> {
        let Target::Version { file: id, uuid } = &transfer.target else {
            return Err(errors::protocol(
                REPLACE,
                item.id.as_str(),
                "it is no version that was begun",
            ));
        };
        // This call renames: without a new name it must repeat the present one.
        let present = seen.as_ref().map_or(item.name.as_str(), |file| file.filename.as_str());
        let file_name = name.map_or_else(|| present.to_owned(), Name::to_store);
        let body = json!({"file_name": file_name, "chunk_count": transfer.count()});
        let path = format!("files/{id}/versions/{}/complete", crate::http::path_segment(uuid));
        let request = self
            .api
            .post(&path, "POST /files/{id}/versions/{uuid}/complete")
            .json(&body);
        self.api.call(REPLACE, item.id.as_str(), request).await?;
        let before = match &seen {
            Some(file) => (file.size.unwrap_or_default(), file.updated_on.clone()),
            None => (item.size.unwrap_or_default(), item.revision.clone()),
        };
        let size = transfer.size_bytes();
        self.new_content(*id, size, Some(before));
        // Whether an old link would serve the new bytes is unknown.
        self.links.retire(*id, None);
        let entry = match self.fetch_file(REPLACE, *id).await {
            Ok(there) => self.replaced(item, name, size, &there),
            // The version is in the server's queue whatever this look says.
            Err(e) if e.is_transient() || e.is_not_found() => Entry {
                name: file_name,
                size: Some(size),
                version: fields::version(size, &item.revision),
                ..item.clone()
            },
            Err(e) => return Err(e),
        };
        self.known.answered(*id, &entry.version);
        Ok(entry)
    }

    /// Notes a change of content of ours, so that its traces are not taken for somebody else's.
    fn new_content(&self, id: u64, size: u64, before: Option<(u64, String)>) {
        let change = OwnChange {
            at: self.api.server_now(),
            size,
            before,
            answered: None,
        };
        self.known.changed(id, change);
    }

    /// The entry as it will be: the new version waits in a queue, and until it is processed the server tells the old size
    /// and name.
    fn replaced(&self, item: &Entry, name: Option<&Name>, size: u64, there: &File) -> Entry {
        let processed = there.size == Some(size) && there.updated_on != item.revision;
        let entry = self.entry(there);
        let name = match name {
            // The server has its own spelling of some names; before it has processed this one it tells the old.
            Some(_) if processed && there.filename != item.name => there.filename.clone(),
            Some(name) => name.to_store(),
            None => entry.name.clone(),
        };
        let parents = if entry.parents.is_empty() {
            item.parents.clone()
        } else {
            entry.parents.clone()
        };
        Entry {
            name,
            parents,
            size: Some(size),
            version: fields::version(size, &there.updated_on),
            availability: Availability::Ready,
            ..entry
        }
    }

    /// The file type of a new file: as wanted, as configured, as the nearest folder above has it, or the only one.
    pub(super) async fn file_type_for(&self, parent: u64, wanted: &FieldChanges) -> Result<u64> {
        const DEPTH_MAX: usize = 64;
        const WHAT: &str = "choose the file type";
        if let Some(value) = wanted.get("file_type").and_then(|values| values.first()) {
            if let Ok(id) = value.text.trim().parse() {
                return Ok(id);
            }
            let types = self.templates.file_types().await?;
            let found = types.find(&value.text).map(|t| t.id);
            return found.ok_or_else(|| {
                errors::invalid(
                    WHAT,
                    &value.text,
                    format!("there is no such file type; there are: {}", types.listed()),
                )
            });
        }
        if let Some(id) = self.config.file_type {
            return Ok(id);
        }
        let mut folder = Some(parent);
        for _ in 0..DEPTH_MAX {
            let Some(id) = folder else { break };
            let facts = match self.known.folder(id) {
                Some(facts) => facts,
                None => {
                    let fetched = self.fetch_folder(id).await?;
                    super::known::FolderFacts {
                        parent: fetched.parent_id,
                        metagroup: fetched.metagroup_id,
                    }
                }
            };
            if let Some(id) = facts.metagroup {
                return Ok(id);
            }
            folder = facts.parent;
        }
        let types = self.templates.file_types().await?;
        types.only().map(|t| t.id).ok_or_else(|| {
            let why = format!(
                "set file_type in the store's configuration to one of: {}",
                types.listed()
            );
            errors::invalid(WHAT, "", why)
        })
    }
}

/// Whether a file that was to be renamed has its new name, as the server may spell it.
fn has_got_name(there: &File, before: &Entry, name: &Name) -> bool {
    let is_respelled = || there.filename != before.name && name.may_be_stored_as(&there.filename);
    there.filename == name.to_store() || is_respelled()
}

/// Whether the server surely keeps this name: it respells some, by a rule that nobody knows (contract, section 3).
fn is_kept_as_sent(name: &Name) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.to_store().bytes().all(is_plain)
}

fn adopt(transfer: &mut Transfer<'_>, target: Target, stage: Stage, resume: Resume) {
    transfer.target = target;
    transfer.stage = stage;
    transfer.chunk_bytes = resume.chunk_bytes;
    transfer.acknowledged = resume.chunks;
}
