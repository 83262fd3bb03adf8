//! Publishing, door to door: seal, store, deposit, and make it known.
//!
//! Nothing is paid before the last step. From then on the transaction is in the journal, so that the same command goes
//! on where it was interrupted instead of publishing twice.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use content::{Store, unixfs};
use custody::{AccountKey, ContentKey, Sealed, Sealer};
use ledger::state::ObjectState;
use model::{
    Action, Canonical as _, ContentId, Description, Digest, Manifest, NodeId, ObjectId, ObjectKind, PublishedObject,
    Signed, StorageAck, Terms, Transaction,
};
use sha2::Digest as _;

use crate::{
    client::{Client, read_state},
    error::ClientError,
    file::{FileError, read_bounded, write_atomically},
    folder::{Held, hold_name},
    land::Intent,
    progress::{Counted, Counter, Progress, Watch},
    terms::TermsDraft,
    transfer::blocking,
};

/// Something to publish.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Data or program.
    pub kind: ObjectKind,
    /// The file to seal.
    pub file: PathBuf,
    /// The first terms.
    pub terms: TermsDraft,
    /// What everybody may know.
    pub description: Option<Description>,
    /// A public dummy.
    pub sample: Option<PathBuf>,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its id.
    pub object: ObjectId,
    /// The terms that hold.
    pub terms: Terms,
    /// Shares needed to open it.
    pub threshold: u8,
    /// Who holds a share each.
    pub custodians: Vec<NodeId>,
    /// How many nodes have acknowledged storing it.
    pub copies: usize,
}

/// What the transaction of a publication cannot be shorter than, without and for each acknowledgement of storage.
const PUBLICATION_BYTES_MIN: usize = 2_000;
const STORAGE_ACK_BYTES_MIN: usize = 190;

/// How short the transaction may become that publishes an object with such a description.
fn publication_bytes_min(copies: u32, description: Option<&Description>) -> usize {
    // The ciphertext and the list of its leaves, as often as the network demands.
    let storage_acks = 2 * copies as usize * STORAGE_ACK_BYTES_MIN;
    PUBLICATION_BYTES_MIN + storage_acks + description.map_or(0, |description| description.to_bytes().len())
}

/// The sealed file, its leaf list and its sample as blocks.
struct Prepared {
    sealed: Sealed,
    ciphertext: ContentId,
    leaves: ContentId,
    leaves_bytes: u64,
    sample: Option<(ContentId, u64)>,
    key: ContentKey,
}

impl Client {
    /// Seals a file on this machine and publishes it.
    ///
    /// # Errors
    /// [`ClientError`]. Unless it is [`ClientError::NotFinal`], nothing was paid.
    pub async fn publish(
        &self,
        key: &AccountKey,
        publication: &Publication,
        watch: &dyn Watch,
    ) -> Result<Published, ClientError> {
        let bytes = check_files(publication)?;
        check_sample(publication, bytes).await?;
        check_program_size(publication.kind, bytes, self.genesis().await?.limits.program_bytes)?;
        for why in self.why_dead(&publication.terms, publication.kind).await? {
            watch.see(Progress::Warning(why));
        }
        let journal = self.journal(key, publication, bytes, watch).await?;
        let _held = journal.hold(&publication.file)?;
        if let Some(announcement) = journal.read(self)? {
            watch.see(Progress::Step("going on where the last run was interrupted"));
            let stored_until_ms = announcement.stored_until_ms();
            match self.make_known(key, &journal, announcement).await {
                // What was acknowledged then is too old by now: nothing was paid, and it all begins anew.
                Err(ClientError::Refused { .. }) if self.is_too_late(stored_until_ms).await? => journal.remove(),
                done => return done,
            }
        }
        self.check_balance(key, publication).await?;
        let (_guard, store) = self.scratch_store()?;
        watch.see(Progress::Step("sealing"));
        let (candidates, prepared) =
            tokio::try_join!(self.custodian_candidates(watch), prepare(&store, publication, bytes, watch))?;
        let manifest = key.sign(&self.network.id, prepared.manifest(key, publication));
        watch.see(Progress::Step("storing ciphertext"));
        let storage = self.store_content(&store, &prepared, watch).await?;
        watch.see(Progress::Step("giving shares of the key to custodians"));
        let (deposit, deposit_acks) = self.deposit(key, &manifest, &prepared.key, candidates, watch).await?;
        let object = PublishedObject { manifest, deposit, deposit_acks, storage };
        let terms = publication.terms.clone().into_terms(object.manifest.object_id(), key.account(), 1);
        let terms = key.sign(&self.network.id, terms);
        watch.see(Progress::Step("making it known"));
        self.make_known(key, &journal, Announcement { object, terms, journal: journal.clone(), written: None }).await
    }

    /// Custodians take no shares of an owner who cannot pay for what they are about; better to hear that beforehand, and why.
    async fn check_balance(&self, key: &AccountKey, publication: &Publication) -> Result<(), ClientError> {
        let account = key.account();
        let genesis = self.genesis().await?;
        // Whoever has so much and a little too little is told by the ledger.
        let bytes = publication_bytes_min(genesis.limits.copies, publication.description.as_ref());
        let needed = ledger::transaction_fee(&genesis.fees, bytes).unwrap_or(u64::MAX);
        let available = self.account(&account).await?.balance;
        if available < needed { Err(ClientError::Balance { account, available, needed }) } else { Ok(()) }
    }

    async fn make_known(
        &self,
        key: &AccountKey,
        journal: &Journal,
        announcement: Announcement,
    ) -> Result<Published, ClientError> {
        let written = announcement.written.clone();
        self.land(key, &announcement, written).await?;
        journal.remove();
        let Announcement { object, terms, .. } = announcement;
        let ciphertext = object.manifest.unverified().ciphertext;
        Ok(Published {
            object: object.manifest.object_id(),
            terms: terms.into_unverified(),
            threshold: object.deposit.unverified().threshold,
            custodians: object.deposit.unverified().custodians.iter().map(|holder| holder.node).collect(),
            copies: object.storage.iter().filter(|ack| ack.unverified().content == ciphertext).count(),
        })
    }

    /// Whether a certified block shows that acknowledgements which end at `stored_until_ms` are too old for every block to
    /// come. A node that merely says no may have kept the transaction.
    async fn is_too_late(&self, stored_until_ms: u64) -> Result<bool, ClientError> {
        let storage_ms = self.genesis().await?.limits.storage_ms;
        let (head, _) = self.state("the roster of nodes", ledger::key::roster()).await?;
        Ok(stored_until_ms.saturating_add(ledger::ACK_AGE_MS_MAX) < head.time_ms().saturating_add(storage_ms))
    }

    async fn store_content(
        &self,
        store: &Store,
        prepared: &Prepared,
        watch: &dyn Watch,
    ) -> Result<Vec<Signed<StorageAck>>, ClientError> {
        let parts = [
            ("the ciphertext", prepared.ciphertext, prepared.sealed.ciphertext_bytes),
            ("the list of leaves", prepared.leaves, prepared.leaves_bytes),
        ];
        let mut acks = Vec::new();
        for (what, root, bytes) in parts {
            let node = self.upload(store, &root, bytes, watch).await?;
            acks.extend(self.acknowledgements(what, &root, bytes, &node).await?);
        }
        if let Some((root, bytes)) = prepared.sample {
            let node = self.upload(store, &root, bytes, watch).await?;
            self.acknowledgements("the sample", &root, bytes, &node).await?;
        }
        acks.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
        Ok(acks)
    }

    async fn journal(
        &self,
        key: &AccountKey,
        publication: &Publication,
        bytes: u64,
        watch: &dyn Watch,
    ) -> Result<Journal, ClientError> {
        let name = self.fingerprint(key, publication, bytes, watch).await?;
        let path = self.state_dir.of_network(&self.network.id).join("publishing").join(name.to_string());
        Ok(Journal { path })
    }
}

/// The ledger publishes no program that no node would run; sealing and uploading it would be for nothing.
fn check_program_size(kind: ObjectKind, bytes: u64, sealed_max: u64) -> Result<(), ClientError> {
    let fits = custody::ciphertext_length(bytes).is_some_and(|sealed| sealed <= sealed_max);
    if kind == ObjectKind::Data || fits { Ok(()) } else { Err(ClientError::ProgramSize { bytes, sealed_max }) }
}

impl Prepared {
    fn manifest(&self, key: &AccountKey, publication: &Publication) -> Manifest {
        Manifest {
            kind: publication.kind,
            owner: key.account(),
            ciphertext: self.ciphertext,
            ciphertext_bytes: self.sealed.ciphertext_bytes,
            leaves: self.leaves,
            seal: self.sealed.seal.clone(),
            description: publication.description.clone(),
            sample: self.sample.map(|(root, _)| root),
        }
    }
}

/// Seals the file into blocks on this machine. Its plaintext is only ever in memory, two chunks at a time.
async fn prepare(
    store: &Store,
    publication: &Publication,
    bytes: u64,
    watch: &dyn Watch,
) -> Result<Prepared, ClientError> {
    let (store, publication) = (store.clone(), publication.clone());
    let file = File::open(&publication.file).map_err(|cause| FileError::read(&publication.file, cause))?;
    let counter = Counter::default();
    let reader = Counted { reader: file, counter: counter.clone() };
    let sealing = blocking("seal the file", move || {
        let key = ContentKey::generate()?;
        let mut sealer = Sealer::new(reader, &key)?;
        let ciphertext = unixfs::import(&store, &mut sealer)?.root;
        let sealed = sealer.finish()?;
        let leaves = unixfs::import(&store, &mut sealed.leaves.as_slice())?;
        let sample = match &publication.sample {
            None => None,
            Some(path) => Some(unixfs::import(&store, &mut File::open(path)?)?),
        };
        Ok(Prepared {
            sealed,
            ciphertext,
            leaves: leaves.root,
            leaves_bytes: leaves.bytes,
            sample: sample.map(|sample| (sample.root, sample.bytes)),
            key,
        })
    });
    counter.watched(watch, bytes, sealing).await
}

/// Where the transaction of a publication under way is written down, until it is in effect.
#[derive(Clone, Debug)]
struct Journal {
    path: PathBuf,
}

impl Journal {
    /// Keeps other processes from publishing the same at the same time: each would publish an object of its own, and pay.
    fn hold(&self, file: &Path) -> Result<Held, ClientError> {
        hold_name(&self.path.with_extension("lock"))?.ok_or_else(|| ClientError::Folder {
            reason: format!("another samovar process publishes {}", file.display()),
            hint:
                "wait until it has ended, and look with `samovar objects list`; nothing was sent and nothing was paid"
                    .to_owned(),
        })
    }

    /// What an interrupted run has written down.
    fn read(&self, client: &Client) -> Result<Option<Announcement>, ClientError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bytes = read_bounded(&self.path, Transaction::BYTES_MAX as u64)?;
        let transaction = Signed::<Transaction>::from_bytes(&bytes, Transaction::BYTES_MAX)
            .map_err(|cause| self.damaged(&cause.to_string()))?;
        let body = transaction.verify(&client.network.id).map_err(|cause| self.damaged(&cause.to_string()))?;
        let Action::Publish { object, terms } = &body.action else {
            return Err(self.damaged("it publishes nothing"));
        };
        let (object, terms) = ((**object).clone(), (**terms).clone());
        Ok(Some(Announcement { object, terms, journal: self.clone(), written: Some(transaction) }))
    }

    fn damaged(&self, reason: &str) -> ClientError {
        FileError::whole(&self.path, format!("not a publication under way ({reason}); remove the file to start over"))
            .into()
    }

    fn remove(&self) {
        // If it stays, the same command merely finds the object published already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An object that is ready to be made known.
struct Announcement {
    object: PublishedObject,
    terms: Signed<Terms>,
    journal: Journal,
    written: Option<Signed<Transaction>>,
}

impl Announcement {
    /// Until when the first of its copies is promised: the ledger takes it with none that is too old.
    fn stored_until_ms(&self) -> u64 {
        self.object.storage.iter().map(|ack| ack.unverified().until_ms).min().unwrap_or(0)
    }
}

impl Intent for Announcement {
    fn what(&self) -> String {
        "the publication".to_owned()
    }

    fn action(&self, _nonce: u64) -> Action {
        Action::Publish { object: Box::new(self.object.clone()), terms: Box::new(self.terms.clone()) }
    }

    fn effect_key(&self, _: &Signed<Transaction>) -> ledger::Key {
        ledger::key::object(&self.object.manifest.object_id())
    }

    fn in_effect(&self, _: &Signed<Transaction>, value: Option<&[u8]>) -> bool {
        value.is_some_and(|value| read_state::<ObjectState>(value).is_ok())
    }

    fn write_down(&self, transaction: &Signed<Transaction>) -> Result<(), ClientError> {
        Ok(write_atomically(&self.journal.path, &transaction.to_bytes())?)
    }
}

/// Checks what can be checked before anything is asked or sent; returns the length of the file.
fn check_files(publication: &Publication) -> Result<u64, FileError> {
    let files = [Some(&publication.file), publication.sample.as_ref()];
    for path in files.into_iter().flatten() {
        let kind = std::fs::metadata(path).map_err(|cause| FileError::read(path, cause))?;
        if !kind.is_file() {
            return Err(FileError::whole(path, "not a file that can be sealed: a folder or a device"));
        }
    }
    if publication.kind == ObjectKind::Program {
        check_is_program(&publication.file)?;
    }
    let length = std::fs::metadata(&publication.file).map_err(|cause| FileError::read(&publication.file, cause))?;
    Ok(length.len())
}

/// Samples are published in clear: one that is the data itself would give away what is about to be sealed.
async fn check_sample(publication: &Publication, bytes: u64) -> Result<(), ClientError> {
    let Some(sample) = publication.sample.clone() else { return Ok(()) };
    let data = publication.file.clone();
    blocking("compare the sample with the data", move || {
        if is_same(&data, &sample, bytes)? {
            let reason = format!("it is what {} holds, and a sample is published in clear", data.display());
            return Err(FileError::whole(&sample, reason).into());
        }
        Ok(())
    })
    .await
}

/// Whether two files hold the same bytes; one of them has so many.
fn is_same(left: &Path, right: &Path, bytes: u64) -> Result<bool, FileError> {
    let open = |path| File::open(path).map_err(|cause| FileError::read(path, cause));
    let (left_file, right_file) = (open(left)?, open(right)?);
    if right_file.metadata().map_err(|cause| FileError::read(right, cause))?.len() != bytes {
        return Ok(false);
    }
    let (mut left_bytes, mut right_bytes) = (BufReader::new(left_file), BufReader::new(right_file));
    loop {
        let one = left_bytes.fill_buf().map_err(|cause| FileError::read(left, cause))?;
        let other = right_bytes.fill_buf().map_err(|cause| FileError::read(right, cause))?;
        let compared = one.len().min(other.len());
        if compared == 0 {
            return Ok(one.is_empty() && other.is_empty());
        }
        if one[..compared] != other[..compared] {
            return Ok(false);
        }
        left_bytes.consume(compared);
        right_bytes.consume(compared);
    }
}

/// What every WebAssembly module and component begins with.
const WASM_MAGIC: &[u8] = b"\0asm";

/// A program that is none would cost whoever asks for it the network fee.
fn check_is_program(path: &Path) -> Result<(), FileError> {
    let mut first = [0; 4];
    let read = File::open(path).and_then(|mut file| {
        let filled = file.read(&mut first)?;
        Ok(&first[..filled] == WASM_MAGIC)
    });
    match read {
        Ok(true) => Ok(()),
        Ok(false) => Err(FileError::whole(path, "not a WebAssembly file, so it is no program")),
        Err(cause) => Err(FileError::read(path, cause)),
    }
}

impl Client {
    /// What makes two publications the same: network, account, kind, contents, terms and description.
    async fn fingerprint(
        &self,
        key: &AccountKey,
        publication: &Publication,
        bytes: u64,
        watch: &dyn Watch,
    ) -> Result<Digest, ClientError> {
        let counter = Counter::default();
        let file = counter.watched(watch, bytes, hash_file(&publication.file, &counter)).await?;
        let sample = match &publication.sample {
            Some(sample) => Some(hash_file(sample, &Counter::default()).await?),
            None => None,
        };
        let kind = publication.kind.to_string();
        let terms = format!("{:?}", publication.terms);
        let description = publication.description.as_ref().map(|description| description.to_bytes());
        Ok(Digest::of_parts(&[
            &self.network.id.0,
            &key.account().0,
            kind.as_bytes(),
            &file.0,
            sample.as_ref().map_or(&[], |digest| &digest.0),
            terms.as_bytes(),
            description.as_deref().unwrap_or_default(),
        ]))
    }
}

/// Away from the threads that answer the network and listen to Ctrl-C: a large file takes its time.
async fn hash_file(path: &Path, counter: &Counter) -> Result<Digest, ClientError> {
    let (path, counter) = (path.to_owned(), counter.clone());
    blocking("read the file", move || {
        let mut reader = Counted { reader: File::open(&path).map_err(|cause| FileError::read(&path, cause))?, counter };
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let filled = reader.read(&mut buffer).map_err(|cause| FileError::read(&path, cause))?;
            if filled == 0 {
                return Ok(Digest(hash.finalize().into()));
            }
            hash.update(&buffer[..filled]);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: ObjectKind, file: &Path) -> String {
        let publication =
            Publication { kind, file: file.to_owned(), terms: TermsDraft::default(), description: None, sample: None };
        check_files(&publication).unwrap_err().to_string()
    }

    #[test]
    fn only_files_are_sealed_and_only_webassembly_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("records.csv");
        std::fs::write(&text, "a;b\n1;2\n").unwrap();
        assert!(refused(ObjectKind::Data, folder.path()).contains("not a file that can be sealed"));
        assert!(refused(ObjectKind::Data, Path::new("/dev/zero")).contains("not a file that can be sealed"));
        assert!(refused(ObjectKind::Program, &text).contains("not a WebAssembly file"));
        std::fs::write(&text, "").unwrap();
        assert!(refused(ObjectKind::Program, &text).contains("not a WebAssembly file"));
    }

    /// Too high a bound would keep out owners who can pay.
    #[test]
    fn no_publication_is_shorter_than_is_thought() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/vectors/transaction.json");
        let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let all = vectors["transactions"].as_array().unwrap();
        let publish = all.iter().find(|vector| vector["action"] == "publish").unwrap();
        let bytes = publish["signed"].as_str().unwrap().len() / 2;
        let bytes_min = publication_bytes_min(2, None);
        assert!((bytes_min..bytes_min + 200).contains(&bytes), "{bytes}, at least {bytes_min}");
    }

    #[tokio::test]
    async fn the_data_is_no_sample_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        // Longer than what is read at a time.
        let mut bytes = vec![7; 20_000];
        let data = file("data", &bytes);
        let copy = file("copy", &bytes);
        bytes[19_999] = 8;
        let (dummy, short) = (file("dummy", &bytes), file("short", &bytes[..5]));
        let check = async |sample: &Path| {
            let sample = Some(sample.to_owned());
            let (kind, file, terms) = (ObjectKind::Data, data.clone(), TermsDraft::default());
            check_sample(&Publication { kind, file, terms, description: None, sample }, 20_000).await
        };
        for same in [&data, &copy] {
            let error = check(same).await.unwrap_err().to_string();
            assert!(error.contains("a sample is published in clear"), "{error}");
        }
        check(&dummy).await.unwrap();
        check(&short).await.unwrap();
    }

    #[test]
    fn a_program_that_no_node_would_run_is_not_sealed() {
        const MAX: u64 = 80 << 20;
        let refused = |kind, bytes| {
            matches!(check_program_size(kind, bytes, MAX), Err(ClientError::ProgramSize { sealed_max: MAX, .. }))
        };
        assert!(!refused(ObjectKind::Program, 70 << 20));
        // It is the ciphertext that counts: padding and tags make this one too long.
        assert!(refused(ObjectKind::Program, MAX));
        assert!(refused(ObjectKind::Program, u64::MAX));
        assert!(!refused(ObjectKind::Data, 30 << 30));
    }
}
